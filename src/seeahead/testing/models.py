"""Tiny random models of every family, their processors, and prompts with images as those would make them."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.families.base import Family
from seeahead.families.processors import processor_class
from seeahead.families.tiny import (
    BOS,
    END,
    FIRST_WORD,
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    PAD,
    UNKNOWN,
    VIDEO,
    VOCAB_SIZE,
    Tiny,
    tiny_models,
)

TINY_MODELS = tiny_models()
VISION_FAMILIES = tuple(model_type for model_type, tiny in TINY_MODELS.items() if tiny.pixels is not None)
TEXT_FAMILIES = tuple(model_type for model_type in TINY_MODELS if model_type not in VISION_FAMILIES)

SPECIAL = (PAD, BOS, END, IMAGE, IMAGE_START, IMAGE_END, VIDEO)

# Byte-level spelling, which is what transformers turns some families' tokenizers into when it loads them.
_CHARACTERS = ["Ċ", "Ġ", *map(chr, range(33, 127))]
_FIRST_CHARACTER = VOCAB_SIZE - len(_CHARACTERS)


def add_family(model_type: str, tiny: Tiny) -> None:
    """Build models of a type of your own too; its class is `seeahead.register_family`'s to know."""
    TINY_MODELS[model_type] = tiny


def tiny_model(model_type: str, seed: int = 0, attention: str | None = None, **changes: Any) -> PreTrainedModel:
    """A float32 model with weights that depend on `seed` alone; `changes` go into its (text) config.

    `attention` None is what transformers takes by itself: `sdpa`, or `eager` where that is all a model has.

    Its greedy answers wander through the vocabulary and never contain a special token, so that end tokens and
    placeholders appear only where a test puts them.
    """
    values = {name: value for name, value in TINY_MODELS[model_type].config.items() if name != "model_type"}
    if "text_config" in values:
        values["text_config"] = {**values["text_config"], **changes}
    else:
        values |= changes
    config = AutoConfig.for_model(model_type, **values)
    auto = AutoModelForImageTextToText if "vision_config" in values else AutoModelForCausalLM
    # Building draws from the global generator; what it drew is overwritten.
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = auto.from_config(config, attn_implementation=attention, dtype=torch.float32)
    _fill(model, seed)
    model.generation_config = GenerationConfig(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=END)
    model.eval()
    return model


def tiny_family(model_type: str, seed: int = 0, **changes: Any) -> Family:
    """The family of a tiny model, without a processor: it takes `ModelInputs`, not prompts."""
    return family_for(tiny_model(model_type, seed, **changes))


@torch.no_grad()
def _fill(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for number, parameter in enumerate(model.parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise * (1.4 / parameter[0].numel() ** 0.5))
            if number % 3 == 1:  # an executor may keep such a matrix in 16 bits, and must not keep the others so
                parameter.copy_(parameter.bfloat16())
        elif bool((parameter == parameter[0]).all()):
            # Norms and biases stay near what they start as.
            parameter.add_(0.1 * noise)
        else:
            parameter.copy_(noise)
    embedding: Any = model.get_input_embeddings()
    embedding.weight.copy_(torch.randn(embedding.weight.shape, generator=generator))
    # Gemma3 scales its embeddings up by the root of the width.
    embedding.weight.div_(getattr(embedding, "scalar_embed_scale", 1.0))
    head: Any = model.get_output_embeddings()
    # A row of zeros scores 0, which among so many tokens is never the best.
    head.weight[list(SPECIAL)] = 0


def tiny_inputs(model_type: str, num_images: int = 0, num_words: int = 8, seed: int = 0) -> ModelInputs:
    """A prompt of `num_words` random words with `num_images` images spread through it, each of other pixels."""
    generator = torch.Generator().manual_seed(1000 + seed)
    words = torch.randint(FIRST_WORD, VOCAB_SIZE, (num_words,), generator=generator).tolist()
    tiny = TINY_MODELS[model_type]
    sizes, extras = tiny.pixels(num_images, generator) if tiny.pixels is not None and num_images else ([], {})
    tokens = words[:2]
    for number, size in enumerate(sizes):
        tokens += [IMAGE_START, *[IMAGE] * size, IMAGE_END, *words[2 + number : 3 + number]]
    tokens += words[2 + num_images :]
    token_ids = torch.tensor([tokens])
    return ModelInputs(token_ids, {**extras, **tiny.type_ids(token_ids)})


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
