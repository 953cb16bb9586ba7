"""The training loop: limits, resume, a stop at a bad loss."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seeahead.errors import InputError, SeeaheadError
from seeahead.executors import tensor_files
from seeahead.train import loop
from seeahead.train.loop import Processes, TrainingStoppedError, fit, rate_at
from seeahead.train.stage import Limits, Stage

LIMITS = Limits(minutes=1, steps=5, batch_size=2, learning_rate=0.1)
# Two processes, which meet at a port that is free.
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local_addr=127.0.0.1", "--nproc_per_node=2"]


def stage(folder: Path, lines: list[str]) -> Stage:
    return Stage("words", folder, LIMITS, lines.append)


def test_a_gradient_that_is_no_number_changes_no_weight(tmp_path: Path) -> None:
    """Else what was saved last would be no number either, and go on for ever."""
    weight = torch.nn.Parameter(torch.ones(3, 1))

    def loss(step: int) -> Any:
        return (((weight * 0).sum().sqrt() if step == 2 else weight.sum()), {})

    with pytest.raises(TrainingStoppedError, match="the gradient is no number at step 2; lower learning_rate"):
        fit(stage(tmp_path, []), {"weight": weight}, loss)
    assert weight.isfinite().all()


def test_a_stage_learns_saves_and_is_not_run_twice(tmp_path: Path) -> None:
    weight, lines = torch.nn.Parameter(torch.ones(3, 1)), []
    fit(stage(tmp_path, lines), {"weight": weight}, lambda step: ((weight**2).sum(), {}))
    learned = weight.detach().clone()
    assert learned.abs().max() < 1
    with torch.no_grad():
        weight.zero_()
    fit(stage(tmp_path, lines), {"weight": weight}, lambda step: pytest.fail("must not run again"))
    assert torch.equal(weight, learned)
    assert "done before" in lines[-1]


def test_an_interrupted_stage_goes_on_at_its_step(tmp_path: Path) -> None:
    weight, steps = torch.nn.Parameter(torch.ones(1)), []
    stage(tmp_path, []).save({"weight": weight}, step=3, seconds=1.0, memory={})

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        steps.append(step)
        return (weight**2).sum(), {}

    fit(stage(tmp_path, []), {"weight": weight}, loss_of)
    assert steps == [3, 4]


def test_a_loss_that_is_no_number_stops_and_names_the_checkpoint(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    first = stage(tmp_path, [])
    first.save({"weight": weight}, step=1, seconds=0.0, memory={})
    with pytest.raises(
        TrainingStoppedError, match=r"loss is nan at step 1; last good checkpoint: .*words\.safetensors"
    ):
        fit(first, {"weight": weight}, lambda step: (weight.sum() * float("nan"), {}))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    stage(tmp_path, []).save({"other": weight}, step=1, seconds=0.0, memory={})
    with pytest.raises(SeeaheadError, match="holds other tensors than this recipe trains"):
        fit(stage(tmp_path, []), {"weight": weight}, lambda step: (weight.sum(), {}))


def line_fit(limits: Limits, folder: Path, count: int = 1) -> torch.Tensor:
    """Four numbers drawn to the mean of eight examples; `count` examples a batch."""
    weight = torch.nn.Parameter(torch.zeros(4))
    examples = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))

    def loss_of(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        drawn = examples[[(number * count + place) % 8 for place in range(count)]]
        return ((weight - drawn) ** 2).mean(), {"tokens": 3.0}

    fit(Stage("line", folder, limits, lambda line: None), {"weight": weight}, loss_of)
    return weight.detach()


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    limits = replace(LIMITS, minutes=math.inf)
    large = line_fit(limits, tmp_path / "large", count=4)
    small = line_fit(replace(limits, accumulate=4), tmp_path / "small", count=1)
    torch.testing.assert_close(small, large)


def test_averaged_weights_are_between_the_first_and_the_last(tmp_path: Path) -> None:
    limits = replace(LIMITS, minutes=math.inf)
    last = line_fit(limits, tmp_path / "last", count=8)
    mean = line_fit(replace(limits, average=0.9), tmp_path / "mean", count=8)
    assert (mean.abs() < last.abs()).all()
    assert (mean * last > 0).all()


@pytest.mark.parametrize("changes", [{}, {"average": 0.9}, {"accumulate": 3}])
def test_a_stage_of_steps_is_the_same_wherever_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, float]
) -> None:
    limits = replace(LIMITS, minutes=math.inf, steps=12, **changes)
    whole = line_fit(limits, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    gradient, calls = loop.gradient, []

    def cut_off(*arguments: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return gradient(*arguments)

    monkeypatch.setattr(loop, "gradient", cut_off)
    with pytest.raises(KeyboardInterrupt):
        line_fit(limits, tmp_path / "cut off")
    assert torch.equal(line_fit(limits, tmp_path / "cut off"), whole)
    assert len(calls) == 13
    assert not list((tmp_path / "cut off").glob("*.optimizer.*"))


@pytest.mark.parametrize("kept", ["line.safetensors", "line.optimizer.safetensors", "line.json"])
def test_a_stage_is_the_same_though_it_was_cut_off_within_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """Killed once this file of the fifth checkpoint is in its place."""
    limits = replace(LIMITS, minutes=math.inf, steps=12)
    whole = line_fit(limits, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    renamed, replaced = [], Path.replace

    def killed(path: Path, target: Path) -> Path:
        found = replaced(path, target)
        renamed.append(Path(target).name)
        if renamed.count(kept) == 5:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            line_fit(limits, tmp_path / "cut off")
    steps, gradient = [], loop.gradient
    monkeypatch.setattr(loop, "gradient", lambda stage, step, *more: steps.append(step) or gradient(stage, step, *more))
    found = line_fit(limits, tmp_path / "cut off")
    assert steps[0] == 5, "no step is taken twice"
    if kept != "line.safetensors":  # between two renames the optimizers' memory is the only thing to be lost
        assert torch.equal(found, whole)


def test_full_memory_names_the_setting_to_lower(tmp_path: Path) -> None:
    def loss_of(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        raise RuntimeError(
            "[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        )

    with pytest.raises(TrainingStoppedError, match=r"out of memory at step 0; lower batch_size \(now 2\)"):
        fit(stage(tmp_path, []), {"weight": torch.nn.Parameter(torch.ones(1))}, loss_of)


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, kept = torch.nn.Parameter(torch.ones(1)), stage(tmp_path, [])
    kept.save({"weight": weight}, step=1, seconds=0.0, memory={})

    def full(tensors: object, path: Path, told: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(SeeaheadError, match=r"cannot write words\.safetensors: No space left on device; free space"):
        kept.save({"weight": weight * 2}, step=2, seconds=0.0, memory={})
    assert not list(tmp_path.glob("*.partial"))
    assert kept.load({"weight": weight}).step == 1


def test_several_processes_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InputError, match="needs accelerate; pip install accelerate"):
        Processes()


def test_two_processes_learn_what_one_learns_from_both_their_batches(tmp_path: Path) -> None:
    script = tmp_path / "learn.py"
    script.write_text(TWO_PROCESSES)
    source = Path(loop.__file__).parents[2]
    command = [*LAUNCH, str(script), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    together = load_file(tmp_path / "out" / "line.safetensors")["weight"]
    alone = line_fit(replace(LIMITS, minutes=math.inf), tmp_path / "alone", count=2)
    torch.testing.assert_close(together, alone)
    one, two = ((tmp_path / name / "line.losses.jsonl").read_text() for name in ("alone", "out"))
    steps = [[json.loads(line)["step"] for line in lines.splitlines()] for lines in (one, two)]
    assert steps[0][-1] == 5
    assert steps[1][-1] == 5
    assert len(set(steps[1])) == len(steps[1])
    assert done.stdout.count("finished after 5 steps") == 1, "what both have to tell is told once"


def test_what_one_process_alone_has_asked_is_learned_by_both(tmp_path: Path) -> None:
    """A batch without images asks nothing of what reads images."""
    script = tmp_path / "learn.py"
    script.write_text(NOW_AND_THEN)
    source = Path(loop.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    runs = {"together": LAUNCH, "alone": [sys.executable]}
    for name, before in runs.items():
        command = [*before, str(script), str(tmp_path / name), str(len(runs) if name == "alone" else 1)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    together, alone = (load_file(tmp_path / name / "line.safetensors") for name in runs)
    for name, value in alone.items():
        assert value.any()
        torch.testing.assert_close(together[name], value)


NOW_AND_THEN = """
import sys
from pathlib import Path
import torch
from seeahead.train.loop import fit
from seeahead.train.stage import Limits, Stage

