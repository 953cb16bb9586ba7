"""`seeahead serve` from its first line to its last: what is told while a model loads, and what a signal leaves."""

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from socket import create_connection
from tempfile import TemporaryDirectory

import pytest

from seeahead.serve import loading
from seeahead.serve.loading import told_to_wait
from seeahead.serve.run import listening

SERVING = """
import sys
import seeahead.api
from seeahead.cli import main
from seeahead.testing import tiny_model, tiny_processor

load = seeahead.api.load

def tiny(model, drafter, **given):
    return load((tiny_model("llama"), tiny_processor("llama")), drafter, executor="transformers")

seeahead.api.load = tiny
sys.exit(main(["serve", "--port", "0", "-d", sys.argv[1], "--no-check"]))
"""


@contextmanager
def started(program, drafter="lookup"):
    """Settings of whoever runs the tests are not those of the server."""
    words = [sys.executable, "-c", program, drafter]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEEAHEAD_")}
    with TemporaryDirectory() as folder:
        environment["XDG_CONFIG_HOME"] = folder
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
            try:
                yield process
            finally:
                process.kill()


def said_until(process, sign):
    """What it says, up to the line that has `sign`."""
    said = []
    for line in process.stderr:
        said.append(line)
        if sign in line:
            return "".join(said)
    pytest.fail(f"it ended with {process.wait()}:\n{''.join(said)}")


def told(address, method, path):
    with closing(http.client.HTTPConnection(*address.getsockname(), timeout=60)) as connection:
        connection.request(method, path, b"{}" if method == "POST" else None)
        with connection.getresponse() as response:
            return response.status, response.getheader("Retry-After"), response.read()


def test_who_comes_while_a_model_is_loaded_is_told_so():
    with closing(listening("127.0.0.1", 0)) as address:
        with told_to_wait(address):
            status, wait, body = told(address, "GET", "/health")
            assert (status, wait, json.loads(body)) == (200, None, {"status": "alive"})
            assert told(address, "GET", "/ready")[:2] == (503, "5")
            status, wait, body = told(address, "POST", "/v1/chat/completions")
            error = json.loads(body)["error"]
            assert (status, wait, error["type"], error["code"]) == (503, "5", "server_error", "loading")
            assert told(address, "HEAD", "/v1/models") == (503, "5", b"")
            status, wait, body = told(address, "GET", "/?a=1")  # a reader's browser, which asks again by itself
            assert (status, b'http-equiv="refresh"' in body) == (503, True)
        with closing(http.client.HTTPConnection(*address.getsockname(), timeout=0.2)) as late:
            late.request("GET", "/health")  # left to the server that comes
            with pytest.raises(TimeoutError):
                late.getresponse()


def test_who_is_slow_or_one_of_many_while_a_model_is_loaded_is_left(monkeypatch):
    """Files of the model want places among those that may be open, too."""
    monkeypatch.setattr(loading, "_MOST_OPEN", 3)
    monkeypatch.setattr(loading._Handler, "timeout", None)
    with closing(listening("127.0.0.1", 0)) as address, ExitStack() as opened, told_to_wait(address):
        waiting = [opened.enter_context(create_connection(address.getsockname(), 60)) for _ in range(6)]
        for one in waiting[:3]:
            assert one.recv(1) == b""
        assert told(address, "GET", "/health")[0] == 200
        monkeypatch.setattr(loading, "_SECONDS", 0.0)
        for one in waiting[3:]:
            assert one.recv(1) == b""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_auto_learned_is_kept_when_the_server_is_told_to_end(tmp_path):
    state = tmp_path / "state.json"
    with started(SERVING, f"auto:members=lookup,state={state}") as process:
        said = said_until(process, "http://")
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert (process.wait(), "Traceback" in rest) == (128 + signal.SIGTERM, False), said + rest
    assert state.exists()
