"""What can be asked in a benchmark: our engine with a drafter, or a peer on the same weights.

Peers are transformers' own `generate`, plain, assisted, and with prompt lookup. Assisted generation wants an assistant
of the target's vocabulary. Ours has a trimmed one, so it is wrapped: the same network, its ids mapped on the way in and
out. Without the wrapping the peer would pay for a head of 49,000 tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import torch
from transformers import LlamaForCausalLM, PreTrainedModel

from seeahead.api import Engine
from seeahead.bench.record import Run
from seeahead.checked import placed
from seeahead.compat import BaseStreamer
from seeahead.data.suite import Question
from seeahead.drafters import KINDS, split_settings
from seeahead.drafters.at_hand import here
from seeahead.drafters.folder import Folder
from seeahead.drafters.vocabulary import FILE_NAME, DraftVocabulary
from seeahead.errors import InputError, ModelError
from seeahead.executor import Limits
from seeahead.prompt import make_prompt
from seeahead.provenance import file_digest
from seeahead.records import Origin

OnPiece = Callable[[str, Origin], None]
"""Called with every piece of an answer when it arrives: the text, and who proposed it."""
_NUM_LETTERS = 16
NUM_LOOKUP_TOKENS = 10
"""transformers' documented example value for `prompt_lookup_num_tokens`."""

_NEVER = -1e4


@dataclass(frozen=True)
class Method:
    """Our loop with the engine's drafter. A peer, another loop on the engine's model, derives from it."""

    is_peer: ClassVar[bool] = False

    engine: Engine

    @property
    def has_weights_of_target(self) -> bool:
        """Whether its greedy answers should be the plain ones."""
        return True

    @property
    def facts(self) -> dict[str, Any]:
        """What a record keeps of another engine, or of other weights."""
        return {}

    @property
    def num_weights(self) -> int:
        """Those that the drafter reads per draft step."""
        modules: Iterable[Any] = getattr(self.engine.drafter, "modules", ())
        return sum({id(weight): weight.numel() for module in modules for weight in module.parameters()}.values())

    def answer(self, place: Run, question: Question, seed: int, on_piece: OnPiece | None = None) -> Run:
        """`place` with the whole answer in it; at its temperature above 0 from the model's full distribution,
        reproducible by `seed`. What `on_piece` takes is not counted."""
        pieces: list[tuple[str, Origin]] = []
        arrivals: list[float] = []
        started = perf_counter()
        whole: dict[str, Any] = {"temperature": place.temperature, "top_k": 0, "top_p": 1.0}
        stream = self.engine.stream(question.messages(), max_new_tokens=question.max_new_tokens, seed=seed, **whole)
        for piece in stream:
            if piece.reply is not None:
                reply = piece.reply
            elif piece.origins:
                arrivals.append(perf_counter() - started)
                pieces.append((piece.text, piece.origin))
                if on_piece is not None:
                    on_piece(*pieces[-1])
                    started = perf_counter() - arrivals[-1]
        total = perf_counter() - started
        first = arrivals[0] if arrivals else total
        return replace(
            place,
            token_ids=reply.token_ids,
            text=reply.text,
            seconds_first=first,
            seconds_total=total,
            generation=reply.generation,
            pieces=tuple(pieces),
            arrivals=tuple(seconds - first for seconds in arrivals),
        )

    def close(self) -> None:
        """Gives back what the method holds beside the engine."""


def weights_of(spec: str, own: Mapping[str, Path]) -> Path | None:
    """The folder that a drafter is read from; None for one without weights. `own`: the target's, by kind."""
    name, options = split_settings(spec)
    if name == "tabed":
        name = split_settings(options.get("vision", "vision"))[0]
    return own[name] if name in own else here(name)


def digest(folder: Path) -> str:
    """Of all weights and settings in a folder: equal only for equal files."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if (path.suffix in (".safetensors", ".bin") or path.name == "config.json") and path.is_file():
            whole.update(f"{path.name} {file_digest(path)}\n".encode())
    return whole.hexdigest()[:_NUM_LETTERS]


def passes_of(limits: Limits) -> dict[str, Any]:
    """How an executor runs passes by what they took when it was loaded: runs of one machine and version can differ in
    that. Empty where it had no choice."""
    found = {"row_step": limits.row_step, "fixed_rows": list(limits.fixed_rows), "long_rows": limits.long_rows}
    return found if limits.row_step > 1 else {}


def reset_peak(device: torch.device) -> None:
    """Start counting peak memory anew: the device's on CUDA, else where the system can (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Highest memory since `reset_peak`: the device's on CUDA, else resident memory of this process; 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


