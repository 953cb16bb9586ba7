"""The sources of the smoke twin: made images and a tiny random language model; every stage runs offline in seconds."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.demo_model.bank import SIZE, Bank, Card, is_held_out
from recipes.demo_model.examples import EasyVqa
from recipes.demo_model.scenes import COLOURS, SHAPES, draw_shape
from recipes.demo_model.sources import Sources
from recipes.demo_model.texts import ABOUT
from seeahead.demo.model import with_image_token


def smoke_sources(folder: Path, seed: int) -> Sources:
    """Files it needs (easy-VQA images) are written into `folder`."""
    torch.manual_seed(seed)
    language, tokenizer = with_image_token(*tiny_language_model())
    write_easy_vqa(folder)
    return Sources(
        made_bank(seed),
        EasyVqa.read(folder, held_out=False),
        EasyVqa.read(folder, held_out=True),
        language,
        tokenizer,
        lambda views, device: torch.randn(len(views), 64, 32).to(device, torch.float16),
    )


def tiny_language_model() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<unused{number}>" for number in range(14))]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(
        [*ABOUT, " ".join(COLOURS), " ".join(SHAPES), "user assistant picture shows"], trainer
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>")
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    return LlamaForCausalLM(config), wrapped


def made_bank(seed: int) -> Bank:
    """Cut-outs of coloured shapes that play the part of stamps."""
    rng = random.Random(seed)
    cards, arrays = [], []
    for colour, rgb in COLOURS.items():
        for shape in SHAPES:
            image = Image.new("RGBA", (SIZE, SIZE))
            draw_shape(ImageDraw.Draw(image), shape, 64, 64, rng.uniform(40, 60), rgb)
            name = f"{colour} {shape}"
            cards.append(Card(f"made/{name}", name, rng.choice(("symbol", "food")), "stamp", is_held_out(name)))
            arrays.append(np.asarray(image))
    return Bank(tuple(cards), np.stack(arrays))


def write_easy_vqa(folder: Path) -> None:
    for side in ("train", "test"):
        base = folder / "easy_vqa/data" / side
        (base / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(base / "images" / "0.png")
        (base / "questions.json").write_text(
            '[["what color is the shape?", "red", 0], ["is there a blue shape?", "no", 0]]'
        )
