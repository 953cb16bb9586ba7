"""Every field of transformers' GenerationConfig: honoured, without effect on tokens, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

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
    "stop_strings": _honoured(
        f"{_CRITERION}; an engine's text ends before them. generate takes none beside custom_generate: "
        "give it a StopStringCriteria"
    ),
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

NEVER_READ = (
    "transformers_version",
    # In published checkpoints, left by code of their own; transformers never reads them.
    "chat_format",
    "max_window_size",
    "user_token_id",
    "assistant_token_id",
    "trust_remote_code",
)


def as_markdown() -> str:
    """The page of the documents that shows the table."""
    rows = [f"| `{name}` | {option.treatment} | {option.why}{_allowed(option)} |" for name, option in OPTIONS.items()]
    return "\n".join([_HEAD, "| field | | how, or what to do |", "|---|---|---|", *rows, ""])


def _allowed(option: Option) -> str:
    values = ", ".join(f"`{value}`" for value in option.allowed if value is not None)
    return f" (allowed: {values})" if option.treatment == "refused" and values else ""


_HEAD = """# Settings

What becomes of every field of transformers' `GenerationConfig`, whether a caller states it
(`engine.generate(..., top_p=0.9)`) or the model's own `generation_config.json` does. The engine, `custom_generate` and
the command line all let transformers read the settings: its defaults, its logits processors, its stopping criteria.
`tests/test_options.py` holds every row against `generate`. A field that is not in this table is refused as soon as it
has a value.
"""
