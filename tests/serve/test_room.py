"""What requests that wait may take, and what they are told where they are not answered."""

import json
import threading
import time

from PIL import Image

from seeahead.serve import app, run
from seeahead.serve.owner import OwnerLimits
from tests.serve.conftest import IMAGE, chat, data_uri, serving
from tests.serve.test_refusals import refused, sent
from tests.serve.test_streams import asking, eventually


def test_images_that_wait_do_not_fill_the_memory():
    """A few kilobytes may become an image of 150 megabytes, which its request holds until it is answered."""
    large = data_uri(Image.new("RGB", (600, 400)))
    with serving(OwnerLimits(num_at_once=1, image_bytes=1 << 20), max_new_tokens=400) as served:
        step = served.owner._batch.step
        served.owner._batch.step = lambda: (time.sleep(0.05), step())[1]
        with asking(served, chat(large, "one", max_tokens=400)):
            [first] = eventually(served.owner._running.values)
            eventually(lambda: first.request.prompt is None)
            with asking(served, chat(large, "two", max_tokens=1)):
                eventually(lambda: served.owner.num_waiting == 1)
                refused(served, chat(large, "three"), 429, "images of those that wait")
                with asking(served, chat("four")):
                    eventually(lambda: served.owner.num_waiting == 2)


def test_an_image_is_made_ready_where_it_was_decoded(served, monkeypatch):
    """So no more are held than are read at once, however many come."""
    threads, read, made = [], app.chat_prompt, served.owner._made
    monkeypatch.setattr(app, "chat_prompt", lambda *given: (threads.append(threading.get_ident()), read(*given))[1])
    monkeypatch.setattr(served.owner, "_made", lambda *given: (threads.append(threading.get_ident()), made(*given))[1])
    assert sent(served, chat(IMAGE, "x", n=2, max_tokens=1))[0] == 200
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_who_is_not_answered_when_the_server_ends_is_told(monkeypatch):
    monkeypatch.setattr(run, "_GRACE_SECONDS", 3.0)
    with serving(OwnerLimits(num_at_once=1), max_new_tokens=400) as served:
        step = served.owner._batch.step
        served.owner._batch.step = lambda: (time.sleep(0.05), step())[1]
        body = chat("one", max_tokens=400)
        with asking(served, {**body, "stream": True}) as first, asking(served, body) as second:
            eventually(lambda: (served.owner.num_running, served.owner.num_waiting) == (1, 1))
            served.server.should_exit = True
            with first.getresponse() as reply:
                *_, last, done, _ = reply.read().decode().split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "closing"
            assert done == "data: [DONE]"
            with second.getresponse() as reply:
                assert reply.status == 503
