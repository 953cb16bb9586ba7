"""What decides which tokens come out: every field of transformers' GenerationConfig, honoured or refused.

`prepare` lets transformers' own `generate` read the settings: its defaults, logits processors and stopping criteria.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from transformers import EosTokenCriteria, GenerationConfig, MaxLengthCriteria, StopStringCriteria

from seeahead.checked import shown_value
from seeahead.compat import GenerationMode, generation_defaults, rotary_index
from seeahead.errors import InputError, escaped
from seeahead.history import TokenHistory
from seeahead.option_table import NEVER_READ, OPTIONS
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule, check_stop_texts, end_tokens_of


@dataclass(frozen=True)
class Prepared:
    """Settings of one answer as `generate` reads them: a filled-in config, logits processors, stopping criteria.

    `prompt_ids` [1, length]; `stop_texts`: what the answer's text ends before, by the config; one of the criteria says
    where.
    """

    config: Any
    processors: Any
    criteria: tuple[Any, ...]
    prompt_ids: torch.Tensor
    stop_texts: tuple[str, ...] = ()

    @property
    def max_length(self) -> int:
        """Most tokens of prompt and answer: not the config's, since a criterion of the caller's own takes its place."""
        return min(one.max_length for one in self.criteria if type(one) is MaxLengthCriteria)

    def params(self, seed: int) -> SamplingParams:
        """How tokens are chosen, for drafters that follow the target's settings: its common filters, and the seed."""
        config = self.config
        params = SamplingParams(repetition_penalty=config.repetition_penalty or 1.0, seed=seed)
        if not config.do_sample:
            return params
        return replace(
            params,
            temperature=1.0 if config.temperature is None else config.temperature,
            top_k=config.top_k or 0,
            # transformers takes the ends of both ranges: one token is left then.
            top_p=1.0 if config.top_p is None else max(config.top_p, _SMALLEST),
            min_p=min(config.min_p or 0.0, 1 - _SMALLEST),
        )

    @property
    def fits_any_prompt(self) -> bool:
        """Whether nothing but the limit of tokens depends on the prompt."""
        plain = all(type(one) in (MaxLengthCriteria, EosTokenCriteria) for one in self.criteria)
        return plain and all(_is_theirs(one, _LOOK_AT_LOGITS_ALONE) for one in self.processors)

    def for_prompt(self, prompt_ids: torch.Tensor) -> Prepared:
        """These settings, with as many new tokens, after another prompt; where they fit any."""
        length = self.max_length - self.prompt_ids.shape[1] + prompt_ids.shape[1]
        limits = [MaxLengthCriteria(length) if type(one) is MaxLengthCriteria else one for one in self.criteria]
        return replace(self, criteria=tuple(limits), prompt_ids=prompt_ids)

    def sampler(self, seed: int) -> Sampler:
        looking_back = [one for one in self.processors if not _is_theirs(one, _LOOK_AT_LOGITS_ALONE)]
        return Sampler(
            self.params(seed),
            self.prompt_ids[0].tolist() if looking_back else (),
            self._filters if len(self.processors) else None,
            looks_back=bool(looking_back),
            is_distinct=all(_is_plain_penalty(one) for one in looking_back),
        )

    def _filters(self, token_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if any(not type(one).__module__.startswith("transformers.") for one in self.processors):
            token_ids = token_ids.clone()  # somebody's own may keep what it is given
        # Processors hold tensors where the prompt was given, which need not be where the model is.
        device = self.prompt_ids.device
        filtered: torch.Tensor = self.processors(token_ids.to(device), logits.to(device))
        return filtered.to(logits.device)

    def stop_rule(self, longest: int | None = None) -> StopRule:
        """When the answer ends; `longest`: most tokens of prompt and answer together that the model takes."""
        num_known, length = 0, self.prompt_ids.shape[1]
        others = [one for one in self.criteria if type(one) not in (MaxLengthCriteria, EosTokenCriteria)]
        history = TokenHistory(self.prompt_ids[0].tolist() if others else ())

        def meets_criterion(answer: Sequence[int], new: Sequence[int]) -> bool:
            nonlocal num_known
            history.extend(answer[num_known:])
            num_known = len(answer)
            tokens = history.followed_by(new, self.prompt_ids.device)[None].clone()  # criteria may keep them
            return any(bool(torch.as_tensor(criterion(tokens, None)).all()) for criterion in others)

        return StopRule(
            max(1, self.max_length - length),
            frozenset(end for one in self.criteria if type(one) is EosTokenCriteria for end in end_tokens_of(one)),
            None if longest is None else longest - length,
            (meets_criterion,) if others else (),
        )


_REFUSALS = (
    *(ValueError, TypeError, AttributeError, LookupError, NotImplementedError, ImportError),
    *(RuntimeError, ArithmeticError),  # of tensors: numbers too large for them
)
_SMALLEST = 1e-6
_LOOK_AT_LOGITS_ALONE = (
    *(f"{name}LogitsWarper" for name in ("Temperature", "TopK", "TopP", "MinP", "TopH", "Typical", "Epsilon", "Eta")),
    *("SuppressTokensLogitsProcessor", "InfNanRemoveLogitsProcessor", "LogitNormalization"),
)
"""Processors that need no history: given none, a step costs nothing that grows with the answer."""


def prepare(model: Any, prompt_ids: torch.Tensor, tokenizer: Any, settings: Mapping[str, Any]) -> Prepared:
    """What `model.generate(prompt_ids [1, length], **settings)` would apply. Raises InputError for what is refused."""
    stop_texts = check_stop_texts(settings.get("stop_strings") or model.generation_config.stop_strings)
    caught: list[Prepared] = []

    def catch(
        model: Any, input_ids: Any, logits_processor: Any, stopping_criteria: Any, generation_config: Any, **_: Any
    ) -> Any:
        caught.append(prepared(generation_config, logits_processor, stopping_criteria, input_ids))
        return input_ids

    # Given, so that M-RoPE models do not work them out, which would change a state that all answers share.
    positions = torch.arange(prompt_ids.shape[1], device=prompt_ids.device)[None]
    own: dict[str, Any] = {} if rotary_index(model) is None else {"position_ids": positions}
    # `generate` hands no tokenizer on to its stop criterion where another loop runs: that one is made here.
    own |= {"use_cache": False, "stop_strings": None}
    try:
        own |= {"attention_mask": torch.ones_like(prompt_ids), "custom_generate": catch}
        model.generate(prompt_ids, **dict(settings) | own)
        more = (StopStringCriteria(tokenizer, list(stop_texts)),) if stop_texts else ()
    except _REFUSALS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"transformers refuses these settings: {_in_line(error)}") from error
    _try(caught[0], prompt_ids, model.config.get_text_config().vocab_size)
    return replace(caught[0], criteria=caught[0].criteria + more, stop_texts=stop_texts)


