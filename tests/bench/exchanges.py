"""Made-up exchanges with round numbers, so that every figure can be worked out by hand."""

from seeahead.bench.record import PLAIN, Asked, Costs, Record, Run
from seeahead.records import Generation, Step

PROVENANCE = {
    "command": ["seeahead", "demo", "-o", "a b.html"],
    "commit": "0123456789abcdef",
    "has_local_changes": True,
    "date": "2030-01-02",
    "versions": {"python": "3.11.0", "torch": None},
    "hardware": {"system": "Linux x86_64", "cpu": "A <fast> one", "num_cores": 2, "gpu": None},
}
SETTINGS = {
    "model": "llava",
    "model_type": "llava",
    "num_parameters": 140_000_000,
    "dtype": "bfloat16",
    "device": "cpu",
    "num_threads": 2,
}


def asked(scenario="describe", text="What is this?", images=("cat.jpg",), earlier=()):
    return Asked(scenario, scenario, text, images, earlier, 32)


def plain_run(place=0, num_tokens=13, seconds=0.1, first=100):
    """One token per step, each `seconds` long."""
    steps = tuple(Step((first + i,), ("target",), 0, 0, 0, 0.0, seconds * 0.9, seconds) for i in range(1, num_tokens))
    pieces = tuple((f" w{i}", "target") for i in range(num_tokens))
    arrivals = tuple(i * seconds for i in range(num_tokens))
    return _run(place, PLAIN, Generation(10, first, steps, "end", seconds_prefill=0.5), pieces, arrivals)


def drafted_run(place=0, method="lookup", num_tokens=13, per_step=3, seconds=0.15, first=100, wrong_at=None):
    """`per_step` tokens per step, all but the last of them drafted; `wrong_at` is not the plain answer's token."""
    tokens = [first + i for i in range(1, num_tokens)]
    if wrong_at is not None:
        tokens[wrong_at - 1] += 1000
    steps, pieces, arrivals = [], [(" w0", "target")], [0.0]
    for start in range(0, len(tokens), per_step):
        emitted = tuple(tokens[start : start + per_step])
        num = len(emitted) - 1
        steps.append(Step(emitted, ("drafted",) * num + ("target",), 5, 4, num, 0.03, 0.1, seconds))
        pieces += [(" drafted" * num, "drafted"), (" own", "target")]
        arrivals += [len(steps) * seconds] * 2
    generation = Generation(10, first, tuple(steps), "end", 0.5, 0.1, method)
    return _run(place, method, generation, tuple(pieces), tuple(arrivals))


def _run(place, method, generation, pieces, arrivals):
    first = generation.seconds_prefill + generation.seconds_drafter_start
    total = first + sum(step.seconds for step in generation.steps)
    text = "".join(text for text, _ in pieces)
    return Run(
        place, method, 0, 0.0, generation.token_ids, text, first, total, 0, generation, pieces=pieces, arrivals=arrivals
    )


def record(*exchanges, gaps=(), **changes):
    """Of (question, settings of the drafted answer)."""
    runs = tuple(
        run for place, (_, how) in enumerate(exchanges) for run in (plain_run(place), drafted_run(place, **how))
    )
    values = {
        "provenance": PROVENANCE,
        "settings": SETTINGS,
        "num_parameters": {"target": 1000},
        "costs": Costs(0, {}),
        "methods": (PLAIN, "lookup"),
        "peers": (),
        "asked": tuple(question for question, _ in exchanges),
        "runs": runs,
        "gaps": tuple(gaps),
    }
    return Record(**{**values, **changes})
