"""The examples run as they stand, on a tiny model."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from seeahead.testing import tiny_model, tiny_processor

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-llava")
    tiny_model("llava", max_position_embeddings=1024).save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return str(folder)


def test_a_drafter_is_trained_on_ones_own_pictures_in_under_40_lines(target, tmp_path, monkeypatch, capsys):
    path = EXAMPLES / "train_your_own.py"
    assert len(path.read_text().splitlines()) < 40
    spec = importlib.util.spec_from_file_location("train_your_own", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe = tmp_path / "small.toml"
    text = module.RECIPE.read_text()
    for old, new in (
        ("steps = 2000", "steps = 8"),
        ("width = 320", "width = 64"),
        ("vocabulary = 6144", "vocabulary = 0"),
    ):
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text.replace("max_new_tokens = 128", "max_new_tokens = 12"))
    monkeypatch.setattr(module, "RECIPE", recipe)
    data = tmp_path / "mine"
    shutil.copytree(EXAMPLES, data, ignore=shutil.ignore_patterns("*.py", "*.md"))
    module.main(target, str(data), str(tmp_path / "out"))
    plain, drafted = capsys.readouterr().out.splitlines()[-2:]
    assert plain.startswith("none: 1.00 tokens per pass · ")
    assert drafted.startswith("vision: ")
    assert drafted.partition("·")[2] == plain.partition("·")[2]
    assert (tmp_path / "out" / "drafter" / "adapter.safetensors").is_file()
