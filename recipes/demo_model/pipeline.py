"""Runs a recipe from its first stage to the card; each step leaves its result in the output folder."""

from __future__ import annotations

from pathlib import Path

from recipes.demo_model.card import card_of
from recipes.demo_model.evaluate import measure_all, text_perplexity
from recipes.demo_model.recipe import read_recipe
from recipes.demo_model.smoke import smoke_sources
from recipes.demo_model.sources import load_sources
from recipes.demo_model.training import DemoTraining
from seeahead.demo.build import WEIGHTS
from seeahead.provenance import provenance, write_json
from seeahead.train.recipe import read_drafter_recipe
from seeahead.train.stage import Report

STEPS = ("vision", "writing", "answers", "drafters", "card")


def begin(recipe_path: Path, out: Path, cache: Path, report: Report, device: str) -> DemoTraining:
    recipe = read_recipe(recipe_path)
    for entry in recipe.drafters:  # what is wrong with them shows now, not after hours
        read_drafter_recipe(recipe.folder / entry.recipe)
    sources = smoke_sources(out / "made", recipe.seed) if recipe.smoke else load_sources(cache, report)
    return DemoTraining(recipe, sources, out, report, cache, device)


def run_drafters(recipe_path: Path, out: Path, cache: Path, report: Report, device: str = "auto") -> None:
    """The recipe's drafters alone, for the target as it is shipped."""
    training = begin(recipe_path, out, cache, report, device)
    training.train_drafters(training.merged_target(WEIGHTS), {})


def run_recipe(recipe_path: Path, out: Path, cache: Path, until: str, report: Report, device: str = "auto") -> None:
    training = begin(recipe_path, out, cache, report, device)
    recipe = training.recipe
    steps = STEPS[: STEPS.index(until) + 1]
    model = training.fresh_target()
    training.train_vision(model)
    if "writing" not in steps:
        return
    base = training.base_target()
    facts, texts, held_out_texts = training.write_base(base)
    report(f"facts about {len(facts)} nouns, {len(texts)} text answers")
    if "answers" not in steps:
        return
    training.train_answers(model, facts, texts)
    target = training.merged_target()
    for name in ("vision", "language-lora"):
        write_json(out / "weights" / f"{name}.provenance.json", {"recipe": recipe_path.name, **provenance(recipe.seed)})
    if "drafters" not in steps:
        return
    agreement = training.train_drafters(target, facts)
    if "card" not in steps:
        return
    source = training.source(held_out=True, seed=9)
    figures = measure_all(target, training.processor, source, held_out_texts, recipe.amounts.held_out_per_kind)
    base_perplexity = text_perplexity(base, training.processor, held_out_texts)
    figures["text"] |= {
        "base_perplexity": round(base_perplexity, 4),
        "perplexity_ratio": round(figures["text"]["perplexity"] / base_perplexity, 4),
    }
    figures["drafter_agreement"] = agreement
    write_json(out / "card.json", card_of(recipe, training, figures))
    report(f"card written: {out / 'card.json'}")
