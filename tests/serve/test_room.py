"""What requests that wait may take, and what they are told where they are not answered."""

import asyncio
import gc
import json
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import openai
import pytest
from PIL import Image

from seeahead.images import OpenedImage
from seeahead.serve import app, prompts, run
from seeahead.serve.bodies import Bodies
from seeahead.serve.owner import OwnerLimits
from seeahead.serve.room import Room
from seeahead.serve.schema import ChatBody
from seeahead.serve.settings import READERS, settings_from
from seeahead.serve.ticket import Asked
from tests.serve.conftest import IMAGE, PATIENCE, chat, data_uri, serving
from tests.serve.test_refusals import CHAT, refused, sent
from tests.serve.test_streams import asking, eventually, held_up

LARGE = data_uri(Image.new("RGB", (500, 400)))


@contextmanager
def stopped(**limits):
    """A server of one place that takes no step until the event is set; one request has the place."""
    with serving(OwnerLimits(num_at_once=1, num_kept=0, **limits), max_new_tokens=400) as served, ExitStack() as others:
        may_go, step = threading.Event(), served.owner._batch.step
        served.owner._batch.step = lambda **given: (may_go.wait(PATIENCE), step(**given))[1]
        others.callback(may_go.set)
        others.enter_context(asking(served, chat("one", max_tokens=400)))
        eventually(lambda: served.owner.num_running == 1)
        yield served, may_go


@contextmanager
def full():
    """One whose memory for images holds one large one that waits."""
    with stopped(image_bytes=1 << 20) as (served, may_go), asking(served, chat(LARGE, "two", max_tokens=1)):
        eventually(lambda: len(served.owner._waiting) == 1)
        yield served, may_go


def test_images_wait_for_memory_before_they_are_decoded(monkeypatch):
    """A few kilobytes may become an image of 200 megabytes, which its request holds until it is read."""
    decoded, load = [], OpenedImage.load
    monkeypatch.setattr(OpenedImage, "load", lambda self: (decoded.append(self.num_pixels), load(self))[1])
    with full() as (served, may_go), asking(served, chat(LARGE, "three", max_tokens=1)) as third:
        eventually(lambda: served.owner.room._queue)
        with asking(served, chat("four", max_tokens=1)):  # has no images
            eventually(lambda: len(served.owner._waiting) == 2)
            assert len(decoded) == 1
            may_go.set()
            with third.getresponse() as reply:
                assert reply.status == 200
    assert len(decoded) == 2


def test_who_leaves_while_its_images_wait_for_memory_is_not_decoded(monkeypatch):
    decoded, load = [], OpenedImage.load
    monkeypatch.setattr(OpenedImage, "load", lambda self: (decoded.append(self.num_pixels), load(self))[1])
    with full() as (served, _):
        with asking(served, chat(LARGE, "three", max_tokens=1)):
            eventually(lambda: served.owner.room._queue)
        eventually(lambda: not served.owner.room._queue)
        assert len(decoded) == 1


def test_who_waits_for_memory_when_the_server_closes_is_told():
    with full() as (served, _), asking(served, chat(LARGE, "three", max_tokens=1)) as third:
        eventually(lambda: served.owner.room._queue)
        served.owner.close()
        with third.getresponse() as reply:
            assert reply.status == 503
            assert json.load(reply)["error"]["code"] == "closing"


def test_room_goes_to_those_who_came_first():
    room, order, first = Room(10), [], threading.Event()

    def use(name, num_bytes):
        with room.taken(num_bytes):
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with room.taken(6):
            large = pool.submit(use, "large", 8)
            eventually(lambda: len(room._queue) == 1)
            small = pool.submit(
                use, "small", 2
            )  # which there is room for, but it would have the large one wait for ever
            eventually(lambda: len(room._queue) == 2)
            assert order == []
        large.result(60)
        small.result(60)
    assert order == ["large", "small"]
    with room.taken(99):
        first.set()
    assert first.is_set(), "who is alone has what it needs"


def test_no_more_is_decoded_at_once_than_there_is_room_for(monkeypatch):
    inside, most, changed, load = [], [], threading.Condition(), OpenedImage.load

    def loaded(self):
        with changed:
            inside.append(self.num_pixels)
            most.append(sum(inside))
            changed.notify_all()
            changed.wait_for(lambda: max(most) >= 400_000, PATIENCE)
        try:
            time.sleep(0.05)  # in which others would come, if more were let in
            return load(self)
        finally:
            with changed:
                inside.remove(self.num_pixels)

    monkeypatch.setattr(OpenedImage, "load", loaded)
    monkeypatch.setattr(prompts, "_DECODING", Room(prompts._DECODING_BYTES * 450_000))
    body = ChatBody(**chat(*[LARGE] * 3, "x"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(prompts.chat_prompt, [body] * 4, [settings_from(model_name="tiny", num_kept=0)] * 4))
    assert max(most) == 400_000


def test_a_full_queue_says_when_to_come_again():
    with stopped(max_waiting=0) as (served, _):
        with served.client() as client, pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**chat("two"))
        assert int(caught.value.response.headers["retry-after"]) >= 1


def test_requests_that_are_being_read_wait_too(monkeypatch):
    may_go, read = threading.Event(), app.chat_prompt
    monkeypatch.setattr(app, "chat_prompt", lambda *given: (may_go.wait(PATIENCE), read(*given))[1])
    with serving(OwnerLimits(num_at_once=1, max_waiting=1)) as served, ExitStack() as others:
        for text in ("one", "two"):
            others.enter_context(asking(served, chat(text, max_tokens=1)))
        eventually(lambda: served.owner._num_reading == 2)
        refused(served, chat("three"), 429, "waiting already")
        may_go.set()
        eventually(lambda: served.owner._num_reading + served.owner.num_waiting + served.owner.num_running == 0)
        assert sent(served, chat("three", max_tokens=1))[0] == 200


