"""Files that a caller writes: rows of one's own, and recipes."""

import json
from functools import cache

from recipes.demo_model.recipe import read_recipe
from seeahead.data.conversations import read_conversations
from seeahead.data.own_data import load_own
from seeahead.train.recipe import read_drafter_recipe
from tests.fuzz.asked import image_files
from tests.fuzz.mutations import ODD_TEXTS
from tests.sizes import ROOT

_QUESTIONS = (
    {"id": "1", "image": "cat.png", "turns": ["What is this?"], "category": "question"},
    {"id": 2, "image": ["cat.png", "images/dog.jpg"], "turns": ["And?", "Why?"], "topic": "chart"},
    {"turns": ["Who are you?"]},
    {"id": "é", "image": None, "turns": ["🦓?"], "category": ""},
)
_CONVERSATIONS = (
    {
        "messages": [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cat."}],
        "images": ["cat.png"],
    },
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
)


def make_rows(mutator):
    """Lines of one kind, each damaged by itself or all as one text; `name` of the file, and what to read it as."""
    kind = mutator.pick(("questions", "conversations"))
    seeds = _QUESTIONS if kind == "questions" else _CONVERSATIONS
    lines = [mutator.json(seeds) if mutator.chance(0.4) else json.dumps(mutator.pick(seeds)).encode() for _ in range(3)]
    text = mutator.pick((b"\n", b"\n", b"\r\n", b"\n\n")).join(lines)
    if mutator.chance(0.15):
        text = mutator.data([text])
    name = "rows.jsonl" if mutator.chance(0.9) else mutator.pick(("rows.csv", "rows.JSONL", "rows", "rows.json"))
    return {"kind": kind, "name": name, "text": text}


def read_rows(value, folder):
    (folder / "images").mkdir()
    for place in ("cat.png", "images/dog.jpg"):
        (folder / place).write_bytes(image_files()[0])
    path = folder / (value.get("name") or "rows.jsonl")
    path.write_bytes(value.get("text", b""))
    if value.get("kind") == "conversations":
        return read_conversations(path)
    return load_own(path if path.suffix == ".jsonl" else folder, count=None, seed=0, max_new_tokens=8)


@cache
def _recipes(is_demo):
    folder = ROOT / "recipes"
    paths = sorted(folder.glob("*.toml") if is_demo else (folder / "drafters").glob("*.toml"))
    return tuple(path.read_text(encoding="utf-8") for path in paths)


_TOML_VALUES = (
    "0", "-1", "1", "true", "nan", "inf", "-inf", "1e400", '""', '"x"', "[]", "[[1]]", "{}", "{a = 1}", "[1, 'a']",
    "99999999999999999999", "1_000", "0x10", "1979-05-27", "07:32:00", "'''\n'''", '"../../out"', '"a/b"', '"\\u0000"',
    '"\\u001b[31m"', '["answers", "x"]', "3.5", "1000000000", "1e-300", "[" * 3000, "9" * 5000,
)  # fmt: skip


def make_recipe(mutator):
    """One of our recipes with lines changed, and now and then with damage anywhere."""
    is_demo = mutator.chance(0.3)
    lines = mutator.pick(_recipes(is_demo)).split("\n")
    for _ in range(mutator.pick((1, 1, 2, 4))):
        _change_line(mutator, lines, mutator.pick(_recipes(is_demo)).split("\n"))
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return {"demo": is_demo, "text": mutator.data([data]) if mutator.chance(0.2) else data}


def _change_line(mutator, lines, others):
    place = mutator.random.randrange(len(lines) + 1)
    settings = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    kind = mutator.random.randrange(7)
    if kind <= 2 and settings:
        place = mutator.pick(settings)
        name = lines[place].partition("=")[0].strip()
        lines[place] = f"{name} = {mutator.pick(_TOML_VALUES)}"
    elif kind == 3:
        del lines[place : place + mutator.pick((1, 1, 3, 10))]
    elif kind == 4:
        lines.insert(place, mutator.pick(others))
    elif kind == 5:
        lines[place:place] = lines[place : place + 4]
    else:
        lines.insert(place, mutator.pick(ODD_TEXTS) + mutator.pick(("", " = 1", "]", ' = "a"')))


def read_recipes(value, folder):
    path = folder / "recipe.toml"
    path.write_bytes(value.get("text", b""))
    return (read_recipe if value.get("demo") else read_drafter_recipe)(path)
