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
from seeahead.executors.checkpoint import WEIGHTS
from seeahead.families.base import Family
from seeahead.prompt import Prompt
from seeahead.provenance import provenance, write_json
from seeahead.train.drafter_recipe import DrafterRecipe
from seeahead.train.left_out import LeftOut
from seeahead.train.lines import Line, packed
from seeahead.train.loop import Report, Stage
from seeahead.train.origins import FILE_NAME, check_answers, digest_of_file, origin_of_answers
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
        check_conversations(self.recipe, self.conversations)
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

    def written(self) -> OwnAnswers:
        """The target's answers to every question, as many as it may write."""
        writing, seed = self.recipe.writing, self.recipe.seed
        check_answers(self.answers, origin_of_answers(self.family, self.conversations, writing, seed))
        own = OwnAnswers(self.answers, self.family, writing, self.report)
        order = random.Random(f"{seed} prompts").sample(self.conversations, len(self.conversations))
        own.write(exchanges_of(order, own.left_out))
        return own

    def given(self, start: Path | None) -> dict[str, str]:
        """What a training starts from and learns from, as its stages keep it in mind."""
        answers, weights = self.answers / FILE_NAME, None if start is None else start / WEIGHTS
        return {
            "drafter to start from": "none" if weights is None else digest_of_file(weights),
            "answers": digest_of_file(answers),
        }

    def conversation_lines(self) -> list[Line]:
        """Given answers after the text-only view of what comes before them."""
        lines: list[Line] = []
        left_out, longest = LeftOut(), self.family.max_length
        for prompt, answer in exchanges_of(self.conversations, left_out):
            if answer is None:
                continue
            try:
                view = self.text_view(prompt)
            except InputError as error:
                left_out.add(str(error))
                continue
            line = Line(
                (*view, *self.family.tokenizer(answer, add_special_tokens=False).input_ids, self.end), len(view)
            )
            if longest is not None and len(line.ids) > longest:
                left_out.add(f"question and answer are longer than the target's context of {longest} tokens")
            else:
                lines.append(line)
        left_out.tell(self.report, "given answers")
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


def check_conversations(recipe: DrafterRecipe, conversations: Sequence[Conversation]) -> None:
    """Raises InputError where a recipe learns from conversations and there are none."""
    if recipe.needs & {"answers", "conversations"} and not conversations:
        raise InputError("this recipe learns from conversations; give --data a .jsonl file or a folder of pictures")


def exchanges_of(conversations: Iterable[Conversation], left_out: LeftOut) -> Iterator[Exchange]:
    """Every question of every conversation. One whose pictures can no longer be opened is left out."""
    for conversation in conversations:
        try:
            exchanges = list(conversation.exchanges())
        except InputError as error:
            left_out.add(str(error))
            continue
        yield from exchanges


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
