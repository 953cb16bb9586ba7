"""Processors for the tiny models: transformers' own classes over a character tokenizer made in memory.

Chat templates have the form of the published ones, so prompts take the way they take with a real checkpoint.
"""

from __future__ import annotations

from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from seeahead.families.processors import processor_class
from seeahead.families.tiny import BOS, END, PAD, UNKNOWN, VIDEO, VOCAB_SIZE
from seeahead.testing.models import TINY_MODELS

# Byte-level spelling, which is what transformers turns some families' tokenizers into when it loads them.
_CHARACTERS = ["Ċ", "Ġ", *map(chr, range(33, 127))]
_FIRST_CHARACTER = VOCAB_SIZE - len(_CHARACTERS)


def tiny_tokenizer(model_type: str) -> PreTrainedTokenizerFast:
    """One token per character, and the family's special tokens, at the ids of the tiny models' configs."""
    tiny = TINY_MODELS[model_type]
    special = {PAD: "<pad>", BOS: "<s>", END: "</s>", UNKNOWN: "<unk>", **tiny.tokens}
    special |= dict(enumerate(tiny.words, VIDEO + 1))
    names = {index: special.get(index, f"<spare_{index}>") for index in range(_FIRST_CHARACTER)}
    names |= {_FIRST_CHARACTER + place: character for place, character in enumerate(_CHARACTERS)}
    tokenizer = Tokenizer(models.BPE({name: index for index, name in names.items()}, [], unk_token=names[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special.values()])
    named = {name: special[index] for name, index in tiny.names.items()}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special[PAD],
        bos_token=special[BOS],
        eos_token=special[END],
        unk_token=special[UNKNOWN],
        extra_special_tokens=named,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = tiny.template
    return wrapped


def tiny_processor(model_type: str) -> Any:
    """The processor of a tiny vision-language model, or the tokenizer of a text decoder."""
    tiny, tokenizer = TINY_MODELS[model_type], tiny_tokenizer(model_type)
    if tiny.pixels is None:
        return tokenizer
    images = getattr(transformers, tiny.image_processor)(**tiny.image_settings)
    return processor_class(model_type)(images, tokenizer, chat_template=tokenizer.chat_template, **tiny.settings)
