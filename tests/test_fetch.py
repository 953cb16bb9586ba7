"""Images from the web: only the checked address, limits, redirects, whatever a server says. No network."""

import http.client
import io
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from seeahead import __version__
from seeahead import fetch as fetching
from seeahead.errors import ImageError
from seeahead.fetch import fetch
from seeahead.images import load_image
from tests.web import answer_with, refusal

is_near = fetching._is_near


class Server(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self):
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # who asks leaves; else more comes than is allowed
                for _ in range(1200):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
        elif self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
        elif self.path == "/image":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.body)
        elif self.path.startswith("/said"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{self.path} {self.headers['Host']} {self.headers['User-Agent']}".encode())
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine that passes for a public one, under the name images.example."""
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(stream, "PNG")
    monkeypatch.setattr(Server, "body", stream.getvalue())
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hosts = {"images.example": "127.0.0.1", "inside.example": "10.0.0.1"}
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *_, **__: answer_with([hosts.get(host, host)])(host, port)
    )
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(fetching, "_is_near", lambda opened: False)
    yield f"http://images.example:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def test_an_image_arrives_from_the_checked_address(server):
    assert load_image(f"{server}/image", allow_urls=True).size == (5, 4)


def test_redirects_are_followed_a_few_times(server):
    assert fetch(f"{server}/to?/image", max_bytes=1000) == Server.body
    assert fetch(f"{server}/to?{server}/image", max_bytes=1000) == Server.body
    assert "redirects more than" in refusal(f"{server}/to?" * 5 + "/image")


def test_a_redirect_inside_is_refused(server):
    assert "not on the public internet" in refusal(f"{server}/to?http://inside.example/image")
    for other in ("file:///etc/passwd", "ftp://inside.example/image", "data:image/png;base64,iVBORw0KGgo="):
        assert "is not http or https with a host name" in refusal(f"{server}/to?{other}")


def test_a_public_address_of_this_machine_is_refused_before_anything_is_said(raw, monkeypatch):
    monkeypatch.setattr(fetching, "_is_near", is_near)
    monkeypatch.setattr(http.client.HTTPConnection, "request", lambda *given, **more: pytest.fail("it was asked"))
    for scheme in ("http", "https"):
        assert "'images.example' is not on the public internet" in refusal(raw(b"").replace("http", scheme))


def test_limits(server):
    assert "10 bytes" in refusal(f"{server}/image", max_bytes=10)
    assert "404" in refusal(f"{server}/none")


def test_a_dripping_server_is_left_in_time(server):
    assert "no answer within 0.3 seconds" in refusal(f"{server}/slow", timeout_seconds=0.3)


def test_a_silent_server_is_left(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and says nothing
        url = f"http://images.example:{silent.getsockname()[1]}/a.png"
        assert "no answer within 0.3 seconds" in refusal(url, timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("/said/a b.png", "/said/a%20b.png"),
        ("/said/käse.png", "/said/k%C3%A4se.png"),
        ("/said/猫.png", "/said/%E7%8C%AB.png"),
        ("/said/a%20b%C3%A4.png", "/said/a%20b%C3%A4.png"),
        ("/said/a'(b),c;d=e@f:g&h+i!$*~.png", "/said/a'(b),c;d=e@f:g&h+i!$*~.png"),
        ('/said/<"`{}>', "/said/%3C%22%60%7B%7D%3E"),
        ("/said?q=a b&n=ä&x=%2F#part", "/said?q=a%20b&n=%C3%A4&x=%2F"),
        ("/said/caf\udce9.png", "/said/caf%E9.png"),  # a Latin-1 name from a command line
        ("/said/\x1b[31m", "/said/%1B[31m"),
    ],
)
def test_letters_in_a_path_are_sent_as_browsers_send_them(server, typed, sent):
    assert fetch(f"  {server}{typed} ", max_bytes=1000).decode().split()[0] == sent


def test_the_request_names_the_host_and_who_asks(server):
    _, host, *agent = fetch(f"{server}/said", max_bytes=1000).decode().split(" ")
    assert host == server.removeprefix("http://")
    assert " ".join(agent) == f"seeahead/{__version__} (image fetcher)"


@pytest.fixture
def raw(server, monkeypatch):
    """A server that answers every request with the bytes given here."""
    listener = socket.create_server(("127.0.0.1", 0))
    said = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(said[0])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def answering(data):
        said[:] = [data]
        return f"http://images.example:{listener.getsockname()[1]}/a.png"

    yield answering
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("length", [b"1000000000000", b"20", b"-5", b"many", b"0"])
def test_a_length_that_lies_is_one_line_or_an_ordinary_answer(raw, length):
    """Whatever is announced, no more than the limit is read."""
    url = raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + b"x" * 40)
    message = ""
    try:
        assert len(fetch(url, max_bytes=1000, timeout_seconds=0.5)) <= 40
    except ImageError as error:
        message = str(error)
    assert "\n" not in message


def redirect(location: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "location",
    [b"http://[", b"http://[::1", b"//[x]/", b"http://x\x1b[31m.example/", b"http://x:99999/", b"http://x:y/",
     b"http://\xff\xfe/", b"http://\xe2\x84\x80.example/", b"http://" + b"x" * 200 + b"\x07/"],
)  # fmt: skip
def test_a_redirect_to_a_malformed_address_is_one_line(raw, location):
    message = refusal(raw(redirect(location)))
    assert "the address that 'images.example' redirects to is malformed" in message
    assert message.isprintable()
    assert len(message) < 400


def test_a_redirect_may_have_letters_beyond_ascii(raw, server):
    path = "/said/käse a.png".encode()
    answer = fetch(raw(redirect(server.encode() + path)), max_bytes=1000)
    assert answer.split()[0] == b"/said/k%C3%A4se%20a.png"


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest", "http://[::ffff:127.0.0.2]/", "http://[::ffff:7f00:2]/", "http://[fec0::1]/",
     "http://192.88.99.1/", "http://[3fff::1]/", "//10.0.0.1/", "https://inside.example/"],
)  # fmt: skip
def test_a_redirect_to_an_address_that_is_not_public_is_refused(raw, address):
    assert "not on the public internet" in refusal(raw(redirect(address.encode())))


def test_a_redirect_to_a_long_address_is_refused_on_one_short_line(raw, server):
    message = refusal(raw(redirect(b"http://" + b"x" * 60_000 + b".example/")))
    assert "the address that 'images.example' redirects to has 60,016 letters; allowed: up to 8,192; " in message
    message = refusal(raw(redirect(b"http://" + b"x" * 254 + b"/")))
    assert "the address that 'images.example' redirects to has a host of 254 letters; allowed: up to 253; " in message
    assert len(message) < 200
    long = f"{server}/said/".ljust(8192, "x")
    assert len(fetch(long, max_bytes=10_000).split()[0]) == 8192 - len(server)
    assert "has 8,193 letters" in refusal(long + "x")


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b]0;title\x07\x1b[31mred\r\n\r\n",
        b"HTTP/1.1 \x1b[31m\r\n\r\n",
        b"\n" * 9 + b"what\x00\x85\r\n",
        b"y" * 60_000 + b"\r\n",
        b"y" * 70_000,
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\x1b[31m\r\n",
    ],
)
def test_what_a_server_says_is_shown_on_one_short_line(raw, answer):
    message = refusal(raw(answer))
    assert message.startswith("'images.example' answers, but not as it should: ")
    assert message.isprintable()
    assert len(message) < 300


def test_only_a_server_that_was_not_reached_cannot_be_reached(server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "'images.example' cannot be reached: " in refusal(f"http://images.example:{port}/a.png")
    message = refusal(server.replace("http:", "https:") + "/image", timeout_seconds=2)  # reached, but not by TLS
    assert "cannot be reached" not in message


def test_a_secure_server_that_drips_its_greeting_is_left_in_time(server):
    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                for byte in b"\x16\x03\x03\x40\x00" + bytes(100):
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    url = f"https://images.example:{listener.getsockname()[1]}/"
    assert "no answer within 0.3 seconds" in refusal(url, timeout_seconds=0.3)
    listener.shutdown(socket.SHUT_RDWR)  # else it waits for ever, where nobody has come
    thread.join()
    listener.close()


def test_every_address_of_a_name_is_tried(server, monkeypatch):
    monkeypatch.setattr(fetching, "is_public", lambda address: address.startswith("127."))
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *_, **__: answer_with(
            ["127.0.0.9", "127.0.0.8", "127.0.0.1"] if host == "images.example" else [host]
        )(host, port),
    )  # fmt: skip
    tried = []
    connect = socket.create_connection

    def create_connection(address, **options):
        tried.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError
        return connect(address, **options)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    assert fetch(f"{server}/image", max_bytes=1000) == Server.body
    assert tried == ["127.0.0.9", "127.0.0.8", "127.0.0.1"]