class Known:
    """Settings that were prepared for other prompts: asked again they need not be. For a model that nobody changes."""

    def __init__(self) -> None:
        self._held: dict[str, Prepared] = {}

    def prepare(self, model: Any, prompt_ids: torch.Tensor, tokenizer: Any, settings: Mapping[str, Any]) -> Prepared:
        """As the function of this name."""
        if "max_new_tokens" not in settings or not all(isinstance(one, int | float | str) for one in settings.values()):
            return prepare(model, prompt_ids, tokenizer, settings)
        key = repr(sorted(settings.items()))
        if key in self._held:
            return self._held[key].for_prompt(prompt_ids)
        made = prepare(model, prompt_ids, tokenizer, settings)
        if made.fits_any_prompt:
            self._held[key] = made.for_prompt(prompt_ids.new_empty(1, 0))
            if len(self._held) > _MOST_KNOWN:
                del self._held[next(iter(self._held))]
        return made


_MOST_KNOWN = 256


def _try(made: Prepared, prompt_ids: torch.Tensor, vocab_size: int) -> None:
    """Raises InputError for settings that name tokens which the model has not, and for others of a wrong type:
    processors and criteria find out at work only."""
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        named = getattr(made.config, name)
        for token in named if isinstance(named, list | tuple) else [] if named is None else [named]:
            if not isinstance(token, Integral) or not 0 <= int(token) < vocab_size:
                raise InputError(f"{name} names token {shown_value(token)}; the model has tokens 0 to {vocab_size - 1}")
    try:
        made.processors(prompt_ids, torch.zeros(1, vocab_size, device=prompt_ids.device))
    except (IndexError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"these settings do not fit the model's {vocab_size} tokens: {_in_line(error)}") from error
    try:
        for criterion in made.criteria:
            criterion(prompt_ids, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"settings of when an answer ends do not work: {_in_line(error)}") from error


