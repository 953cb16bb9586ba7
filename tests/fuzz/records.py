"""What runs leave behind: generations and whole records, up to the pages that are made of them."""

import json
from functools import cache

from seeahead.bench.html import report
from seeahead.bench.markdown import markdown
from seeahead.bench.record import Asked, Costs, Gap, Record, Run, read_record
from seeahead.bench.summary import summarize
from seeahead.records import Generation, Step


@cache
def _generation():
    steps = (
        Step((5, 6, 7), ("drafted", "drafted", "target"), 4, 3, 2, 0.01, 0.04, 0.06),
        Step((8,), ("target",), 0, 0, 0, 0.0, 0.04, 0.05),
    )
    return Generation(12, 4, steps, "end", 0.3, 0.01, "lookup", ("a note",))


def make_generation(mutator):
    return mutator.value([_generation().to_json()])


def read_generation(value, folder):
    return Generation.from_json(value)


@cache
def _records():
    """Two records as JSON: of one question, and of two with a peer, a follow-up, a gap and temperatures."""
    made = []
    for number, methods in ((1, ("none", "lookup")), (2, ("none", "lookup", "transformers"))):
        asked = [Asked("a", "question", "What?", ("cat.png",)), Asked("b", "question", "And?", (), (("What?", "A"),))]
        runs = [
            _run(place, method, temperature)
            for temperature in ((0.0,) if number == 1 else (0.0, 1.0))
            for place in range(number)
            for method in methods
        ]
        record = Record(
            provenance={"command": ["seeahead", "bench"], "commit": "0" * 40, "date": "2030-01-02", "seed": 7},
            settings={
                "suite": "demo",
                "model": "demo",
                "dtype": "float32",
                "device": "cpu",
                "num_repeats": 1,
                "seed": 7,
            },
            num_parameters={"target": 1000},
            costs=Costs(300, {1: 0.04, 2: 0.042, 4: 0.05}),
            methods=methods,
            peers=methods[2:],
            asked=tuple(asked[:number]),
            runs=tuple(runs),
            gaps=(Gap(0, "lookup", 0, 1, 0.02),),
        )
        made.append(json.loads(json.dumps(record.to_json())))
    return tuple(made)


def _run(place, method, temperature):
    tokens, texts = _generation().token_ids, (("a cat", "target"), (" sits", "drafted"))
    if method == "transformers":
        return Run(place, method, 0, temperature, tokens, "a cat sits", 0.3, 0.7, 2**20)
    return Run(place, method, 0, temperature, tokens, "a cat sits", 0.3, 0.5, 2**20, _generation(), pieces=texts)


def make_record(mutator):
    return mutator.json(_records())


def read_whole_record(value, folder):
    path = folder / "bench.json"
    path.write_bytes(value)
    record = read_record(path)
    markdown(summarize(record))
    report(record).encode()
