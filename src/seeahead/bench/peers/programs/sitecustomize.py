"""Runs at the start of every Python process of vLLM on a CPU, whose torchvision is built for another torch.

Its compiled operators cannot be loaded, and `import torchvision` fails where it describes them to torch. Declared here
first, they are known, and everything that needs none of them works.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_DECLARED = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",)
_kept: list[object] = []


class _Declaring(importlib.abc.MetaPathFinder):
    """Finds nothing itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "torchvision" and not _kept:
            import torch

            library = torch.library.Library("torchvision", "DEF")
            _kept.append(library)  # its operators go with it
            for schema in _DECLARED:
                library.define(schema)
                library.define(f"q{schema}")
        return None


sys.meta_path.insert(0, _Declaring())
