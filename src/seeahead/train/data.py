"""What a drafter learns from: the target's own responses, given answers, plain text; and the tokens it will know."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
from seeahead.train.origins import FILE_NAME, check_answers, digest_of_file, origin_of_answers
from seeahead.train.recipe import DrafterRecipe
from seeahead.train.responses import Exchange, LeftOut, TargetResponses


@dataclass(frozen=True)
class Dataset:
    """`conversations` are asked of the target, whose own responses are kept in `answers`; packages lie in `cache`."""

    recipe: DrafterRecipe
    family: Family
    conversations: Sequence[Conversation]
    answers: Path
    report: Report
    cache: Path

    def gather(self) -> dict[str, list[Example]]:
        """Examples of every kind that a stage learns from, by tokens."""
        gathered: dict[str, list[Example]] = {}
        if "text" in self.recipe.needs:
            gathered["text"] = self.texts()
        if "conversations" in self.recipe.needs:
            gathered["conversations"] = self.given_answers()
        # A trimmed vocabulary is chosen by what the target writes, also for stages that learn from something else.
        # A recipe without stages is only measured on responses, where there are some.
        if "answers" in self.recipe.needs or (self.conversations and (self.recipe.stages or self.answers.is_dir())):
            num_visual = self.recipe.network.visual_tokens if self.recipe.kind == "vision" else None
            gathered["answers"] = self.responses().examples(num_visual)
            if num_visual is not None and all(example.visual is None for example in gathered["answers"]):
                raise InputError(
                    f"the answers in {self.answers} are about no images, or were written without keeping them; "
                    "choose another --answers, or delete them"
                )
        return gathered

    def responses(self) -> TargetResponses:
        """The target's responses to every question, as many as it may write."""
        settings, seed = self.recipe.writing, self.recipe.seed
        check_answers(self.answers, origin_of_answers(self.family, self.conversations, settings, seed))
        responses = TargetResponses(self.answers, self.family, settings, self.report)
        order = random.Random(f"{seed} prompts").sample(self.conversations, len(self.conversations))
        responses.write(exchanges_of(order, responses.left_out))
        return responses

    def origin(self, start: Path | None) -> dict[str, str]:
        """What a training starts from and learns from, as its stages keep it."""
        return {
            "drafter to start from": "none" if start is None else digest_of_file(start / WEIGHTS),
            "answers": digest_of_file(self.answers / FILE_NAME),
        }

    def given_answers(self) -> list[Example]:
        """Given answers after the text-only view of what comes before them."""
        examples: list[Example] = []
        left_out, longest = LeftOut(), self.family.max_length
        for prompt, answer in exchanges_of(self.conversations, left_out):
            if answer is None:
                continue
            try:
                view = self.text_view(prompt)
            except InputError as error:
                left_out.add(str(error))
                continue
            ids = (*view, *self.family.tokenizer(answer, add_special_tokens=False).input_ids, self.end)
            if longest is not None and len(ids) > longest:
                left_out.add(f"question and answer are longer than the target's context of {longest} tokens")
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
        raise InputError("this recipe learns from conversations; give --data a .jsonl file or a folder of images")


def exchanges_of(conversations: Iterable[Conversation], left_out: LeftOut) -> Iterator[Exchange]:
    """Every question of every conversation. One whose images can no longer be opened is left out."""
    for conversation in conversations:
        try:
            exchanges = list(conversation.exchanges())
        except InputError as error:
            left_out.add(str(error))
            continue
        yield from exchanges
