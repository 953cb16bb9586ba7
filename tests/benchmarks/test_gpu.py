"""The benchmark of captured passes: every stage at toy sizes, and a second call that asks nothing again."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu


def test_every_stage_runs_at_toy_sizes_and_is_not_run_again(tmp_path, capsys):
    output = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--device", "cpu", "-o", str(output), "--seconds", "-1"]) == 1
    assert not output.exists()
    assert gpu.main(["--tiny", "--device", "cpu", "-o", str(output)]) == 0
    stages = json.loads(output.read_text())["stages"]
    assert set(stages) == {name for name, _ in gpu.stages("cpu", is_tiny=True)}
    for name, stage in stages.items():
        assert "error" not in stage, (name, stage)
        assert stage["provenance"]["versions"]["torch"]
        if not name.startswith("speed"):
            assert stage["plain_as_transformers"]
            assert stage["identical"] == stage["answers"] or "bfloat16/" in name.replace("bfloat16/exact", "")
    assert stages["speed/LLaVA-1.5-7B/graphs"]["V"]["1"] == 1
    capsys.readouterr()
    assert gpu.main(["--tiny", "--device", "cpu", "-o", str(output)]) == 0
    assert capsys.readouterr().out == ""


def test_a_record_of_another_machine_or_size_is_left_alone(tmp_path):
    output = tmp_path / "gpu.json"
    for run in ({"is_tiny": False, "device": "cpu", "gpu": None}, {"is_tiny": True, "device": "cuda", "gpu": "H100"}):
        output.write_text(json.dumps({"run": run, "stages": {}}))
        with pytest.raises(SystemExit, match="is of another run"):
            gpu.main(["--tiny", "--device", "cpu", "-o", str(output)])
        assert json.loads(output.read_text())["stages"] == {}


def test_each_kind_of_gpu_has_a_file_of_its_own(tmp_path, monkeypatch):
    names = {"cuda": "NVIDIA H100 80GB HBM3", "cuda:1": "NVIDIA GeForce RTX 4090"}
    with monkeypatch.context() as patched:
        patched.setattr(gpu.torch.cuda, "get_device_name", names.get)
        assert gpu.output_of("cuda", is_tiny=False) == Path("results/gpu-nvidia-h100-80gb-hbm3.json")
        assert gpu.output_of("cuda:1", is_tiny=False) == Path("results/gpu-nvidia-geforce-rtx-4090.json")
        assert gpu.output_of("cuda", is_tiny=True).parent == Path("out"), "toy sizes are no results"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "stages", lambda device, is_tiny: iter([("speed/x/graphs", dict)]))
    assert gpu.main(["--tiny", "--device", "cpu"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gpu-cpu.json"]


def test_a_stage_that_fails_says_why():
    def fail():
        raise RuntimeError("no memory")

    assert gpu.told(fail)() == {"error": "RuntimeError: no memory"}
