"""The whole training of the demo model, stage by stage: what one recipe runs from packages to shipped weights."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from recipes.demo_model.answers import Packer, Supply, add_adapters, train_answers
from recipes.demo_model.conversations import sharded_conversations
from recipes.demo_model.dialogues import Example, Turn, spoken_name
from recipes.demo_model.evaluate import brief_line
from recipes.demo_model.examples import ExampleSource
from recipes.demo_model.prompts import Prompt, text_prompt
from recipes.demo_model.recipe import Recipe
from recipes.demo_model.scene_dialogues import scene_example
from recipes.demo_model.scenes import random_things, shapes_scene
from recipes.demo_model.shards import in_processes, part
from recipes.demo_model.soft_words import Views, Words, bank_views, heavy_words
from recipes.demo_model.sources import Sources
from recipes.demo_model.texts import clean_fact, fact_question, text_questions
from recipes.demo_model.vision import (
    VisionTrainer,
    initialise_tower,
    rates_on_held_out,
    train_features,
    train_soft_words,
)
from recipes.demo_model.writing import Row, write_all
from seeahead.demo.model import build_processor, build_target, place_weights, save_target, tower_and_projector
from seeahead.families import family_for
from seeahead.families.loading import load_model, pick_device
from seeahead.train.data import Dataset
from seeahead.train.recipe import read_drafter_recipe
from seeahead.train.run import train
from seeahead.train.stage import Report, Stage, load_tensors

FACT_TOKENS = 56
Rows = list[Row]


def vision_sizes(width: int, layers: int, heads: int) -> dict[str, int]:
    """Of a vision tower, in the words of its configuration."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "projection_dim": width,
    }


