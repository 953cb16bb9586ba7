"""A compact vision-language drafter (Gagrani et al. 2024, section 3): the language drafter, shown the images as well.

The target has encoded the images; an image adapter turns its visual embeddings into a few of the drafter's own, which
stand where the images stand in the prompt. That exists in every family and is computed anyway, so an image is encoded
once and no vision tower comes with the drafter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seeahead.checked import whole
from seeahead.drafters.base import DraftIds
from seeahead.drafters.folder import ADAPTER, IMAGE_ADAPTER, Folder, Options
from seeahead.drafters.language import LanguageDrafter, LanguageModel, LanguageSpec, ShowImage, Shown
from seeahead.drafting import DraftContext
from seeahead.errors import DrafterError, ModelError
from seeahead.executor import Want
from seeahead.executors.tensor_files import read_tensors, write_tensors
from seeahead.target import Target


@dataclass(frozen=True)
class AdapterConfig(Options):
    """Widths of the target, of the drafter and between; an image becomes at most `num_tokens` tokens (0: no limit)."""

    key = IMAGE_ADAPTER
    input_width: Annotated[int, whole(1, 1 << 17)]
    width: Annotated[int, whole(1, 1 << 17)]
    hidden_width: Annotated[int, whole(1, 1 << 20)]
    num_tokens: Annotated[int, whole(0, 1 << 20)] = 0


class ImageAdapter(nn.Module):
    """A linear map between the two embedding spaces, and a small network that adds to it (at first nothing)."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.direct = nn.Linear(config.input_width, config.width, bias=False)
        self.up = nn.Linear(config.input_width, config.hidden_width, bias=False)
        self.down = nn.Linear(config.hidden_width, config.width, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, visual: Tensor) -> Tensor:
        """[..., input_width] -> [..., width]."""
        mapped: Tensor = self.direct(visual) + self.down(F.gelu(self.up(visual)))
        return mapped

    def read(self, visual: Tensor, num_tokens: int | None = None) -> Tensor:
        """One image's visual embeddings [tokens, input_width] -> [at most `num_tokens`, width]; None: as trained."""
        weight = self.direct.weight
        wanted = self.config.num_tokens if num_tokens is None else num_tokens
        return self.forward(pooled(visual.to(weight.device, weight.dtype), wanted))

    @torch.no_grad()
    def start_from(self, theirs: Tensor, ours: Tensor) -> None:
        """Set the linear map to the best one (least squares) between two embedding tables of the same tokens.

        `theirs` [tokens, input_width] are the target's, `ours` [tokens, width] the drafter's. A target's visual
        embeddings lie among its words; this puts them among the drafter's. It takes the place of the paper's
        sub-cloning, which needs an adapter of the target that reads the same features.
        """
        solution = torch.linalg.lstsq(theirs.double().cpu(), ours.double().cpu(), driver="gelsd").solution
        self.direct.weight.copy_(solution.T)


def pooled(visual: Tensor, num_tokens: int) -> Tensor:
    """Means of neighbours: [tokens, width] -> [at most num_tokens, width]; 0 leaves all. A square stays a square."""
    size = len(visual)
    if num_tokens == 0 or size <= num_tokens:
        return visual
    side, wanted = math.isqrt(size), math.isqrt(num_tokens)
    if side * side == size and wanted * wanted == num_tokens:
        grid = visual.T.reshape(1, -1, side, side)
        return F.adaptive_avg_pool2d(grid, wanted).flatten(2)[0].T
    return F.adaptive_avg_pool1d(visual.T[None], num_tokens)[0].T


def save_adapter(adapter: ImageAdapter, folder: Path) -> None:
    write_tensors({folder / ADAPTER: adapter.state_dict()})


def load_adapter(folder: Path, config: AdapterConfig, dtype: torch.dtype, device: torch.device) -> ImageAdapter:
    """Raises ModelError for a file whose tensors are not those of `config`."""
    with torch.device("meta"):  # a config may name any size: nothing takes memory before the tensors have it too
        shapes = {name: tuple(value.shape) for name, value in ImageAdapter(config).state_dict().items()}
    saved = read_tensors(folder / ADAPTER, shapes)
    adapter = ImageAdapter(config)
    adapter.load_state_dict(saved)
    return adapter.to(device, dtype).eval()


@dataclass(frozen=True)
class VisionDrafter(LanguageDrafter):
    """`adapter` makes embeddings of the drafter's own of the target's."""

    adapter: ImageAdapter = field(kw_only=True)
    name: str = field(default="vision", kw_only=True)
    want: ClassVar[Want] = Want(embeddings=True)

    def check(self, target: Target) -> None:
        """Raises DrafterError for a target of other tokens or another width."""
        super().check(target)
        self._check_width(target.executor.limits.width)

    def viewed(
        self, context: DraftContext, shown: Sequence[Shown], depth: int = 0, tokenizer: Any = None
    ) -> LanguageModel:
        assert context.embeddings is not None, "the loop gives embeddings to a drafter that wants them"
        self._check_width(context.embeddings.shape[-1])
        return super().viewed(context, shown, depth, tokenizer)

    def image(self, shown: Shown, ids: DraftIds, tokenizer: Any) -> ShowImage:
        if shown.words is not None:
            return super().image(shown, ids, tokenizer)
        return lambda number, seen: self.look(seen, shown.pooled)

    def look(self, visual: Tensor | None, num_tokens: int | None = None) -> Tensor:
        """An image's visual embeddings as the drafter's own, at most `num_tokens` (None: as trained)."""
        assert visual is not None
        with torch.inference_mode():
            return self.adapter.read(visual, num_tokens)

    def _check_width(self, given: int) -> None:
        wanted = self.adapter.config.input_width
        if wanted != given:
            raise DrafterError(
                f"the vision drafter reads visual embeddings of width {wanted}, the target's have {given}; "
                "take a drafter trained for this target, or drafter='lookup'"
            )


class VisionSpec(LanguageSpec):
    """`source`: a folder of ours."""

    kind = "vision"
    key = IMAGE_ADAPTER

    def read(self, folder: Folder | None, target: Target) -> VisionDrafter:
        blind, limits = super().read(folder, target), target.executor.limits
        assert folder is not None
        shape = AdapterConfig.from_json(folder.values[IMAGE_ADAPTER])
        if shape.width != blind.language.executor.limits.width:
            raise ModelError(
                f"{folder.where}: the image adapter makes embeddings of width {shape.width}, the model reads "
                f"{blind.language.executor.limits.width}; get the whole drafter folder again"
            )
        drafter = VisionDrafter(**vars(blind), adapter=load_adapter(folder.path, shape, limits.dtype, limits.device))
        drafter.check(target)
        return drafter
