"""PaliGemma and PaliGemma 2: positions count from 1, and the tokens of a prompt see each other both ways."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.prompt import Prompt


class PaliGemma(Family):
    """What the prompt's tokens see is the prefill's own business; an answer's tokens see what came before."""

    answer_type = 1

    def __init__(self, model: PreTrainedModel, processor: Any = None) -> None:
        """A PaliGemma 2 ends where its window does: its forward takes one mask for layers of all types."""
        super().__init__(model, processor)
        window = getattr(self.text_config, "sliding_window", None)
        if window is not None:
            self.max_length = window if self.max_length is None else min(window, self.max_length)

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
        return ModelInputs(token_ids, {"token_type_ids": torch.zeros_like(token_ids)})

    def prompt_positions(self, inputs: ModelInputs) -> torch.Tensor | None:
        given: torch.Tensor | None = inputs.extras.get("position_ids")
        if given is not None:
            return given
        return torch.arange(1, inputs.token_ids.shape[1] + 1, device=inputs.token_ids.device)[None]

    def masks(self, visible: torch.Tensor) -> torch.Tensor:
        return self.additive_mask(visible)
