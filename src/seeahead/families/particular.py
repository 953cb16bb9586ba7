"""The model types that the base class does not serve as it is, and what is their own."""

from __future__ import annotations

import torch

from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.families.processors import CLASS_TOKEN_TOWERS
from seeahead.prompt import Prompt

_IDEFICS3_TILES = [f"<row_{row}_col_{column}>" for row in range(1, 9) for column in range(1, 9)]


class QwenVL(Family):
    """Three-dimensional rotary positions (M-RoPE) are the base's business."""

    marker_tokens = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


class Gemma3(Family):
    """An image stands between a start and an end marker."""

    marker_tokens = ("<start_of_image>", "<end_of_image>")


class InternVL(Family):
    """Every image, tiles and all, stands between one start and one end marker."""

    marker_tokens = ("<img>", "</img>")


class AyaVision(Family):
    """An image becomes tiles, each announced by a numbered token, and an overview."""

    marker_tokens = ("TILE_GLOBAL", *(f"TILE_{tile}" for tile in range(1, 13)))


class Llama4(Family):
    """Layers without rotary positions read a token's place off the cache, to scale queries by position."""

    reads_places = True
    marker_tokens = ("<|image|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>")


class Idefics3(Family):
    """An image becomes a grid of tiles, each announced by marker tokens; a view without it leaves these out too."""

    marker_tokens = ("<image>", "<fake_token_around_image>", "<global-img>", *_IDEFICS3_TILES)
    processor_type = "idefics3"  # SmolVLM's prompts for images are the same, token by token

    def num_image_features(self, pixel_values: torch.Tensor) -> int:
        """Every tile has the tower's size. Up to transformers 5.17 the model itself does not notice a wrong number."""
        config = self.model.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        return int(pixel_values.shape[0] * pixel_values.shape[1] * (side**2 // config.scale_factor**2))


class Llava(Family):
    """How many features an image makes is known from its pixels."""

    def num_image_features(self, pixel_values: torch.Tensor) -> int | None:
        config = self.model.config
        vision = config.vision_config
        if vision.model_type not in (*CLASS_TOKEN_TOWERS, "siglip_vision_model"):
            return None
        num_images, _, height, width = pixel_values.shape
        num_patches = (height // vision.patch_size) * (width // vision.patch_size)
        num_patches += int(vision.model_type in CLASS_TOKEN_TOWERS)
        return int(num_images * (num_patches - int(config.vision_feature_select_strategy == "default")))


class PaliGemma(Family):
    """Positions count from 1, and the tokens of a prompt see each other both ways, which is the prefill's business."""

    answer_type = 1

    def _look(self) -> None:
        """A PaliGemma 2 ends where its window does: its forward takes one mask for layers of all types."""
        super()._look()
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

    def indivisible(self, inputs: ModelInputs) -> int:
        return inputs.length

    def text_inputs(self, token_ids: torch.Tensor) -> ModelInputs:
        return ModelInputs(token_ids, {"token_type_ids": torch.zeros_like(token_ids)})

    def prompt_positions(self, inputs: ModelInputs) -> torch.Tensor:
        counted = torch.arange(1, inputs.token_ids.shape[1] + 1, device=inputs.token_ids.device)[None]
        given: torch.Tensor = inputs.extras.get("position_ids", counted)
        return given

    def masks(self, visible: torch.Tensor) -> torch.Tensor:
        return self.additive_mask(visible)


CLASSES: dict[str, type[Family]] = {
    "llava": Llava,
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"), QwenVL),
    **dict.fromkeys(("idefics3", "smolvlm"), Idefics3),
    "gemma3": Gemma3,
    "internvl": InternVL,
    "aya_vision": AyaVision,
    "paligemma": PaliGemma,
    **dict.fromkeys(("llama4", "llama4_text"), Llama4),
}
