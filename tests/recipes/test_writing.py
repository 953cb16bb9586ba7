"""Answers that are kept line by line: a run that was cut off anywhere goes on to the same answers."""

import pytest

from recipes.demo_model import writing
from recipes.demo_model.prompts import text_prompt

SIZE, NUM = 3, 8


def draw(number):
    return [text_prompt(f"What is {place}?") for place in range(NUM)][number * SIZE : (number + 1) * SIZE]


@pytest.fixture
def write(tmp_path, monkeypatch):
    asked = []

    def answered(model, processor, prompts, max_new_tokens):
        asked.append(len(prompts))
        return [[len(prompt.text), max_new_tokens] for prompt in prompts]

    monkeypatch.setattr(writing, "answered", answered)

    def run():
        asked.clear()
        rows = writing.write_all(None, None, draw, tmp_path / "facts.jsonl", 9.0, 5, lambda line: None)
        return rows, list(asked)

    return run


@pytest.mark.parametrize(
    ("num_lines", "more", "anew"),
    [(8, 0, []), (7, 5, [2]), (7, 0, [2]), (6, 0, [2]), (5, 0, [3, 2]), (4, 9, [3, 2]), (0, 4, [3, 3, 2])],
)
def test_a_batch_that_was_cut_off_is_written_again(write, tmp_path, num_lines, more, anew):
    rows, asked = write()
    assert (len(rows), asked) == (NUM, [3, 3, 2])
    path = tmp_path / "facts.jsonl"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:num_lines]) + "".join(lines[num_lines:])[:more])
    again, asked = write()
    assert asked == anew
    for found in (again, [writing.json.loads(line) for line in path.read_text().splitlines()]):
        assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in rows]
