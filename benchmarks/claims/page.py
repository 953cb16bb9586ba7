"""The claims of the three papers as a Markdown page: each with its rule, our figure and what became of it. No torch.

The claims are data (`claims.toml`), the figures come from stored runs: nothing on the page is typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims.figures import FIGURES, StoredRun
from benchmarks.claims.judge import Finding, Outcome, judge, overall
from benchmarks.claims.rules import CLAIMS, Book, Bound, Claim, read_claims
from seeahead.bench.markdown import table
from seeahead.bench.record import Record
from seeahead.errors import counted

_SOURCES = {
    "paper": "the paper",
    "code": "the authors' code",
    "via": "second hand: a summary of the paper by others",
    "others": "second hand: measured by others",
    "inferred": "our deduction",
}
"""Where a claim was read, by the word that `claims.toml` uses."""

_MEANINGS = {
    Outcome.HOLDS: "the interval of every figure lies within the bounds of its rule",
    Outcome.FAILS: "the interval of a figure lies outside of them",
    Outcome.UNDECIDED: "a bound lies inside the interval of a figure, so that more questions are needed to tell",
    Outcome.NOT_YET: "no stored run can tell; the page says what is missing",
    Outcome.CANNOT: "no run on this project's machines and data can tell; the page says why",
}
_FEW = 4
_OVER = {"together": "", "every": "in every scenario: ", "any": "in at least one scenario: "}
_DEVICES = {"": "", "cpu": ", on a CPU", "cuda": ", on a GPU"}


@dataclass(frozen=True)
class _Judged:
    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        return overall(self.findings)


def render_claims(records: Mapping[str, Record], path: Path = CLAIMS) -> str:
    """The whole page, from stored runs by the names of their files."""
    book = read_claims(path)
    stored = sorted((StoredRun(*entry) for entry in records.items()), key=lambda run: run.rank, reverse=True)
    judged = [
        _Judged(claim, tuple(judge(rule, stored, book.questions) for rule in claim.rules)) for claim in book.claims
    ]
    used = {finding.file for entry in judged for finding in entry.findings}
    runs = [run for run in stored if run.file in used]
    numbers = {run.file: number for number, run in enumerate(runs, 1)}
    blocks = [_introduction(), _count(book, judged), _runs(runs), _scale(runs)]
    for paper, title in book.papers.items():
        own = [entry for entry in judged if entry.claim.paper == paper]
        blocks.append(_table(f"{title}, [arXiv:{paper}](https://arxiv.org/abs/{paper})", own, numbers))
    blocks.append(_names(book))
    return "\n\n".join(blocks) + "\n"


def in_words(rule: Bound) -> str:
    """The rule as a sentence of the page."""
    subject = f"{FIGURES[rule.kind].name} of `{rule.method}`"
    if rule.ties_up_to:
        subject += f" (identical, or parting at a rounding tie: a logit gap up to {rule.ties_up_to:g})"
    if rule.questions:
        subject += f" on {rule.questions}"
    form = ".0%" if rule.kind == "identical" else "g"
    limits = (("above", rule.above), ("at least", rule.at_least), ("at most", rule.at_most))
    bounds = [f"{name} {limit:{form}}" for name, limit in limits if limit is not None]
    text = f"{_OVER[rule.over]}{subject} {' and '.join(bounds)}"
    if rule.is_ratio:
        text += f" × {_others(rule)}"
    if rule.temperature:
        text += f", at temperature {rule.temperature:g}"
    return text + _DEVICES[rule.device]


def _others(rule: Bound) -> str:
    names = " and ".join(f"`{name}`" for name in rule.against)
    if len(rule.against) > 1:
        names = f"the {rule.of} of {names}"
    elif names:
        names = f"that of {names}"
    if rule.against_questions:
        names = f"{names or 'its own'} on {rule.against_questions}"
    return names


def _introduction() -> str:
    meanings = "\n".join(f"- **{outcome}**: {meaning}." for outcome, meaning in _MEANINGS.items())
    return f"""# The claims of the three papers, and what became of them here

Written by `python benchmarks/render.py` from `results/` and `benchmarks/claims/claims.toml`; change those, not this
page.

Each claim stands in our own words, with where it was read: what we know only at second hand is marked so. Beside it
stands our counterpart, a rule on stored figures, and the figure. The outcome follows from the two by computation:

{meanings}

