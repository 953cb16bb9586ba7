"""The image adapter: from the target's visual embeddings to a drafter's own (Gagrani et al. 2024, section 3).

It reads what the target's language model reads at a picture's placeholders. That exists in every family and is computed
anyway, so the picture is encoded once and no vision tower comes with the drafter.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from seeahead.checked import checked, whole
from seeahead.errors import ModelError
from seeahead.models.checkpoint import read_tensors

FILE_NAME = "adapter.safetensors"
CONFIG_KEY = "image_adapter"
"""In the drafter's config.json."""


@dataclass(frozen=True)
class AdapterConfig:
    """Widths of the target, of the drafter and between; a picture becomes at most `num_tokens` tokens (0: no limit)."""

    input_width: Annotated[int, whole(1, 1 << 17)]
    width: Annotated[int, whole(1, 1 << 17)]
    hidden_width: Annotated[int, whole(1, 1 << 20)]
    num_tokens: Annotated[int, whole(0, 1 << 20)] = 0

    @classmethod
    def from_json(cls, values: object) -> AdapterConfig:
        """Raises ModelError for a config that is not one of an adapter."""
        return checked(cls, values, f"'{CONFIG_KEY}' in the drafter's config.json", ModelError)

    def to_json(self) -> dict[str, int]:
        return asdict(self)


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
        """One picture's visual embeddings [tokens, input_width] -> [at most `num_tokens`, width]; None: as trained."""
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
    save_file({name: value.contiguous() for name, value in adapter.state_dict().items()}, folder / FILE_NAME)


def load_adapter(folder: Path, config: AdapterConfig, dtype: torch.dtype, device: torch.device) -> ImageAdapter:
    """Raises ModelError for a file whose tensors are not those of `config`."""
    shapes = {
        "direct.weight": (config.width, config.input_width),
        "up.weight": (config.hidden_width, config.input_width),
        "down.weight": (config.width, config.hidden_width),
    }
    saved = read_tensors(folder / FILE_NAME, shapes)
    adapter = ImageAdapter(config)
    adapter.load_state_dict(saved)
    return adapter.to(device, dtype).eval()
