"""The processes of other engines: one that answers, fails, ends or hangs; GenAI's program on a made-up GenAI."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seeahead.bench.peers.programs import older_names, run_genai
from seeahead.bench.peers.table import OTHERS
from seeahead.bench.peers.worker import PeerError, Worker
from seeahead.data.suite import BUNDLED as IMAGES


def told_by(code, **settings):
    return Worker([sys.executable, "-c", code], **settings)


def test_a_worker_answers_line_by_line_and_passes_over_what_is_no_answer():
    noise = "print('noise'); print('{noise'); print([1]); os.write(1, b'{\\xff\\n')"
    with told_by(f"import os, sys\nfor line in sys.stdin: {noise}; print(line, end='', flush=True)") as worker:
        assert worker.ask({"a": 1}) == {"a": 1}
        assert worker.ask({"b": "ü"}) == {"b": "ü"}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('it is\\nno model')", "exit code 1: no model"),
        ('print(\'{"error": "two\\\\nlines"}\')', "^two lines"),
        ("import os; os.abort()", "ended with exit code -6: nothing was said"),
    ],
)
def test_what_a_worker_fails_with_is_one_line(code, says):
    with told_by(code) as worker:
        with pytest.raises(PeerError, match=says) as error:
            worker.read()
        assert "\n" not in str(error.value)


def test_a_worker_that_has_ended_says_so_to_every_question():
    with told_by("import sys; sys.stdin.readline(); sys.exit('out of memory')") as worker:
        for _ in range(3):
            with pytest.raises(PeerError, match="exit code 1: out of memory"):
                worker.ask({"long": "x" * 100_000})


def test_a_worker_that_hangs_is_ended():
    with told_by("import time; time.sleep(60)") as worker, pytest.raises(PeerError, match="exit code -9"):
        worker.read(0.2)


GENAI = """
import types
from enum import Enum
__version__ = "2026.1"
StreamingStatus = Enum("StreamingStatus", "RUNNING")
class StreamerBase: pass
class GenerationConfig(types.SimpleNamespace):
    def __init__(self, path=None): super().__init__(read=path)
class SchedulerConfig: pass
class Tokenizer:
    def apply_chat_template(self, messages, add_generation_prompt): return repr(messages)
class VLMPipeline:
    def __init__(self, folder, device, **properties):
        print("words on stdout")
        if "broken" in folder: raise RuntimeError("no such file")
    def get_tokenizer(self): return Tokenizer()
    def generate(self, prompt, generation_config, streamer, images=()):
        for tokens in (3, [4, 5]): streamer.write(tokens)
        settings = {name: value for name, value in vars(generation_config).items() if name != "read"}
        metrics = types.SimpleNamespace(get_num_input_tokens=lambda: 12)
        return types.SimpleNamespace(texts=[f"{prompt} {len(images)} {settings}"], perf_metrics=metrics)
"""


VLLM = """
import types
__version__ = "0.1"
SamplingParams = dict
class LLM:
    def __init__(self, folder, **settings): self.settings = settings
    def chat(self, messages, given, **settings):
        answer = types.SimpleNamespace(token_ids=(3, 4), text=f"{messages} {given} {self.settings}")
        times = types.SimpleNamespace(first_token_ts=5.0, last_token_ts=5.0)
        return [types.SimpleNamespace(metrics=times, outputs=[answer], prompt_token_ids=[1, 2])]
