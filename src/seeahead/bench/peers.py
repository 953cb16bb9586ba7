"""Peers on the same weights: transformers' own `generate`, plain, assisted, and with prompt lookup.

Assisted generation wants an assistant of the target's vocabulary. Ours has a trimmed one, so it is wrapped: the same
network, its ids mapped on the way in and out. Without the wrapping the peer would pay for a head of 49,000 tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedModel

from seeahead.api import Engine
from seeahead.bench.methods import Messages, Method, OnPiece, Response
from seeahead.compat import BaseStreamer
from seeahead.drafters import KINDS, split_settings
from seeahead.drafters.folder import Folder
from seeahead.drafters.vocabulary import FILE_NAME, DraftVocabulary
from seeahead.errors import InputError
from seeahead.prompt import make_prompt

NUM_LOOKUP_TOKENS = 10
"""transformers' documented example value for `prompt_lookup_num_tokens`."""

_NEVER = -1e4


class _Clock(BaseStreamer):
    """Notes when the first answer token came; the prompt is put first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(perf_counter())

    def end(self) -> None:
        return


@dataclass(frozen=True)
class Transformers:
    """`model.generate` with extra arguments; the engine lends model and processor, not its loop."""

    engine: Engine
    arguments: dict[str, Any]
    is_peer: bool = True

    def answer(
        self, messages: Messages, max_new_tokens: int, temperature: float, seed: int, on_piece: OnPiece | None = None
    ) -> Response:
        family = self.engine.family
        started = perf_counter()
        prompt = family.encode(make_prompt([dict(message) for message in messages]))
        clock = _Clock()
        sampling: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature:
            sampling |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}
        # Their loop draws from the global generator, which is put back as it was.
        devices = [family.device] if family.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(seed)
            generate: Any = family.model.generate
            ids = generate(
                input_ids=prompt.token_ids,
                attention_mask=torch.ones_like(prompt.token_ids),
                **prompt.extras,
                max_new_tokens=max_new_tokens,
                streamer=clock,
                **sampling,
                **self.arguments,
            )
        total = perf_counter() - started
        answer = tuple(ids[0, prompt.token_ids.shape[1] :].tolist())
        text = family.tokenizer.decode(list(answer), skip_special_tokens=True)
        first = clock.times[1] - started if len(clock.times) > 1 else total
        return Response(answer, text, first, total)


class TrimmedAssistant(LlamaForCausalLM):
    """A drafter of a trimmed vocabulary that looks like a model of the target's: ids and logits are mapped."""

    def adopt(self, vocabulary: DraftVocabulary, target_vocab_size: int, unknown: int) -> None:
        """`unknown`: draft id for target tokens outside the trimmed vocabulary."""
        to_draft = torch.full((target_vocab_size,), unknown)
        to_draft[vocabulary.target_ids] = torch.arange(len(vocabulary))
        self._to_draft, self._target_ids = to_draft.to(self.device), vocabulary.target_ids.to(self.device)
        self.config.vocab_size = target_vocab_size

    def forward(self, input_ids: torch.Tensor, **arguments: Any) -> Any:
        outputs = super().forward(input_ids=self._to_draft[input_ids], **arguments)
        spread = outputs.logits.new_full((*outputs.logits.shape[:-1], len(self._to_draft)), _NEVER)
        spread[..., self._target_ids] = outputs.logits
        outputs.logits = spread
        return outputs


def assistant(folder: Path, engine: Engine) -> PreTrainedModel:
    """The drafter in `folder` as transformers wants an assistant."""
    family = engine.family
    wrapped = (folder / FILE_NAME).is_file()
    kind = TrimmedAssistant if wrapped else LlamaForCausalLM
    model: Any = kind.from_pretrained(folder, dtype=family.dtype)
    lent: PreTrainedModel = model.to(family.device).eval()
    model.generation_config.update(eos_token_id=family.model.generation_config.eos_token_id, pad_token_id=0)
    if wrapped:
        unknown = int(model.config.unknown_draft_id)
        model.adopt(Folder.read(folder).vocabulary(), family.vocab_size, unknown)
    return lent


def assistant_of(specs: Sequence[str], own: Path | None) -> Path | None:
    """The folder of the first language drafter among the drafters asked for, else the model's `own`; None: there is
    no assistant to lend."""
    names = (split_settings(spec)[0] for spec in specs)
    folders = (Path(name) for name in names if name not in KINDS and (Path(name) / "config.json").is_file())
    return next((folder for folder in folders if Folder.read(folder).kind == "language"), own)


def _assisted(engine: Engine, folder: Path | None) -> Transformers:
    if folder is None:
        raise InputError("assisted generation needs a language drafter; compare it where there is one (-d FOLDER)")
    return Transformers(engine, {"assistant_model": assistant(folder, engine)})


ASSISTED = "transformers assisted"
PEERS: dict[str, Callable[[Engine, Path | None], Method]] = {
    "transformers": lambda engine, folder: Transformers(engine, {}),
    "transformers lookup": lambda engine, folder: Transformers(engine, {"prompt_lookup_num_tokens": NUM_LOOKUP_TOKENS}),
    ASSISTED: _assisted,
}
"""Name -> peer on the engine's model; the folder is that of our language drafter."""
