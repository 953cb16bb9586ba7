"""Exceptions that are no errors of ours while a step is taken: whose they are is told, and nobody else."""

import json
import threading

import pytest

from tests.serve.conftest import PATIENCE, chat, serving
from tests.serve.test_refusals import refused, sent
from tests.serve.test_streams import asking, events, eventually, slow  # noqa: F401


def watcher(request):
    request.watch = lambda tokens, logits: {}["secret of the inside"]


def late_watcher(request):
    request.watch = lambda tokens, logits: request.answer and {}["secret of the inside"]


def processor(request):
    request.sampler._filters = lambda ids, logits: {}["secret of the inside"]


def opening(request):
    request.open = lambda: {}["secret of the inside"]


@pytest.mark.parametrize("part", [watcher, late_watcher, processor, opening])
def test_what_one_request_has_part_in_fails_alone(served, slow, monkeypatch, caplog, part):  # noqa: F811
    alone = sent(served, chat("one", max_tokens=40))[1]["choices"]
    made = served.owner._made

    def broken(asked, *given):
        ticket = made(asked, *given)
        if asked.settings["max_new_tokens"] == 7:
            part(ticket.request)
        return ticket

    monkeypatch.setattr(served.owner, "_made", broken)
    with asking(served, chat("one", max_tokens=40)) as other:
        eventually(lambda: served.owner.num_running == 1)
        status, reply = sent(served, chat("two", max_tokens=7))
        assert (status, reply["error"]["message"]) == (500, "the model failed while it answered; ask again")
        with other.getresponse() as answer:
            assert json.load(answer)["choices"] == alone
    *_, last = events(served, chat("two", max_tokens=7))
    assert last["error"]["type"] == "server_error"
    assert "secret" not in json.dumps([reply, last])
    assert "secret of the inside" in caplog.text


def test_a_slot_that_cannot_be_lent_or_kept_is_its_own_answers_alone(monkeypatch):
    with serving() as served:
        whole = sent(served, chat("one"))[1]["choices"]
        slots = served.owner._slots
        monkeypatch.setattr(slots, "keep", lambda *given: 1 / 0)
        assert sent(served, chat("one"))[1]["choices"] == whole
        monkeypatch.undo()
        monkeypatch.setattr(slots, "lend", lambda *given: 1 / 0)
        refused(served, chat("one"), 500, "ask again")
        monkeypatch.undo()
        assert sent(served, chat("one"))[1]["choices"] == whole


def test_a_server_whose_step_hangs_is_not_ready(monkeypatch):
    """What watches it starts it anew then."""
    with serving() as served:
        go_on, step = threading.Event(), served.owner._batch.step
        monkeypatch.setattr(served.owner._batch, "step", lambda **given: (go_on.wait(PATIENCE), step(**given))[1])
        assert sent(served, b"", path="/ready", method="GET")[0] == 200
        with asking(served, chat("one", max_tokens=4)):
            eventually(lambda: served.owner.num_running == 1)
            # Not before: it is also what reading may take.
            served.owner.limits = served.owner.limits.model_copy(update={"timeout_seconds": 0.3})
            eventually(lambda: sent(served, b"", path="/ready", method="GET")[0] == 503)
            go_on.set()
            eventually(lambda: sent(served, b"", path="/ready", method="GET")[0] == 200)
