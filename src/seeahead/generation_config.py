"""What decides which tokens come out: every field of transformers' GenerationConfig, honoured or refused.

`prepare` lets transformers' own `generate` read the settings: its defaults, logits processors and stopping criteria.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import EosTokenCriteria, GenerationConfig, MaxLengthCriteria

from seeahead.compat import GenerationMode, generation_defaults, rotary_index
from seeahead.errors import InputError
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule, end_tokens_of

Treatment = Literal["honoured", "no effect", "refused"]


@dataclass(frozen=True)
class Option:
    """One field. `allowed`: of a refused one, the values that are not; `why`: what happens, or what to do instead."""

    treatment: Treatment
    why: str
    allowed: tuple[Any, ...] = (None,)


def _honoured(why: str = "by transformers' logits processor") -> Option:
    return Option("honoured", why)


_CRITERION = "by transformers' stopping criterion"
_BEAMS = "counts in beam search only, which is refused"
_ASSISTED = "tunes transformers' own assisted mode, which is refused"
_MEMORY = "changes memory or speed, no token"
_OUTPUT = "changes what generate returns beside the tokens"
_DRAFTER = "another way of drafting; give a drafter instead"

OPTIONS: dict[str, Option] = {
    "max_length": _honoured("limits prompt and answer together; max_new_tokens comes first"),
    "max_new_tokens": _honoured("limits the answer; where neither limit is set, an engine takes 256 and generate 20"),
    "min_length": _honoured(),
    "min_new_tokens": _honoured(),
    "max_time": _honoured(_CRITERION),
    "stop_strings": _honoured(f"{_CRITERION}; an engine's text ends before them"),
    "do_sample": _honoured("an engine draws where temperature is above 0"),
    "temperature": _honoured(),
    "top_k": _honoured("by transformers' logits processor; 50 where sampling and not set, as in generate"),
    "top_p": _honoured(),
    "min_p": _honoured(),
    "top_h": _honoured(),
    "typical_p": _honoured(),
    "epsilon_cutoff": _honoured(),
    "eta_cutoff": _honoured(),
    "repetition_penalty": _honoured(),
    "encoder_repetition_penalty": _honoured(),
    "no_repeat_ngram_size": _honoured(),
    "encoder_no_repeat_ngram_size": _honoured(),
    "bad_words_ids": _honoured(),
    "sequence_bias": _honoured(),
    "suppress_tokens": _honoured(),
    "begin_suppress_tokens": _honoured(),
    "forced_bos_token_id": _honoured(),
    "forced_eos_token_id": _honoured(),
    "exponential_decay_length_penalty": _honoured(),
    "renormalize_logits": _honoured(),
    "remove_invalid_values": _honoured(),
    "watermarking_config": _honoured("by transformers' logits processor; SynthID, which keeps a state, is refused"),
    "eos_token_id": _honoured("each of them ends an answer"),
    "bos_token_id": Option("no effect", "begins an empty prompt, which is refused"),
    "pad_token_id": Option("no effect", "fills batches; answers are not padded"),
    "decoder_start_token_id": Option("no effect", "for encoder-decoder models, which are refused"),
    "early_stopping": Option("no effect", _BEAMS),
    "length_penalty": Option("no effect", _BEAMS),
    "diversity_penalty": Option("no effect", _BEAMS),
    "num_beam_groups": Option("no effect", _BEAMS),
    "use_cache": Option("no effect", _MEMORY),
    "cache_implementation": Option(
        "refused",
        "a quantized cache changes answers; any other only memory and speed",
        (None, "dynamic", "dynamic_full", "static", "offloaded", "offloaded_static", "sliding_window", "hybrid"),
    ),
    "cache_config": Option("no effect", _MEMORY),
    "max_cache_len": Option("no effect", _MEMORY),
    "prefill_chunk_size": Option("no effect", _MEMORY),
    "compile_config": Option("no effect", _MEMORY),
    "disable_compile": Option("no effect", _MEMORY),
    "low_memory": Option("no effect", _MEMORY),
    "continuous_batching_config": Option("no effect", _MEMORY),
    "output_attentions": Option("no effect", _OUTPUT),
    "output_hidden_states": Option("no effect", _OUTPUT),
    "output_scores": Option("no effect", _OUTPUT),
    "output_logits": Option("no effect", _OUTPUT),
    "return_dict_in_generate": Option("no effect", f"{_OUTPUT}; custom_generate refuses it"),
    "num_assistant_tokens": Option("no effect", _ASSISTED),
    "num_assistant_tokens_schedule": Option("no effect", _ASSISTED),
    "assistant_confidence_threshold": Option("no effect", _ASSISTED),
    "assistant_lookbehind": Option("no effect", _ASSISTED),
    "target_lookbehind": Option("no effect", _ASSISTED),
    "assistant_ensemble_weight": Option("no effect", _ASSISTED),
    "max_matching_ngram_size": Option("no effect", _ASSISTED),
    "num_beams": Option("refused", "beam search; leave it out", (None, 1)),
    "penalty_alpha": Option("refused", "contrastive search; leave it out", (None, 0, 0.0)),
    "dola_layers": Option("refused", "DoLa decoding; leave it out"),
    "constraints": Option("refused", "constrained beam search; leave it out"),
    "force_words_ids": Option("refused", "constrained beam search; leave it out"),
    "guidance_scale": Option("refused", "a second forward pass of another prompt; leave it out", (None, 1, 1.0)),
    "num_return_sequences": Option("refused", "one answer at a time; ask several times", (None, 1)),
    "token_healing": Option("refused", "rewrites the prompt; leave it out", (None, False)),
    "is_assistant": Option("refused", "the model is a drafter of another loop; leave it out", (None, False)),
    "use_mtp": Option("refused", _DRAFTER, (None, False)),
    "prompt_lookup_num_tokens": Option("refused", _DRAFTER),
    "assistant_early_exit": Option("refused", _DRAFTER),
    "speculation_type": Option("refused", _DRAFTER),
}
"""Every field, in the order of the documents. One that is not here is refused as soon as it has a value."""

_NEVER_READ = (
    "transformers_version",
    # In published checkpoints, left by code of their own; transformers never reads them.
    "chat_format",
    "max_window_size",
    "user_token_id",
    "assistant_token_id",
    "trust_remote_code",
)


@dataclass(frozen=True)
class Prepared:
    """Settings of one answer as `generate` reads them: a filled-in config, logits processors, further stop criteria."""

    config: Any
    processors: Any
    criteria: tuple[Any, ...]

    prompt: tuple[int, ...]

    def params(self, seed: int) -> SamplingParams:
        """How tokens are chosen, for drafters that follow the target's settings: its common filters, and the seed."""
        config = self.config
        if not config.do_sample:
            return SamplingParams(repetition_penalty=config.repetition_penalty or 1.0, seed=seed)
        return SamplingParams(
            temperature=1.0 if config.temperature is None else config.temperature,
            top_k=config.top_k or 0,
            # transformers takes the ends of both ranges: one token is left then.
            top_p=1.0 if config.top_p is None else max(config.top_p, _SMALLEST),
            min_p=min(config.min_p or 0.0, 1 - _SMALLEST),
            repetition_penalty=config.repetition_penalty or 1.0,
            seed=seed,
        )

    def sampler(self, seed: int) -> Sampler:
        looks_back = any(type(one).__name__ not in _LOOK_AT_LOGITS_ALONE for one in self.processors or ())
        return Sampler(self.params(seed), self.prompt, self.processors, looks_back=looks_back)

    def stop_rule(self, device: torch.device, **more: Any) -> StopRule:
        """When the answer ends; `more` are further fields of a StopRule."""

        def is_over(answer: Sequence[int]) -> bool:
            tokens = torch.tensor([[*self.prompt, *answer]], device=device)
            return any(bool(criterion(tokens, None).all()) for criterion in self.criteria)

        return StopRule(
            max_new_tokens=max(1, self.config.max_length - len(self.prompt)),
            end_tokens=frozenset(end_tokens_of(self.config)),
            is_over=is_over if self.criteria else None,
            num_prompt_tokens=len(self.prompt),
            **more,
        )


