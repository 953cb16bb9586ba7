"""PaliGemma and PaliGemma 2: positions count from 1, and the tokens of a prompt see each other both ways."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.families.tiny import IMAGE, SQUARE, WIDTH, Tiny, flat, text, tower
from seeahead.prompt import Prompt


class PaliGemma(Family):
    """What the prompt's tokens see is the prefill's own business; an answer's tokens see what came before."""

    answer_type = 1

    def __init__(self, model: PreTrainedModel, processor: Any = None) -> None:
        """A PaliGemma 2 ends where its window does: its forward takes one mask for layers of all types."""
        super().__init__(model, processor)
        ends = [end for end in (getattr(self.text_config, "sliding_window", None), self.max_length) if end is not None]
        self.max_length = min(ends, default=None)

    def encode(self, prompt: Prompt) -> ModelInputs:
        """Text without images is spelled as the processor, which takes none without, spells text beside images."""
        inputs = super().encode(prompt)
        if prompt.images:
            return inputs
        start, end = [self.tokenizer.bos_token_id], self.tokenizer("\n", add_special_tokens=False)["input_ids"]
        ids = inputs.token_ids[0].tolist()
        spelled = [*(start if ids[:1] != start else []), *ids, *end]
        return self.text_inputs(torch.tensor([spelled], device=self.device))

    def text_inputs(self, token_ids: torch.Tensor) -> ModelInputs:
        return ModelInputs(token_ids, _type_ids(token_ids))

    def prompt_positions(self, inputs: ModelInputs) -> torch.Tensor:
        counted = torch.arange(1, inputs.token_ids.shape[1] + 1, device=inputs.token_ids.device)[None]
        given: torch.Tensor = inputs.extras.get("position_ids", counted)
        return given

    def masks(self, visible: torch.Tensor) -> torch.Tensor:
        return self.additive_mask(visible)


def _type_ids(token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"token_type_ids": torch.zeros_like(token_ids)}


FAMILY = PaliGemma

_TOWERS = {"vision_config": tower("siglip_vision_model"), "text_config": text("gemma", tie_word_embeddings=False)}
_CONFIG = {**_TOWERS, "image_token_index": IMAGE, "projection_dim": WIDTH, "tie_word_embeddings": False}
_IMAGES: dict[str, Any] = {"image_processor": "SiglipImageProcessorPil", "tokens": {IMAGE: "<image>"}}
_SIZE = {"size": SQUARE, "image_seq_length": 4}
TINY = {"paligemma": Tiny(_CONFIG, flat, _type_ids, template=None, words=(), **_IMAGES, image_settings=_SIZE)}
