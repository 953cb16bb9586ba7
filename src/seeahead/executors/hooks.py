"""Code that runs beside a module's own: what a decoder with fused projections would miss."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import nn


def has_global_hooks() -> bool:
    hooks = nn.modules.module
    return bool(hooks._global_forward_hooks or hooks._global_forward_pre_hooks)


def num_hooks(module: nn.Module) -> int:
    """What runs beside the module's own forward, or in its place.

    Hooks that return hidden states, transformers' own and ours, only look on.
    """
    kind: Any = type(module)
    own = vars(module)  # asking the module itself for what it has not is slow, and this is asked before every answer
    in_its_place = ("_hf_hook" in own) + ("forward" in own) + _is_replaced(kind, kind.forward)
    if not (own["_forward_hooks"] or own["_forward_pre_hooks"]):
        return in_its_place
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    looking = ("transformers.", "seeahead.")
    return in_its_place + sum(not str(getattr(hook, "__module__", "")).startswith(looking) for hook in hooks)


@lru_cache(4096)
def _is_replaced(kind: type[nn.Module], forward: Any) -> bool:
    """Whether a class of torch or transformers has a `forward` that somebody else put there."""
    shipped = kind.__module__.partition(".")[0] in ("torch", "transformers")
    return shipped and str(getattr(forward, "__module__", "")).partition(".")[0] not in _OF_LIBRARIES


_OF_LIBRARIES = ("torch", "transformers", "accelerate", "peft", "seeahead")
