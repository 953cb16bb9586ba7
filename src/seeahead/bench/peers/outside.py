"""Another engine as a method of a benchmark: asked through a process, which tells tokens and seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import torch

from seeahead.api import Engine
from seeahead.bench.methods import Method, OnPiece
from seeahead.bench.peers.set_up import model_of, python_of
from seeahead.bench.peers.table import OTHERS, Peer
from seeahead.bench.peers.worker import LOADING_SECONDS, PeerError, Worker
from seeahead.bench.record import Run
from seeahead.data.suite import Question
from seeahead.errors import InputError


@dataclass(frozen=True)
class Outside(Method):
    """A peer whose process is under way. One that failed to start says so to every question."""

    is_peer = True

    peer: Peer
    worker: Worker
    told: dict[str, Any]  # at its start: versions, or an error

    def answer(self, place: Run, question: Question, seed: int, on_piece: OnPiece | None = None) -> Run:
        """Raises PeerError."""
        if "error" in self.told:
            raise PeerError(self.told["error"])
        messages = [
            {
                "role": message["role"],
                "images": [str(part["path"]) for part in message["content"] if part["type"] == "image"],
                "text": "".join(part["text"] for part in message["content"] if part["type"] == "text"),
            }
            for message in question.messages()
        ]
        asked = {"max_new_tokens": question.max_new_tokens, "temperature": place.temperature, "seed": seed}
        found = self.worker.ask({**asked, "messages": messages})
        names = ("text", "seconds_first", "seconds_total", "peak_bytes")
        return replace(place, token_ids=tuple(found["token_ids"]), **{name: found[name] for name in names})

    @property
    def has_weights_of_target(self) -> bool:
        return self.peer.has_weights_of(self.engine.family.executor.precision)

    @property
    def facts(self) -> dict[str, Any]:
        """What the record keeps."""
        facts = {"precision": self.peer.precision, "has_weights_of_target": self.has_weights_of_target}
        return {**facts, "versions": self.told.get("versions", {})}

    def close(self) -> None:
        self.worker.close()


def start(name: str, engine: Engine, target: str) -> Outside:
    """The peer of that name, with a process that has loaded the model or failed to. Raises InputError for an engine on
    another device than the CPU."""
    peer = OTHERS[name]
    if engine.family.device.type != "cpu":
        raise InputError(f"peer '{name}' runs on the CPU, the target on {engine.family.device}; give --device cpu")
    worker = process_of(peer, target)
    try:
        told = worker.read(LOADING_SECONDS)
    except PeerError as error:
        told = {"error": str(error)}
    return Outside(engine, peer, worker, told)


def process_of(peer: Peer, target: str) -> Worker:
    """Begins to load the model; its first answer holds its versions."""
    settings = {"model": str(model_of(peer, target)), "uses_lookup": peer.uses_lookup}
    settings["num_threads"] = torch.get_num_threads()
    return Worker(peer.engine.command(python_of(peer.engine), json.dumps(settings)))
