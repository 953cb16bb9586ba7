"""The benchmark of captured passes: every stage at toy sizes, and a second call that asks nothing again."""

import json

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


def test_a_stage_that_fails_says_why():
    def fail():
        raise RuntimeError("no memory")

    assert gpu.told(fail)() == {"error": "RuntimeError: no memory"}
