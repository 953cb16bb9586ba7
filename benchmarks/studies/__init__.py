"""Measurements that are no benchmark: each file measures, and renders what it stored."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def measured(source: Mapping[str, Any]) -> str:
    """Where the figures of a study come from, by its provenance."""
    name, *rest = source["command"]
    if name.endswith(".py"):  # a module of today, some under another name
        stem = _MODULES.get(Path(name).stem, Path(name).stem)
        name, rest = "python", ["-m", f"benchmarks.{stem}", *rest]
    where = f"at commit `{str(source['commit'])[:12]}` on {source['hardware']['cpu']}"
    return f"Measured by `{shlex.join([name, *rest])}` {where}"


_MODULES = {
    "pictures": "studies.image_ablation",
    "ensembles": "studies.ensemble_weights",
    "probe": "studies.probe",
    "auto_parts": "studies.auto_parts",
}


SEES = "peer_sees"
"""Stored with runs whose peers were seen to read images by the model's own tower, in the size of its processor."""
BLIND = (
    " In this run OpenVINO GenAI saw images by a vision tower of random weights, since its converter did not find the "
    "model's: its answers are others, and shorter, so that prompts weigh a few per cent more on its whole answers."
)
