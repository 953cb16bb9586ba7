"""Walks a newcomer's way through a clean clone: README, demo, own image, own model, server, and every page on the way.

python3 -m tools.walk [-o out/walk] [STEP …]

What is typed is taken from the documents. An image that documents speak of gives way to one that lies elsewhere under
an odd name, a hub id to a model in a folder, the server's port to a free one. Every page is looked at in a browser:
light, dark and 390 pixels wide. What can be measured there ends the walk: wider than the window, labels over another,
images that are missing, a first image below the first screen. Images of all pages, and what commands said, are kept for
eyes. Ends with code 1 at the first thing that does not go well. Needs Python, make and a Chromium; `make` brings the
rest.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.browser import VIEWS, BrowserError, Page, browser, found

from tests.documents import commands_in, fenced, typed

ROOT = Path(__file__).resolve().parents[1]
NAMED_IMAGE = "examples/pictures/receipt.png"
OWN_IMAGE = "photos of mine/Straße 1.jpg"
SERVED_AT = "127.0.0.1:8000"
SET_UP = ("pip install", "pip3 install")  # what make has done already
START_SECONDS = 3600.0
# What a library says to its developers, or draws while it works.
NOT_FOR_USERS = re.compile(
    r"Traceback \(|\b\w+Warning\b|warnings\.warn|\d%\||^\[W\d|^WARNING(?!: Location)", re.MULTILINE
)


class WalkError(Exception):
    """What did not go well, in one line or with what a command said."""


@dataclass(frozen=True)
class Walk:
    """Where things are kept, and the browser."""

    out: Path
    page: Page

    def typed(self, script: str, changes: Mapping[str, str] | None = None) -> str:
        """What lines of a document print, in a shell of their own; each must end well."""
        lines = [line for line in script.replace("\\\n", " ").splitlines() if not line.startswith(SET_UP)]
        text = changed("\n".join(lines), changes or {})
        print("\n".join(f"  $ {line}" for line in text.splitlines() if line.strip()), flush=True)
        done = subprocess.run(["bash", "-eo", "pipefail", "-c", text], cwd=ROOT, env=environment(self.out), check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")  # fmt: skip
        with (self.out / "said.txt").open("a", encoding="utf-8") as kept:
            kept.write(f"$ {text}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            raise WalkError(f"{text}\nends with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return told(text, done.stdout, done.stderr)

    def look(self, name: str, address: str, prepare: Callable[[Page], None] = lambda page: None) -> None:
        """Looks at a page in every view, keeps its images, and measures what can be measured."""
        for view in VIEWS:
            self.page.open(address, view)
            prepare(self.page)
            self.page.keep(self.out / "pages" / f"{name}-{view.name}.png")
            problems = [*self.page.complaints, *self.page.ask(MEASURED)]
            if problems:
                raise WalkError(f"{name}, {view.name}: {'; '.join(problems)}")
        print(f"  looked at {name}", flush=True)


def changed(text: str, changes: Mapping[str, str]) -> str:
    """`text` with other words; raises WalkError where a document no longer has one of them."""
    for old, new in changes.items():
        if old not in text:
            raise WalkError(f"the document no longer says {old}: let tools/walk.py follow it")
        text = text.replace(old, new)
    return text


def told(command: str, stdout: str, stderr: str) -> str:
    """`stdout`, where there is something on it and nothing that was not meant for a user."""
    if strange := NOT_FOR_USERS.search(stdout + "\n" + stderr):
        raise WalkError(f"{command}\nsays {strange[0]!r}, which is not for users:\n{stderr[-2000:]}")
    if not (stdout + stderr).strip():
        raise WalkError(f"{command}\nsays nothing")
    return stdout


def environment(out: Path) -> dict[str, str]:
    """A newcomer's: the commands of .venv first, nothing set for seeahead, no file of settings."""
    others = ("SEEAHEAD_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    kept["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"XDG_CONFIG_HOME": str(out / "config")}


def blocks(document: str, kinds: str = "(?:sh)?") -> list[str]:
    return fenced((ROOT / document).read_text(encoding="utf-8"), kinds)


def the(found_blocks: Sequence[str], word: str) -> str:
    """The one block that has `word`."""
    found_ones = [block for block in found_blocks if word in block]
    if len(found_ones) != 1:
        raise WalkError(f"{len(found_ones)} blocks of the document have {word!r}: let tools/walk.py follow it")
    return found_ones[0]


def readme(walk: Walk) -> None:
    """The two commands of the README, and its Python."""
    walk.typed(the(blocks("README.md"), "make demo"))
    walk.typed(f"python - <<'END'\n{the(blocks('README.md', 'python'), 'seeahead.load')}END")
    if not (ROOT / "out" / "demo.html").is_file():
        raise WalkError("make demo has written no out/demo.html")


def demo(walk: Walk) -> None:
    """The demo's page."""
    walk.look("demo", (ROOT / "out" / "demo.html").as_uri())


def own_image(walk: Walk) -> None:
    """An image that lies elsewhere, as a file and from a pipe."""
    image = walk.out / OWN_IMAGE
    image.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(next((ROOT / "src" / "seeahead" / "demo" / "pictures").glob("*.jpg")), image)
    walk.typed(the(blocks("docs/laptop.md"), "-i -"), {NAMED_IMAGE: shlex.quote(str(image))})


def own_model(walk: Walk) -> None:
    """A model in a folder, proven and asked."""
    folder = walk.out / "a model of mine"
    made = ("import sys; from seeahead.testing import tiny_model, tiny_processor; "
            "[make('llava', **more).save_pretrained(sys.argv[1]) for make, more in "
            "((tiny_model, {'max_position_embeddings': 1024}), (tiny_processor, {}))]")  # fmt: skip
    subprocess.run([ROOT / ".venv/bin/python", "-c", made, folder], check=True, cwd=ROOT, capture_output=True)
    block = the(blocks("docs/laptop.md"), "seeahead check")
    named = next(words[words.index("-m") + 1] for line in block.splitlines() for words in commands_in(line))
    walk.typed(block, {named: shlex.quote(str(folder))})


