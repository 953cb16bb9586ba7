"""The benchmark scripts: they run on a tiny model, and the documents show what was stored."""

import importlib.util
import json
import subprocess
import sys

import pytest

from seeahead.testing import tiny_model
from seeahead.testing.processors import tiny_processor
from tests.sizes import ROOT


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


render = script("render")


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    tiny_model("llava", max_position_embeddings=1024).save_pretrained(folder / "model")
    tiny_processor("llava").save_pretrained(folder / "model")
    words = ["--quick", "--num-repeats", "2", "--num-tokens", "12", "-m", folder / "model", "--output", folder / "out"]
    result = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "speed.py"), *map(str, words)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    value = json.loads(result.stdout.splitlines()[-1])
    assert json.loads((folder / "out" / "speed-cpu-float32.json").read_text()) == value
    return value


def test_the_record_holds_both_comparisons(record):
    loop = record["plain_loop"]
    assert loop["num_identical"] == loop["num_prompts"] == 3
    assert loop["ratio"]["lowest"] <= loop["ratio"]["median"] <= loop["ratio"]["highest"]
    assert [len(seconds) for seconds in loop["seconds"]["transformers"]] == [3, 3]
    methods = {entry["method"]: entry for entry in record["drafters"]["methods"]}
    assert methods["none"]["speed_up"] == 1.0
    assert methods["lookup"]["num_identical"] == methods["lookup"]["num_answers"] == 6
    assert record["provenance"]["commit"]
    assert record["ceiling"]["token_rate"] > 0


def test_wrong_input_is_one_line():
    words = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), "-d", "lokup"]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("speed.py: error: unknown drafter 'lokup'")
    assert len(result.stderr.splitlines()) == 1


def test_tables_are_rendered_between_the_markers(record, tmp_path):
    assert render.tables(tmp_path) == ""
    (tmp_path / "speed-cpu-float32.json").write_text(json.dumps(record))
    block = render.tables(tmp_path)
    assert "| none (plain) | 1.00 |" in block
    assert "| lookup |" in block
    assert "times as fast as transformers' `generate`" in block
    text = f"before\n{render.BEGIN}\nold\n{render.END}\nafter\n"
    fresh = render.rendered(text, block)
    assert fresh == f"before\n{render.BEGIN}\n{block}\n{render.END}\nafter\n"
    assert render.rendered(fresh, block) == fresh
    assert render.rendered(fresh, "") == f"before\n{render.BEGIN}\n{render.END}\nafter\n"
    with pytest.raises(ValueError, match="has no"):
        render.rendered(f"{render.BEGIN} only", block)


def test_the_documents_show_what_is_stored(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    assert render.main() == 0, capsys.readouterr().out
