"""Memory that images have left behind is given back soon, and once for all who are done within a moment."""

import threading

from seeahead.serve import memory
from tests.serve.conftest import IMAGE, PATIENCE, chat
from tests.serve.test_refusals import sent
from tests.serve.test_streams import eventually


class Noted(memory.Leftovers):
    given = 0

    def _give_back(self):
        super()._give_back()
        self.given += 1


def test_memory_is_given_back_after_images_also_where_they_are_refused(served, monkeypatch):
    """What it spares, benchmarks/serve_fuzz.py measures."""
    eventually(lambda: served.owner.num_running + served.owner.num_waiting == 0)
    assert sent(served, chat("x", max_tokens=1))[0] == 200  # and those before it have left all they leave
    leftovers = Noted(0.01)
    monkeypatch.setattr(served.owner, "_leftovers", leftovers)
    assert sent(served, chat("x", max_tokens=1))[0] == 200
    assert leftovers.given == 0
    assert sent(served, chat("data:image/png;base64,AAAA", "x"))[0] == 400
    eventually(lambda: leftovers.given == 1)
    assert sent(served, chat(IMAGE, "x", max_tokens=1))[0] == 200
    eventually(lambda: leftovers.given > 1)  # when they are decoded, and when they are read
    assert memory.give_back() in (0, 1)


def test_memory_is_given_back_once_for_all_who_are_done_within_a_moment(monkeypatch):
    given, leftovers = [], memory.Leftovers(PATIENCE)
    monkeypatch.setattr(memory, "give_back", lambda: given.append(threading.get_ident()))  # other threads may, too
    for number in (1, 2):
        for _ in range(5):
            leftovers.give_back_soon()
        [timer] = [one for one in threading.enumerate() if getattr(one, "function", None) == leftovers._give_back]
        timer.cancel()
        timer.join(PATIENCE)
        timer.function()  # as it does when the moment is over
        assert given.count(threading.get_ident()) == number
