"""What a drafter learns from: the target's own responses, given answers, plain text; and the tokens it will know."""

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
from seeahead.train.examples import Example, packed
from seeahead.train.loop import Report
from seeahead.train.origins import FILE_NAME, Origin, check_answers, digest_of_file, origin_of_answers
from seeahead.train.recipe import DrafterRecipe
from seeahead.train.responses import Exchange, LeftOut, TargetResponses, check_length

Kinds = Mapping[str, list[Example]]
"""Examples by what they were made of."""
LONGEST = 8192
"""Tokens of an answer with its question that a feature drafter reads."""


@dataclass(frozen=True)
class Dataset:
    """`conversations` are asked of the target, and learned from where they have answers; the target's own are kept in
    `answers`, which several drafters may share. Packages of texts lie in `cache`."""

    recipe: DrafterRecipe
    family: Family
    conversations: Sequence[Conversation]
    answers: Path
    report: Report
    cache: Path

    def gather(self) -> Kinds:
        """Examples of every kind that a stage learns from, by tokens."""
        gathered: dict[str, list[Example]] = {}
        if "text" in self.recipe.needs:
            gathered["text"] = self.texts()
        if "conversations" in self.recipe.needs:
            gathered["conversations"] = self.given_answers()
        # A trimmed vocabulary is chosen by what the target writes, also for stages that learn from something else.
        # A recipe without stages is only measured on responses, where there are some.
        if "answers" in self.recipe.needs or (self.conversations and (self.recipe.stages or self.answers.is_dir())):
            gathered["answers"] = self.responses()
        return gathered

    def responses(self) -> list[Example]:
        """The target's responses to every question, as many as it may write."""
        recipe = self.recipe
        check_answers(self.answers, origin_of_answers(self.family, self.conversations, recipe))
        responses = TargetResponses(self.answers, self.family, recipe.writing, self.report)
        order = random.Random(f"{recipe.seed} prompts").sample(self.conversations, len(self.conversations))
        responses.write(exchanges_of(order, responses.left_out))
        num_visual = recipe.network.visual_tokens if recipe.kind == "vision" else None
        found = responses.feature_examples(LONGEST) if recipe.kind == "msd" else responses.examples(num_visual)
        if not found:
            reason = f" ({responses.left_out})" if responses.left_out else ""
            raise InputError(
                f"no answers in {self.answers}; the target wrote nothing within the minutes allowed{reason}"
            )
        if num_visual is not None and all(example.visual is None for example in found):
            raise InputError(
                f"the answers in {self.answers} are about no images, or were written without keeping them; "
                "choose another --answers, or delete them"
            )
        return found

    def origin(self, start: Path | None) -> Origin:
        """What a training starts from and learns from, as its stages keep it."""
        return {
            "drafter to start from": "none" if start is None else digest_of_file(start / WEIGHTS),
            "answers": digest_of_file(self.answers / FILE_NAME),
        }

    def given_answers(self) -> list[Example]:
        """Given answers after the text-only view of what comes before them."""
        examples: list[Example] = []
        left_out = LeftOut()
        for prompt, answer in exchanges_of(self.conversations, left_out):
            if answer is None:
                continue
            try:
                view = self.text_view(prompt)
                ids = (*view, *self.family.tokenizer(answer, add_special_tokens=False).input_ids, self.end)
                check_length(self.family, len(ids))
            except InputError as error:
                left_out.add(error)
            else:
                examples.append(Example(ids, len(view)))
        left_out.report(self.report, "given answers")
        if not examples:
            raise InputError(
                'no conversation has an answer to learn from; take a recipe without data = "conversations"'
            )
        return examples

    def text_view(self, prompt: Prompt) -> list[int]:
        tokens = self.family.encode(prompt).token_ids[0].tolist()
        return [token for token in tokens if token not in self.family.image_token_ids]

    def texts(self) -> list[Example]:
        texts = [text for name in self.recipe.text for text in read_texts(name, self.cache)]
        random.Random(self.recipe.seed).shuffle(texts)
        self.report(f"text: {len(texts)} texts, {sum(map(len, texts)) / 1e6:.1f} million characters")
        tokens = (self.family.tokenizer(text, add_special_tokens=False).input_ids for text in texts)
        return packed(tokens, self.recipe.line_tokens, self.end)

    @property
    def end(self) -> int:
        return self.family.end_token_ids[0]

    @property
    def begin(self) -> int:
        first = self.family.model.generation_config.bos_token_id
        return self.end if first is None else int(first)

    def vocabulary(self, data: Kinds) -> DraftVocabulary:
        """The tokens used most in the target's responses, or else in the other data; what is unknown, begin and end are
        always among them."""
        texts = next(filter(None, (data.get(kind) for kind in ("answers", "conversations", "text"))))
        counts = Counter(token for example in texts for token in example.ids if token >= 0)
        padding = self.family.model.generation_config.pad_token_id
        special = [self.end if padding is None else padding, self.begin, self.end]
        return DraftVocabulary.most_frequent(counts, self.recipe.network.vocabulary, special, self.family.vocab_size)


def exchanges_of(conversations: Iterable[Conversation], left_out: LeftOut) -> Iterator[Exchange]:
    """Every question of every conversation. One whose images can no longer be opened is left out."""
    for conversation in conversations:
        try:
            yield from list(conversation.exchanges())
        except InputError as error:
            left_out.add(error)
