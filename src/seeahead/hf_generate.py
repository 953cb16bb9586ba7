"""Drop-in for transformers: `model.generate(**inputs, custom_generate=seeahead.custom_generate("lookup"))`.

transformers prepares inputs, logits processors and stopping criteria as for its own loop; ours runs in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from seeahead.compat import Cache, prompt_arguments
from seeahead.decode import run
from seeahead.drafters import bind, folders_for
from seeahead.drafters.spec import DrafterSpec
from seeahead.drafting import Drafter
from seeahead.errors import InputError
from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.families.inspection import context_of, fingerprint, ropes_of
from seeahead.generation_config import check, prepared
from seeahead.prompt import PromptLike, make_prompt
from seeahead.proven import Prover
from seeahead.request import Request
from seeahead.target import Target


def custom_generate(
    drafter: str | Path | DrafterSpec | Drafter = "auto", streamer: Any = None, *, self_check: bool = True
) -> Callable[..., torch.Tensor]:
    """A value for `generate`'s argument `custom_generate`. `drafter` is whatever `seeahead.load` takes as one.

    One sequence, greedy or sampled, with any logits processors and stopping criteria that depend on the tokens alone.
    Sampled tokens are reproducible with `torch.manual_seed`. `generate` then takes one more argument: `prompt`, the
    messages that its inputs were made of, for drafters that are shown the images themselves, which transformers has
    encoded for the target before a loop sees them. A `streamer` is given here: transformers does not hand its
    own argument on. `self_check`: a model that has not passed it here is proven on itself, in a few passes, before its
    first answer. It keeps hold of the last model that it served.
    """
    return _Loop(drafter, streamer, self_check)


class _Loop:
    def __init__(self, drafter: str | Path | DrafterSpec | Drafter, streamer: Any, self_check: bool) -> None:
        self._drafter, self._streamer, self._self_check = drafter, streamer, self_check
        self._last: tuple[Prover, Drafter] | None = None

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        prompt: PromptLike | None = None,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        check(generation_config)
        prover, drafter = self._bound(model)
        family = prover.family
        _check(input_ids, generation_config, model_kwargs, can_see=family.can_see)
        inputs = ModelInputs(input_ids.to(family.device), prompt_arguments(family.model, input_ids, model_kwargs))
        prover.before(inputs)
        settings = prepared(generation_config, logits_processor, stopping_criteria, input_ids)
        # One draw from the global generator, so that torch.manual_seed means here what it means for generate.
        sampler = settings.sampler(int(torch.randint(0, 2**62, ())) if generation_config.do_sample else 0)
        longest = family.longest_after(input_ids.shape[1])
        if longest != family.max_length and settings.max_length > (longest or 0):
            raise InputError(
                f"custom_generate was asked for up to {settings.max_length} tokens of prompt and answer; it reads "
                f"everything anew at {longest}, where its rotary factors change; allow fewer tokens"
            )
        request = Request(family.executor, drafter, sampler, settings.stop_rule(), family.image_token_ids)
        # Rotary positions go on beyond the context in `generate` too; where a window ends it they do not.
        if any(ropes_of(family.text_config)) and family.max_length == context_of(family.text_config):
            request.longest = None
        request.ask(inputs, None if prompt is None else make_prompt(prompt))
        for _, step in run(iter([request]), 1):
            request.check()
            for tokens in (input_ids, request.answer) if step is None else (step.emitted,):
                if self._streamer is not None:
                    self._streamer.put(torch.as_tensor(tokens).cpu())
        if self._streamer is not None:
            self._streamer.end()
        return torch.cat([input_ids, input_ids.new_tensor([request.answer])], dim=1)

    def _bound(self, model: PreTrainedModel) -> tuple[Prover, Drafter]:
        """The model and the drafter made ready for it: once, as long as it is the same model, unchanged."""
        last = self._last  # another thread may bind another model meanwhile
        if last is not None:
            family = last[0].family
            with family.alone():
                if family.given is model and family.seen == fingerprint(family.model):
                    return last
        family = family_for(model)
        own = folders_for(family.given)
        bound = self._last = Prover(family, is_on=self._self_check), bind(self._drafter, Target.of(family), own)
        return bound


def _check(input_ids: torch.Tensor, config: Any, model_kwargs: dict[str, Any], *, can_see: bool) -> None:
    """Raises InputError for what this loop does not do, before anything is computed."""
    mask = model_kwargs.get("attention_mask")
    is_filled = any(isinstance(one, Cache) and one.get_seq_length() > 0 for one in model_kwargs.values())
    types, positions = model_kwargs.get("token_type_ids"), model_kwargs.get("position_ids")
    refusals = (
        (input_ids.shape[0] != 1, f"a batch of {input_ids.shape[0]}", "one prompt and one answer at a time"),
        (config.return_dict_in_generate, "return_dict_in_generate", "plain token ids"),
        (mask is not None and not bool(mask.all()), "padding", "a prompt without padding"),
        (is_filled, "a filled cache", "the whole prompt, without a cache"),
        (model_kwargs.get("inputs_embeds") is not None, "inputs_embeds", "input_ids"),
        (types is not None and not can_see, "token_type_ids", "a text model without them"),
        (positions is not None and not _ascend(positions), "position_ids out of order", "positions that ascend by one"),
    )
    for is_wrong, given, allowed in refusals:
        if is_wrong:
            raise InputError(
                f"custom_generate was given {given}; allowed: {allowed}; leave custom_generate out for this"
            )


def _ascend(positions: torch.Tensor) -> bool:
    """Whether what follows `positions` ([1, length], or M-RoPE's [rows, 1, length]) follows the largest of them."""
    if positions.ndim == 2:
        return bool((positions.diff(dim=-1) == 1).all())
    return bool(positions[-3:].max() == positions[-3:, :, -1].max())
