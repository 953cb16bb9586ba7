"""The page of `benchmarks.gpu`: exactness and speed of the executors on a GPU.

python -m benchmarks.gpu    # writes results/gpu-NAME.json, by the GPU's name (render.py makes the page)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seeahead.bench.markdown import table

PAGE = "results/gpu.md"
SPEED = "speed/"
SHOWN = ("1", "2", "8", "16", "32", "64")
_RATES = "tokens/s", "× `generate`"
WORDS = {
    "generate": "transformers' `generate`",
    "generate, compiled": "transformers' `generate`, static cache, compiled",
}


def documents(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One page of all GPUs that have a record."""
    parts = ["# Executors on a GPU", *(part for record in records for part in _of_one(record)), _again()]
    return {PAGE: "\n\n".join(part for part in parts if part) + "\n"}


def _of_one(record: Mapping[str, Any]) -> list[str]:
    return [f"## {_gpu(record)}", _where(record), *_speeds(record), _exactness(record["stages"])]


def evidence(records: Sequence[Mapping[str, Any]]) -> str:
    """What the page for those who have a GPU shows of them."""
    return "\n\n".join(_short(record) for record in records)


def _short(record: Mapping[str, Any]) -> str:
    rows = [
        [shape, _name(name), *_cells(stage, own["generate"]["rate"])[:2], f"{stage['peak_gigabytes']:.1f}"]
        for shape, own in _by_shape(record).items()
        for name, stage in own.items()
    ]
    return f"{_where(record)}\n\n{table('', ['shape of', 'run by', *_RATES, 'GB at most'], rows)}"


def _by_shape(record: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Stages that measured speed and did not fail, by shape of model and by what ran it; of shapes that `generate` ran
    as well."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, stage in record["stages"].items():
        if name.startswith(SPEED) and "error" not in stage:
            _, shape, executor = name.split("/")
            found.setdefault(shape, {})[executor] = stage
    return {shape: own for shape, own in found.items() if "generate" in own}


def _made(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The provenance of the first stage."""
    made: Mapping[str, Any] = next(iter(record["stages"].values()))["provenance"]
    return made


def _gpu(record: Mapping[str, Any]) -> str:
    return str(_made(record)["hardware"]["gpu"])


def _where(record: Mapping[str, Any]) -> str:
    made = _made(record)
    versions = made["versions"]
    note = f" {record['note']}" if record.get("note") else ""
    return (
        f"{_gpu(record)}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"{made['date']}. "
        f"Models have the shape of the one named and random weights, in bfloat16; their answers are plain ones.{note}"
    )


def _speeds(record: Mapping[str, Any]) -> list[str]:
    found = ["### Speed"]
    for shape, own in _by_shape(record).items():
        base = own["generate"]["rate"]
        rows = [[_name(name), *_cells(stage, base)] for name, stage in own.items()]
        heads = ["run by", *_RATES, *(f"{size} tokens" for size in SHOWN), "V(32)", "GB"]
        found += [f"#### {shape}", _bound(record, own), table("", heads, rows)]
    found.append(
        "Tokens per second of an answer of 64 tokens to 1,024, prompt included; milliseconds of a pass over so many "
        "tokens with 1,024 read, the host's work included; V(32): what 32 tokens cost in units of one."
    )
    return found


def _name(name: str) -> str:
    return WORDS.get(name, f"`{name}`")


def _cells(stage: Mapping[str, Any], base: float) -> list[str]:
    passes = stage.get("pass_ms", {})
    shown = [f"{passes[size]:.1f}" if size in passes else "" for size in SHOWN]
    last = f"{stage['V']['32']:.2f}" if "32" in stage.get("V", {}) else ""
    return [f"{stage['rate']:.0f}", f"{stage['rate'] / base:.2f}", *shown, last, f"{stage['peak_gigabytes']:.1f}"]


def _bound(record: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """What reading the weights alone takes, where the memory was measured."""
    speed = record.get("memory", {}).get("terabytes_per_second")
    passes = [(stage["pass_ms"]["1"], name) for name, stage in own.items() if "pass_ms" in stage]
    if speed is None or not passes:
        return ""
    best = min(passes)
    bound = own[best[1]]["gigabytes"] / speed
    return (
        f"To read the weights once, {own[best[1]]['gigabytes']:.1f} GB, takes {bound:.1f} ms at the {speed:.2f} TB/s "
        f"of a large copy; a pass over one token with `{best[1]}` takes {best[0] / bound:.2f} times as long."
    )


def _exactness(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Answers of tiny random models of every family, drafted, that are the plain ones."""
    rows = []
    kinds = dict.fromkeys(tuple(name.split("/")[:2]) for name in stages if not name.startswith((SPEED, "demo/")))
    for dtype, executor in kinds:
        own = [stage for name, stage in stages.items() if name.startswith(f"{dtype}/{executor}/")]
        right = [stage for stage in own if "error" not in stage]
        same, count = (sum(stage[key] for stage in right) for key in ("identical", "answers"))
        agreed = sum(stage["plain_as_transformers"] for stage in right) if dtype == "float32" else ""
        rows.append(
            [f"`{executor}`", dtype, str(len(own)), f"{same} of {count}", str(agreed), str(len(own) - len(right))]
        )
    heads = ["run by", "weights", "families", "drafted as plain", "families plain as transformers", "failed"]
    about = "Drafted answers of tiny random models of each family beside the plain ones."
    return f"### Exactness\n\n{about}\n\n" + table("", heads, rows)


def _again() -> str:
    return "`python -m benchmarks.gpu` measures it again; it needs no network and goes on where it was cut off."
