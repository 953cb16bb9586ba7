"""Serve a model to many clients at once, with OpenAI's API and a page to try it.

examples:
  seeahead serve
  seeahead serve -m Qwen/Qwen2.5-VL-3B-Instruct -d lookup --port 8080
  seeahead serve -d msd -d lookup --api-key-file keys.txt --host 0.0.0.0
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from _thread import start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from traceback import walk_stack
from typing import TYPE_CHECKING, Any

from seeahead.checked import read_text
from seeahead.cli import streams, terminal
from seeahead.cli.defaults import defaults
from seeahead.cli.options import add_target, loaded, read_template
from seeahead.errors import InputError

if TYPE_CHECKING:
    from seeahead.serve.settings import ServeSettings

KEYS = "SEEAHEAD_API_KEYS"
LIMITS = (
    *("host", "port", "num_at_once", "max_waiting", "max_new_tokens", "max_images", "max_pixels", "max_body_bytes"),
    *("image_bytes", "cache_tokens", "num_kept", "timeout_seconds", "request_timeout_seconds", "max_connections"),
)
"""Settings that are options. What they are, their kinds and defaults stand with the settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from seeahead.serve.settings import ServeSettings

    add = parser.add_argument
    drafter = "a drafter that clients may name; repeat it, the first is the default (default: auto)"
    add_target(parser, drafter, takes_several=True)
    for name in LIMITS:
        default, about = ServeSettings.model_fields[name].default, ServeSettings.model_fields[name].description
        flag, kind = f"--{name.removesuffix('_seconds').replace('_', '-')}", type(default)
        metavar = {int: "N", float: "S", str: "HOST"}[kind]
        add(flag, dest=name, type=kind, default=default, metavar=metavar, help=f"{about} (default: {default})")
    add("--served-model-name", metavar="NAME", help="what clients call the model (default: its own name)")
    add("--api-key-file", type=Path, metavar="FILE", help=f"keys that clients must have, one a line; also in {KEYS}")
    add("--allow-urls", action="store_true", help="images may also be web addresses")
    add("--image-folder", type=Path, metavar="DIR", help="images may also be file:// addresses below it")
    add("--allowed-origin", action="append", default=[], metavar="URL", help="pages elsewhere that may use the API")
    add("--allowed-host", action="append", default=[], metavar="NAME", help="names it may be asked under, without keys")
    add("--root-path", default="", metavar="PATH", help="what a proxy puts before all paths, such as /some/prefix")
    add("--chat-template", type=Path, metavar="FILE", help="a chat template (Jinja) in the place of the model's own")
    add("--no-check", action="store_true", help="skip the self-check of a model that has not passed it here")


def run(args: argparse.Namespace) -> int:
    with _ends_well():
        return _run(args, _settings(args))


def _run(args: argparse.Namespace, settings: ServeSettings) -> int:
    with terminal.Progress() as report:
        from seeahead.drafters import check_names, folders_for
        from seeahead.serve.app import create_app, owner_of
        from seeahead.serve.loading import told_to_wait
        from seeahead.serve.run import listening, serve

        first, *others = args.drafter or [defaults().drafter or None]
        others = [name for name in dict.fromkeys(others) if name != first]
        check_names(others, folders_for(args.model))
        address = listening(settings.host, settings.port)  # what is taken already is said before a model is loaded
        template = read_template(args.chat_template)
        with told_to_wait(address, settings.root_path):
            engine = loaded(args, first, report, chat_template=template, self_check=not args.no_check)
            report("measuring what passes cost here", 0.0)
            owner = owner_of(engine, others, settings)
            owner.start()
            app = create_app(owner, settings)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"http://{shown}:{address.getsockname()[1]} (Ctrl-C ends it)"
    streams.note(f"{settings.model_name} with {', '.join(owner.drafters)}: {where}", is_asked=True)
    serve(app, owner, address, settings)
    return 0


@contextmanager
def _ends_well() -> Iterator[None]:
    """Inside, SIGTERM ends the process as Ctrl-C does: what was begun is put away, and what was learned is kept."""
    if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        yield
        return
    before, told = signal.signal(signal.SIGTERM, _ended), sys.unraisablehook

    def lost(what: Any) -> None:
        # Python goes on after what is raised while something is given up, such as in a search for garbage.
        if what.exc_type is SystemExit:
            start_new_thread(_ended_again, ())  # which takes no lock that may be held just now
        else:
            told(what)

    sys.unraisablehook = lost
    try:
        yield
    finally:
        sys.unraisablehook = told
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: one that Python has not set, and cannot set


def _ended(number: int, frame: Any) -> None:
    # What is raised within an import may be swallowed there, or become an ImportError; so it waits for its end.
    if not any(one.f_code.co_filename.startswith("<frozen importlib") for one, _ in walk_stack(frame)):
        raise SystemExit(128 + number)
    start_new_thread(_ended_again, ())


def _ended_again() -> None:
    sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)  # the main thread is told, which may wait for something


def _settings(args: argparse.Namespace) -> ServeSettings:
    """Raises InputError for what is wrong, before anything is loaded."""
    from seeahead.serve.settings import settings_from

    keys = os.environ.get(KEYS, "").split()
    if args.api_key_file is not None:
        keys += read_text(args.api_key_file, "give a file with one key a line", InputError).split()
        if not keys:
            raise InputError(f"{args.api_key_file} holds no key; write one a line")
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise InputError("an API key has signs that no header carries; make one of letters, digits and signs of ASCII")
    return settings_from(
        model_name=args.served_model_name or Path(args.model).name or args.model,
        api_keys=tuple(keys),
        allow_urls=args.allow_urls,
        image_folder=args.image_folder,
        allowed_origins=tuple(args.allowed_origin),
        allowed_hosts=tuple(args.allowed_host),
        root_path=args.root_path,
        **{name: getattr(args, name) for name in LIMITS},
    )
