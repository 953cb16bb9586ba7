"""What the vision drafter drafts when it is shown the image, a blank one, or another question's.

Beside these stands the language drafter, which is its text part.

python -m benchmarks.studies.image_ablation    # writes results/pictures.json (render.py makes the page)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import seeahead
from benchmarks.publish import whose_weights
from benchmarks.studies import measured
from seeahead.api import Engine
from seeahead.bench.harness import question_of
from seeahead.bench.markdown import table
from seeahead.bench.suites import load_suite
from seeahead.drafting import DraftContext, Drafter, Drafting
from seeahead.provenance import provenance, write_json

RESULT = Path(__file__).resolve().parents[2] / "results" / "pictures.json"
SEED = 0
Shown = Callable[[torch.Tensor], torch.Tensor]
"""Visual embeddings [places, width] of a prompt -> what is shown in their place."""


@dataclass
class PreviousImage:
    """The images of the question before, cut or repeated to the same number of places."""

    before: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, visual: torch.Tensor) -> torch.Tensor:
        shown = self.before[-1] if self.before else torch.zeros_like(visual)
        self.before[:] = [visual]
        times = -(-len(visual) // len(shown))
        return shown.repeat(times, 1)[: len(visual)]


@dataclass
class Substituted:
    """A drafter that is shown something else in the place of images."""

    drafter: Drafter
    shown: Shown

    def __getattr__(self, name: str) -> Any:
        return getattr(self.drafter, name)

    def start(self, context: DraftContext) -> Drafting:
        assert context.embeddings is not None
        images = torch.tensor(sorted(context.image_token_ids))
        is_visual = torch.isin(context.inputs.token_ids[0], images)
        embeddings = context.embeddings.clone()
        if is_visual.any():
            embeddings[is_visual] = self.shown(embeddings[is_visual])
        return self.drafter.start(replace(context, embeddings=embeddings))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="questions per task")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    args = parser.parse_args()
    plain = seeahead.load("demo", drafter="none")
    vision = plain.with_drafter("vision").drafter
    drafters: dict[str, Any] = {
        "its image": vision,
        "a blank one": Substituted(vision, torch.zeros_like),
        "another's": Substituted(vision, PreviousImage()),
        "none (language)": plain.with_drafter("language").drafter,
    }
    rows = [row for shown, drafter in drafters.items() for row in measure(plain, shown, drafter, args.count)]
    write_json(args.output, {"provenance": provenance(SEED), "count": args.count, "rows": rows})
    return 0


def measure(plain: Engine, shown: str, drafter: Any, count: int) -> list[dict[str, Any]]:
    """Steps and tokens by task."""
    engine, found = plain.with_drafter(drafter), dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as workspace:
        suite = load_suite("three-tasks", count=count, seed=SEED, folder=None, workspace=Path(workspace))
        for item in suite.items:
            sys.stderr.write(f"\r{shown}: {item.id}                    ")
            messages, turn = question_of(item, ()).messages(), item.turns[0]
            reply = engine.generate(messages, max_new_tokens=turn.max_new_tokens, temperature=0.0)
            row = found.setdefault(
                item.scenario, {"shown": shown, "task": item.scenario, "num_steps": 0, "num_emitted": 0}
            )
            row["num_steps"] += len(reply.steps)
            row["num_emitted"] += sum(len(step.emitted) for step in reply.steps)
    return list(found.values())


def documents(record: Mapping[str, Any]) -> dict[str, str]:
    """The page of a stored measurement: texts by file name below the folder of documents."""
    rows = record["rows"]
    efficiency = {(row["shown"], row["task"]): row["num_emitted"] / max(1, row["num_steps"]) for row in rows}
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = [
        [shown, *(f"{efficiency[shown, task]:.2f}" for task in tasks)]
        for shown in dict.fromkeys(row["shown"] for row in rows)
    ]
    parts = [
        "# What the image gives the vision drafter",
        f"{measured(record['provenance'])}: {record['count']} questions of each of the three tasks, greedy. "
        "The target always sees the image; the drafter sees what the first column says. "
        f"{whose_weights(record['provenance'])}",
        table("τ by what the drafter is shown", ["shown", *tasks], lines),
    ]
    return {"results/pictures.md": "\n\n".join(parts) + "\n"}


if __name__ == "__main__":
    sys.exit(main())
