"""The figures of a whole run, derived from its record alone, and what they say in sentences. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from seeahead.bench.answers import Answers, answers_of, bootstrap_weights
from seeahead.bench.figures import Sample
from seeahead.bench.record import PLAIN, Asked, Gap, Record, Run
from seeahead.bench.statistics import Interval
from seeahead.bench.words import MISSING, heading, times
from seeahead.errors import counted

COUNTERPARTS = {"transformers": PLAIN, "transformers assisted": "language", "transformers lookup": "lookup"}
"""Which of our methods does what a peer does. Any other peer is set against the fastest of ours."""

_BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}
SAME, ALIKE, UNLIKE = "on the same weights", "on other weights of as many bits", "in another precision"
"""How the weights of a peer are related to ours."""

_RIVALS = {"the peer is faster": "faster than ours", "no clear winner": "about as fast as ours"}
_MOST_NAMED = 5

_RUN_BY = {
    "openvino": "run by OpenVINO",
    "graphs": "run in captured passes",
    "kernels": "run in captured kernels",
    "exact": "run in exact passes",
}


@dataclass(frozen=True)
class Summary:
    """All figures of a record, by temperature; the lowest comes first and carries the headline."""

    record: Record
    methods: Mapping[float, tuple[Sample, ...]]
    against: Mapping[float, tuple[Sample, ...]]  # one of ours beside each peer

    @property
    def headline_methods(self) -> tuple[Sample, ...]:
        return next(iter(self.methods.values()), ())

    @cached_property
    def misreading(self) -> frozenset[str]:
        """Peers that hardly see what the model sees, and others of their engine: their answers are others, of other
        lengths."""
        peers = [entry for entry in self.methods.get(0.0, ()) if entry.is_peer]
        engines = {entry.method.split()[0] for entry in peers if entry.misreads_images}
        return frozenset(entry.method for entry in peers if entry.method.split()[0] in engines)

    def seeing(self, methods: Sequence[Sample]) -> list[Sample]:
        """Those that are no such peers."""
        return [entry for entry in methods if entry.method not in self.misreading]

    @cached_property
    def best(self) -> Sample | None:
        """The fastest drafter of ours in the headline; none where nothing has a speed-up."""
        return next(iter(ranked(_whole(self.headline_methods), is_peer=False)), None)

    @cached_property
    def headline(self) -> tuple[str, ...]:
        """How fast whole answers and decoding are, how many answers are identical, and which peers answer faster."""
        best = self.best
        if best is None or (whole := best["end to end"]) is None:
            return ("Nothing was drafted here, so there is no speed-up to report.",)
        sentences = [_how_fast(best.method, whole, best["speed-up"])]
        if best.num_identical is not None:
            sentences.append(_identity(best, best.num_identical))
        for temperature, methods in self.methods.items():
            first = max(_whole(self.seeing(methods)), key=_speed)
            if first.is_peer and (rival := first["end to end"]):
                said = f"{first.method} answers {rival.value:.2f} times as fast as plain decoding{_range(rival)}"
                sentences.append(
                    f"A peer is faster {at_temperature(temperature)}: {said}{aside(self.record, first.method)}."
                )
        return tuple(sentences)

    @cached_property
    def rivals(self) -> tuple[str, ...]:
        """Peers that ours does not clearly beat end to end: a sentence for each temperature."""
        return tuple(
            f"Peers {words} end to end {at_temperature(temperature)}: {'; '.join(each)}."
            for found, words in _RIVALS.items()
            for temperature, entries in self.against.items()
            if (each := [_against(entry) for entry in entries if verdict(entry).startswith(found)])
        )

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Everything a reader must know before believing the figures: a sentence each, the worst first, none twice."""
        return tuple(dict.fromkeys(_warnings(self)))

    @property
    def machine(self) -> str:
        """What ran where, in a line."""
        settings, record = self.record.settings, self.record
        hardware, size = record.provenance.get("hardware") or {}, settings.get("num_parameters")
        repeats, outside = settings.get("num_repeats", 1), settings.get("harness_share")
        return _joined(
            f"{settings.get('model') or settings.get('model_type') or 'model'} in {settings.get('dtype', MISSING)}",
            _RUN_BY.get(str(settings.get("executor")), ""),
            f"{size / 1e6:,.0f} million parameters" if size else "",
            str(hardware.get("gpu") if settings.get("device") == "cuda" else hardware.get("cpu") or ""),
            counted(settings["num_threads"], "thread") if settings.get("num_threads") else "",
            f"{counted(len(record.asked), 'question')} in {counted(len(record.scenarios), 'scenario')}",
            f"{repeats} repeats" if repeats > 1 else "",
            f"{outside:.1%} of the time was the benchmark's own" if outside else "",
        )

    @property
    def origin(self) -> str:
        """Where the figures come from, in a line."""
        known, weights = self.record.provenance, self.record.settings.get("drafters") or {}
        return _joined(
            str(known.get("date") or ""),
            f"commit {known['commit'][:12]}" if known.get("commit") else "",
            "with local changes" if known.get("has_local_changes") else "",
            ", ".join(f"{name} {version}" for name, version in (known.get("versions") or {}).items() if version),
            f"drafter weights {', '.join(f'{name} {digest}' for name, digest in weights.items())}" if weights else "",
            f"seed {known['seed']}" if known.get("seed") is not None else "",
            _passes(self.record.settings.get("passes")),
            str((known.get("hardware") or {}).get("system") or ""),
        )


