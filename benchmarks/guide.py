"""Which drafter to take when: a page made from one record of all of them. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.publish import ALTS
from seeahead.bench.figures import FIGURES, Sample
from seeahead.bench.markdown import name, plain_words, shown, table
from seeahead.bench.statistics import Interval
from seeahead.bench.summary import Summary, ranked
from seeahead.bench.words import times

NEEDS: Mapping[str, str] = {
    "auto": "nothing, but then it is `lookup` alone; here it had the demo's own drafters",
    "lookup": "nothing",
    "language": "a small language model that speaks the target's tokens",
    "vision": "a compact VLM trained for the target",
    "tabed": "nothing more than `vision`; no training of its own",
    "msd": "one layer trained on the target's features",
}
"""What a user must have. Other methods of a record are settings of these."""

AUTO = """\
**Name none.** Where no drafter is named, [`auto`](methods/auto.md) takes `lookup` (prompt lookup, n-grams of prompt and
answer) and every drafter that is there for the model, puts what they propose into one tree, learns how often each is
right while it answers, and drafts only as far as that pays on this machine. There are the demo's own; those that you
[trained](training.md) here for your model; and [published ones](published-drafters.md) for its hub id, once you fetched
them. `-d auto:members=FOLDER_OR_HUB_ID+lookup`, several joined by `+`, takes others.
What follows is for those who want to know. [What the words mean](glossary.md).
"""

SETTINGS = """\
## Settings of a single drafter

- `chain=5` drafts one path instead of a tree; `num_nodes=6` keeps trees small. `auto` chooses both by what passes take
  on this machine.
- `min_probability` is the probability that a path must have, by the drafter, to be drafted. Lower it on a GPU, where a
  pass over a whole tree costs little more than one over a token.
- Training a drafter on what you ask usually gains more than settings do ([training](training.md)):
  `seeahead train drafter --recipe recipes/drafters/own-pictures.toml -m YOUR_MODEL --data photos/ -o out/mine`.
- Answers stay the same with any of them. `seeahead bench --data YOURS` measures how long they take.
"""

WHOLE_MODELS = """\
## A smaller model of the same family

A folder or hub id of any vision-language model drafts for a larger one of the same tokenizer:
`-m Qwen/Qwen3-VL-8B-Instruct -d Qwen/Qwen3-VL-2B-Instruct`.

- It sees the images, in every turn: each prompt is encoded anew by its own processor, read by its own tower and
  numbered by its own positions, on the executor and in the precision of the target. Image tokens may differ in number
  and in id; ids that the target does not have are never drafted.
- No training is needed. A level of drafts costs a pass of the smaller model, so its share of the target's weights
  bounds what can be gained: 3 billion beside 7 leave little, 2 or less beside 7 or more leave most. That is reckoned,
  not measured; `seeahead bench` measures it, and `auto:members=FOLDER+lookup` drafts as far as it pays.
- `-d tabed:vision=FOLDER,views=MT` shows it several views of a prompt ([TABED](methods/tabed.md)): `M` the images,
  `T` a newline for each, `C` captions, `P` (of LLaVA-1.5 types alone) each image's features pooled, to `pooled=144`
  say.
