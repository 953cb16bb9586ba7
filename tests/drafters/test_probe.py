"""The probe: of the dialects that a drafter's files allow, the one it was trained in is found on the target's words.

`python -m benchmarks.studies.probe` tries a hundred tiny trained drafters.
"""

import pytest
import torch

from seeahead.drafters import probe
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.head_networks import Dialect
from tests.drafters.trained_heads import trained_case

NUMBERS = range(3)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return {number: trained_case(number, tmp_path_factory.mktemp("heads") / str(number)) for number in NUMBERS}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_drafters_whole_dialect_is_found(cases, tmp_path, number):
    assert cases[number].probed(tmp_path) == cases[number].dialect


def test_what_was_found_is_remembered(cases, tmp_path):
    case = cases[1]
    chosen = case.probed(tmp_path)
    [file] = tmp_path.glob("*.json")
    assert case.probed(tmp_path, []) == chosen
    file.write_text("[3]")
    assert case.probed(tmp_path, []) == case.choice.first


NOISE = torch.randn(200, generator=torch.Generator().manual_seed(0))
ONE, OTHER = Dialect(), Dialect(Rotation(50.0))


@pytest.mark.parametrize(("gained", "kept"), [(0.1 * NOISE, ONE), (0.05 + 0.1 * NOISE, OTHER), (-0.05 + NOISE, ONE)])
def test_what_the_config_says_is_kept_unless_another_is_better_beyond_chance(monkeypatch, gained, kept):
    tokens = {ONE: NOISE + 1 + gained, OTHER: NOISE + 1}
    monkeypatch.setattr(probe, "surprise", lambda drafter, sample: tokens[drafter])
    assert probe.Surprises(lambda dialect: dialect).better(ONE, [ONE, OTHER], ["a sample"]) == kept
