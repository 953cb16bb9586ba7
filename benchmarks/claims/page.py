"""The claims of the three papers as a Markdown page: each with its rule, our figure and what became of it. No torch.

The claims are data (`claims.toml`), the figures come from stored results: nothing on the page is typed by hand.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims.evidence import Evidence, read_evidence
from benchmarks.claims.judge import Finding, Outcome, judge, overall
from benchmarks.claims.rules import Bound, Fields, Group, Rule, check_fields, choose, in_words, read_group, read_rule
from seeahead.bench.words import counted
from seeahead.errors import InputError

CLAIMS = Path(__file__).with_name("claims.toml")
MAX_CLAIM_LENGTH = 200

SOURCES = {
    "paper": "the paper",
    "code": "the authors' code",
    "via": "second hand: a summary of the paper by others",
    "others": "second hand: measured by others",
    "inferred": "our deduction",
}
"""Where a claim was read, by the word that `claims.toml` uses."""

_MEANINGS = {
    Outcome.HOLDS: "every bound of the rule is met by the stored figures",
    Outcome.FAILS: "a bound is not met",
    Outcome.NOT_YET: "no stored run can tell; the page says what is missing",
    Outcome.CANNOT: "no run on this project's machines and data can tell; the page says why",
}


@dataclass(frozen=True)
class Claim:
    """One claim in our own words, where it was read, and the rules that our counterpart must meet."""

    id: str
    paper: str  # arXiv id
    where: str
    source: str
    claim: str
    measured_on: str
    their_figure: str
    rules: tuple[Rule, ...]
    note: str = ""


@dataclass(frozen=True)
class Book:
    """All of `claims.toml`: papers by arXiv id, methods and groups of questions by name, and the claims."""

    papers: Mapping[str, str]
    methods: Mapping[str, str]
    groups: Mapping[str, Group]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class _Judged:
    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        return overall(self.findings)


def read_claims(path: Path = CLAIMS) -> Book:
    """Raises InputError naming the entry that is broken."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the claims {path.name}: {error}") from None
    parts: Fields = {"papers": dict, "methods": dict, "questions": dict, "claims": list}
    check_fields(path.name, value, parts, list(parts))
    groups = {name: read_group(f"{path.name}, questions '{name}'", table) for name, table in value["questions"].items()}
    claims = tuple(
        _read_claim(path.name, number, table, value, groups) for number, table in enumerate(value["claims"], 1)
    )
    for name in (ids := [claim.id for claim in claims]):
        if ids.count(name) > 1:
            raise InputError(f"{path.name}, claim '{name}': its id is given twice")
    return Book(value["papers"], value["methods"], groups, claims)


def _read_claim(file: str, number: int, table: Any, book: Mapping[str, Any], groups: Mapping[str, Group]) -> Claim:
    name = table.get("id", number) if isinstance(table, dict) else number
    where = f"{file}, claim '{name}'"
    texts = ("id", "paper", "where", "source", "claim", "measured_on", "their_figure")
    fields: Fields = {**dict.fromkeys(texts, str), "rules": list, "note": str}
    value = check_fields(where, table, fields, (*texts, "rules"))
    choose(where, "paper", value["paper"], book["papers"])
    choose(where, "source", value["source"], SOURCES)
    for name in ("claim", "note"):
        if len(value.get(name, "")) > MAX_CLAIM_LENGTH:
            raise InputError(f"{where}: '{name}' has {len(value[name])} characters; at most {MAX_CLAIM_LENGTH} fit")
    if not value["rules"]:
        raise InputError(f"{where} has no rule; give one of kind needs or cannot if nothing can be computed")
    rules = tuple(read_rule(where, rule, book["methods"], groups) for rule in value["rules"])
    return Claim(**{**value, "rules": rules})


def render_claims(results: Path, path: Path = CLAIMS) -> str:
    """The whole page, from the stored results in the folder `results`."""
    book, evidence = read_claims(path), read_evidence(results)
    judged = [_judged(claim, book, evidence) for claim in book.claims]
    used = {finding.file for entry in judged for finding in entry.findings}
    runs = [entry for entry in evidence if entry.file in used]
    numbers = {entry.file: number for number, entry in enumerate(runs, 1)}
    blocks = [_introduction(), _runs(runs), _scale(runs)]
    for paper, title in book.papers.items():
        own = [entry for entry in judged if entry.claim.paper == paper]
        blocks.append(_table(f"{title}, [arXiv:{paper}](https://arxiv.org/abs/{paper})", own, numbers))
    blocks += [_names(book), _count(book, judged)]
    return "\n\n".join(blocks) + "\n"


def _judged(claim: Claim, book: Book, evidence: Sequence[Evidence]) -> _Judged:
    return _Judged(claim, tuple(judge(rule, evidence, book.groups) for rule in claim.rules))