- Refused in one line: a model of another tokenizer (take one of the target's, or `lookup`), one without a processor,
  one that does not fit into memory beside the target.
- What its context does not hold, or its processor refuses, is drafted from the text. Inside transformers' `generate`,
  which encodes images before a loop is called, it needs the messages: `model.generate(**inputs, custom_generate=loop,
  prompt=messages)`. Without them it drafts from the text, and says so.
"""


def documents(stem: str, summary: Summary) -> dict[str, str]:
    """The page, by its name below the folder of documents."""
    return {"choosing-a-drafter.md": _page(stem, summary)}


def _page(stem: str, summary: Summary) -> str:
    by_temperature = {temperature: ranked(methods, is_peer=False) for temperature, methods in summary.methods.items()}
    parts = [
        "# Choosing a drafter",
        AUTO.strip(),
        f"![{ALTS[0]}](images/{stem}-speed.svg)",
        f"From one run of everything: {plain_words(summary.machine)} ([all figures](results/{stem}.md)). "
        "Methods are sorted by whole answers, end to end. Speed-ups are of decoding alone; all are over plain "
        "decoding with the same loop, geometric means over scenarios.",
        "## In short",
        "\n".join(
            f"- {line}" for temperature, methods in by_temperature.items() for line in _short(temperature, methods)
        ),
        _methods(by_temperature),
        _scenarios(summary, by_temperature),
        SETTINGS.strip(),
        WHOLE_MODELS.strip(),
    ]
    return "\n\n".join(parts) + "\n"


def _value(figure: Interval | None) -> float:
    return 0.0 if figure is None else figure.value


def _when(temperature: float) -> str:
    return "greedy" if temperature == 0 else f"temperature {temperature:g}"


def _short(temperature: float, methods: Sequence[Sample]) -> list[str]:
    if not methods:
        return []
    lines = [f"Fastest, {_when(temperature)}: **{name(methods[0])}**, {_beside(methods[0])}."]
    free = next((entry for entry in methods if entry.method == "lookup"), None)
    if free is not None:
        lines.append(f"Without any weights, {_when(temperature)}: lookup, {_beside(free)}.")
    safe = [name(entry) for entry in methods if _extremes(entry)[0][1] >= 1]
    lines.append(f"Decoding slower in no scenario, on average, {_when(temperature)}: {', '.join(safe) or 'none'}.")
    return lines


def _beside(entry: Sample) -> str:
    return f"{shown(times(entry['end to end']))} end to end, {shown(times(entry['speed-up']))} in decoding"


def _extremes(entry: Sample) -> tuple[tuple[str, float], tuple[str, float]]:
    """(scenario, speed-up) where the method is slowest, and where it is fastest."""
    speeds = {scenario: part["ratio of sums"] for scenario, part in entry.groups["scenario"].items()}
    known = [(scenario, speed.value) for scenario, speed in speeds.items() if speed is not None]
    ordered = sorted(known, key=lambda pair: pair[1])
    return ordered[0], ordered[-1]


def _methods(by_temperature: Mapping[float, Sequence[Sample]]) -> str:
    first, *others = by_temperature.items()
    rows = []
    for entry in first[1]:
        more = [next((other for other in methods if other.method == entry.method), None) for _, methods in others]
        worst, best = _extremes(entry)
        rows.append(
            [
                name(entry),
                NEEDS.get(entry.method, "–"),
                shown(times(entry["speed-up"])),
                *(shown(times(other["speed-up"] if other else None)) for other in more),
                *(shown(FIGURES[word].cell(entry)) for word in ("τ by scenario", "draft")),
                f"{plain_words(worst[0])} {worst[1]:.2f}×",
                f"{plain_words(best[0])} {best[1]:.2f}×",
            ]
        )
    temperatures = [_when(temperature) for temperature in by_temperature]
    headings = ["drafter", "needs", *temperatures, "τ by scenario", "drafting", "slowest", "fastest"]
    return table("Every drafter", headings, rows)


def _scenarios(summary: Summary, by_temperature: Mapping[float, Sequence[Sample]]) -> str:
    rows = []
    for scenario in summary.record.scenarios:
        cells = []
        for methods in by_temperature.values():
            speeds = [(_value(entry.groups["scenario"][scenario]["ratio of sums"]), name(entry)) for entry in methods]
            best = [f"{found} {speed:.2f}×" for speed, found in sorted(speeds, key=lambda pair: -pair[0])[:3]]
            cells.append(", ".join(best))
        rows.append([plain_words(scenario), *cells])
    headings = ["scenario", *(f"fastest three, {_when(temperature)}" for temperature in by_temperature)]
    return table("By what is asked", headings, rows)
