"""One-line captions by a vision-language model, for drafters that are shown words in the place of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from seeahead.errors import DrafterError
from seeahead.executor import Executor
from seeahead.families.base import Family
from seeahead.prompt import Message, Prompt
from seeahead.session import Session
from seeahead.tree import ROOT


@dataclass(frozen=True)
class OwnCaptions:
    """`model` says what it sees, greedily, in at most `max_new_tokens`."""

    model: Executor | None
    question: str = "What is in this picture? Answer in one sentence."
    max_new_tokens: int = 24

    def __call__(self, images: Sequence[Image]) -> list[str]:
        """Raises DrafterError for a model that cannot be asked."""
        if not isinstance(self.model, Family) or self.model.processor is None:
            raise DrafterError("captions=own needs a target with its processor; give captions, or leave view C out")
        return [self._caption(self.model, image) for image in images]

    def _caption(self, model: Family, image: Image) -> str:
        inputs = model.encode(Prompt((Message("user", (image, self.question)),)))
        session = Session(model, inputs.token_ids.shape[1] + self.max_new_tokens)
        ends = model.end_token_ids
        tokens = [int(session.prefill(inputs).logits[0, -1].argmax())]
        while tokens[-1] not in ends and len(tokens) < self.max_new_tokens:
            logits = session.score(tokens[-1:], [ROOT]).logits[0, -1]
            session.commit((0,))
            tokens.append(int(logits.argmax()))
        text: str = model.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()
