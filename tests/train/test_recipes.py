"""Recipes that cannot be followed are refused when they are read, in one line: file, key, what is given and allowed."""

import random
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from seeahead.errors import InputError
from seeahead.train.recipe import read_drafter_recipe

OF_DRAFTERS = Path(__file__).parents[2] / "recipes" / "drafters"


def refused(read, tmp_path: Path, written: str | bytes) -> str:
    path = tmp_path / "recipe.toml"
    path.write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "recipe.toml" in message
    assert message.isprintable()
    assert len(message) < 600
    return message


def changed(name: str, table: str, key: str, value: str) -> str:
    """A shipped recipe with another value of one key; `table` "" is the top, "stages" the first stage."""
    lines = (OF_DRAFTERS / name).read_text().splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("[")]
    begin = 0 if not table else next(n for n in heads if lines[n].strip("[]") == table) + 1
    end = next((n for n in heads if n >= begin), len(lines))
    kept = [line for line in lines[begin:end] if line.partition("=")[0].strip() != key]
    return "\n".join([*lines[:begin], *([f"{key} = {value}"] if value else []), *kept, *lines[end:]])


NO_NUMBERS = ['"x"', '"3"', "[1]", "nan", "inf", "-inf", "true", "1979-05-27", "{}", "99999999999999999999", "-1"]


@pytest.mark.parametrize("value", [*NO_NUMBERS, "1.5", "0x" + "f" * 6000])
@pytest.mark.parametrize(
    ("name", "table", "key"),
    [
        ("vision-cpu.toml", "", "seed"),
        ("base-cpu.toml", "", "line_tokens"),
        *(("vision-cpu.toml", "network", key) for key in ("width", "layers", "vocabulary", "visual_tokens")),
        ("vision-cpu.toml", "network", "adapter_width"),
        *(("vision-cpu.toml", "writing", key) for key in ("batch_size", "max_new_tokens", "sampled_every")),
        *(("vision-cpu.toml", "stages", key) for key in ("steps", "batch_size", "accumulate", "most_pictures")),
        ("msd-demo.toml", "stages", "ahead"),
    ],
)
def test_what_is_no_whole_number_is_refused_where_one_is_wanted(tmp_path, name, table, key, value) -> None:
    assert f"{key} is " in refused(read_drafter_recipe, tmp_path, changed(name, table, key, value))


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize(
    ("name", "table", "key"),
    [
        ("vision-cpu.toml", "writing", "minutes"),
        *(("vision-cpu.toml", "stages", key) for key in ("minutes", "learning_rate", "matrix_rate", "average")),
        ("vision-cpu.toml", "stages", "warm_up"),
    ],
)
def test_what_is_no_finite_number_is_refused_where_one_is_wanted(tmp_path, name, table, key, value) -> None:
    message = refused(read_drafter_recipe, tmp_path, changed(name, table, key, value))
    assert key in message
    assert " is " in message


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        *(("network", "width", value) for value in ("0", "1", "33", "130", "100000000")),
        *(("network", "layers", value) for value in ("0", "1000000000")),
        *(("", "line_tokens", value) for value in ("0", "1")),
        *(("", "text", value) for value in ('"abc"', "3", "[3]", '[""]', "{}", "true")),
        *(("", "kind", value) for value in ("3", "[]", '""', "true", '"Vision"', "")),
        *(("", "network", value) for value in ("1", "[1]", '"width"')),
        *(("", "writing", value) for value in ("1", "[[1]]", '"minutes"', "true")),
        *(("writing", "features", value) for value in ("1", '"yes"', "[]")),
        *(("writing", "batch_size", value) for value in ("0", "-3")),
        *(("writing", "max_new_tokens", value) for value in ("0", "-3")),
        *(("stages", "data", value) for value in ("3", "[]", '["answers", "x"]', "[1]", "true", "{}", "")),
        *(("stages", "trained", value) for value in ("3", '"none"', "[]")),
        *(("stages", "mixture", value) for value in ("3", '"some"', "[]")),
        *(("stages", "learning_rate", value) for value in ("0", "0.0", "")),
        *(("stages", "minutes", value) for value in ("0", "0.0")),
        *(("stages", "average", value) for value in ("1", "1.5")),
        ("stages", "limits", "3"),
        ("stages", "source", '"x"'),
        ("", "source", '"x"'),
    ],
)
def test_nonsense_is_refused_when_it_is_read(tmp_path, table, key, value) -> None:
    written = changed("vision-cpu.toml", table, key, value)
    if not table and key in ("network", "writing"):  # in the place of the table itself
        written = written.replace(f"[{key}]", "[stages-of-old]")
    assert key in refused(read_drafter_recipe, tmp_path, written)


@pytest.mark.parametrize(
    "loss",
    [
        *("3", '["a"]', "[]", "{}", '""', "true", '{ cross-entropy = "x" }', "{ cross-entropy = nan }"),
        *("{ cross-entropy = -1 }", "{ cross-entropy = 0 }", "{ cross-entropy = true }", "{ cross-entropy = {} }"),
        "{ smooth-l1 = 1.0 }",
    ],
)
def test_a_loss_that_teaches_nothing_is_refused(tmp_path, loss) -> None:
    assert "loss" in refused(read_drafter_recipe, tmp_path, changed("chat-cpu.toml", "stages", "loss", loss))