def test_a_pool_holds_nothing_of_those_that_have_gone(served):
    """Bodies of many megabytes, of clients that leave before their images are decoded."""

    class Read:
        def __call__(self, hold):
            raise AssertionError

    async def leave():
        may_go, read = threading.Event(), Read()
        held = weakref.ref(read)
        busy = [served.owner._readers.submit(may_go.wait, PATIENCE) for _ in range(READERS)]
        asked = asyncio.create_task(served.owner.ask([Asked({})], read, has_images=True))
        del read
        await asyncio.sleep(0.05)
        asked.cancel()
        await asyncio.wait([asked])
        del asked
        gc.collect()
        found = held()
        may_go.set()
        wait(busy)
        return found

    assert asyncio.run(leave()) is None
    assert served.owner._num_reading == 0


def test_bodies_that_are_held_together_have_a_limit(monkeypatch):
    small, made = {"max_body_bytes": 1 << 20, "image_bytes": 1 << 20}, []
    monkeypatch.setattr(app, "Bodies", lambda *given: (made.append(Bodies(*given)), made[0])[1])
    text = json.dumps(chat("x", max_tokens=1)).encode()
    large = text + b" " * (900_000 - len(text))
    with serving(**small) as served:
        assert sent(served, large)[0] == 200
        with closing(HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE)) as slow:
            slow.putrequest("POST", CHAT)
            slow.putheader("content-type", "application/json")
            slow.putheader("content-length", str(len(large)))
            slow.endheaders(large[:-1])
            eventually(lambda: made[0]._held == len(large) - 1)
            refused(served, large, 429, "the bodies of other requests")
            slow.send(large[-1:])
            with slow.getresponse() as reply:
                assert reply.status == 200
        assert sent(served, large)[0] == 200


def num_read(owner):
    """Requests whose bodies are read, and given up; None while there are others."""
    return owner.num_running + len(owner._waiting) if owner._num_reading == 0 else None


def test_a_body_is_given_up_once_it_is_read(monkeypatch):
    text = json.dumps(chat("x", max_tokens=1)).encode()
    large, headers, go = text + b" " * (900_000 - len(text)), {"content-type": "application/json"}, threading.Event()
    with serving(max_body_bytes=1 << 20, image_bytes=1 << 20) as served:
        step = served.owner._batch.step
        monkeypatch.setattr(served.owner._batch, "step", lambda **given: (go.wait(PATIENCE), step(**given))[1])
        where = urlsplit(served.url).netloc
        with closing(HTTPConnection(where, timeout=PATIENCE)) as one, closing(HTTPConnection(where)) as other:
            for number, connection in enumerate((one, other), 1):
                connection.request("POST", CHAT, large, headers)
                eventually(lambda number=number: num_read(served.owner) == number)
            go.set()
            for connection in (one, other):
                with connection.getresponse() as reply:
                    assert reply.status == 200


def test_images_that_are_made_ready_hold_up_no_text(served, monkeypatch):
    may_go, eyes = threading.Event(), served.owner._seeing_family
    encode = eyes.encode
    monkeypatch.setattr(eyes, "encode", lambda prompt: (may_go.wait(PATIENCE), encode(prompt))[1])
    with asking(served, chat(IMAGE, "What is this?", max_tokens=1)) as other:
        eventually(served.owner.seeing.locked)
        assert sent(served, chat("one", max_tokens=1))[0] == 200
        may_go.set()
        with other.getresponse() as reply:
            assert reply.status == 200


def test_the_time_to_the_first_token_begins_with_reading(served, monkeypatch):
    read = app.chat_prompt
    monkeypatch.setattr(app, "chat_prompt", lambda *given: (time.sleep(0.3), read(*given))[1])
    figures = sent(served, chat("one", max_tokens=1))[1]["metrics"]
    assert figures["seconds"] >= figures["time_to_first_token_seconds"] >= 0.3


def test_an_image_is_made_ready_where_it_was_decoded(served, monkeypatch):
    """So no more are held than are read at once, however many come."""
    threads, read, made = [], app.chat_prompt, served.owner._made
    monkeypatch.setattr(app, "chat_prompt", lambda *given: (threads.append(threading.get_ident()), read(*given))[1])
    monkeypatch.setattr(served.owner, "_made", lambda *given: (threads.append(threading.get_ident()), made(*given))[1])
    assert sent(served, chat(IMAGE, "x", n=2, max_tokens=1))[0] == 200
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_who_is_not_answered_when_the_server_ends_is_told(monkeypatch):
    monkeypatch.setattr(run, "_TELLING_SECONDS", PATIENCE)
    monkeypatch.setattr(run, "_GRACE_SECONDS", PATIENCE + 1)
    with serving(OwnerLimits(num_at_once=1), max_new_tokens=400) as served:
        may_go, body = held_up(served), chat("one", max_tokens=400)
        with asking(served, {**body, "stream": True}) as first, asking(served, body) as second:
            eventually(lambda: (served.owner.num_running, len(served.owner._waiting)) == (1, 1))
            [ticket] = served.owner._running.values()
            served.server.should_exit = True
            eventually(lambda: ticket.is_cancelled)
            may_go.set()
            with first.getresponse() as reply:
                *_, last, done, _ = reply.read().decode().split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "closing"
            assert done == "data: [DONE]"
            with second.getresponse() as reply:
                assert reply.status == 503