_SMALLEST = 1e-6


_LOOK_AT_LOGITS_ALONE = (
    "TemperatureLogitsWarper",
    "TopKLogitsWarper",
    "TopPLogitsWarper",
    "MinPLogitsWarper",
    "TopHLogitsWarper",
    "TypicalLogitsWarper",
    "EpsilonLogitsWarper",
    "EtaLogitsWarper",
    "SuppressTokensLogitsProcessor",
    "InfNanRemoveLogitsProcessor",
    "LogitNormalization",
)
"""Processors that need no history: given none, a step costs nothing that grows with the answer."""


def prepare(model: Any, prompt_ids: torch.Tensor, tokenizer: Any, settings: Mapping[str, Any]) -> Prepared:
    """What `model.generate(prompt_ids [1, length], **settings)` would apply. Raises InputError for what is refused."""
    check_names(settings)
    caught: list[Prepared] = []

    def catch(
        model: Any, input_ids: Any, logits_processor: Any, stopping_criteria: Any, generation_config: Any, **_: Any
    ) -> Any:
        caught.append(prepared(generation_config, logits_processor, stopping_criteria, input_ids[0].tolist()))
        return input_ids

    # Given, so that M-RoPE models do not work them out, which would change a state that all answers share.
    positions = torch.arange(prompt_ids.shape[1], device=prompt_ids.device)[None]
    own = {"use_cache": False} | ({} if rotary_index(model) is None else {"position_ids": positions})
    try:
        model.generate(
            prompt_ids,
            attention_mask=torch.ones_like(prompt_ids),
            custom_generate=catch,
            tokenizer=tokenizer,
            **own | dict(settings),
        )
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError, ImportError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"transformers refuses these settings: {reason}") from error
    return caught[0]


