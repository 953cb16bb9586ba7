"""The whole training of the demo model, stage by stage: what one recipe runs from packages to shipped weights."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from seeahead.data.dialogues import Example, Turn, spoken_name
from seeahead.data.examples import ExampleSource
from seeahead.data.prompts import Prompt, prompts_of, text_prompt
from seeahead.data.scene_dialogues import scene_example
from seeahead.data.scenes import random_things, shapes_scene
from seeahead.data.texts import clean_fact, fact_question, text_questions
from seeahead.demo.model import (
    build_processor,
    build_target,
    place_weights,
    tower_and_projector,
    vision_config,
)
from seeahead.train import drafter as drafting
from seeahead.train.answers import Packer, add_adapters, train_answers
from seeahead.train.evaluate import brief_line
from seeahead.train.loop import Report, Stage
from seeahead.train.recipe import Recipe
from seeahead.train.vision import VisionTrainer, heard_right, initialise_tower, train_features, train_soft_words
from seeahead.train.words import Views, Words, bank_views, heavy_words
from seeahead.train.world import World
from seeahead.train.write import Row, write_all

FACT_TOKENS = 56
LONG = ("detail", "follow-up", "text")
Rows = list[Row]


class DemoTraining:
    """Runs the stages of one recipe in one folder; every method picks up what an earlier run left there."""

    def __init__(self, recipe: Recipe, world: World, out: Path, report: Report) -> None:
        self.recipe, self.world, self.out, self.report = recipe, world, out, report
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        sizes = recipe.sizes
        self.vision = vision_config(sizes.vision_width, sizes.vision_layers, sizes.vision_heads)
        self.processor = build_processor(world.tokenizer)
        self.packer = Packer(world.tokenizer)

    def stage(self, name: str) -> Stage:
        return Stage(name, self.out, self.recipe.stages[name], self.report)

    def fresh_target(self) -> LlavaForConditionalGeneration:
        return build_target(self.world.language, self.world.tokenizer, self.vision)

    def source(self, held_out: bool, facts: dict[str, list[str]] | None = None, seed: int = 0) -> ExampleSource:
        easy = self.world.easy_held_out if held_out else self.world.easy
        return ExampleSource(self.world.bank, easy, facts or {}, held_out, self.recipe.seed + seed, self.recipe.shares)

    # Stages 1 and 2

    def train_vision(self, model: LlavaForConditionalGeneration) -> None:
        """Tower and projector of `model` learn the teacher's features, then soft words."""
        last = self.stage("soft-words")
        if last.done:
            self.report("features and soft-words: done before")
            saved = load_file(last.weights)
            with torch.no_grad():
                for name, value in tower_and_projector(model).items():
                    value.copy_(saved[name])
            return
        bank, amounts, seed = self.world.bank, self.recipe.amounts, self.recipe.seed
        shown = bank_views(bank, amounts.view_rounds, seed)
        num_taught = len(shown.pixels) // amounts.view_rounds  # the first round
        self.report(f"{len(shown.pixels)} views, the teacher looks at {num_taught}")
        initialise_tower(model.model.vision_tower)
        trainer = VisionTrainer(model, shown.pixels, self.world.teach(shown.pixels[:num_taught]))
        train_features(trainer, self.stage("features"), seed)
        made = Views.of(self.made_pictures())
        embeddings = model.model.language_model.embed_tokens.weight.detach()
        vocabulary = vocabulary_of([*shown.examples, *made.examples])
        words = Words(self.world.tokenizer, embeddings, vocabulary, heavy_words())
        held_out = self.source(held_out=True, seed=6)
        stamps = Views.of(held_out.plain_picture(index) for index in held_out.by_source["stamp"])
        singles = [random_things(held_out.rng, 1) for _ in range(60)]
        shapes = Views.of(scene_example(shapes_scene(held_out.rng, things), held_out.rng) for things in singles)

        def watch() -> str:
            return heard_right(trainer, words, stamps, shapes)

        train_soft_words(trainer, last, words, shown, made, seed, watch)
        self.report(f"soft-words: held out: {watch()}")

    def made_pictures(self) -> Iterator[Example]:
        """What stage 2 sees beside the bank: scenes, three in five of shapes, and easy-VQA."""
        source = self.source(held_out=False, seed=1)
        for number in range(self.recipe.amounts.num_scenes):
            if number % 5 < 3:
                yield source.scene("shapes")
            else:
                yield source.draw("easy-vqa") if number % 5 == 3 else source.scene()

    # What the base model writes

    def write_base(self, model: LlavaForConditionalGeneration) -> tuple[dict[str, list[str]], Rows, Rows]:
        """SmolLM2's own words: facts per noun, answers to training text questions, answers to held-out ones."""
        amounts, bank = self.recipe.amounts, self.world.bank
        cards = [bank.cards[index] for index in bank.side(False)]
        # Letters, signs and names of drawings that are no nouns would only make it invent things.
        nouns = sorted({card.name for card in cards if card.kind != "symbol" and card.source != "clipart"} - {""})
        random.Random(self.recipe.seed).shuffle(nouns)
        base = model.bfloat16()
        base.eval()
        half = amounts.base_writing_minutes / 2
        facts = self.write(
            base, "facts", [fact_question(noun) for noun in nouns if spoken_name(noun)], half, FACT_TOKENS
        )
        questions = text_questions(nouns, False, 4000, self.recipe.seed)
        texts = self.write(base, "texts", questions, half, amounts.writing_tokens)
        held_out = text_questions(nouns, True, 4 * amounts.held_out_texts, self.recipe.seed)[: amounts.held_out_texts]
        held_out_rows = self.write(base, "texts-held-out", held_out, 60.0, amounts.writing_tokens)
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
        return write_all(model, self.processor, draw, path, minutes, tokens, self.report, keep_top=False)

    def text(self, row: Row) -> str:
        return str(self.world.tokenizer.decode(row["ids"], skip_special_tokens=True))

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
        trained = {**tower_and_projector(model), **parameters}
        source, held_out = self.source(False, facts, seed=2), self.source(True, seed=3)
        plain = self.text_examples(texts)
        rng = random.Random(self.recipe.seed)

        def draw() -> Example:
            return rng.choice(plain) if rng.random() < self.recipe.shares["text"] else source.draw()

        def watch() -> str:
            with torch.autocast("cpu", torch.bfloat16):
                return brief_line(model, self.processor, held_out, 32)

        minutes = self.recipe.amounts.watch_minutes
        train_answers(model, trained, self.packer, draw, self.stage("answers"), self.recipe.seed, watch, minutes)
        self.export_target(model, parameters)

    def export_target(self, model: LlavaForConditionalGeneration, adapter: dict[str, Tensor]) -> None:
        weights = self.out / "weights"
        weights.mkdir(exist_ok=True)
        for name, tensors in (("vision", tower_and_projector(model)), ("language-lora", adapter)):
            shipped = {key: value.detach().to(torch.bfloat16).contiguous() for key, value in tensors.items()}
            save_file(shipped, weights / f"{name}.safetensors")

    def merged_target(self) -> LlavaForConditionalGeneration:
        """The target as users get it: shipped weights merged, everything in bfloat16."""
        model = self.fresh_target()
        place_weights(model, self.out / "weights")
        model.bfloat16().eval()
        return model

    # Stage 4

    def write_own(self, target: LlavaForConditionalGeneration, facts: dict[str, list[str]], texts: Rows) -> Rows:
        """The target's own answers to training-side prompts, every fourth batch sampled at temperature 1."""
        amounts, source = self.recipe.amounts, self.source(False, facts, seed=4)
        nouns = sorted({card.name for card in self.world.bank.cards} - {""})
        questions = [str(row["question"]) for row in texts] + text_questions(nouns, False, 2000, self.recipe.seed + 1)

        def draw(number: int) -> list[Prompt]:
            rng = random.Random(f"{self.recipe.seed} own {number}")
            # Two batches in five without pictures: there the drafter has no reference dialogues to learn from.
            if number % 5 in (0, 2) and questions:
                return [text_prompt(rng.choice(questions)) for _ in range(amounts.writing_batch)]
            kind = {9: "picture-pair", 19: "shape-pair"}.get(number % 20)
            return own_prompts(source, rng, kind, number % 10 == 4, amounts.writing_batch)

        path, minutes = self.out / "own.jsonl", amounts.own_writing_minutes
        return write_all(
            target, self.processor, draw, path, minutes, amounts.writing_tokens, self.report, keep_top=True
        )

    def train_drafter(self, own: Rows, texts: Rows, facts: dict[str, list[str]]) -> float:
        """Warm-up on reference answers, then on the target's own; returns held-out agreement."""
        sizes, seed = self.recipe.sizes, self.recipe.seed
        target_vocab_size = len(self.world.tokenizer)
        lines = [drafting.written_line(row, self.packer) for row in own]
        lines += [drafting.written_line(row, self.packer) for row in texts]
        counts = Counter(token for line in lines for token in line.ids)
        vocabulary = drafting.DraftVocabulary.most_frequent(counts, sizes.drafter_vocabulary)
        batcher = drafting.LineBatcher(vocabulary, target_vocab_size)
        torch.manual_seed(seed)
        model = drafting.build_drafter(vocabulary, target_vocab_size, sizes.drafter_width, sizes.drafter_layers)
        kept = max(1, len(own) // 20)
        watched, learned = lines[:kept], lines[kept:]

        def watch() -> str:
            return f"agreement {drafting.held_out_agreement(model, batcher, watched)}"

        warm_up, own_stage = self.stage("drafter-warm-up"), self.stage("drafter")
        references = list(self.reference_lines(facts, 100 * warm_up.limits.batch_size))
        # The target speaks the references' language, so they stay in the mix: its own answers alone are few.
        for stage, lines_of_stage in ((warm_up, references), (own_stage, references + learned)):
            draw = drafting.shuffled(lines_of_stage, stage.limits.batch_size, seed)
            drafting.train_drafter(model, batcher, draw, stage, watch)
        drafting.save_drafter(model, vocabulary, self.out / "weights" / "drafter")
        return drafting.held_out_agreement(model, batcher, watched)

    def reference_lines(self, facts: dict[str, list[str]], count: int) -> list[drafting.Line]:
        source, rng = self.source(False, facts, seed=5), random.Random(self.recipe.seed)
        lines: list[drafting.Line] = []
        while len(lines) < count:
            lines += drafting.example_lines(source.draw(), self.packer, rng)
        return lines


def own_prompts(source: ExampleSource, rng: random.Random, kind: str | None, short: bool, count: int) -> list[Prompt]:
    """Prompts with equally many pictures, long and short answers apart: a batch waits for its longest."""
    prompts: list[Prompt] = []
    while len(prompts) < count:
        example = source.draw(kind)
        if kind is None and len(example.pictures) != 1:
            continue
        every = prompts_of(example)
        fitting = [prompt for prompt in every if (prompt.turn.ability in LONG) != short]
        prompts += rng.sample(fitting if kind is None else every, min(2, len(fitting if kind is None else every)))
    return prompts[:count]


def vocabulary_of(examples: Iterable[Example]) -> set[str]:
    """Every word a patch may have to say."""
    return {
        word for example in examples for words in (example.ground, *(example.places or {}).values()) for word in words
    }
