"""How fast: our plain loop against transformers' `generate`, and every drafter against plain, in one run each.

    python benchmarks/speed.py                       # the demo model, as `seeahead demo` runs it
    python benchmarks/speed.py -m FOLDER -d lookup -d FOLDER --dtype float32

Everything is interleaved prompt by prompt, after a warm-up of every shape, and repeated; only ratios within a run
count. Greedy throughout. Writes results/speed-DEVICE-DTYPE.json; the last line of stdout is that record, as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from seeahead.api import Engine
from seeahead.bench.compare import Round, compare
from seeahead.bench.figures import COLUMNS, all_figures, cells, heading
from seeahead.bench.record import PLAIN
from seeahead.cli import demo, terminal
from seeahead.decode import Decoder
from seeahead.demo.scenarios import Question
from seeahead.drafters.empty import EmptyDrafter
from seeahead.errors import SeeaheadError
from seeahead.executor import ModelInputs
from seeahead.prompt import make_prompt
from seeahead.provenance import provenance, write_json
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule

SEED = 0


def main() -> int:
    args = arguments()
    try:
        drafters = demo.check(args)
        engines, scenarios = demo.prepare(args, drafters)
    except SeeaheadError as error:
        sys.stderr.write(f"speed.py: error: {error}\n")
        return 2
    notes, plain = terminal.note_console(), engines[PLAIN]
    first_questions = [
        Question(scenario.name, talk.pictures, talk.turns[0].text, args.num_tokens)
        for scenario in scenarios
        for talk in scenario.conversations[:1]
    ]
    notes.print("our plain loop against transformers' generate …")
    against_transformers = plain_loops(plain, first_questions, args.num_tokens, args.num_repeats)
    repeats = []
    for number in range(args.num_repeats):
        notes.print(f"drafters against plain, {number + 1} of {args.num_repeats} …")
        repeats.append([event for event in compare(engines, scenarios) if isinstance(event, Round)])
    record = {
        "provenance": provenance(SEED),
        **demo.describe(engines),
        "ceiling": ceiling(plain),
        "plain_loop": against_transformers,
        "drafters": drafter_record(repeats),
    }
    show(Console(highlight=False), record, repeats)
    write_json(args.output / f"speed-{record['device']}-{record['dtype']}.json", record)
    sys.stdout.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="demo")
    parser.add_argument("-d", "--drafter", action="append")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num-repeats", type=int, default=3)
    parser.add_argument("--num-tokens", type=int, default=64, help="answer length in the comparison with transformers")
    parser.add_argument("--quick", action="store_true", help="three questions only")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of the record")
    parser.set_defaults(html=None)
    return parser.parse_args()


def plain_loops(engine: Engine, questions: Sequence[Question], num_tokens: int, num_repeats: int) -> dict[str, Any]:
    """Ours and transformers' on the same model object and prompts: seconds of whole calls, in random order."""
    shuffle = random.Random(SEED)
    inputs = [engine.family.encode(make_prompt(question.messages())) for question in questions]
    runs: dict[str, list[list[float]]] = {"seeahead": [], "transformers": []}
    num_identical = 0
    loops = {"seeahead": our_loop, "transformers": their_loop}
    with without_end(engine):
        for prompt in inputs:  # warm-up: every shape, at full length
            ids = [loop(engine, prompt, num_tokens) for loop in loops.values()]
            num_identical += ids[0] == ids[1]
        for _ in range(num_repeats):
            for seconds in runs.values():
                seconds.append([])
            for prompt in inputs:
                for name in shuffle.sample(list(loops), len(loops)):
                    started = perf_counter()
                    loops[name](engine, prompt, num_tokens)
                    runs[name][-1].append(perf_counter() - started)
    ratios = [sum(theirs) / sum(ours) for ours, theirs in zip(runs["seeahead"], runs["transformers"], strict=True)]
    return {
        "definition": "seconds of transformers' generate over seconds of our plain loop, whole calls with prefill, "
        "sums over the prompts of a repeat; median and range over repeats",
        "num_tokens": num_tokens,
        "num_prompts": len(inputs),
        "num_identical": num_identical,
        "seconds": runs,
        "token_rate": {name: len(inputs) * num_repeats * num_tokens / sum(map(sum, of)) for name, of in runs.items()},
        "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
    }


def our_loop(engine: Engine, prompt: ModelInputs, num_tokens: int) -> list[int]:
    sampler = Sampler(SamplingParams(), prompt.token_ids[0].tolist())
    decoder = Decoder(engine.family, EmptyDrafter(), sampler, StopRule(num_tokens), engine.family.image_token_ids)
    progress = decoder.start(prompt)
    for _ in decoder.steps(progress):
        pass
    return list(progress.answer)


