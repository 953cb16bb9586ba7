"""Writes the packaged suites: their questions as JSON lines, and the images that are drawn for them as PNG files."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL.Image import Image

from recipes.demo_model import demo_suite, three_tasks
from recipes.demo_model.demo_suite import Draw, Sketch
from seeahead.bench.suites import DEMO, THREE_TASKS
from seeahead.provenance import write_text

SUITES: Mapping[str, Mapping[str, Draw]] = {DEMO: demo_suite.SCENARIOS, THREE_TASKS: three_tasks.SCENARIOS}
SEED = 0
"""Of the stored results: other questions could not be compared with them."""


def write_suites(folder: Path) -> None:
    """Every suite into `folder`; images that none of them shows any more are removed."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    kept: set[str] = set()
    for name, scenarios in SUITES.items():
        rows = list(_rows(scenarios, images))
        kept.update(image for row in rows for image in row["image"])
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    for path in images.iterdir():
        if path.name not in kept:
            path.unlink()


def _rows(scenarios: Mapping[str, Draw], images: Path) -> Iterator[dict[str, Any]]:
    for scenario, draw in scenarios.items():
        rng = random.Random(f"{SEED} bench {scenario}")
        name = scenario.replace(" ", "-").replace(",", "")
        for number, sketch in enumerate(draw(scenario, rng, SEED), start=1):
            yield _row(f"{name}-{number:02d}", sketch, images)


def _row(name: str, sketch: Sketch, images: Path) -> dict[str, Any]:
    shown = [image.name if isinstance(image, Path) else store_image(images, image) for image in sketch.images]
    limits = [turn.max_new_tokens for turn in sketch.turns]
    return {
        "id": name,
        "category": sketch.scenario,
        "image": shown,
        "turns": [turn.text for turn in sketch.turns],
        "max_new_tokens": limits,
    }


def store_image(folder: Path, image: Image) -> str:
    """Named by its pixels: PNG files differ between versions of Pillow."""
    digest = hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes())
    path = folder / f"{digest.hexdigest()[:20]}.png"
    if not path.is_file():
        image.save(path, optimize=True)
    return path.name
