"""What the figures say, in sentences: the headline, and everything a reader must know before believing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from seeahead.bench.figures import Against, MethodSummary
from seeahead.bench.record import PLAIN, Asked, Gap, Record, Run
from seeahead.bench.statistics import Interval
from seeahead.bench.words import counted

_LARGEST_GAP = {"float32": 0.1}
_LARGEST_GAP_IN_HALF_PRECISION = 1.0
"""Logits: rounding alone does not make the target prefer its own token by more."""

_MOST_NAMED = 5

Methods = Mapping[float, Sequence[MethodSummary]]


def ranked(methods: Sequence[MethodSummary], *, is_peer: bool) -> list[MethodSummary]:
    """By headline speed-up, the fastest first; the plain loop, and what has no speed-up, aside."""
    known = [entry for entry in methods if entry.speed_up and entry.is_peer == is_peer and entry.method != PLAIN]
    return sorted(known, key=lambda entry: -entry.speed_up.value if entry.speed_up else 0.0)


def fastest(methods: Sequence[MethodSummary], *, is_peer: bool) -> MethodSummary | None:
    return next(iter(ranked(methods, is_peer=is_peer)), None)


def headline(methods: Sequence[MethodSummary]) -> str:
    """The result in one or two sentences; a peer that wins is named."""
    best, peer = fastest(methods, is_peer=False), fastest(methods, is_peer=True)
    if best is None or best.speed_up is None:
        return "Nothing was drafted here, so there is no speed-up to report."
    sentence = _how_fast(best.method, best.speed_up) + identical(best)
    if peer is not None and peer.speed_up is not None and peer.speed_up.value > best.speed_up.value:
        sentence += f" A peer is faster: {peer.method}, {peer.speed_up.value:.2f} times plain{_range(peer.speed_up)}."
    return sentence


def identical(entry: MethodSummary) -> str:
    """The end of a sentence about a method: how many answers are the plain ones."""
    if entry.num_identical is None:
        return "."
    return f", answers identical {entry.num_identical} of {entry.num_answers}."


def _how_fast(method: str, speed_up: Interval) -> str:
    times = f"{speed_up.value:.2f} times{_range(speed_up)}"
    if speed_up.low is not None and speed_up.high is not None and speed_up.low <= 1 <= speed_up.high:
        return f"No drafter is clearly faster than plain decoding; the best, {method}, reaches {times}"
    if speed_up.value < 1:
        return f"No drafter pays off here: the best, {method}, is slower than plain decoding, {times}"
    return f"{method} answers {speed_up.value:.2f} times faster{_range(speed_up)}"


def _range(figure: Interval) -> str:
    return "" if figure.low is None else f" ({figure.low:.2f} to {figure.high:.2f})"


def warnings(record: Record, methods: Methods, against: Mapping[float, Sequence[Against]]) -> tuple[str, ...]:
    """One sentence each, the worst first, none twice."""
    found: list[str] = []
    if record.costs.is_disturbed:
        found.append(
            "Something else ran on the machine while the table V(k) was measured (a pass over several tokens took less "
            "time than one over a single token): the ceilings below are not to be trusted."
        )
    if left_out := record.settings.get("left_out"):
        names = ", ".join(left_out[:_MOST_NAMED]) + (", …" if len(left_out) > _MOST_NAMED else "")
        num = "1 question was" if len(left_out) == 1 else f"{len(left_out)} questions were"
        found.append(f"{num} left out, because an image could not be read: {names}.")
    for temperature, entries in methods.items():
        at = f"at temperature {temperature:g}"
        found += (line for entry in entries for line in _of_method(record, entry, at))
        found += (line for entry in against[temperature] for line in _lost(entry, at))
    return tuple(dict.fromkeys(found))


def _of_method(record: Record, entry: MethodSummary, at: str) -> Iterator[str]:
    num_asked = len(record.asked)
    if entry.errors:
        num = entry.num_answers + len(entry.errors)
        yield f"{entry.method} failed on {len(entry.errors)} of {num} answers {at}: {entry.errors[0]}"
    elif entry.num_questions < num_asked:
        yield f"{entry.method} was put only {entry.num_questions} of {num_asked} questions {at}."
    yield from _too_fast(entry, at)
    yield from _gaps(entry, str(record.settings.get("dtype", "")))


def _too_fast(entry: MethodSummary, at: str) -> Iterator[str]:
    efficiency = entry.drafts.block_efficiency if entry.drafts else None
    speed_up = entry.speed_up_of_sums
    if entry.method != PLAIN and efficiency and speed_up and speed_up.value > efficiency.value:
        yield (
            f"{entry.method} is {speed_up.value:.2f} times as fast as plain {at} with only {efficiency.value:.2f} "
            "tokens per pass: the plain loop is slower than it should be."
        )


def _gaps(entry: MethodSummary, dtype: str) -> Iterator[str]:
    limit = _LARGEST_GAP.get(dtype.removeprefix("torch."), _LARGEST_GAP_IN_HALF_PRECISION)
    wide = [gap.logit_gap for gap in entry.gaps if gap.logit_gap is not None and abs(gap.logit_gap) > limit]
    if wide:
        yield (
            f"{entry.method}: {_answers(len(wide))} not the plain one, and rounding in {dtype} does not explain it "
            f"(largest logit gap {max(wide, key=abs):+.2f}, allowed {limit:g})."
        )
    if early := sum(gap.logit_gap is None for gap in entry.gaps):
        yield f"{entry.method}: {_answers(early)} the plain one up to a point, but of another length."


def _answers(num: int) -> str:
    return "1 answer is" if num == 1 else f"{num} answers are"


def _lost(entry: Against, at: str) -> Iterator[str]:
    if entry.ratio is None or entry.ratio.value >= 1:
        return
    clearly = "" if entry.ratio.high is None or entry.ratio.high < 1 else ", though not clearly"
    name = "the plain loop" if entry.method == PLAIN else entry.method
    times = f"{entry.ratio.value:.2f} times{_range(entry.ratio)}"
    yield f"The peer {entry.peer} beats {name} {at}{clearly}: ours has {times} its token rate."


def pace(run: Run) -> str:
    """How fast one answer was, in a few words."""
    own, found = run.totals, []
    if not own.tokens:
        return counted(own.all_tokens, "token")
    if own.seconds > 0:
        found.append(f"{own.token_rate:.1f} tokens/s")
    if own.steps:
        found.append(f"τ {own.block_efficiency:.2f}")
    return " · ".join([*found, f"{own.seconds:.1f} s"])


def kept(run: Run) -> str:
    """How long an answer was, and how many drafted tokens are in it; goes on from its pace."""
    found = f" · {counted(len(run.token_ids), 'token')}"
    if run.generation is not None and (drafted := run.totals.drafted):
        accepted = sum(step.num_accepted for step in run.generation.steps)
        found += f", {accepted} of {drafted} drafted tokens kept"
    return found


def difference(gap: Gap, asked: Sequence[Asked]) -> str:
    """One sentence about an answer that left the plain one."""
    how = "one answer ends earlier" if gap.logit_gap is None else f"logit gap {gap.logit_gap:+.3f}"
    return f"{gap.method}: '{asked[gap.asked].question}' differs from plain at token {gap.position + 1}, {how}"


def temperature_title(temperature: float) -> str:
    return "Greedy answers" if temperature == 0 else f"Sampled answers, temperature {temperature:g}"