parts = {name: torch.nn.Parameter(torch.zeros(size)) for name, size in (("words", 4), ("image", 3), ("last", 5))}
limits = Limits(steps=5, batch_size=2, learning_rate=0.1, accumulate=int(sys.argv[2]))
stage = Stage("line", Path(sys.argv[1]), limits, lambda line: None)

def loss_of(number):
    asked = [parts["words"], parts["last"], *([parts["image"]] if number % 4 == 1 else [])]
    return sum(((part - number % 3 - 1) ** 2).mean() for part in asked), {}

fit(stage, parts, loss_of)
"""


TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
from seeahead.train.loop import fit
from seeahead.train.stage import Limits, Stage

weight = torch.nn.Parameter(torch.zeros(4))
examples = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
limits = Limits(steps=5, batch_size=2, learning_rate=0.1)
stage = Stage("line", Path(sys.argv[1]), limits, print)
fit(stage, {"weight": weight}, lambda number: (((weight - examples[[number % 8]]) ** 2).mean(), {}))
"""


def test_the_rate_rises_then_falls() -> None:
    rates = [rate_at(share, LIMITS) for share in (0.01, 0.04, 0.5, 1.0)]
    assert rates[0] < rates[1] == pytest.approx(0.1)
    assert rates[1] > rates[2] > rates[3] > 0