def prepared(config: Any, processors: Any, criteria: Any, prompt: Sequence[int]) -> Prepared:
    """The settings that `generate` has made. Raises InputError for what this loop does not do."""
    check(config)
    for processor in processors:
        if type(processor).__name__ in _STATEFUL:
            raise InputError(
                f"{type(processor).__name__} keeps a state from token to token, which drafts would disturb; "
                "leave it out"
            )
    own = (MaxLengthCriteria, EosTokenCriteria)
    others = tuple(criterion for criterion in criteria if not isinstance(criterion, own))
    return Prepared(config, processors if len(processors) else None, others, tuple(prompt))


_STATEFUL = ("SynthIDTextWatermarkLogitsProcessor", "UnbatchedClassifierFreeGuidanceLogitsProcessor")


def check_settings(config: Any, settings: Mapping[str, Any], max_new_tokens: int | None, seed: int | None) -> None:
    """Raises InputError for settings of the wrong type or range, and for filters of a draw where nothing is drawn."""
    check_names(settings)
    own = {name: settings[name] for name in _SAMPLING if name in settings}
    SamplingParams(**own, **({} if seed is None else {"seed": seed}))
    StopRule(1 if max_new_tokens is None else max_new_tokens)
    draws = settings.get("do_sample", config.do_sample) or "temperature" in settings
    for name in () if draws else ("top_k", "top_p", "min_p"):
        if name in settings:
            raise InputError(f"{name} has no effect: this model answers greedily; give a temperature above 0 with it")


_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def check_names(settings: Mapping[str, Any]) -> None:
    """Raises InputError for a setting that no GenerationConfig has."""
    known = vars(GenerationConfig()).keys() | OPTIONS.keys()
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise InputError(
                f"unknown setting '{name}'; {hint}allowed are those of generate and the fields of GenerationConfig"
            )


def check(config: Any) -> None:
    """Raises InputError for a field whose value this loop does not honour, and for fields it does not know."""
    mode = config.get_generation_mode()
    defaults = generation_defaults()
    for name, value in vars(config).items():
        option = OPTIONS.get(name)
        if name.startswith("_") or name in _NEVER_READ:
            continue
        if option is None and value is not None and (name not in defaults or value != defaults[name]):
            raise InputError(
                f"the generation config sets {name}={_shown(value)}, which is unknown here and may change answers; "
                f"set it to None if it does not"
            )
        if option is not None and option.treatment == "refused" and not _is_in(value, option.allowed):
            if name == "penalty_alpha" and mode is not GenerationMode.CONTRASTIVE_SEARCH:
                continue
            raise InputError(f"{name}={_shown(value)} is not supported: {option.why}")
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise InputError(f"{mode.value} is not supported; allowed are greedy search and sampling")


def _is_in(value: Any, allowed: Sequence[Any]) -> bool:
    return any(value is one or (type(value) is type(one) and value == one) for one in allowed)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