In parentheses stands the 95 % interval, the same as in the report of the run: a bootstrap over questions, in which
those about the same images are drawn together, scenarios keep their weight, and all methods have the same draws, so
that a ratio of two methods has an interval of its own. Counts (answers, parameters) have none. Where a rule asks for
every scenario, or for one, each is judged by its own interval; nothing is corrected for their number. τ is the sum
of tokens over the sum of steps, bonus token included and the prompt's own token excluded; a speed-up is the geometric
mean over scenarios of the ratio of token rates; the memory-bound speed-up is τ / (1 + γ·c) with the mean drafted depth
γ and the ratio of parameters c. Decoding is greedy unless a rule says otherwise; each method drafts in the shape it
ran with."""


def _runs(runs: Sequence[StoredRun]) -> str:
    if not runs:
        return "## The runs\n\nNo stored run decides any of the rules yet."
    lines = [f"{number}. {_described(run)}" for number, run in enumerate(runs, 1)]
    return "\n".join(
        [
            "## The runs",
            "",
            "A rule is judged by the first of the stored runs that holds what it needs: more questions before fewer,",
            "of as many the main run first, then newer before older. Speeds depend on the processor, and so do claims",
            "of them.",
            "",
            *lines,
        ]
    )


def _described(run: StoredRun) -> str:
    origin, settings = run.record.provenance, run.record.settings
    hardware = origin.get("hardware", {})
    gpu, threads = hardware.get("gpu"), settings.get("num_threads")
    where = gpu if run.device == "cuda" else f"{threads} CPU threads ({hardware.get('cpu')})"
    size = run.record.num_parameters.get("target", 0) / 1e6
    commit = f"commit `{str(origin['commit'])[:12]}`" if origin.get("commit") else "commit unknown"
    changes = " with local changes" if origin.get("has_local_changes") else ""
    return (
        f"`results/{run.file}`: {origin.get('date')}, {commit}{changes}; {settings.get('model_type')}, "
        f"{size:,.0f} M parameters, {settings.get('dtype')}, {where}; {counted(run.num_questions, 'question')}"
    )


def _scale(runs: Sequence[StoredRun]) -> str:
    text = """## Why the size of a figure does not carry over

The papers ran targets of 7 and 13 billion parameters on data-centre GPUs; here runs the demo model. Two quantities set
the speed-up at a given τ, and both depend on model and machine. c is the cost of one draft step over that of one target
step: 0.016 by parameters for the drafter of 115 M and the target of 7 B in the first paper, while a small target leaves
its drafter less room. V(k) is the time of one forward of k tokens over that of one: near 1 even for 60 tokens on a GPU
that waits for its memory, clearly above 1 on a few CPU cores that are busy computing. A chain of γ drafts gives at most
τ / (V(γ + 1) + γ·c). So the counterpart of an absolute figure is the same ratio on the demo model, where missing it
says little about the paper; orders and directions carry over better."""
    sizes = sorted({k for run in runs for k in run.record.costs.seconds} - {1})
    rows = [[str(number), *_costs(run, sizes)] for number, run in enumerate(runs, 1)]
    heads = ["run", *(f"V({k})" for k in sizes), "c by parameters"]
    return "\n\n".join([text, *([table("Costs of the runs", heads, rows)] if rows else [])])


def _costs(run: StoredRun, sizes: Sequence[int]) -> list[str]:
    """V(k), and c of the drafters: each value once, with the names that have it where they are few."""
    costs, parameters = run.record.costs, run.record.num_parameters
    names: dict[str, list[str]] = {}
    for name, size in parameters.items():
        if name != "target":
            names.setdefault(f"{size / parameters['target']:.3f}", []).append(f"`{name}`")
    told = {
        share: ", ".join(found) if len(found) <= _FEW else f"{len(found)} drafters" for share, found in names.items()
    }
    shares = "; ".join(f"{share} ({found})" for share, found in told.items())
    return [*(f"{costs.ratio(k):.2f}" if k in costs.seconds else "" for k in sizes), shares]


def _table(title: str, judged: Sequence[_Judged], numbers: Mapping[str, int]) -> str:
    head = ("claim", "read in", "their figure", "our counterpart", "our figure", "outcome")
    rows = [_row(entry, numbers) for entry in judged]
    return "\n".join([f"## {title}", "", _line(head), "|" + "---|" * len(head), *rows])


def _row(entry: _Judged, numbers: Mapping[str, int]) -> str:
    claim = entry.claim
    rules = [in_words(rule) if isinstance(rule, Bound) else "–" for rule in claim.rules]
    figures = [
        f"{finding.text} [run {numbers[finding.file]}]" if finding.file else finding.text for finding in entry.findings
    ]
    if len(set(entry.findings)) == 1:  # one reason is enough
        figures = figures[:1]
    return _line(
        (
            f"{claim.claim} *{claim.note}*" if claim.note else claim.claim,
            f"{claim.where} ({_SOURCES[claim.source]})",
            f"{claim.their_figure}; {claim.measured_on}" if claim.measured_on else claim.their_figure,
            "<br>".join(rules),
            "<br>".join(figures),
            f"**{entry.outcome}**",
        )
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _names(book: Book) -> str:
    """Methods and groups of questions that some rule names."""
    bounds = [rule for claim in book.claims for rule in claim.bounds]
    methods = {name for rule in bounds for name in (rule.method, *rule.against)}
    groups = {name for rule in bounds for name in (rule.questions, rule.against_questions)}
    lines = [f"- `{name}`: {meaning}" for name, meaning in book.methods.items() if name in methods]
    lines += [f"- {name}: {group.means}" for name, group in book.questions.items() if name in groups]
    return "\n".join(["## Names in the rules", "", *lines])


def _count(book: Book, judged: Sequence[_Judged]) -> str:
    rows = []
    for paper, title in (*book.papers.items(), ("", "all")):
        found = [entry.outcome for entry in judged if paper in ("", entry.claim.paper)]
        rows.append([title, *(str(found.count(outcome)) for outcome in Outcome)])
    return f"## Count\n\n{table('Claims by paper', ['paper', *Outcome], rows)}"
