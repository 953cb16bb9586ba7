"""What a drafter learns from: the target's own responses, given answers, plain text; and the tokens it will know.

Responses in a folder are those of one target to one set of questions, and are not used for another. A target is known
by its class, its settings, its chat template and a few numbers of each of its tensors: enough to tell a fine-tune from
what it was tuned from, and read in a second.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from seeahead.checked import read_json
from seeahead.data.conversations import Conversation
from seeahead.data.corpora import read_texts
from seeahead.drafters.head_networks import default_layers
from seeahead.drafters.head_writing import LONGEST
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError
from seeahead.executor import FEATURES
from seeahead.executors.checkpoint import WEIGHTS
from seeahead.families.base import Family
from seeahead.images import ImageSource
from seeahead.provenance import write_json
from seeahead.train.examples import Example, packed
from seeahead.train.recipe import FEATURE_KINDS, DrafterRecipe
from seeahead.train.responses import Exchange, LeftOut, TargetResponses, check_length
from seeahead.train.stage import Origin, Report, differences, digest, digest_of_file

FILE_NAME = "origin.json"
Kinds = Mapping[str, Sequence[Example]]
"""Examples by what they were made of."""
HELD_OUT = 20
"""One response in so many is watched, not learned."""
_AT_ONCE = 4096
"""Texts that are tokenized together."""


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
        gathered: dict[str, Sequence[Example]] = {}
        if "text" in self.recipe.needs:
            gathered["text"] = self.texts()
        if "conversations" in self.recipe.needs:
            gathered["conversations"] = self.given_answers()
        # A trimmed vocabulary is chosen by what the target writes, also for stages that learn from something else.
        # A recipe without stages is only measured on responses, where there are some.
        if "answers" in self.recipe.needs or (self.conversations and (self.recipe.stages or self.answers.is_dir())):
            gathered["answers"] = self.responses()
        return gathered

    def shuffled(self) -> list[Conversation]:
        """In the order in which they are asked, until the minutes are used up."""
        return random.Random(f"{self.recipe.seed} prompts").sample(self.conversations, len(self.conversations))

    def responses(self) -> list[Example]:
        """The target's responses to every question, as many as it may write."""
        recipe = self.recipe
        self.check_answers()
        layers = FEATURES if INNER not in origin_in(self.answers) else (*FEATURES, *inner_layers(self.family))
        responses = TargetResponses(self.answers, self.family, recipe.writing, self.report, layers)
        responses.write(exchanges_of(self.shuffled(), responses.left_out))
        num_visual = recipe.network.visual_tokens if recipe.kind == "vision" else None
        reads_features = recipe.kind in FEATURE_KINDS
        found = responses.feature_examples(LONGEST) if reads_features else responses.examples(num_visual)
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

    def check_answers(self) -> None:
        """Marks an empty folder as one of these answers. Raises InputError for one that holds others."""
        path, wanted = self.answers / FILE_NAME, origin_of_answers(self.family, self.conversations, self.recipe)
        if path.is_file():
            more = frozenset() if INNER in wanted else frozenset([INNER])  # more states than are needed do no harm
            if told := differences(origin_in(self.answers), wanted, more):
                raise InputError(
                    f"the answers in {self.answers} are not of this run: {told}; choose another --answers or --output, "
                    "or delete them"
                )
        elif any(self.answers.glob("*.jsonl")):
            raise InputError(
                f"{self.answers} holds .jsonl files but no {FILE_NAME} that says which target wrote them; choose "
                "another --answers, or delete them"
            )
        else:
            write_json(path, wanted)

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
                tokens = self.family.encode(prompt).token_ids[0].tolist()
                images = self.family.image_token_ids
                view = [token for token in tokens if token not in images]
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

    def texts(self) -> list[Example]:
        texts = [text for name in self.recipe.text for text in read_texts(name, self.cache)]
        random.Random(self.recipe.seed).shuffle(texts)
        self.report(f"text: {len(texts)} texts, {sum(map(len, texts)) / 1e6:.1f} million characters")
        # A tokenizer reads many at once on all cores.
        parts = (texts[first : first + _AT_ONCE] for first in range(0, len(texts), _AT_ONCE))
        tokens = chain.from_iterable(self.family.tokenizer(part, add_special_tokens=False).input_ids for part in parts)
        return packed(tokens, self.recipe.line_tokens, self.end)

    @property
    def end(self) -> int:
        return self.family.end_token_ids[0]

    @property
    def begin(self) -> int:
        return self._special("bos_token_id")

    def _special(self, name: str) -> int:
        """A token of the generation config; the end token where that names none which the target has."""
        found = getattr(self.family.model.generation_config, name)
        return int(found) if isinstance(found, int) and 0 <= found < self.family.vocab_size else self.end

    def vocabulary(self, data: Kinds) -> DraftVocabulary:
        """The tokens used most in the target's responses, or else in the other data; what is unknown, begin and end are
        always among them."""
        texts = next(filter(None, (data.get(kind) for kind in ("answers", "conversations", "text"))))
        counts = Counter(token for example in texts for token in example.ids if token >= 0)
        special = [self._special("pad_token_id"), self.begin, self.end]
        return DraftVocabulary.most_frequent(counts, self.recipe.network.vocabulary, special, self.family.vocab_size)


