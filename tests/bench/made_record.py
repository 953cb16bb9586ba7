"""A made-up benchmark record with every case in it: four scenarios of four questions, peers, a failure, temperatures.

Nothing is random, so figures repeat to the last digit. A question's plain answer has a known length; a drafted method
emits a known number of tokens per step, and its seconds follow from the numbers below.
"""

from dataclasses import replace

from seeahead.bench.record import PLAIN, Asked, Costs, Gap, Record, Run
from seeahead.records import Generation, Step

SCENARIOS = ("caption", "question", "chart", "story")
PEERS = ("transformers", "transformers assisted", "transformers lookup")
METHODS = (PLAIN, "lookup", "language", *PEERS)
FAILED = "transformers lookup"
ERROR = "ValueError: the prompt is <too> long"
NASTY_WORDS = ("</p><script>alert('no')</script>", "a | b", "[x](https://e.example)", "`x` *y* &lt;")
NASTY = "</p><script>alert('no')</script> & \"so\" on"

PLAIN_STEP = 0.05
TOKENS_PER_STEP = {PLAIN: (1,), "lookup": (1, 3, 1, 2), "language": (3, 4, 2, 5)}  # in turn
SECONDS = {PLAIN: (0.0, 0.048), "lookup": (0.001, 0.056), "language": (0.012, 0.060)}  # draft, target
DEPTH = {PLAIN: 0, "lookup": 3, "language": 5}
NODES = {PLAIN: 0, "lookup": 3, "language": 10}
PEER_STEP = {"transformers": 0.054, "transformers assisted": 0.031}

PROVENANCE = {
    "command": ["seeahead", "bench", "--suite", "demo", "--output", "a b.json"],
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "has_local_changes": False,
    "date": "2030-01-02",
    "seed": 7,
    "versions": {"python": "3.11.0", "seeahead": "0.1.0", "torch": "2.13.0", "transformers": None},
    "hardware": {"system": "Linux x86_64", "cpu": "A <fast> one", "num_cores": 2, "gpu": None},
}
SETTINGS = {
    "suite": "demo",
    "about": "ten scenarios",
    "model": "demo",
    "model_type": "llava",
    "num_parameters": 140_000_000,
    "dtype": "float32",
    "device": "cpu",
    "num_threads": 2,
    "num_questions": 16,
    "num_repeats": 2,
    "temperatures": [0.0, 1.0],
    "seed": 7,
}


def steps_of(method, tokens, factor=1.0):
    """Steps that emit `tokens`, at the pace of the method; `factor` stretches every second."""
    steps, place, number = [], 0, 0
    draft, target = (seconds * factor for seconds in SECONDS[method])
    while place < len(tokens):
        pace = TOKENS_PER_STEP[method]
        emitted = tuple(tokens[place : place + pace[number % len(pace)]])
        accepted = len(emitted) - 1
        origins = ("drafted",) * accepted + ("target",)
        seconds = draft + target + 0.002 * factor
        steps.append(Step(emitted, origins, NODES[method], DEPTH[method], accepted, draft, target, seconds))
        place, number = place + len(emitted), number + 1
    return tuple(steps)


def ours(asked, method, repeat=0, temperature=0.0, num_tokens=20, factor=1.0, first=100):
    tokens = tuple(range(first, first + num_tokens))
    start = 0.01 if method != PLAIN else 0.0
    generation = Generation(
        50, first, steps_of(method, tokens[1:], factor), "end", 0.3 * factor, start, method, ("a note",)
    )
    texts = [f" w{token}" for token in tokens]
    texts[-1] = f" {NASTY}"
    pieces = tuple(zip(texts, generation.origins))
    first_seconds = 0.32 * factor + start
    total = first_seconds + sum(step.seconds for step in generation.steps) + 0.01
    return Run(
        asked,
        method,
        repeat,
        temperature,
        tokens,
        "".join(texts),
        first_seconds,
        total,
        2**30 + 2**20 * len(method),
        generation,
        pieces=pieces,
    )


def peer(asked, method, repeat=0, temperature=0.0, num_tokens=20, factor=1.0, first=100):
    if method == FAILED:
        return Run(asked, method, repeat, temperature, error=ERROR)
    tokens = tuple(range(first, first + num_tokens))
    begin = 0.4 * factor
    total = begin + PEER_STEP[method] * factor * (num_tokens - 1)
    return Run(asked, method, repeat, temperature, tokens, "a peer's text", begin, total, 2**30)


def asked_all():
    questions = []
    for scenario in SCENARIOS:
        for number in range(4):  # the last is a second turn about the image of the third
            earlier = (("What is this?", "A cat."),) if number == 3 else ()
            text = f"Question {number} <of> {scenario}?"
            images = (f"{scenario}-{min(number, 2)}.png",)
            questions.append(Asked(f"{scenario}-{number}", scenario, text, images, earlier, 300))
    return tuple(questions)


def one(place, method, repeat, temperature):
    num_tokens = (9, 33, 70, 270)[place % 4] + place // 4
    factor = 1.0 + 0.05 * ((place * 7 + repeat * 3 + len(method)) % 5)
    made = peer if method in PEERS else ours
    return made(place, method, repeat, temperature, num_tokens, factor)


def made_record(**changes):
    asked = asked_all()
    runs = tuple(
        one(place, method, repeat, temperature)
        for temperature in (0.0, 1.0)
        for repeat in (0, 1)
        for place in range(len(asked))
        for method in METHODS
    )
    values = {
        "provenance": PROVENANCE,
        "settings": SETTINGS,
        "num_parameters": {"target": 1000, "language": 50},
        "costs": Costs(300, {1: 0.04, 2: 0.042, 4: 0.044, 8: 0.048, 16: 0.06, 32: 0.08}),
        "methods": METHODS,
        "peers": PEERS,
        "asked": asked,
        "runs": runs,
        "gaps": (Gap(2, "language", 1, 5, 0.02),),
    }
    return Record(**{**values, **changes})


def nasty_record(record, nasty):
    """`record` with `nasty` words wherever there are any."""
    renamed = {**dict.fromkeys(record.methods), "language": nasty, PEERS[0]: f"peer {nasty}"}
    new = {name: other or name for name, other in renamed.items()}
    return replace(
        record,
        provenance={**record.provenance, "command": ["seeahead", nasty, "```\n# no"], "date": nasty},
        settings={**record.settings, "model": nasty, "suite": nasty, "about": nasty, "drafters": {nasty: nasty}},
        methods=tuple(new[name] for name in record.methods),
        peers=tuple(new[name] for name in record.peers),
        asked=tuple(
            replace(one, id=f"{one.id} {nasty}", scenario=f"{one.scenario} {nasty}", pictures=(f"{nasty}.jpg",))
            for one in record.asked
        ),
        runs=tuple(replace(run, method=new[run.method], error=run.error and nasty) for run in record.runs),
        gaps=(),
    )
