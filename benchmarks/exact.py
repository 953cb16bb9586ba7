"""How many 16-bit answers are plain decoding's own, with the executor whose rows have the same bits and without.

The demo's questions and some of every scenario of its suite go to every arm in turn, greedy, in bfloat16; an answer is
identical where its text is that of the same executor without drafts. What that costs is in tokens per second, over
those of transformers without drafts.

python -m benchmarks.exact [--repeats 1] [--count 6] [-o results/exact.json]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.executors import compared, own_arms, questions
from seeahead.provenance import provenance, write_json

EXECUTORS = (("transformers", "bfloat16"), ("graphs", "bfloat16"), ("exact", "bfloat16"))
DRAFTERS = ("none", "lookup", "vision", "msd", "msd:chain=4", "auto")
BASE = "transformers bfloat16 none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--count", type=int, default=6, help="questions per scenario")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    arms = own_arms(EXECUTORS, DRAFTERS)
    found = compared(arms, questions(args.count), args.repeats, BASE)
    if args.output is not None:
        write_json(args.output, {"provenance": provenance(0), **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