def _introduction() -> str:
    meanings = "\n".join(f"- **{outcome}**: {meaning}." for outcome, meaning in _MEANINGS.items())
    return f"""# The claims of the three papers, and what became of them here

Written by `python benchmarks/render.py` from `results/` and `benchmarks/claims/claims.toml`; change those, not this
page.

Each claim stands in our own words, with where it was read: what we know only at second hand is marked so. Beside it
stands our counterpart, a rule on stored figures, and the figure. The outcome follows from the two by computation:

{meanings}

A rule compares a figure with a bound and knows no intervals: they are in the report of the run. τ is the sum of tokens
over the sum of steps, bonus token included and the prompt's own token excluded; a speed-up is the geometric mean over
scenarios of the ratio of token rates; the memory-bound speed-up is τ / (1 + γ·c) with the mean drafted depth γ and the
ratio of parameters c. Decoding is greedy unless a rule says otherwise; each method drafts in the shape it ran with."""


def _runs(runs: Sequence[Evidence]) -> str:
    if not runs:
        return "## The runs\n\nNo stored run decides any of the rules yet."
    lines = [f"{number}. {_told(run)}" for number, run in enumerate(runs, 1)]
    return "\n".join(
        [
            "## The runs",
            "",
            "A rule is judged by the first of the stored runs that holds what it needs: more questions before fewer,",
            "newer before older.",
            "",
            *lines,
        ]
    )


def _told(run: Evidence) -> str:
    origin, settings = run.provenance, run.settings
    hardware = origin.get("hardware", {})
    gpu, threads = hardware.get("gpu"), settings.get("num_threads")
    where = gpu if run.device == "cuda" else f"{threads} CPU threads ({hardware.get('cpu')})"
    size = run.num_parameters.get("target", 0) / 1e6
    commit = f"commit `{str(origin['commit'])[:12]}`" if origin.get("commit") else "commit unknown"
    changes = " with local changes" if origin.get("has_local_changes") else ""
    return (
        f"`results/{run.file}`: {origin.get('date')}, {commit}{changes}; {settings.get('model_type')}, "
        f"{size:,.0f} M parameters, {settings.get('dtype')}, {where}; {counted(run.num_questions, 'question')}"
    )


def _scale(runs: Sequence[Evidence]) -> str:
    text = """## Why the size of a figure does not carry over

The papers ran targets of 7 and 13 billion parameters on data-centre GPUs; here runs the demo model. Two quantities set
the speed-up at a given τ, and both depend on model and machine. c is the cost of one draft step over that of one target
step: 0.016 by parameters for the drafter of 115 M and the target of 7 B in the first paper, while a small target leaves
its drafter less room. V(k) is the time of one forward of k tokens over that of one: near 1 even for 60 tokens on a GPU
that waits for its memory, clearly above 1 on a few CPU cores that are busy computing. A chain of γ drafts gives at most
τ / (V(γ + 1) + γ·c). So the counterpart of an absolute figure is the same ratio on the demo model, where missing it
says little about the paper; orders and directions carry over better."""
    return "\n\n".join([text, *(_costs(number, run) for number, run in enumerate(runs, 1))])


def _costs(number: int, run: Evidence) -> str:
    table = ", ".join(f"V({k}) = {run.costs.ratio(k):.2f}" for k in sorted(run.costs.seconds) if k > 1)
    target = run.num_parameters.get("target", 0)
    sizes = {name: size for name, size in run.num_parameters.items() if name != "target"}
    shares = ", ".join(f"{size / target:.3f} for `{name}`" for name, size in sizes.items()) if target else ""
    return f"In run {number}, {table}" + (f"; c by parameters is {shares}." if shares else ".")


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
            f"{claim.where} ({SOURCES[claim.source]})",
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
    bounds = [rule for claim in book.claims for rule in claim.rules if isinstance(rule, Bound)]
    methods = {name for rule in bounds for name in (rule.method, *rule.against)}
    groups = {name for rule in bounds for name in (rule.questions, rule.against_questions)}
    lines = [f"- `{name}`: {meaning}" for name, meaning in book.methods.items() if name in methods]
    lines += [f"- {name}: {group.means}" for name, group in book.groups.items() if name in groups]
    return "\n".join(["## Names in the rules", "", *lines])


def _count(book: Book, judged: Sequence[_Judged]) -> str:
    lines = ["## Count", "", _line(("paper", *Outcome)), "|---|" + "---:|" * len(Outcome)]
    for paper, title in (*book.papers.items(), ("", "all")):
        found = [entry.outcome for entry in judged if paper in ("", entry.claim.paper)]
        lines.append(_line((title, *(str(found.count(outcome)) for outcome in Outcome))))
    return "\n".join(lines)
