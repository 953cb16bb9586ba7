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

    def allows(self, value: Any) -> bool:
        likes = (value is one or (type(value) is type(one) and value == one) for one in self.allowed)
        return self.treatment != "refused" or any(likes)


_PROCESSOR, _CRITERION = "by transformers' logits processor", "by transformers' stopping criterion"
_BEAMS = "counts in beam search only, which is refused"
_ASSISTED = "tunes transformers' own assisted mode, which is refused"
_OUTPUT = "changes what generate returns beside the tokens"

# How -> names of the fields.
_HONOURED = {
    "limits prompt and answer together; max_new_tokens comes first": "max_length",
    "limits the answer; where neither limit is set, an engine takes 256 and generate 20": "max_new_tokens",
    _CRITERION: "max_time",
    f"{_CRITERION}; an engine's text ends before them. generate takes none beside custom_generate: "
    "give it a StopStringCriteria": "stop_strings",
    "each of them ends an answer": "eos_token_id",
    "an engine draws where temperature is above 0": "do_sample",
    f"{_PROCESSOR}; 50 where sampling and not set, as in generate": "top_k",
    f"{_PROCESSOR}; SynthID, which keeps a state, is refused": "watermarking_config",
    _PROCESSOR: "temperature top_p min_p top_h typical_p epsilon_cutoff eta_cutoff repetition_penalty "
    "encoder_repetition_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size min_length min_new_tokens "
    "bad_words_ids sequence_bias suppress_tokens begin_suppress_tokens forced_bos_token_id forced_eos_token_id "
    "exponential_decay_length_penalty renormalize_logits remove_invalid_values",
}
_WITHOUT_EFFECT = {
    "begins an empty prompt, which is refused": "bos_token_id",
    "fills batches; answers are not padded": "pad_token_id",
    "for encoder-decoder models, which are refused": "decoder_start_token_id",
    _BEAMS: "early_stopping length_penalty diversity_penalty num_beam_groups",
    "changes memory or speed, no token": "use_cache cache_config max_cache_len prefill_chunk_size compile_config "
    "disable_compile low_memory continuous_batching_config",
    _OUTPUT: "output_attentions output_hidden_states output_scores output_logits",
    f"{_OUTPUT}; custom_generate refuses it": "return_dict_in_generate",
    _ASSISTED: "num_assistant_tokens num_assistant_tokens_schedule assistant_confidence_threshold assistant_lookbehind "
    "target_lookbehind assistant_ensemble_weight max_matching_ngram_size",
}
# What to do instead -> names of the fields; of each, the values that are not refused beside None.
_REFUSED = {
    "beam search; leave it out": "num_beams",
    "contrastive search; leave it out": "penalty_alpha",
    "DoLa decoding; leave it out": "dola_layers",
    "constrained beam search; leave it out": "constraints force_words_ids",
    "a second forward pass of another prompt; leave it out": "guidance_scale",
    "one answer at a time; ask several times": "num_return_sequences",
    "rewrites the prompt; leave it out": "token_healing",
    "the model is a drafter of another loop; leave it out": "is_assistant",
    "another way of drafting; give a drafter instead": "use_mtp prompt_lookup_num_tokens assistant_early_exit "
    "speculation_type",
    "a quantized cache changes answers; any other only memory and speed": "cache_implementation",
}
_CACHES = ("dynamic", "dynamic_full", "static", "offloaded", "offloaded_static", "sliding_window", "hybrid")
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "cache_implementation": _CACHES,
    "num_beams": (1,),
    "penalty_alpha": (0, 0.0),
    "guidance_scale": (1, 1.0),
    "num_return_sequences": (1,),
    **dict.fromkeys(("token_healing", "is_assistant", "use_mtp"), (False,)),
}
_TABLES: dict[Treatment, dict[str, str]] = {"honoured": _HONOURED, "no effect": _WITHOUT_EFFECT, "refused": _REFUSED}

OPTIONS = {
    name: Option(treatment, why, (None, *_ALLOWED.get(name, ())))
    for treatment, table in _TABLES.items()
    for why, names in table.items()
    for name in names.split()
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