def exchanges_of(conversations: Iterable[Conversation], left_out: LeftOut) -> Iterator[Exchange]:
    """Every question of every conversation. One whose images can no longer be opened is left out."""
    for conversation in conversations:
        try:
            yield from list(conversation.exchanges())
        except InputError as error:
            left_out.add(error)


class Objective:
    """What a `network` of one kind learns from a dataset, of which `kinds` were gathered.

    `data`: what is learned; of the target's own responses some are `watched` instead. Features of more than some
    hundreds of these are not read in a moment. `table` [target's vocabulary]: the draft id of every target id."""

    def __init__(self, dataset: Dataset, kinds: Kinds, network: Any, vocabulary: DraftVocabulary) -> None:
        self.dataset, self.family, self.vocabulary = dataset, dataset.family, vocabulary
        self.network = network.to(self.family.device)
        self.table = vocabulary.table(self.family.vocab_size)
        self.responses = kinds.get("answers", ())
        most = 400 if dataset.recipe.kind in FEATURE_KINDS else None
        self.watched = self.responses[::HELD_OUT][:most]
        self.data = {**kinds, "answers": [one for place, one in enumerate(self.responses) if place % HELD_OUT]}


# ---- whose answers they are

INNER = "inner states"
"""Of an origin: layers whose hidden states are stored beside the last ones, which EAGLE-3 reads."""


def inner_layers(family: Family) -> tuple[int, ...]:
    """Of the target, those whose inputs EAGLE-3 reads."""
    return default_layers(family.text_config.num_hidden_layers)


def origin_in(answers: Path) -> dict[str, Any]:
    """What a folder says that its answers are."""
    return read_json(answers / FILE_NAME, f"choose another --answers, or delete {answers}", InputError)


def origin_of_answers(family: Family, conversations: Sequence[Conversation], recipe: DrafterRecipe) -> Origin:
    """Minutes are left out: given more of them, the target goes on writing."""
    model = family.model
    template = getattr(family.processor, "chat_template", None) or getattr(family.tokenizer, "chat_template", None)
    keeps_visual = recipe.writing.num_visual is not None and not recipe.writing.features
    asked = [[entry.messages, [_identity(image) for image in entry.images]] for entry in conversations]
    return {
        "target": type(model).__name__,
        "target's settings": digest([_plain(model.config.to_diff_dict()), family.end_token_ids]),
        "target's weights": digest(b"".join(_sampled(model))),
        "target's chat template": digest(template),
        "data": digest(asked),
        "seed": str(recipe.seed),
        **{name: str(value) for name, value in asdict(recipe.writing).items() if name != "minutes"},
        **({INNER: str(inner_layers(family))} if recipe.kind == "eagle3" else {}),
        # Views that were kept without them have joined images that stand beside one another.
        **({"markers": "kept"} if keeps_visual and len(family.image_token_ids) > 1 else {}),
    }


_OF_THIS_MACHINE = ("transformers_version", "dtype", "torch_dtype", "use_cache")
_SAMPLED = 64
"""Numbers of a tensor that are looked at."""


def _plain(config: Any) -> Any:
    """A model's settings without those of one machine or one release."""
    if not isinstance(config, dict):
        return config
    kept = {name: value for name, value in config.items() if name not in _OF_THIS_MACHINE}
    return {name: _plain(value) for name, value in kept.items() if not str(name).startswith("_")}


def _sampled(model: torch.nn.Module) -> Iterator[bytes]:
    """Some numbers of every tensor."""
    for name, value in sorted(model.state_dict().items()):
        few = value.detach().flatten()[:: max(1, value.numel() // _SAMPLED)][:_SAMPLED]
        yield f"{name} {tuple(value.shape)}".encode() + few.double().cpu().numpy().tobytes()


def _identity(image: ImageSource) -> str:
    """Enough of an image to see that the data are others; what is asked about it stands beside."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    if isinstance(image, str | Path):
        path = Path(image)
        return f"{path.name} {path.stat().st_size if path.is_file() else 0}"
    return f"{image.mode} {image.size}" if isinstance(image, Image.Image) else type(image).__name__