def summarize(record: Record) -> Summary:
    weights = bootstrap_weights(record)

    def beside(own: Answers, other: Answers) -> Sample:
        return Sample(record, own, other, weights, own.is_answered & other.is_answered)

    methods, against = {}, {}
    for temperature in sorted({run.temperature for run in record.runs}):
        answers = {name: answers_of(record, name, temperature) for name in (PLAIN, *record.methods)}
        methods[temperature] = tuple(beside(answers[name], answers[PLAIN]) for name in record.methods)
        ours = {entry.method: entry for entry in methods[temperature] if not entry.is_peer}
        best = max(ours.values(), key=_speed)
        against[temperature] = tuple(
            beside(ours.get(COUNTERPARTS.get(peer, ""), best).own, answers[peer]) for peer in record.peers
        )
    found = Summary(record, methods, against)
    seeing = {
        at: tuple(one for one in all_ if one.other.method not in found.misreading) for at, all_ in against.items()
    }
    return replace(found, against=seeing)


def ranked(methods: Sequence[Sample], *, is_peer: bool) -> list[Sample]:
    """By whole answers, the fastest first; the plain loop, and what has no speed-up, aside."""
    known = [entry for entry in methods if entry["end to end"] and entry.is_peer == is_peer and entry.method != PLAIN]
    return sorted(known, key=_speed, reverse=True)


def _whole(methods: Sequence[Sample]) -> list[Sample]:
    """Those that answered as many questions as any: one that failed on the long ones is no faster for it."""
    return [entry for entry in methods if entry.num_answers == max(other.num_answers for other in methods)]


def relation(record: Record, peer: str) -> str:
    """One of SAME, ALIKE and UNLIKE."""
    if record.has_weights_of_target(peer):
        return SAME
    ours, theirs = (_BITS.get(record.precision_of(method)) for method in (PLAIN, peer))
    return ALIKE if ours == theirs else UNLIKE


def aside(record: Record, peer: str) -> str:
    """What has to be known where a peer is compared with ours; goes on from the figure."""
    found = relation(record, peer)
    return "" if found == SAME else f", {found} ({record.precision_of(peer)})"


def _speed(entry: Sample) -> float:
    return figure.value if (figure := entry["end to end"]) else 0.0


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _passes(found: Mapping[str, Any] | None) -> str:
    """As the executor chose at load; nothing in older records, and where there was no choice."""
    if not found:
        return ""
    long_rows = found.get("long_rows")
    return f"passes by {found['row_step']} rows" + (f", over more than {long_rows} in 32 bits" if long_rows else "")


def at_temperature(temperature: float) -> str:
    return f"at temperature {temperature:g}" if temperature else "in greedy answers"


def _how_fast(method: str, whole: Interval, decoding: Interval | None) -> str:
    said = f"{whole.value:.2f} times as fast as plain decoding{_range(whole)}"
    said += f", decoding alone {decoding.value:.2f} times{_range(decoding)}." if decoding else "."
    if whole.holds(1):
        return f"No drafter is clearly faster than plain decoding: the best, {method}, answers {said}"
    if whole.value < 1:
        return f"No drafter pays off here: the best, {method}, answers {said}"
    return f"With drafts ({method}) whole answers come {said}"


def _identity(best: Sample, num_same: int) -> str:
    dtype = best.record.dtype
    said = f"{num_same} of {best.num_answers} answers are token-identical{f' in {dtype}' if dtype else ''}"
    gaps = [math.inf if gap.logit_gap is None else abs(gap.logit_gap) for gap in best.gaps]
    num = best.num_answers - num_same
    if num and len(gaps) == num and max(gaps) <= _limit(dtype):
        others = "the other one differs" if num == 1 else f"the other {num} differ"
        said += f"; {others} from where rounding chose between two close tokens (logits at most {max(gaps):.3g} apart)"
    return f"{said}."


def _limit(dtype: str) -> float:
    """Logits: rounding alone does not make the target prefer its own token by more."""
    return 0.1 if dtype == "float32" else 1.0


def _range(figure: Interval) -> str:
    return "" if figure.ends is None else " ({:.2f} to {:.2f})".format(*figure.ends)


def _warnings(summary: Summary) -> Iterator[str]:
    record = summary.record
    if record.costs.is_disturbed:
        yield (
            "Something else ran on the machine while the table V(k) was measured (a pass over several tokens took less "
            "time than one over a single token): the ceilings below are not to be trusted."
        )
    if left_out := record.settings.get("left_out"):
        names = ", ".join(left_out[:_MOST_NAMED]) + (", …" if len(left_out) > _MOST_NAMED else "")
        num = "1 question was" if len(left_out) == 1 else f"{len(left_out)} questions were"
        why = "the model reads text only" if record.settings.get("reads_text_only") else "an image could not be read"
        yield f"{num} left out, because {why}: {names}."
    yield from _failures(summary)
    yield from _misreadings(summary)
    for temperature, entries in summary.methods.items():
        for entry in entries:
            yield from _of_method(entry, f"at temperature {temperature:g}", record.dtype)
    yield from summary.rivals