def _in_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def prepared(config: Any, processors: Any, criteria: Any, prompt_ids: torch.Tensor) -> Prepared:
    """The settings that `generate` has made. Raises InputError for what this loop does not do."""
    check(config)
    for processor in processors:
        if _is_theirs(processor, _STATEFUL):
            raise InputError(
                f"{type(processor).__name__} keeps a state from token to token, which drafts would disturb; "
                "leave it out"
            )
    return Prepared(config, processors, tuple(criteria), prompt_ids)


def _is_plain_penalty(processor: Any) -> bool:
    """Whether a processor asks which tokens there were, and not where or how often."""
    is_penalty = _is_theirs(processor, ("RepetitionPenaltyLogitsProcessor",))
    return is_penalty and not getattr(processor, "prompt_ignore_length", None)


def _is_theirs(processor: Any, names: Sequence[str]) -> bool:
    """Whether this is one of transformers' own processors of these names, and not somebody's of the same name."""
    kind = type(processor)
    return kind.__name__ in names and kind.__module__.startswith("transformers.")


_STATEFUL = ("SynthIDTextWatermarkLogitsProcessor", "UnbatchedClassifierFreeGuidanceLogitsProcessor")


def check_settings(config: Any, settings: Mapping[str, Any], max_new_tokens: int | None, seed: int | None) -> None:
    """Raises InputError for settings unknown, of the wrong type or range, or without effect since nothing is drawn."""
    known = vars(GenerationConfig()).keys() | OPTIONS.keys()
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise InputError(
                f"unknown setting '{name}'; {hint}allowed are those of generate and the fields of GenerationConfig"
            )
        if name in OPTIONS and name != "penalty_alpha":  # which counts only beside another one
            _check_allowed(name, settings[name])
        _check_type(name, settings[name])
    own = {name: settings[name] for name in _SAMPLING if name in settings}
    SamplingParams(**own, **({} if seed is None else {"seed": seed}))
    StopRule(1 if max_new_tokens is None else max_new_tokens)
    draws = settings.get("do_sample", config.do_sample) or "temperature" in settings
    for name, all_tokens in () if draws else _FILTERS.items():
        if settings.get(name, all_tokens) not in (all_tokens, None):
            raise InputError(f"{name} has no effect: this model answers greedily; give a temperature above 0 with it")


_FILTERS = {"top_k": 0, "top_p": 1, "min_p": 0, "typical_p": 1, "epsilon_cutoff": 0, "eta_cutoff": 0, "top_h": None}
"""Of what is drawn, by the value with which all tokens may be."""
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


_FLAGS = ("do_sample", "renormalize_logits", "remove_invalid_values")


def _check_type(name: str, value: Any) -> None:
    """Of those that nothing else checks before they are used."""
    if name in _FLAGS and not isinstance(value, bool | None):
        raise InputError(f"{name} is {shown_value(value)}; allowed: true or false")
    if name == "exponential_decay_length_penalty" and value is not None:
        numbers = [one for one in value if type(one) in (int, float)] if isinstance(value, list | tuple) else []
        if len(numbers) != 2:
            raise InputError(f"{name} is {shown_value(value)}; allowed: two numbers, its start and its factor")


def _check_allowed(name: str, value: Any) -> None:
    if not OPTIONS[name].allows(value):
        raise InputError(f"{name}={shown_value(value)} is not supported: {OPTIONS[name].why}")


def check(config: Any) -> None:
    """Raises InputError for a field whose value this loop does not honour, and for fields it does not know."""
    mode = config.get_generation_mode()
    defaults = generation_defaults()
    for name, value in vars(config).items():
        option = OPTIONS.get(name)
        if name.startswith("_") or name in NEVER_READ:
            continue
        if option is None:
            if value is not None and (name not in defaults or value != defaults[name]):
                raise InputError(
                    f"the generation config sets {escaped(name)}={shown_value(value)}, which is unknown here and may "
                    "change answers; set it to None if it does not"
                )
        elif name != "penalty_alpha" or mode is GenerationMode.CONTRASTIVE_SEARCH:
            _check_allowed(name, value)
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise InputError(f"{mode.value} is not supported; allowed are greedy search and sampling")
