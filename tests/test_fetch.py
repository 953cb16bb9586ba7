"""Web addresses: only public hosts, only the checked address, limits on size, time and redirects. No network."""

import io
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from seeahead import fetch as fetching
from seeahead.errors import ImageError
from seeahead.fetch import fetch, is_public
from seeahead.pictures import load_picture

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
]  # fmt: skip


def answer_with(addresses):
    def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo


def refusal(url, **options) -> str:
    with pytest.raises(ImageError) as caught:
        fetch(url, **{"max_bytes": 1000, "timeout_seconds": 2, **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are(address):
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_resolves_to_a_private_address_is_refused(address, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", answer_with([address]))
    assert "not on the public internet" in refusal("http://innocent.example/a.png")


def test_one_private_address_among_public_ones_is_refused(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", answer_with(["8.8.8.8", "127.0.0.1"]))
    assert "not on the public internet" in refusal("http://innocent.example/a.png")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_spellings_of_this_machine_are_refused(host):
    message = refusal(f"http://{host}/a.png")
    assert "not on the public internet" in message or "unknown" in message


def test_malformed_addresses():
    assert "malformed" in refusal("http://[::1/a.png")
    assert "malformed" in refusal("http://host:99999/a.png")
    assert "host name" in refusal("http:///a.png")
    assert "user name" in refusal("http://me:secret@example.com/a.png")
    assert "secret" not in refusal("http://me:secret@example.com/a.png")


class Server(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self):
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
        elif self.path == "/picture":
            self.send_response(200)
            self.send_header("X-Host", self.headers["Host"])
            self.end_headers()
            self.wfile.write(self.body)
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine that passes for a public one, under the name pictures.example."""
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(stream, "PNG")
    monkeypatch.setattr(Server, "body", stream.getvalue())
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    hosts = {"pictures.example": "127.0.0.1", "inside.example": "10.0.0.1"}
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *_, **__: answer_with([hosts.get(host, host)])(host, port)
    )
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    yield f"http://pictures.example:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_picture_arrives_from_the_checked_address(server):
    assert load_picture(f"{server}/picture", allow_urls=True).size == (5, 4)


def test_redirects_are_followed_a_few_times(server):
    assert fetch(f"{server}/to?/picture", max_bytes=1000) == Server.body
    assert fetch(f"{server}/to?{server}/picture", max_bytes=1000) == Server.body
    assert "redirects more than" in refusal(f"{server}/to?" * 5 + "/picture")


def test_a_redirect_inside_is_refused(server):
    assert "not on the public internet" in refusal(f"{server}/to?http://inside.example/picture")
    assert "not http" in refusal(f"{server}/to?file:///etc/passwd")


def test_limits(server):
    assert "10 bytes" in refusal(f"{server}/picture", max_bytes=10)
    assert "404" in refusal(f"{server}/none")


def test_a_dripping_server_is_left_in_time(server):
    started = time.monotonic()
    assert "no answer within 0.3 seconds" in refusal(f"{server}/slow", timeout_seconds=0.3)
    assert time.monotonic() - started < 1.9
