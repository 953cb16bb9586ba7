"""Code that runs beside a module's own: what a decoder with fused projections would miss."""

from __future__ import annotations

from torch import nn


def has_global_hooks() -> bool:
    hooks = nn.modules.module
    return bool(hooks._global_forward_hooks or hooks._global_forward_pre_hooks)


def num_hooks(module: nn.Module) -> int:
    """What runs beside the module's own forward, or in its place.

    Hooks that return hidden states, transformers' own and ours, only look on.
    """
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    looking = ("transformers.", "seeahead.")
    others = [hook for hook in hooks if not str(getattr(hook, "__module__", "")).startswith(looking)]
    return len(others) + hasattr(module, "_hf_hook") + ("forward" in vars(module))
