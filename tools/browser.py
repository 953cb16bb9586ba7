"""A Chromium without a window, spoken to over a pipe: pages are opened, asked what they show, and kept as images.

Needs nothing but the standard library, so that a clean clone can be looked at.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_SECONDS = 3600.0
"""For a model on a machine that does other things as well."""
_HIGHEST = 12_000
"""Pixels of a page that are kept; a taller image cannot be drawn."""


class BrowserError(Exception):
    """One line: what is missing, or what a page did not do."""


@dataclass(frozen=True)
class View:
    """How a page is looked at. Sizes in CSS pixels."""

    name: str
    width: int
    height: int
    is_dark: bool = False


VIEWS = (View("light", 1280, 800), View("dark", 1280, 800, is_dark=True), View("phone", 390, 844))


def found() -> str:
    """The path of a browser. Raises BrowserError."""
    if path := next(filter(None, map(shutil.which, NAMES)), None):
        return path
    raise BrowserError(f"no browser for the screenshots: none of {', '.join(NAMES)} is on PATH; install Chromium")


class Page:
    """The one tab of a browser."""

    def __init__(self, sent: Any, received: int) -> None:
        self._sent, self._received = sent, received
        self._rest, self._number, self._session = b"", 0, ""
        self.complaints = list[str]()
        """What went wrong in the page since it was opened: exceptions, errors on its console, failed requests."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        # What a page remembers of the view before, such as that it is light, is nothing to a first visit.
        forget = "try { localStorage.clear(); } catch {}"
        self._call("Page.addScriptToEvaluateOnNewDocument", source=forget)

    def open(self, address: str, view: View) -> None:
        """Waits until it is loaded. Raises BrowserError."""
        self.complaints.clear()
        size = {"width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": view.width < 500}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if view.is_dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._call("Emulation.setEmulatedMedia", features=[scheme, still])
        if problem := self._call("Page.navigate", url=address).get("errorText"):
            raise BrowserError(f"{address} cannot be opened: {problem}")
        self.wait("document.readyState === 'complete'")
        self.ask("document.fonts.ready.then(() => true)")

    def ask(self, script: str) -> Any:
        """The value of an expression of JavaScript, as JSON has it; promises are waited for. Raises BrowserError."""
        given = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self._call("Runtime.evaluate", **given)
        if "exceptionDetails" in answer:
            raise BrowserError(f"the page refused {script[:200]}: {json.dumps(answer['exceptionDetails'])[:400]}")
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = WAIT_SECONDS) -> None:
        """Until the expression is true. Raises BrowserError."""
        end = time.monotonic() + seconds
        while not self.ask(f"Boolean({script})"):  # an element is an empty object as JSON
            if time.monotonic() > end:
                raise BrowserError(f"after {seconds:.0f} s the page has not come to {script}")
            time.sleep(0.2)

    def keep(self, path: Path) -> None:
        """The whole page as a PNG file."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], _HIGHEST), "scale": 1}
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **given: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        self._sent.write(json.dumps(message).encode() + b"\0")
        self._sent.flush()
        for answer in self._messages():
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer)
        raise BrowserError(f"the browser ended before it answered {method}")

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" not in self._rest:
                if not (more := os.read(self._received, 1 << 20)):
                    return
                self._rest += more
            line, _, self._rest = self._rest.partition(b"\0")
            yield json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"].get("text", "an exception"))
        if event["method"] == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}".strip())


@contextmanager
def browser() -> Iterator[Page]:
    """Raises BrowserError where there is none, or it does not start."""
    path = found()
    to_read, sent = os.pipe()
    received, to_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="seeahead-browser-", ignore_cleanup_errors=True) as profile:
        # Containers seldom have the rights that its sandbox asks for; the pages are our own.
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                   "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}")  # fmt: skip
        # It reads from descriptor 3 and writes to 4; other numbers first, as these may be the pipes' own.
        moved = f'exec 8<&{to_read} 9>&{to_write}; exec 3<&8 4>&9 8<&- 9>&-; exec "$0" "$@"'
        process = subprocess.Popen(
            ["bash", "-c", moved, path, *options],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        try:
            with os.fdopen(sent, "wb") as pipe:
                yield Page(pipe, received)
        finally:
            os.close(received)
            try:
                process.wait(5)  # it ends when nobody speaks to it any more
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
