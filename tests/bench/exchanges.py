"""Made-up exchanges with round numbers, so that every figure can be worked out by hand."""

from seeahead.bench.compare import Answer, Part, Round
from seeahead.bench.record import PLAIN
from seeahead.demo.scenarios import Question
from seeahead.records import Generation, Step


def question(scenario="describe", text="What is this?", pictures=("cat.jpg",), earlier=()):
    return Question(scenario, pictures, text, 32, earlier)


def plain_answer(num_tokens=13, seconds=0.1, first=100):
    """One token per step, each `seconds` long."""
    steps = tuple(Step((first + i,), ("target",), 0, 0, 0, 0.0, seconds * 0.9, seconds) for i in range(1, num_tokens))
    parts = tuple(Part(f" w{i}", "target", 1) for i in range(num_tokens))
    return Answer(PLAIN, parts, Generation(10, first, steps, "end", seconds_prefill=0.5))


def drafted_answer(method="lookup", num_tokens=13, per_step=3, seconds=0.15, first=100, wrong_at=None):
    """`per_step` tokens per step, all but the last of them drafted; `wrong_at` is not the plain answer's token."""
    tokens = [first + i for i in range(1, num_tokens)]
    if wrong_at is not None:
        tokens[wrong_at - 1] += 1000
    steps, parts = [], [Part(" w0", "target", 1)]
    for start in range(0, len(tokens), per_step):
        emitted = tuple(tokens[start : start + per_step])
        num = len(emitted) - 1
        steps.append(Step(emitted, ("drafted",) * num + ("target",), 5, 4, num, 0.03, 0.1, seconds))
        parts += [Part(" drafted" * num, "drafted", num), Part(" own", "target", 1)]
    record = Generation(10, first, tuple(steps), "end", 0.5, 0.1, method)
    return Answer(method, tuple(parts), record)


def exchange(scenario="describe", **kwargs):
    return Round(question(scenario), {PLAIN: plain_answer(), "lookup": drafted_answer(**kwargs)})
