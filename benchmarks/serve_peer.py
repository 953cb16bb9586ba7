"""OpenVINO GenAI's continuous batching under the load of `serve_load`, in an environment of its own.

The questions go straight to its pipeline, without HTTP, which spares it what a server's clients pay for.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seeahead.bench.peers import set_up
from seeahead.bench.peers.table import OTHERS
from seeahead.bench.peers.worker import Worker

PEERS = ("genai fp16", "genai int8")

# Images are read as `run_genai.py` reads them. That file stays as it is, since conversions are kept by its text.
WORKER = """
import json, sys
from functools import partial
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
import openvino, openvino_genai as genai
sys.path.insert(0, sys.argv[2])
from run_genai import Engine
told = json.loads((Path(sys.argv[1]) / "preprocessor_config.json").read_text())
read = partial(Engine._read, SimpleNamespace(_images=told, _tensor=openvino.Tensor))
pipe = genai.ContinuousBatchingPipeline(sys.argv[1], genai.SchedulerConfig(), "CPU")
print(json.dumps({"version": genai.__version__}), flush=True)
for line in sys.stdin:
    asked, (started, answered, under_way) = json.loads(line), (perf_counter(), [], {})
    lists = [asked["questions"][number :: asked["clients"]] for number in range(asked["clients"])]
    def ask(client):
        if lists[client]:
            question, now = lists[client].pop(0), perf_counter()
            images = [read(path) for path in question["images"]]
            config = genai.GenerationConfig(max_new_tokens=question["max_tokens"], do_sample=False)
            handle = pipe.add_request(client, question["text"], images, config)
            under_way[client] = {"handle": handle, "asked": now, "tokens": 0, "first": 0.0}
    for client in range(asked["clients"]):
        ask(client)
    while under_way:
        pipe.step()
        for client, one in list(under_way.items()):
            while one["handle"].can_read():
                for output in one["handle"].read().values():
                    one["tokens"] += len(output.generated_ids)
                    one["first"] = one["first"] or perf_counter()
            if one["handle"].get_status() != genai.GenerationStatus.RUNNING:
                between = (perf_counter() - one["first"]) / max(one["tokens"] - 1, 1)
                first = one["first"] - one["asked"]
                answered.append({"tokens": one["tokens"], "first": first, "between": between})
                del under_way[client]
                ask(client)
    print(json.dumps({"answers": answered, "seconds": perf_counter() - started}), flush=True)
"""


@contextmanager
def peer(name: str, questions: Sequence[dict[str, Any]]) -> Iterator[Peer]:
    """One that answers `questions`, bodies of requests, which it gets as texts and files."""
    set_up.check([name], "demo")
    engine, model = OTHERS[name].engine, set_up.model_of(OTHERS[name], "demo")
    words = [str(set_up.python_of(engine)), "-c", WORKER, str(model), str(engine.programs[0].parent)]
    with tempfile.TemporaryDirectory() as folder, Worker(words) as worker:
        yield Peer(worker, [_plain(body, Path(folder)) for body in questions])


class Peer:
    """A process with the pipeline."""

    def __init__(self, worker: Worker, questions: list[dict[str, Any]]) -> None:
        self._worker, self._questions = worker, questions
        self.version: str = worker.read()["version"]

    def load(self, clients: int) -> dict[str, Any]:
        """Answers and seconds of so many clients at once."""
        return self._worker.ask({"clients": clients, "questions": self._questions})


def _plain(body: dict[str, Any], folder: Path) -> dict[str, Any]:
    images, text = [], ""
    for part in body["messages"][0]["content"]:
        if part["type"] == "text":
            text = part["text"]
            continue
        place = folder / f"{len(list(folder.iterdir()))}.image"
        place.write_bytes(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
        images.append(str(place))
    return {"text": text, "images": images, "max_tokens": body["max_tokens"]}
