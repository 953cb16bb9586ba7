"""What a drafter is trained on: the target's own answers, given ones, plain text; and the tokens it will speak."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seeahead.data.conversations import Conversation
from seeahead.data.corpora import read_texts
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError
from seeahead.families.base import Family
from seeahead.prompt import Prompt
from seeahead.provenance import provenance, write_json
from seeahead.train.drafter_recipe import DrafterRecipe
from seeahead.train.lines import Line, packed
from seeahead.train.loop import Report, Stage
from seeahead.train.own_answers import Exchange, OwnAnswers
from seeahead.train.plot import plot_losses

HELD_OUT = 20
"""One answer in so many is watched, not learned."""


@dataclass(frozen=True)
class Material:
    """`conversations` are asked of the target, whose own answers are kept in `answers`; packages lie in `cache`."""

    recipe: DrafterRecipe
    family: Family
    conversations: Sequence[Conversation]
    answers: Path
    report: Report
    cache: Path

    def gather(self) -> dict[str, list[Line]]:
        """Lines of every kind that a stage learns from."""
        gathered: dict[str, list[Line]] = {}
        if "text" in self.recipe.needs:
            gathered["text"] = self.text_lines()
        if self.recipe.needs & {"answers", "conversations"}:
            self.check_conversations()
        if "conversations" in self.recipe.needs:
            gathered["conversations"] = self.conversation_lines()
        # A trimmed vocabulary is chosen by what the target says, also for stages that learn from something else.
        # A recipe without stages is only measured on them, where there are some.
        if "answers" in self.recipe.needs or (self.conversations and (self.recipe.stages or self.answers.is_dir())):
            own = self.written()
            seen = self.recipe.network.visual_tokens if self.recipe.kind == "vision" else None
            gathered["answers"] = own.lines(seen)
            if seen is not None and all(line.visual is None for line in gathered["answers"]):
                raise InputError(
                    f"the answers in {self.answers} are about no pictures, or were written without keeping them; "
                    "choose another --answers, or delete them"
                )
        return gathered

    def check_conversations(self) -> None:
        if not self.conversations:
            raise InputError("this recipe learns from conversations; give --data a .jsonl file or a folder of pictures")

    def written(self) -> OwnAnswers:
        """The target's answers to every question, as many as it may write."""
        own = OwnAnswers(self.answers, self.family, self.recipe.writing, self.report)
        own.write(self.exchanges())
        return own

    def exchanges(self) -> Iterator[Exchange]:
        """Every question of every conversation, in a random order that depends on the seed alone."""
        order = random.Random(f"{self.recipe.seed} prompts").sample(self.conversations, len(self.conversations))
        return (exchange for conversation in order for exchange in conversation.exchanges())

    def conversation_lines(self) -> list[Line]:
        """Given answers after the text-only view of what comes before them."""
        lines: list[Line] = []
        for conversation in self.conversations:
            for prompt, answer in conversation.exchanges():
                if answer is not None:
                    view = self.text_view(prompt)
                    ids = self.family.tokenizer(answer, add_special_tokens=False).input_ids
                    lines.append(Line((*view, *ids, self.end), len(view)))
        if not lines:
            raise InputError(
                'no conversation has an answer to learn from; take a recipe without data = "conversations"'
            )
        return lines

    def text_view(self, prompt: Prompt) -> list[int]:
        tokens = self.family.encode(prompt).token_ids[0].tolist()
        return [token for token in tokens if token not in self.family.image_token_ids]

    def text_lines(self) -> list[Line]:
        texts = [text for name in self.recipe.text for text in read_texts(name, self.cache)]
        random.Random(self.recipe.seed).shuffle(texts)
        self.report(f"text: {len(texts)} texts, {sum(map(len, texts)) / 1e6:.1f} million characters")
        tokenizer = self.family.tokenizer
        tokens = (tokenizer(text, add_special_tokens=False).input_ids for text in texts)
        return packed(tokens, self.recipe.line_tokens, self.end)

    @property
    def end(self) -> int:
        return self.family.end_token_ids[0]

    @property
    def begin(self) -> int:
        first = self.family.model.generation_config.bos_token_id
        return self.end if first is None else int(first)

    def vocabulary(self, texts: Iterable[Sequence[int]]) -> DraftVocabulary:
        """The tokens used most in `texts`; what is unknown, begin and end are always among them."""
        counts = Counter(token for text in texts for token in text if token >= 0)
        padding = self.family.model.generation_config.pad_token_id
        special = [self.end if padding is None else padding, self.begin, self.end]
        return DraftVocabulary.most_frequent(counts, self.recipe.network.vocabulary, special, self.family.vocab_size)


def store_provenance(
    folder: Path,
    recipe: DrafterRecipe,
    stages: Sequence[Stage],
    agreements: Mapping[str, float] | None,
    **numbers: int,
) -> None:
    """Beside a finished drafter: where it came from, what each stage brought, and how the losses fell."""
    known = {"recipe": recipe.source, "kind": recipe.kind, "held_out_agreement": agreements}
    write_json(folder / "provenance.json", {**known, **numbers, **provenance(recipe.seed)})
    plot_losses(stages, folder / "losses.svg")