def _failures(summary: Summary) -> Iterator[str]:
    """A sentence for every method that failed, whatever the temperatures."""
    for method in summary.record.methods:
        found = [one for entries in summary.methods.values() for one in entries if one.method == method]
        failed = [(one.own, len(one.own.errors)) for one in found if one.own.errors]
        counts = [f"{num} of {len(own.runs) + num} answers at temperature {own.temperature:g}" for own, num in failed]
        if failed:
            reason = re.sub(r"^(\w+(Error|Exception): )+", "", failed[0][0].errors[0])
            yield f"{method} failed on {' and on '.join(counts)}: {reason.rstrip('.')}."


def _misreadings(summary: Summary) -> Iterator[str]:
    for entry in summary.methods.get(0.0, ()):
        if entry.method in summary.misreading:
            (same, num), (same_text, num_text) = entry.same_by_sight[True], entry.same_by_sight[False]
            yield (
                f"{entry.method} can hardly have seen what the model sees: {same} of {num} answers about images are "
                f"plain's, and {same_text} of {num_text} others; only its decoding without drafts is comparable."
            )


def _of_method(entry: Sample, at: str, dtype: str) -> Iterator[str]:
    name, num_asked = entry.method, len(entry.record.asked)
    if not entry.own.errors and entry.num_questions < num_asked:
        yield f"{name} was put only {entry.num_questions} of {num_asked} questions {at}."
    efficiency, speed_up = entry["τ"], entry["ratio of sums"]
    if name != PLAIN and efficiency and speed_up and (speed_up.low or speed_up.value) > efficiency.value:
        yield (
            f"{name} is {speed_up.value:.2f} times as fast as plain {at} with only {efficiency.value:.2f} "
            "tokens per pass: the plain loop is slower than it should be."
        )
    wide = [gap.logit_gap for gap in entry.gaps if gap.logit_gap is not None and abs(gap.logit_gap) > _limit(dtype)]
    if wide:
        yield (
            f"{name}: {_are(len(wide))} not the plain one, and rounding in {dtype} does not explain it "
            f"(largest logit gap {max(wide, key=abs):+.2f}, allowed {_limit(dtype):g})."
        )
    if early := sum(gap.logit_gap is None for gap in entry.gaps):
        yield f"{name}: {_are(early)} the plain one up to a point, but of another length."


def _are(num: int) -> str:
    return "1 answer is" if num == 1 else f"{num} answers are"


def verdict(entry: Sample) -> str:
    """Who answers faster end to end, ours or the peer, and on which weights and questions."""
    if (ratio := entry["end to end"]) is None:
        return "peer failed or lacks answers"
    found = "no clear winner" if ratio.holds(1) else "ours is faster" if ratio.value > 1 else "the peer is faster"
    return found + aside(entry.record, entry.other.method) + coverage(entry)


def _against(entry: Sample) -> str:
    peer, ratio = entry.other.method, times(entry["end to end"])
    spread = f" ({ratio.spread})" if ratio.spread else ""
    return f"{heading(entry.method)} has {ratio.value}{spread} the rate of {peer} ({entry.record.precision_of(peer)})"


def coverage(entry: Sample) -> str:
    """On how many questions a figure rests, where that is not all of them; goes on from the figure."""
    num, num_asked = entry.num_questions, len(entry.record.asked)
    return "" if num == num_asked else f", on {num} of {counted(num_asked, 'question')}"


def pace(run: Run, *, has_seconds: bool = True) -> str:
    """How fast one answer was, in a few words; the seconds are those of the whole answer."""
    own, found = run.totals, []
    if not own.tokens:
        return counted(own.all_tokens, "token")
    if own.seconds > 0:
        found.append(f"{own.token_rate:.1f} tokens/s")
    if own.steps:
        found.append(f"{own.block_efficiency:.2f} tokens per pass")
    return _joined(*found, f"{run.seconds_total:.1f} s" if has_seconds else "")


def kept(run: Run) -> str:
    """How long an answer was, and how many drafted tokens are in it; goes on from its pace."""
    found = f" · {counted(len(run.token_ids), 'token')}"
    if run.generation is not None and (drafted := run.totals.drafted):
        found += f", {sum(run.generation.num_by_drafter.values())} of {drafted} drafted tokens kept"
    return found


def difference(gap: Gap, asked: Sequence[Asked]) -> str:
    """One sentence about an answer that left the plain one."""
    how = "one answer ends earlier" if gap.logit_gap is None else f"logit gap {gap.logit_gap:+.3f}"
    return f"{gap.method}: '{asked[gap.asked].question}' differs from plain at token {gap.position + 1}, {how}"


def temperature_title(temperature: float) -> str:
    return "Greedy answers" if temperature == 0 else f"Sampled answers, temperature {temperature:g}"
