"""Several web addresses of one request: fetched side by side, in their order, with the limits of a single one."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from PIL import Image

from seeahead.errors import ImageError
from seeahead.images import sources
from seeahead.serve import prompts
from seeahead.serve.prompts import chat_prompt
from seeahead.serve.schema import ChatBody
from seeahead.serve.settings import READERS, settings_from
from tests.serve.conftest import IMAGE, PATIENCE, chat, data_uri, serving
from tests.serve.test_refusals import refused, sent
from tests.serve.test_streams import asking, eventually

SETTINGS = settings_from(model_name="tiny", allow_urls=True)


class Web:
    """Answers once so many have been asked for side by side; its images are as wide as the address says."""

    def __init__(self):
        self.together, self.inside, self.most, self.asked = 1, 0, 0, []
        self.changed, self.may_answer = threading.Condition(), threading.Event()
        self.may_answer.set()

    def fetch(self, url, *, max_bytes):
        with self.changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.asked.append(url)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most >= self.together, PATIENCE)
        try:
            time.sleep(0.05)  # in which others would come, if more were let in
            if url.endswith("none"):
                raise ImageError(f"'{url}' is not there; check it")
            self.may_answer.wait(PATIENCE)
            width = int(url.rpartition("/")[2])
            return base64.b64decode(data_uri(Image.new("RGB", (width, 8))).partition(",")[2])
        finally:
            with self.changed:
                self.inside -= 1


@pytest.fixture
def web(monkeypatch):
    found = Web()
    monkeypatch.setattr(sources, "fetch", found.fetch)
    yield found
    found.may_answer.set()


def body(*urls):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {**chat("x"), "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "x"}]}]}


def test_addresses_are_fetched_side_by_side_and_images_stay_in_their_order(web):
    web.together, urls = prompts._FETCHES, [f"https://example.com/{width}" for width in range(11, 18)]
    prompt = chat_prompt(ChatBody(**body(*urls[:3], IMAGE, *urls[3:])), SETTINGS)
    assert [image.width for image in prompt.images] == [11, 12, 13, 40, 14, 15, 16, 17]
    assert web.most == prompts._FETCHES


def test_an_address_that_fails_is_named_and_ends_the_others(web, monkeypatch):
    class Fetchers(ThreadPoolExecutor):
        """What has begun is answered only after the others were ended."""

        def shutdown(self, **given):
            super().shutdown(**{**given, "wait": False})
            web.may_answer.set()
            super().shutdown()

    monkeypatch.setattr(prompts, "ThreadPoolExecutor", Fetchers)
    web.may_answer.clear()
    urls = ["https://example.com/none", *(f"HTTPS://example.com/{width}" for width in range(1, 20))]
    with pytest.raises(ImageError, match=r"'https://example\.com/none' is not there"):
        chat_prompt(ChatBody(**body(*urls)), settings_from(model_name="tiny", allow_urls=True, max_images=30))
    assert len(web.asked) < len(urls)


def test_files_that_are_too_large_together_are_not_all_fetched(web):
    urls = [f"https://example.com/{width}" for width in range(1001, 1030)]
    settings = settings_from(model_name="tiny", allow_urls=True, max_body_bytes=1 << 10, max_images=30)
    with pytest.raises(ImageError, match="files of the images have more than 1,024 bytes together"):
        chat_prompt(ChatBody(**body(*urls)), settings)
    assert len(web.asked) < len(urls)


def test_who_waits_for_others_servers_holds_up_no_image_that_is_there(web, monkeypatch):
    go, fetch = threading.Event(), web.fetch
    monkeypatch.setattr(sources, "fetch", lambda *given, **more: (go.wait(PATIENCE), fetch(*given, **more))[1])
    with serving(allow_urls=True) as served, ExitStack() as asked:
        asked.callback(go.set)
        for _ in range(READERS + 2):
            asked.enter_context(asking(served, body("https://example.com/9")))
        eventually(lambda: served.owner._num_reading == READERS + 2)
        assert sent(served, chat(IMAGE, "x"))[0] == 200


def test_they_reach_the_model(web):
    with serving(allow_urls=True) as served:
        assert sent(served, body("https://example.com/9", "https://example.com/7"))[0] == 200
        refused(served, body("https://example.com/9", "https://example.com/none"), 400, "is not there")
        refused(served, body(*[f"https://example.com/{width}" for width in range(1, 18)]), 400, "hold 17 images")
