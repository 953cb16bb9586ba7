"""Exports the demo model for OpenVINO GenAI, in fp16 and int8, with the tools of an environment that has them.

python -m benchmarks.peer_exports PYTHON FOLDER
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from seeahead.demo.build import ensure

WEIGHTS = ("fp16", "int8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    target = ensure().target
    tool = [str(args.python.parent / "optimum-cli"), "export", "openvino", "-m", str(target)]
    for weights in WEIGHTS:
        place = args.folder / weights
        subprocess.run([*tool, "--task", "image-text-to-text", "--weight-format", weights, str(place)], check=True)
        # GenAI reads a file that transformers 5 no longer writes, and resizes to another size without it.
        images = json.loads((target / "processor_config.json").read_text())["image_processor"]
        (place / "preprocessor_config.json").write_text(json.dumps(images))
    return 0


if __name__ == "__main__":
    sys.exit(main())
