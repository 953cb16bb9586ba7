"""One request alone: its prompt up to the first token, then step by step, for tests that look at it in between."""

from collections.abc import Iterator

from seeahead.decode import read, run_step
from seeahead.executor import ModelInputs
from seeahead.records import Step
from seeahead.request import Request


def start(request: Request, inputs: ModelInputs) -> None:
    """Raises before any token is emitted."""
    with request.failing():
        request.ask(inputs).open()
    if request.error is None:
        read([(request, request.next_part(None))])
    request.check()


def steps(request: Request) -> Iterator[Step]:
    """The rest of an answer that was started. Raises the error that ends it."""
    while request.finish_reason is None:
        [step] = run_step([request])
        if step is not None:
            yield step
    request.check()
