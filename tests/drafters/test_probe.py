"""The probe: of the dialects that a drafter's files allow, the one it was trained in is found on the target's words.

`python -m benchmarks.studies.probe` tries a hundred tiny trained drafters.
"""

from dataclasses import replace

import pytest
import torch

from seeahead.drafters import probe
from seeahead.drafters.dialects import TargetFacts, eagle3_choice, plain_choice
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.head_networks import Dialect
from seeahead.drafters.probe import samples_of
from seeahead.target import Target
from seeahead.testing import tiny_family, tiny_inputs
from tests.drafters.head_folders import config_of
from tests.drafters.trained_heads import trained_case

NUMBERS, OF = range(2), ("eagle3 newer", "llama")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Of models as tiny as these a second one costs many times what it brings, where it waits for a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Of a target that reads texts alone, which is quickly taught."""
    folder = tmp_path_factory.mktemp("heads")
    return [trained_case(number, folder / str(number), OF) for number in NUMBERS]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_drafters_dialect_is_found(cases, tmp_path, number):
    """Layers that are next to each other may say the same to a head that was trained for a moment."""
    case = cases[number]
    assert len(set(case.choice.all())) == 12
    found = case.probed(tmp_path)
    assert replace(found, layers=case.dialect.layers) == case.dialect
    assert case.surprise(found) < case.surprise(case.dialect) + 0.02


def test_what_was_found_is_remembered(cases, tmp_path):
    case = next(case for case in cases if case.dialect != case.choice.first)
    chosen = case.probed(tmp_path)
    [file] = tmp_path.glob("*.json")
    assert case.probed(tmp_path, []) == chosen
    file.write_text("[3]")
    assert case.probed(tmp_path, []) == case.choice.first


@pytest.mark.parametrize("model_type", ["llava", "qwen2_5_vl"])
def test_prompts_are_answered_side_by_side_as_they_are_alone(model_type, monkeypatch):
    target = Target.of(tiny_family(model_type))
    prompts = [tiny_inputs(model_type, number, 8 + number) for number in (0, 2, 1)]
    alone = [sample for one in prompts for sample in samples_of(target, [one], (1,), 6)]
    passes, forward = [], target.executor.forward
    monkeypatch.setattr(
        target.executor, "forward", lambda trees, want: passes.append(len(trees)) or forward(trees, want)
    )
    together = samples_of(target, prompts, (1,), 6)
    assert passes == [3] * 6
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.feedback.features[1], other.feedback.features[1], rtol=1e-4, atol=1e-4)


PLAIN = plain_choice(config_of("msd llava"), "here", 16, ("alone", "seen"))
CHOICE = eagle3_choice(config_of("eagle3 specforge"), "here", 3, 24, TargetFacts(8, True, (4, 4, 4)))


@pytest.mark.parametrize("spoken", [one for number, one in enumerate(dict.fromkeys(CHOICE.all())) if number % 7 == 0])
def test_texts_and_images_decide_together(monkeypatch, spoken):
    """A drafter that is surprised by each difference that a sample shows, whichever dialect its config tells."""

    def surprise(drafter, sample):
        wrong = [drafter.layers != spoken.layers, drafter.carries_norm != spoken.carries_norm]
        wrong += [drafter.rotation.theta != spoken.rotation.theta]
        if sample == "with images":
            layout = replace(drafter.rotation, theta=spoken.rotation.theta)
            wrong += [drafter.visual != spoken.visual, layout != spoken.rotation, drafter.is_next != spoken.is_next]
        return torch.rand(24, generator=torch.Generator().manual_seed(0)) + 0.1 * sum(wrong)

    monkeypatch.setattr(probe, "surprise", surprise)
    told = probe.Surprises(lambda dialect: dialect)
    assert probe._chosen(CHOICE, told, ["with images"], ["a text"]) == spoken


@pytest.mark.parametrize("spoken", PLAIN.all())
def test_what_is_wrong_in_two_ways_is_found_where_either_alone_makes_it_worse(monkeypatch, spoken):
    """Seen with a head whose images are read as if they had no features: then another base is better."""

    def surprise(drafter, sample):
        num_wrong = (drafter.visual != spoken.visual) + (drafter.rotation != spoken.rotation)
        return torch.rand(24, generator=torch.Generator().manual_seed(0)) + (0, 30, 24)[num_wrong]

    monkeypatch.setattr(probe, "surprise", surprise)
    told = probe.Surprises(lambda dialect: dialect)
    assert probe._chosen(PLAIN, told, ["with images"], []) == spoken


NOISE = torch.randn(200, generator=torch.Generator().manual_seed(0))
ONE, OTHER = Dialect(), Dialect(Rotation(50.0))


ERROR = 0.1 * float(NOISE.std()) / len(NOISE) ** 0.5
"""Of a mean of 0.1 * NOISE."""
AROUND = 0.1 * (NOISE - NOISE.mean())


@pytest.mark.parametrize(
    ("gained", "kept"), [(AROUND + 0.4 * ERROR, ONE), (AROUND + 0.6 * ERROR, OTHER), (AROUND - ERROR, ONE)]
)
def test_what_the_config_says_is_kept_unless_another_is_better_beyond_chance(monkeypatch, gained, kept):
    tokens = {ONE: NOISE + 1 + gained, OTHER: NOISE + 1}
    monkeypatch.setattr(probe, "surprise", lambda drafter, sample: tokens[drafter])
    assert probe.Surprises(lambda dialect: dialect).better(ONE, OTHER, ["a sample"]) == kept