"""


def started(peer, folder, **settings):
    settings = {"model": str(folder), "uses_lookup": OTHERS[peer].uses_lookup, "num_threads": 1, **settings}
    command = OTHERS[peer].engine.command(Path(sys.executable), json.dumps(settings))
    return Worker(command, {"PYTHONPATH": str(folder)})


@pytest.fixture
def genai(tmp_path):
    """The program in an environment with a made-up GenAI."""
    (tmp_path / "openvino_genai.py").write_text(GENAI)
    (tmp_path / "openvino.py").write_text("__version__ = '2026.1-abc'\ndef Tensor(pixels): return pixels\n")
    return lambda **settings: started("genai int8", tmp_path, **settings)


@pytest.fixture
def vllm(tmp_path):
    """The program in an environment with a made-up vLLM, and a model of few tokens."""
    (tmp_path / "vllm.py").write_text(VLLM)
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 99}}')
    return lambda peer: started(peer, tmp_path)


def test_genai_is_shown_images_where_they_stand(genai):
    with genai() as worker:
        assert worker.read()["versions"]["openvino"] == "2026.1"
        messages = [
            {"role": "user", "images": [str(IMAGES / "cat.jpg")], "text": "What?"},
            {"role": "assistant", "images": [], "text": "A cat."},
        ]
        told = worker.ask({"messages": messages, "max_new_tokens": 3, "temperature": 0.0, "seed": 1})
    assert told["token_ids"] == [3, 4, 5]
    assert "'<ov_genai_image_0>What?'" in told["text"]
    assert "'do_sample': False" in told["text"]
    assert 0 < told["seconds_first"] <= told["seconds_total"]


def test_genai_samples_by_seed_and_looks_up(genai):
    with genai(uses_lookup=True) as worker:
        worker.read()
        asked = {"messages": [{"role": "user", "images": [], "text": "a"}], "max_new_tokens": 3}
        told = worker.ask({**asked, "temperature": 0.7, "seed": 9})
        assert "'temperature': 0.7, 'rng_seed': 9" in told["text"]
        assert f"'num_assistant_tokens': {run_genai.DRAFT_TOKENS}" in told["text"]
        missing = [{"role": "user", "images": ["none.jpg"], "text": ""}]
        with pytest.raises(PeerError, match="FileNotFoundError"):
            worker.ask({**asked, "messages": missing, "temperature": 0})
        assert worker.ask({**asked, "temperature": 0.0, "seed": 1})["token_ids"], "an error ends one answer alone"


def test_a_model_that_genai_cannot_load_is_told(genai):
    with genai(model="broken") as worker, pytest.raises(PeerError, match="RuntimeError: no such file"):
        worker.read()


ASKED = {"messages": [{"role": "user", "images": [str(IMAGES / "cat.jpg")], "text": "What?"}], "max_new_tokens": 3}


def test_vllm_gets_images_as_parts_and_room_for_what_the_model_holds(vllm):
    with vllm("vllm") as worker:
        assert worker.read()["versions"]["vllm"] == "0.1"
        told = worker.ask({**ASKED, "temperature": 0.7, "seed": 9})
    assert told["token_ids"] == [3, 4]
    assert "'type': 'image_pil'" in told["text"]
    assert "'seed': 9" in told["text"]
    assert "'max_model_len': 99" in told["text"]
    assert "speculative_config" not in told["text"]
    assert told["seconds_first"] == told["seconds_total"] > 0


def test_vllm_draws_nothing_with_drafts(vllm):
    with vllm("vllm lookup") as worker:
        worker.read()
        with pytest.raises(PeerError, match="draws wrongly with drafts on a CPU"):
            worker.ask({**ASKED, "temperature": 0.7, "seed": 9})
        assert "speculative_config" in worker.ask({**ASKED, "temperature": 0.0, "seed": 9})["text"]


def test_weights_get_the_names_that_other_engines_read(tmp_path):
    target, folder = tmp_path / "target", tmp_path / "folder"
    target.mkdir()
    names = ("vision_tower.encoder.a", "vision_tower.vision_model.b", "language_model.c")
    save_file(
        {name: torch.full((2,), float(number)) for number, name in enumerate(names)}, target / "model.safetensors"
    )
    older_names.write(str(target), str(folder))
    found = load_file(folder / "model.safetensors")
    assert {name: weight[0].item() for name, weight in found.items()} == {
        "vision_tower.vision_model.encoder.a": 0,
        "vision_tower.vision_model.b": 1,
        "language_model.c": 2,
    }


def test_programs_of_other_environments_import_nothing_of_ours():
    for path in Path(run_genai.__file__).parent.glob("*.py"):
        code = f"import runpy, sys; runpy.run_path({str(path)!r}); print('seeahead' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert found.stdout.strip() == "False", found.stderr
