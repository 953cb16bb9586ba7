"""Train a drafter for a model on your own images and questions, and answer with it.

    python examples/train_your_own.py                                     the demo model, on this folder
    python examples/train_your_own.py llava-hf/llava-1.5-7b-hf photos/ out/mine

Questions are one JSON object a line, see docs/training.md; a folder of images alone is asked the default question.
What is there already in the output folder is used again, so it may be cut off and started anew.
"""

import sys
from pathlib import Path

import seeahead
from seeahead.train.run import train_drafter

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "drafters" / "own-pictures.toml"


def main(target: str = "demo", data: str = str(HERE / "questions.jsonl"), out: str = "out/own-drafter") -> None:
    folder = train_drafter(RECIPE, target, [Path(data)], Path(out), print)
    plain = seeahead.load(target, drafter="none")
    for engine in (plain, plain.with_drafter(folder)):
        reply = engine.generate("Describe the picture in detail.", images=[HERE / "pictures" / "chart.png"])
        print(f"{engine.drafter.name}: {reply.metrics['block_efficiency']:.2f} tokens per pass · {reply.text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
