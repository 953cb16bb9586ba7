"""The process that a server's load is compared with, on a made-up GenAI that answers with a token per row of pixels."""

import json
import sys

import pytest
from PIL import Image

from benchmarks.serve_peer import WORKER
from seeahead.bench.peers.table import OTHERS
from seeahead.bench.peers.worker import Worker

GENAI = """
import types
from enum import Enum
__version__ = "2026.1"
GenerationStatus = Enum("GenerationStatus", "RUNNING FINISHED")
GenerationConfig = dict
class SchedulerConfig: pass
class Handle:
    def __init__(self, image): self.left = [{0: types.SimpleNamespace(generated_ids=range(image.shape[1]))}]
    def can_read(self): return bool(self.left)
    def read(self): return self.left.pop()
    def get_status(self): return GenerationStatus.FINISHED
class ContinuousBatchingPipeline:
    def __init__(self, folder, scheduler, device): pass
    def add_request(self, client, text, images, config): return Handle(images[0])
    def step(self): pass
"""


@pytest.mark.parametrize(("settings", "rows"), [({}, 5), ({"resized_to": [6, 4]}, 4)])
def test_images_are_read_as_the_peer_of_the_benchmark_reads_them(tmp_path, settings, rows):
    (tmp_path / "openvino_genai.py").write_text(GENAI)
    (tmp_path / "openvino.py").write_text("def Tensor(pixels): return pixels\n")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (5, 3)).save(tmp_path / "a.jpg", exif=exif)
    programs = OTHERS["genai fp16"].engine.programs[0].parent
    words = [sys.executable, "-c", WORKER, str(tmp_path), str(programs)]
    with Worker(words, {"PYTHONPATH": str(tmp_path)}) as worker:
        assert worker.read() == {"version": "2026.1"}
        question = {"text": "What?", "images": [str(tmp_path / "a.jpg")], "max_tokens": 9}
        told = worker.ask({"clients": 2, "questions": [question]})
    assert [answer["tokens"] for answer in told["answers"]] == [rows]
