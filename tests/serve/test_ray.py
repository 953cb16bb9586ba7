"""Two replicas of the server under a local Ray; where Ray is not installed there is nothing to test."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import pytest

ray = pytest.importorskip("ray")

PORT = 8123


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


def asked(url, number, *, stream=False):
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": f"What is {number}?"}],
        "max_tokens": 8,
        "stream": stream,
        "temperature": 0,
    }
    request = Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    with urlopen(request, timeout=120) as reply:
        return reply.read().decode()


def test_replicas_answer_alike_together_and_one_after_the_other(url):
    def text(number):
        return json.loads(asked(url, number))["choices"][0]["message"]["content"]

    single = [text(number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(text, range(6))) == single


def test_a_stream_comes_in_pieces(url):
    events = [line for line in asked(url, 3, stream=True).split("\n\n") if line]
    assert len(events) > 3
    assert events[-1] == "data: [DONE]"
