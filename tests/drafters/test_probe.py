"""The probe: of the dialects that a drafter's files allow, the one it was trained in is found on the target's words.

SEEAHEAD_PROBE_CASES=100 tries as many tiny trained drafters, and prints how many were found and how long each took.
"""

import json
import os
import random
from functools import cache, partial
from time import perf_counter

import pytest
import torch

from seeahead.drafters import probe
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.head_networks import Dialect, spoken
from seeahead.drafters.heads import HeadDrafter
from seeahead.drafters.probe import best_dialect
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.executors.linear import linear
from tests.drafters.head_folders import write_head
from tests.drafters.trained_heads import asked, read, target, train

FEW = 3
NUM_CASES = int(os.environ.get("SEEAHEAD_PROBE_CASES", FEW))
STEPS = 300
KINDS = (
    ("eagle3 specforge", "qwen2_5_vl"),
    ("msd llava", "llava"),
    ("eagle3 newer", "qwen2_5_vl"),
    ("eagle3 angelslim", "qwen3_vl"),
    ("eagle3 specforge 1-d", "qwen3_vl"),
)


@cache
def prompts(model_type):
    return [asked(model_type, number, 10, 5000 + seed) for number, count in ((0, 3), (2, 5)) for seed in range(count)]


def made(found, model_type, head, dialect):
    network = spoken(found.network, dialect)
    vocabulary = None if found.target_ids is None else DraftVocabulary(found.target_ids, 0)
    ready = network.decoder.for_head(linear(head))
    return HeadDrafter.on(target(model_type), network, vocabulary, ready, name="taught")


def case(number, folder):
    """A drafter trained in one of the dialects that its files allow: (what may be meant, the one, how to make it)."""
    name, model_type = KINDS[number % len(KINDS)]
    write_head(name, folder)
    found = read(folder, json.loads((folder / "config.json").read_text()), model_type)
    dialect = random.Random(number).choice(list(dict.fromkeys(found.choice.all())))
    own = target(model_type)
    ids = torch.arange(own.vocab_size) if found.target_ids is None else found.target_ids
    head = own.executor.head_rows(ids).clone()
    train(found, dialect, model_type, head, STEPS, number)
    return found.choice, dialect, partial(made, found, model_type, head), model_type


def decided(name, dialect):
    """What a tiny head's training decides beyond chance. On these targets it hardly needs to know where a slot is, so
    chunked, interleaved, one axis and a place more or less (`is_next`) say nearly the same, and so does any base to a
    head that is no EAGLE-3. So this is less than the whole dialect, which is counted beside it."""
    if not name.startswith("eagle3"):
        return dialect.visual
    return dialect.rotation.theta, dialect.layers, dialect.carries_norm, dialect.visual


def test_a_drafters_dialect_is_found(tmp_path):
    right, whole, wrong = 0, 0, []
    for number in range(NUM_CASES):
        choice, dialect, make, model_type = case(number, tmp_path / str(number))
        started = perf_counter()
        chosen = best_dialect(choice, make, target(model_type), str(number), prompts(model_type), tmp_path)
        seconds = perf_counter() - started
        name, _ = KINDS[number % len(KINDS)]
        is_right = decided(name, chosen) == decided(name, dialect)
        right, whole = right + is_right, whole + (chosen == dialect)
        wrong += [] if is_right else [(number, dialect, chosen)]
        if NUM_CASES > FEW:
            print(f"{right} of {number + 1}, in all {whole}, {seconds:.2f} s", wrong[-1:], flush=True)  # noqa: T201
    assert right >= 0.95 * NUM_CASES, wrong


@pytest.mark.parametrize("number", [1])
def test_what_was_found_is_remembered(tmp_path, number, monkeypatch):
    choice, _, make, model_type = case(number, tmp_path / "head")
    chosen = best_dialect(choice, make, target(model_type), str(number), prompts(model_type), tmp_path)
    [file] = tmp_path.glob("*.json")
    assert best_dialect(choice, make, target(model_type), str(number), [], tmp_path) == chosen
    file.write_text("[3]")
    assert best_dialect(choice, make, target(model_type), str(number), [], tmp_path) == choice.first


NOISE = torch.randn(200, generator=torch.Generator().manual_seed(0))
ONE, OTHER = Dialect(), Dialect(Rotation(50.0))


@pytest.mark.parametrize(("gained", "kept"), [(0.1 * NOISE, ONE), (0.05 + 0.1 * NOISE, OTHER), (-0.05 + NOISE, ONE)])
def test_what_the_config_says_is_kept_unless_another_is_better_beyond_chance(monkeypatch, gained, kept):
    tokens = {ONE: NOISE + 1 + gained, OTHER: NOISE + 1}
    monkeypatch.setattr(probe, "surprise", lambda drafter, sample: tokens[drafter])
    assert probe.Surprises(lambda dialect: dialect).better(ONE, [ONE, OTHER], ["a sample"]) == kept