def server(walk: Walk) -> None:
    """The server, asked by its clients and on its page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {SERVED_AT: f"127.0.0.1:{port}"}
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    with serving(walk, the(blocks("docs/serving.md"), "seeahead serve").strip().splitlines()[-1], port):
        client = changed(the(fenced(text, "python"), "OpenAI("), there)
        walk.typed(f"python - <<'END'\n{client}print(reply.choices[0].message.content)\nEND")
        walk.typed(the(fenced(text, "sh"), "curl"), there)
        walk.look("server", f"http://127.0.0.1:{port}/", asked)


@contextmanager
def serving(walk: Walk, command: str, port: int) -> Iterator[None]:
    """The server, until it is ended as by Ctrl-C."""
    print(f"  $ {command} --port {port} &", flush=True)
    log = walk.out / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen([*shlex.split(command), "--port", str(port)], cwd=ROOT, env=environment(walk.out),
                                   executable=ROOT / ".venv/bin/seeahead", stdout=written, stderr=written)  # fmt: skip
    try:
        end = time.monotonic() + START_SECONDS
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise WalkError(f"{command} does not come up:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
        yield
        process.send_signal(signal.SIGINT)
        if code := process.wait(600):
            raise WalkError(f"{command} ends with {code} when it is interrupted:\n{log.read_text()[-3000:]}")
        told(command, "", log.read_text(encoding="utf-8", errors="replace"))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def is_ready(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def asked(page: Page) -> None:
    """Asks about an image, with drafts and without, and waits for both answers."""
    data = (ROOT / NAMED_IMAGE).read_bytes()
    page.wait("!document.getElementById('drafter').disabled")
    page.ask(ASK.replace("BYTES", str(list(data))))
    page.wait("document.querySelector('.again') || document.getElementById('problem').textContent")
    if not page.ask("Boolean(document.querySelector('.verdict'))"):
        raise BrowserError(f"the page has no answers to compare: {page.ask('document.body.innerText')[-500:]}")


def report(walk: Walk) -> None:
    """The page of the stored main run."""
    line = next(line for line in typed((ROOT / "docs/results/bench-demo.md").read_text(encoding="utf-8"))
                if line.startswith("seeahead report"))  # fmt: skip
    page = walk.out / "report.html"
    walk.typed(line, {"page.html": shlex.quote(str(page))})
    walk.look("report", page.as_uri())


def documents(walk: Walk) -> None:
    """All documents as pages."""
    walk.typed(next(line for line in typed((ROOT / "README.md").read_text(encoding="utf-8")) if line == "make docs"))
    site = ROOT / "out" / "site"
    for path in sorted(site.rglob("*.html")):
        if path.name != "404.html":
            walk.look(f"docs-{path.relative_to(site).with_suffix('').as_posix().replace('/', '-')}", path.as_uri())


STEPS = {
    step.__name__.replace("_", "-"): step for step in (readme, demo, own_image, own_model, server, report, documents)
}

ASK = """(() => {
  const chosen = new DataTransfer(), files = document.getElementById("files");
  chosen.items.add(new File([new Uint8Array(BYTES)], "receipt.png", {type: "image/png"}));
  files.files = chosen.files;
  files.dispatchEvent(new Event("change"));
  document.getElementById("both").click();
  document.getElementById("question").value = "What is in the picture?";
  const send = () => document.querySelector("#images li") ? document.getElementById("form").requestSubmit()
    : setTimeout(send, 50);
  send();
})()"""

# Folded parts are not measured. Of an image the alt text would be seen where its file is missing.
MEASURED = """(() => {
  const found = [], root = document.documentElement, box = (one) => one.getBoundingClientRect();
  if (root.scrollWidth > innerWidth + 1) found.push(`${root.scrollWidth} pixels wide in a window of ${innerWidth}`);
  for (const one of document.images)
    if (one.complete && !one.naturalWidth) found.push(`no image at ${one.src.slice(0, 100)}`);
  const seen = [...document.querySelectorAll("img, svg")].filter((one) => one.checkVisibility() && box(one).width > 99);
  const first = Math.min(...seen.map((one) => box(one).top + scrollY));
  if (seen.length && first > innerHeight) found.push(`the first image is at ${Math.round(first)} pixels`);
  for (const chart of document.querySelectorAll("svg")) {
    const texts = [...chart.querySelectorAll("text")].filter((one) => one.checkVisibility());
    const labels = texts.map((one) => [one, box(one)]);
    labels.forEach(([one, a], number) => labels.slice(number + 1).forEach(([other, b]) => {
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
          && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > a.height / 3)
        found.push(`the label "${one.textContent}" lies over "${other.textContent}"`);
    }));
  }
  return found;
})()"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"some of {', '.join(STEPS)} (default: all, in order)")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "walk", help="default: out/walk")
    args = parser.parse_args()
    if unknown := [step for step in args.steps if step not in STEPS]:
        parser.error(f"unknown step {unknown[0]}; steps are {', '.join(STEPS)}")
    out = args.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / "said.txt").unlink(missing_ok=True)
    try:
        found()
        with browser() as page:
            for name in args.steps or STEPS:
                print(f"{name}: {' '.join((STEPS[name].__doc__ or '').split())}", flush=True)
                STEPS[name](Walk(out, page))
    except (WalkError, BrowserError) as error:
        print(f"walk: {error}", file=sys.stderr)
        return 1
    print(f"walked; pages to look at: {out / 'pages'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
