"""Throw mutated inputs at the public parsers; exit 1 if one of them fails.

    python -m tests.fuzz [--count 10000] [--seed 0] [--first 0] [PARSER ...]

What fails is shown by place, and the smallest input found for it is written below out/fuzz. An input is made again by
its parser, seed and number: --first NUMBER --count 1.
"""

import argparse
import logging
import os
import resource
import socket
import sys
import tempfile
from pathlib import Path

# Before torch and transformers are imported, which read it.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("OMP_NUM_THREADS", "1")

MOST_ADDRESS_SPACE = 12 << 30
"""An input that asks for more memory must fail here, and not take the machine with it."""


def main(given=None):
    from tests.fuzz.parsers import PARSERS
    from tests.fuzz.running import MOST_GROWTH, fuzz

    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    options.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)} (default: all)")
    options.add_argument("--count", type=int, default=10_000, help="inputs of each (default: %(default)s)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--first", type=int, default=0, help="number of the first input (default: %(default)s)")
    options.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder to write to (default: %(default)s)")
    args = options.parse_args(given)
    if unknown := sorted(set(args.parsers) - set(PARSERS)):
        options.error(f"unknown {', '.join(unknown)}; allowed: {', '.join(PARSERS)}")
    _stay_alone()
    is_right = True
    for name in args.parsers or PARSERS:
        with tempfile.TemporaryDirectory() as folder:
            progress = _Progress(name, args.count)
            chosen = {"seed": args.seed, "first": args.first, "count": args.count}
            result = fuzz(PARSERS[name], Path(folder), **chosen, progress=progress.tell)
        progress.tell(args.count, is_last=True)
        _say(
            f"{name}: {result.num_values} values, {result.num_refused} refused, {len(result.failures)} places fail; "
            f"{result.seconds:.0f} s, memory grew by {result.num_bytes_grown / 2**20:.1f} MB "
            f"(allowed: {MOST_GROWTH >> 20})"
        )
        for place, failure in sorted(result.failures.items(), key=lambda entry: -entry[1].count):
            path = write(args.out, name, place, failure.value)
            _say(f"  {failure.count} x {place}: seed {args.seed}, number {failure.number}, {path}")
            _say("    " + failure.story.strip().replace("\n", "\n    "))
        is_right = is_right and not result.failures and not result.grows
    return 0 if is_right else 1


def write(folder, parser, place, value):
    """Keep an input under a name made of the place it fails in."""
    from tests.fuzz.mutations import written

    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{parser} {place}")[:150]
    path = folder / (name + (".bin" if isinstance(value, bytes) else ".txt"))
    path.write_bytes(value if isinstance(value, bytes) else written(value).encode("utf-8", "backslashreplace"))
    return path


class _Progress:
    """A line on standard error, once for each hundredth."""

    def __init__(self, name, count):
        self.name, self.count, self.told = name, count, -1

    def tell(self, done, is_last=False):
        share = 100 * done // self.count
        if share != self.told and sys.stderr.isatty():
            self.told = share
            sys.stderr.write(f"\r{self.name}: {share} %" + "\n" * is_last)
            sys.stderr.flush()


def _stay_alone():
    """No network, no library's own words, and no more memory than is sensible."""

    from transformers.utils import logging as transformers_logging

    def refuse(*_):
        raise AssertionError("a parser reached for the network")

    socket.socket.connect = refuse
    socket.getaddrinfo = refuse
    logging.disable()
    transformers_logging.disable_progress_bar()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE, resource.RLIM_INFINITY))


def _say(text):
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
