"""The model card: a JSON record of what was trained and measured, and the page rendered from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.demo_model.packages import PACKAGES
from seeahead.errors import InputError
from seeahead.provenance import provenance

if TYPE_CHECKING:
    from recipes.demo_model.recipe import Recipe
    from recipes.demo_model.training import DemoTraining
    from seeahead.train.stage import StageRecord

Figures = dict[str, Any]  # nested JSON, written by recipes/demo_model/evaluate.py


def card_of(recipe: Recipe, training: DemoTraining, figures: Figures) -> dict[str, object]:
    bank = training.sources.bank
    weights = training.out / "weights"
    return {
        "targets": targets(figures),
        "figures": figures,
        "pictures": {"training": len(bank.side(False)), "held_out": len(bank.side(True))},
        "weights_bytes": {
            path.relative_to(weights).as_posix(): path.stat().st_size for path in sorted(weights.rglob("*.safetensors"))
        },
        "stages": {name: _told(training.stage(name).record()) for name in recipe.stages},
        "provenance": provenance(recipe.seed),
    }


def _told(record: StageRecord) -> dict[str, float]:
    return {"step": record.step, "seconds": record.seconds, "done": record.done}


def targets(figures: Figures) -> list[dict[str, object]]:
    """Each promise of the card: what, at least or at most which value, and what was measured."""
    text = figures["text"]
    rows = [
        ("held-out stamps: the noun said is of the right kind", ">=", 0.60, figures["stamps"]["right_kind"]),
        ("easy-VQA test questions right", ">=", 0.90, figures["easy_vqa"]["right"]),
        ("attributes in made scenes right", ">=", 0.80, figures["scenes_shapes"]["right"]),
        ("perplexity of SmolLM2's own text answers / SmolLM2's", "<=", 1.05, text["perplexity_ratio"]),
        ("mean sentences when asked for detail", ">=", 3, figures["details"]["mean_sentences"]),
    ]
    return [
        {"what": what, "bar": f"{sign} {bar}", "measured": value, "met": value >= bar if sign == ">=" else value <= bar}
        for what, sign, bar, value in rows
    ]


def read_card(path: Path) -> Figures:
    try:
        card: Figures = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the card {path} ({error}); give one written by python -m recipes.demo_model train"
        ) from None
    return card


def page(card: Figures) -> str:
    """docs/demo-model.md: prose that stays, figures that come from the card."""
    figures, made = card["figures"], card["provenance"]
    rows = [
        f"| {row['what']} | {row['bar']} | {row['measured']} | {'yes' if row['met'] else '**no**'} |"
        for row in card["targets"]
    ]
    abilities = [
        f"| {name} | {entry['num_questions']} | {entry['right']:.2f} | {listed(entry['per_ability'])} |"
        for name, entry in figures.items()
        if isinstance(entry, dict) and "per_ability" in entry
    ]
    kinds = figures["stamps"]["per_kind"]
    stamps = [f"| {kind} | {right} of {count} |" for kind, (right, count) in kinds.items()]
    sources = [f"| {s.name} {s.version} | {s.registry} | {s.licence} | {s.used_for} |" for s in PACKAGES]
    sizes = [f"| {name} | {size / 1e6:.1f} MB |" for name, size in card["weights_bytes"].items()]
    notes = [f"- {note}" for note in card.get("notes", [])]
    blocks = {
        "targets": rows,
        "abilities": abilities,
        "stamps": stamps,
        "sources": sources,
        "sizes": sizes,
        "notes": notes,
        "numbers": [numbers(card)],
        "made": [origin(made)],
    }
    text = (Path(__file__).parent / "card.md").read_text("utf-8")
    for name, lines in blocks.items():
        text = text.replace(f"<!-- {name} -->", "\n".join(lines))
    return text


def numbers(card: Figures) -> str:
    figures, images = card["figures"], card["pictures"]
    stamps, details, text = figures["stamps"], figures["details"], figures["text"]
    return (
        f"{images['training']} images were trained on, {images['held_out']} held out, "
        f"{stamps['num_stamps']} of them stamps. Right kind without the letters, coins and other symbols: "
        f"{stamps['right_kind_without_symbols']:.2f}; the kind itself said right: {stamps['kind_said']:.2f}; "
        f"the very name of the caption: {stamps['right_name']:.2f}. "
        f"Asked for detail, {details['several_sentences']:.0%} of {details['num_answers']} answers have three "
        f"sentences or more, {details['mean_tokens']} tokens on average. "
        f"Perplexity on {text['num_answers']} text answers: {text['perplexity']} (SmolLM2 {text['base_perplexity']}). "
        f"The language drafter of that day ranked {figures['drafter_agreement']:.0%} of the tokens "
        "in the model's own answers first (answers kept out of its training, images not shown)."
    )


def origin(made: Figures) -> str:
    """The command is that of the day; today's stands under Training."""
    command, commit = " ".join(map(str, made.get("command", []))), str(made.get("commit", ""))[:12]
    told = f"Measured {made.get('date', '')} with the code of commit {commit}, seed {made.get('seed')}: `{command}`"
    return f"{told} (the command as it is today: [Training](#training))."


def listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in shares.items())