class DemoTraining:
    """Runs the stages of one recipe in one folder; every method picks up what an earlier run left there."""

    def __init__(
        self, recipe: Recipe, sources: Sources, out: Path, report: Report, cache: Path, device: str = "cpu"
    ) -> None:
        self.recipe, self.sources, self.out, self.report, self.cache = recipe, sources, out, report, cache
        self.device = pick_device(device)
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        sizes = recipe.sizes
        self.vision = vision_sizes(sizes.vision_width, sizes.vision_layers, sizes.vision_heads)
        self.processor = build_processor(sources.tokenizer)
        self.packer = Packer(sources.tokenizer)

    def stage(self, name: str) -> Stage:
        limits, sizes = self.recipe.stages[name], asdict(self.recipe.sizes)
        origin = {"seed": str(self.recipe.seed), **{key: str(value) for key, value in sizes.items()}}
        return Stage(name, self.out, limits, self.report, {**origin, **limits.origin})

    def fresh_target(self) -> LlavaForConditionalGeneration:
        return build_target(self.sources.language, self.sources.tokenizer, self.vision)

    def source(self, held_out: bool, facts: dict[str, list[str]] | None = None, seed: int = 0) -> ExampleSource:
        easy = self.sources.easy_held_out if held_out else self.sources.easy
        return ExampleSource(
            self.sources.bank, easy, facts or {}, held_out, self.recipe.seed + seed, self.recipe.shares
        )

    # Stages 1 and 2

    def train_vision(self, model: LlavaForConditionalGeneration) -> None:
        """Tower and projector of `model` learn the teacher's features, then soft words."""
        last = self.stage("soft-words")
        if last.record().done:
            self.report("features and soft-words: done before")
            saved = load_tensors(last.weights)
            with torch.no_grad():
                for name, value in tower_and_projector(model).items():
                    value.copy_(saved[name])
            return
        bank, amounts, seed = self.sources.bank, self.recipe.amounts, self.recipe.seed
        shown = bank_views(bank, amounts.view_rounds, seed, amounts.num_shards)
        num_taught = len(shown.pixels) * min(amounts.taught_rounds, amounts.view_rounds) // amounts.view_rounds
        self.report(f"{len(shown.pixels)} views, the teacher looks at {num_taught}")
        made = Views.joined(
            [views for made_part in in_processes(self.made_images, amounts.num_shards) for views in made_part]
        )
        self.report(f"{len(made.pixels)} made images")
        initialise_tower(model.model.vision_tower)
        embeddings = model.model.language_model.embed_tokens.weight.detach().clone()
        move(model, self.device)
        trainer = VisionTrainer(model, shown.pixels, self.sources.teach(shown.pixels[:num_taught], self.device))
        train_features(trainer, self.stage("features"), seed)
        vocabulary = vocabulary_of([*shown.examples, *made.examples])
        words = Words(self.sources.tokenizer, embeddings, vocabulary, heavy_words())
        held_out = self.source(held_out=True, seed=6)
        stamps = Views.of(held_out.plain_image(index) for index in held_out.by_source["stamp"])
        singles = [random_things(held_out.rng, 1) for _ in range(60)]
        shapes = Views.of(scene_example(shapes_scene(held_out.rng, things), held_out.rng) for things in singles)

        def watch() -> str:
            return rates_on_held_out(trainer, words, stamps, shapes)

        train_soft_words(trainer, last, words, shown, made, seed, watch)
        self.report(f"soft-words: held out: {watch()}")

    def made_images(self, shard: int) -> list[Views]:
        """What stage 2 sees beside the bank: scenes, three in five of shapes, and easy-VQA, where the recipe does not
        say otherwise."""
        source, shares = self.source(held_out=False, seed=1 + shard), self.recipe.made
        kinds = ("shapes", "shapes", "shapes", "easy-vqa", "scene")
        rng = random.Random(self.recipe.seed + shard)
        count = part(self.recipe.amounts.num_scenes, shard, self.recipe.amounts.num_shards)

        def draw(number: int) -> Example:
            return source.draw(
                rng.choices(tuple(shares), tuple(shares.values()))[0] if shares else kinds[number % len(kinds)]
            )

        return [Views.of(map(draw, range(count)))] if count else []

    # What the base model writes

    def write_base(self, model: LlavaForConditionalGeneration) -> tuple[dict[str, list[str]], Rows, Rows]:
        """SmolLM2's own words: facts per noun, answers to training text questions, answers to held-out ones."""
        amounts, bank = self.recipe.amounts, self.sources.bank
        cards = [bank.cards[index] for index in bank.side(False)]
        # Letters, signs and names of drawings that are no nouns would only make it invent things.
        nouns = sorted({card.name for card in cards if card.kind != "symbol" and card.source != "clipart"} - {""})
        random.Random(self.recipe.seed).shuffle(nouns)
        half = amounts.base_writing_minutes / 2
        facts = self.write(
            model, "facts", [fact_question(noun) for noun in nouns if spoken_name(noun)], half, FACT_TOKENS
        )
        questions = text_questions(nouns, False, 4000, self.recipe.seed)
        texts = self.write(model, "texts", questions, half, amounts.writing_tokens)
        held_out = text_questions(nouns, True, 4 * amounts.held_out_texts, self.recipe.seed)[: amounts.held_out_texts]
        held_out_rows = self.write(model, "texts-held-out", held_out, 60.0, amounts.writing_tokens)
        asked = {fact_question(noun): noun for noun in nouns}
        by_noun: dict[str, list[str]] = {}
        for row in facts:
            fact = clean_fact(self.text(row))
            noun = asked.get(str(row["question"]))
            if fact and noun:
                by_noun.setdefault(noun, []).append(fact)
        return by_noun, texts, held_out_rows

    def write(
        self, model: LlavaForConditionalGeneration, name: str, questions: list[str], minutes: float, tokens: int
    ) -> Rows:
        size = self.recipe.amounts.writing_batch

        def draw(number: int) -> list[Prompt]:
            return [text_prompt(question) for question in questions[number * size : (number + 1) * size]]

        path = self.out / f"{name}.jsonl"
        return write_all(model, self.processor, draw, path, minutes, tokens, self.report)

    def text(self, row: Row) -> str:
        return str(self.sources.tokenizer.decode(row["ids"], skip_special_tokens=True))

    def text_examples(self, rows: Rows) -> list[Example]:
        examples = []
        for row in rows:
            finished = row["ids"][-1] == 2
            turn = Turn(str(row["question"]), self.text(row), "text", (), finished)
            examples.append(Example((), ((turn,),), "text"))
        return examples

    # Stage 3

    def train_answers(self, model: LlavaForConditionalGeneration, facts: dict[str, list[str]], texts: Rows) -> None:
        """Trains and exports: weights/vision.safetensors and weights/language-lora.safetensors."""
        model.float()
        parameters = add_adapters(model, self.recipe.sizes.adapter_rank)
        move(model, self.device)
        trained, shares, seed = {**tower_and_projector(model), **parameters}, self.recipe.shares, self.recipe.seed
        plain, held_out = self.text_examples(texts), self.source(True, seed=3)

        def draw_of(process: int) -> Callable[[], Example]:
            rng, source = random.Random(seed + process), self.source(False, facts, seed=2 + 1000 * process)
            return lambda: rng.choice(plain) if rng.random() < shares["text"] else source.draw()

        def watch() -> str:
            with torch.autocast(self.device.type, torch.bfloat16):
                return brief_line(model, self.processor, held_out, 32)

        stage, amounts = self.stage("answers"), self.recipe.amounts
        supply = Supply(draw_of, self.packer, stage.limits.batch_size, seed)
        train_answers(model, trained, supply, stage, watch, amounts.watch_minutes, self.recipe.vision_share)
        self.export_target(model, parameters)

    def export_target(self, model: LlavaForConditionalGeneration, adapter: dict[str, Tensor]) -> None:
        weights = self.out / "weights"
        weights.mkdir(exist_ok=True)
        for name, tensors in (("vision", tower_and_projector(model)), ("language-lora", adapter)):
            shipped = {key: value.detach().to(torch.bfloat16).contiguous() for key, value in tensors.items()}
            save_file(shipped, weights / f"{name}.safetensors")

    def base_target(self) -> LlavaForConditionalGeneration:
        """One that knows SmolLM2's words alone, in bfloat16."""
        return self._rounded(self.fresh_target(), self.out / "base")

    def merged_target(self, weights: Path | None = None) -> LlavaForConditionalGeneration:
        """The target as users get it, of what was trained here or of other `weights`: merged, in bfloat16."""
        model = self.fresh_target()
        place_weights(model, weights or self.out / "weights")
        return self._rounded(model, self.out / "target")

    def _rounded(self, model: LlavaForConditionalGeneration, folder: Path) -> LlavaForConditionalGeneration:
        """Saved and read anew: what is rounded in place has rounded rotary frequencies too."""
        save_target(model, self.processor, folder)
        loaded: LlavaForConditionalGeneration = load_model(folder, "bfloat16", str(self.device))[0].eval()
        return loaded

    # Drafters

    def train_drafters(self, target: LlavaForConditionalGeneration, facts: dict[str, list[str]]) -> float:
        """Every drafter of the recipe, by its own; returns the held-out agreement of `language`, else of the first."""
        nouns, amounts = sorted({card.name for card in self.sources.bank.cards} - {""}), self.recipe.amounts
        offset, seed = 4, self.recipe.seed
        conversations = sharded_conversations(
            lambda own: self.source(False, facts, own - seed + offset),
            nouns,
            amounts.num_conversations,
            seed,
            amounts.num_shards,
        )
        self.report(f"{len(conversations)} conversations")
        family = family_for(target, self.processor)
        folders: dict[str, Path] = {}
        for entry in self.recipe.drafters:
            recipe = read_drafter_recipe(self.recipe.folder / entry.recipe)
            data = Dataset(recipe, family, conversations, self.out / "own-answers", self.report, self.cache)
            start = folders[entry.start] if entry.start else None
            folders[entry.name] = train(data, self.out / "drafters" / entry.name, start)
            if entry.is_shipped:
                shutil.copytree(folders[entry.name], self.out / "weights" / "drafters" / entry.name, dirs_exist_ok=True)
        told = folders.get("language", next(iter(folders.values()))) / "provenance.json"
        agreements: dict[str, float] = json.loads(told.read_text())["held_out_agreement"]
        return list(agreements.values())[-1]


def move(model: nn.Module, device: torch.device) -> None:
    """In place: whoever holds its parameters goes on holding them."""
    model.to(device)


def vocabulary_of(examples: Iterable[Example]) -> set[str]:
    """Every word a patch may have to say."""
    found = {words for example in examples for words in (example.ground, *(example.places or {}).values())}
    return {word for words in found for word in words}