def their_loop(engine: Engine, prompt: ModelInputs, num_tokens: int) -> list[int]:
    with torch.inference_mode():
        ids = engine.family.model.generate(
            input_ids=prompt.token_ids,
            attention_mask=torch.ones_like(prompt.token_ids),
            **prompt.extras,
            max_new_tokens=num_tokens,
            do_sample=False,
        )
    answer: list[int] = ids[0, prompt.token_ids.shape[1] :].tolist()
    return answer


@contextmanager
def without_end(engine: Engine) -> Iterator[None]:
    """Every answer has full length: no end token, for both alike."""
    config = engine.family.model.generation_config
    ends, config.eos_token_id = config.eos_token_id, None
    try:
        yield
    finally:
        config.eos_token_id = ends


def drafter_record(repeats: Sequence[Sequence[Round]]) -> dict[str, Any]:
    """Figures over all repeats, and the range of each repeat's own speed-up. Seconds per answer, not per step."""
    pooled = [round_ for rounds in repeats for round_ in rounds]
    each = [{entry.method: entry for entry in all_figures(rounds)} for rounds in repeats]
    methods = []
    for entry in all_figures(pooled):
        own = [figures[entry.method].speed_up for figures in each]
        values = {name: value for name, value in vars(entry).items() if name != "method"}
        methods.append({"method": entry.method, **values, "speed_up_range": [min(own), max(own)]})
    return {"num_repeats": len(repeats), "methods": methods, "answers": [answers(rounds) for rounds in repeats]}


def answers(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    return [
        {
            "scenario": round_.question.scenario,
            "question": round_.question.text,
            **{
                name: {
                    "num_tokens": len(answer.generation.token_ids),
                    "num_steps": len(answer.generation.steps),
                    "num_drafted": sum(step.num_drafted for step in answer.generation.steps),
                    "decode_seconds": round(answer.decode_seconds, 6),
                    "prefill_seconds": round(answer.generation.seconds_prefill, 6),
                    "drafter_start_seconds": round(answer.generation.seconds_drafter_start, 6),
                    "is_identical": round_.is_identical(name),
                }
                for name, answer in round_.answers.items()
            },
        }
        for round_ in rounds
    ]


def ceiling(engine: Engine) -> dict[str, float]:
    """What the memory allows: every token reads the language model's weights once."""
    model, device = engine.family.model, engine.family.device
    towers = ("vision_tower", "vision_model", "visual", "multi_modal_projector", "connector")
    num_bytes = sum(
        weight.numel() * weight.element_size()
        for name, weight in model.named_parameters()
        if not any(tower in name for tower in towers)
    )
    block = torch.ones(64 * 1024 * 1024, device=device)  # 256 MB, far beyond any cache
    seconds = min(_timed_copy(block) for _ in range(5))
    bandwidth = 2 * block.numel() * block.element_size() / seconds
    return {
        "weight_bytes_per_token": num_bytes,
        "copy_bytes_per_second": bandwidth,
        "token_rate": bandwidth / num_bytes,
    }


def _timed_copy(block: torch.Tensor) -> float:
    target = torch.empty_like(block)
    target.copy_(block)
    for _ in range(2):
        if block.is_cuda:
            torch.cuda.synchronize()
        started = perf_counter()
        target.copy_(block)
        if block.is_cuda:
            torch.cuda.synchronize()
        seconds = perf_counter() - started
    return seconds


def show(console: Console, record: Mapping[str, Any], repeats: Sequence[Sequence[Round]]) -> None:
    loop, ratio = record["plain_loop"], record["plain_loop"]["ratio"]
    rates, allowed = loop["token_rate"], record["ceiling"]["token_rate"]
    console.print(
        f"plain, {loop['num_prompts']} prompts, {loop['num_tokens']} tokens each: ours {rates['seeahead']:.1f} "
        f"tokens/s, transformers {rates['transformers']:.1f}, ratio {ratio['median']:.2f} ({ratio['lowest']:.2f} to "
        f"{ratio['highest']:.2f}), identical {loop['num_identical']}; memory allows {allowed:.0f} tokens/s"
    )
    table = Table(box=None)
    for name in COLUMNS:
        table.add_column(name)
    for entry in all_figures([round_ for rounds in repeats for round_ in rounds]):
        table.add_row(heading(entry.method), *cells(entry))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