class _Clock(BaseStreamer):
    """Notes when the first answer token came, and how many with it; the prompt is put first."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.counts: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(perf_counter())
        self.counts.append(value.numel())

    def end(self) -> None:
        return


@dataclass(frozen=True)
class Transformers(Method):
    """`model.generate` with extra arguments; the engine lends model and processor, not its loop."""

    is_peer = True

    arguments: Mapping[str, Any]

    @property
    def _precision(self) -> str:
        return str(self.engine.family.dtype).removeprefix("torch.")

    @property
    def has_weights_of_target(self) -> bool:
        """Not where the target runs with rounded ones: `generate` has the model that these were made of."""
        return self._precision == self.engine.family.executor.precision

    @property
    def facts(self) -> dict[str, Any]:
        if self.has_weights_of_target:
            return {}
        return {"precision": self._precision, "has_weights_of_target": False}

    def answer(self, place: Run, question: Question, seed: int, on_piece: OnPiece | None = None) -> Run:
        family, clock = self.engine.family, _Clock()
        started = perf_counter()
        prompt = family.encode(make_prompt(question.messages()))
        sampling: dict[str, Any] = {"do_sample": place.temperature > 0}
        if place.temperature:
            sampling |= {"temperature": place.temperature, "top_k": 0, "top_p": 1.0}
        # Their loop draws from the global generator, which is put back as it was.
        devices = [family.device] if family.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(seed)
            if devices:
                with torch.cuda.device(family.device):
                    torch.cuda.manual_seed(seed)
            generate: Any = family.model.generate
            ids = generate(
                input_ids=prompt.token_ids,
                attention_mask=torch.ones_like(prompt.token_ids),
                **prompt.extras,
                max_new_tokens=question.max_new_tokens,
                streamer=clock,
                **sampling,
                **self.arguments,
            )
        total = perf_counter() - started
        answer = tuple(ids[0, prompt.token_ids.shape[1] :].tolist())
        text = family.tokenizer.decode(list(answer), skip_special_tokens=True)
        first, num = (clock.times[1] - started, clock.counts[1]) if len(clock.times) > 1 else (total, 1)
        return replace(place, token_ids=answer, text=text, seconds_first=first, num_first=num, seconds_total=total)


class TrimmedAssistant(LlamaForCausalLM):
    """A drafter of a trimmed vocabulary that looks like a model of the target's: ids and logits are mapped."""

    def adopt(self, vocabulary: DraftVocabulary, target_vocab_size: int) -> None:
        self._to_draft = vocabulary.table(target_vocab_size, vocabulary.unknown).to(self.device)
        self._target_ids = vocabulary.target_ids.to(self.device)
        self.config.vocab_size = target_vocab_size

    def forward(self, input_ids: torch.Tensor, **arguments: Any) -> Any:
        outputs = super().forward(input_ids=self._to_draft[input_ids], **arguments)
        spread = outputs.logits.new_full((*outputs.logits.shape[:-1], len(self._to_draft)), _NEVER)
        spread[..., self._target_ids] = outputs.logits
        outputs.logits = spread
        return outputs


def assistant(folder: Path, engine: Engine) -> PreTrainedModel:
    """The drafter in `folder` as transformers wants an assistant. Raises ModelError where it cannot be one."""
    family = engine.family
    wrapped = (folder / FILE_NAME).is_file()
    kind = TrimmedAssistant if wrapped else LlamaForCausalLM
    try:
        model: Any = kind.from_pretrained(folder, dtype=family.dtype)
        lent: PreTrainedModel = model.to(family.device).eval()
        model.generation_config.update(eos_token_id=family.model.generation_config.eos_token_id, pad_token_id=0)
        if wrapped:
            model.adopt(Folder.read(folder).vocabulary(), family.vocab_size)
    except (OSError, ValueError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{placed(folder)} is no assistant for this model: {reason}; leave that peer out") from None
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
