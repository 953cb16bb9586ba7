"""Methods side by side: questions, answers, records, figures with intervals, pages.

`seeahead.bench.run("demo", ["lookup"], out="out/bench")` is the command `seeahead bench` in Python.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seeahead.bench.benchmark import Result, run
    from seeahead.bench.record import Record, read_record
    from seeahead.bench.summary import Summary, summarize

_HOMES = {
    **dict.fromkeys(("Result", "run"), "benchmark"),
    **dict.fromkeys(("Record", "read_record"), "record"),
    **dict.fromkeys(("Summary", "summarize"), "summary"),
}
__all__ = ["Record", "Result", "Summary", "read_record", "run", "summarize"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)  # only what is asked for is imported