@pytest.mark.parametrize("data", ['"conversations"', '["text", "answers"]'])
def test_data_that_a_feature_drafter_would_not_learn_from_is_refused(tmp_path, data) -> None:
    told = refused(read_drafter_recipe, tmp_path, changed("msd-cpu.toml", "stages", "data", data))
    assert "msd learns from the target's own answers alone" in told


NAMES = ['"../../esc"', '"a/b"', '"/etc/x"', '".."', '"."', '""', '" "', r'"a\\b"', '"a.b"', r'"a\u0000"', r'"a\n"']


@pytest.mark.parametrize("name", [*NAMES, '"ä"', f'"{"x" * 65}"', "3", "[]", "true", '"~"', '"C:x"', '"a b"', '"%2e"'])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name) -> None:
    message = refused(read_drafter_recipe, tmp_path, changed("vision-cpu.toml", "stages", "name", name))
    assert "name is " in message
    assert "letters, digits, - and _" in message


def test_names_that_differ_in_capitals_are_those_of_the_same_files(tmp_path) -> None:
    written = changed("vision-cpu.toml", "stages", "name", '"Both"')
    assert "two stages of one name" in refused(read_drafter_recipe, tmp_path, written)


NO_RECIPES = [
    ("\xe9 = 1".encode("latin-1"), "not UTF-8"),
    (b"\xff\xfe\x00", "not UTF-8"),
    ("seed = 1".encode("utf-16"), "not UTF-8"),
    (b"a = " + b"[" * 100_000, "nested too deep"),
    (b"a = " + b"9" * 5000, "is not TOML"),
    (b"a = \x00", "is not TOML"),
    (b"a = 1\na = 2", "is not TOML"),
    (b"x" * 9_000_000, "larger than"),
    (b"kind", "is not TOML"),
    (b"\x1b[31m = 1", "is not TOML"),
    (b"x." * 2000 + b"x = 1", "has unknown x"),
]


@pytest.mark.parametrize(("written", "message"), NO_RECIPES)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, written, message) -> None:
    assert message in refused(read_drafter_recipe, tmp_path, written)


def test_a_path_that_is_no_file_is_one_line(tmp_path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 5000), tmp_path / "a\0b", Path("/dev/null")):
        with pytest.raises(InputError, match="no recipe at"):
            read_drafter_recipe(path)


def test_a_byte_order_mark_is_no_matter(tmp_path) -> None:
    """Editors of Windows write one."""
    path = tmp_path / "base-cpu.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (OF_DRAFTERS / path.name).read_bytes())
    assert read_drafter_recipe(path) == read_drafter_recipe(OF_DRAFTERS / path.name)


def mutated(whole: bytes) -> Iterator[bytes]:
    """A file with something else in the place of a few bytes, over and over."""
    rng = random.Random(5)
    pieces = [b"nan", b"-1", b"[]", b"{}", b'""', b"\xff", b"[[", b"]]", b"=", b"\n", b"1e999", b"true", b"9" * 30]
    for _ in range(120):
        start = rng.randrange(len(whole))
        yield whole[:start] + rng.choice(pieces) + whole[start + rng.randrange(12) :]


@pytest.mark.parametrize("name", ["vision-cpu.toml", "msd-demo.toml", "base-cpu.toml"])
def test_mutated_recipes_are_read_or_refused_and_nothing_else(tmp_path, name) -> None:
    path = tmp_path / "recipe.toml"
    for written in mutated((OF_DRAFTERS / name).read_bytes()):
        path.write_bytes(written)
        with suppress(InputError):
            read_drafter_recipe(path)


def test_what_ships_is_read_as_it_is_written() -> None:
    for path in OF_DRAFTERS.glob("*.toml"):
        table, recipe = tomllib.loads(path.read_text()), read_drafter_recipe(path)
        assert (recipe.kind, recipe.seed, recipe.source) == (table["kind"], table["seed"], path.name)
        for given, read in zip(table.get("stages", []), recipe.stages, strict=True):
            assert (read.name, read.limits.steps, read.data) == (given["name"], given["steps"], (given["data"],))


@pytest.mark.parametrize(
    ("name", "table", "key", "value", "says"),
    [
        ("eagle3-cpu.toml", "stages", "loss", '{ "smooth-l1" = 1.0 }', "allowed: soft-cross-entropy"),
        ("eagle3-cpu.toml", "network", "pictures", '"pooled"', "reads placeholders"),
        ("eagle3-cpu.toml", "network", "decoupled", "false", "reads placeholders"),
        ("eagle3-cpu.toml", "writing", "features", "false", "add features = true"),
        ("eagle3-cpu.toml", "stages", "decay", "0", "decay is 0"),
        ("vispec-cpu.toml", "network", "visual_tokens", "0", "visual_tokens of 1 or more"),
        ("vispec-cpu.toml", "network", "decoupled", "false", "leave decoupled out"),
    ],
)
def test_what_a_feature_drafter_cannot_be_is_refused(tmp_path, name, table, key, value, says) -> None:
    assert says in refused(read_drafter_recipe, tmp_path, changed(name, table, key, value))
