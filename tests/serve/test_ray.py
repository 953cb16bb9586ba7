"""Two replicas of the server under a local Ray; where Ray is not installed there is nothing to test."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own code uses what its packages deprecate

PORT = 8123
PATIENCE = 600.0


@pytest.fixture(scope="module")
def url():
    from ray import serve

    from seeahead.serve.ray import deployed

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": dict(os.environ)})
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    load, settings = {"target": "demo", "drafter": "lookup"}, {"model_name": "demo"}
    serve.run(deployed(load, settings, num_replicas=2, resources={"num_cpus": 1}))
    yield f"http://127.0.0.1:{PORT}"
    serve.shutdown()
    ray.shutdown()


def sent(url, messages, *, session=None, **settings):
    """A reply that may still be coming in."""
    body = {"model": "demo", "messages": messages, "max_tokens": 8, "temperature": 0, **settings}
    headers = {"content-type": "application/json", **({"x-session-id": session} if session else {})}
    return urlopen(Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers), timeout=PATIENCE)


def asked(url, *texts, session=None):
    """The reply to the last text; those before it are turns of the user and the model."""
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]
    with sent(url, messages, session=session) as reply:
        return json.load(reply)


def said(reply):
    return reply["choices"][0]["message"]["content"]


def test_replicas_answer_alike_together_and_one_after_the_other(url):
    def text(number):
        return said(asked(url, f"What is {number}?"))

    single = [text(number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(text, range(6))) == single


def test_a_session_stays_with_the_replica_that_has_its_slot(url):
    def read_anew(number):
        """Of five turns of a conversation, those that began before the end of the turn before them."""
        texts, before, missed = [f"Tell me about the number {number}."], 0, 0
        for _ in range(5):
            reply = asked(url, *texts, session=f"conversation {number}")
            usage = reply["usage"]
            missed += usage["prompt_tokens_details"]["cached_tokens"] < before
            before = usage["prompt_tokens"]
            texts += [said(reply), "And then?"]
        return missed

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read_anew, range(6))) == [0] * 6


def test_sessions_are_spread(url):
    question = "Where are the sessions? " * 10  # longer than what its slot holds behind it, so that it is lent again
    replies = [asked(url, question, session=f"session {number}") for number in range(24)]
    most = replies[0]["usage"]["prompt_tokens"] - 1  # the last token of a prompt is always read
    read = [reply["usage"]["prompt_tokens_details"]["cached_tokens"] < most for reply in replies]
    assert sum(read) == 2, "each of the two replicas reads the question once"


def test_a_full_queue_says_when_to_come_again(url):
    """One request is answered, one waits with its replica, one with Ray; the last ones are refused."""
    from ray import serve

    from seeahead.serve.ray import deployed

    settings = {"model_name": "demo", "num_at_once": 1, "max_waiting": 1}
    load = {"target": "demo", "drafter": "none"}
    serve.run(deployed(load, settings, resources={"num_cpus": 0}), name="small", route_prefix="/small")

    def refusal(number):
        story = [{"role": "user", "content": f"Tell me a story of {number}."}]
        try:
            with sent(f"{url}/small", story, max_tokens=200) as reply:
                return json.load(reply)["usage"] and None
        except HTTPError as error:
            with error:
                return error.code, error.headers["retry-after"]

    with ThreadPoolExecutor(12) as pool:
        refusals = list(pool.map(refusal, range(12)))
    serve.delete("small")
    assert None in refusals
    assert {*refusals} == {None, (429, "1")}


def test_a_stream_comes_in_pieces_also_from_a_replica_that_is_to_end(url):
    from ray import serve

    whole = said(asked(url, "Tell me a story.", session="a"))
    with sent(url, [{"role": "user", "content": "Tell me a story."}], stream=True, max_tokens=64) as reply:
        events = [reply.readline()]
        serve.delete("default", _blocking=False)
        events += [line for line in reply if line.strip()]
    assert len(events) > 3
    assert events[-1].strip() == b"data: [DONE]"
    chunks = [json.loads(event[6:]) for event in events[:-1]]
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text.startswith(whole)
