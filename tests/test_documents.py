"""What documents tell readers to do works: commands are taken by the real parsers, some are run; links lead on."""

import ast
import importlib
import re
import shutil
import textwrap
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from tools import docs_site

from recipes.demo_model.__main__ import _parser
from seeahead import cli
from seeahead.drafters import KINDS, check_names, folders_for
from seeahead.testing import tiny_model, tiny_processor
from tests.documents import commands_in, fenced, typed
from tests.sizes import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/methods/*.md", "docs/results/README.md", "examples/*.md")
    for path in ROOT.glob(pattern)
    if path.name not in ("log.md", "CHANGELOG.md", "THIRD_PARTY.md")  # told as it was
)
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
LINES = [(name, line) for name, text in TEXTS.items() for line in typed(text)]
COMMANDS = [(name, words) for name, line in LINES for words in commands_in(line) if words]
RUN = {"generate", "info", "help", "completion", "check"}  # quick on a tiny model, and without a network
WHERE = "(the demo model's card names the command of its own run)"


def test_commands_are_found():
    found = (
        "a `seeahead info`, x `cat a.txt | seeahead generate --json > b.json`\n```\nX=1 seeahead demo -q   # hm\n```\n"
    )
    assert [words for line in typed(found) for words in commands_in(line)] == [
        ["demo", "-q"], ["info"], ["generate", "--json"],
    ]  # fmt: skip
    assert commands_in("source <(seeahead completion bash)") == [["completion", "bash"]]
    assert {name for name, _ in COMMANDS} >= {"README.md", "docs/training.md", "docs/laptop.md"}
    assert {words[0] for _, words in COMMANDS} >= set(cli.VERBS)


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value[0])
def test_every_command_is_one_that_is_taken(name, words):
    if words[0] == "help":
        words = [words[1], "--quiet"]
    if words[:2] == ["train", "demo"]:
        pytest.skip(WHERE)
    cli.parser_of(words[0]).parse_args(words[1:])


SPEC = re.compile(r"`((?:" + "|".join(sorted(KINDS)) + r")(?::\w+=[^`:]*)+)`")


def test_every_drafter_that_a_document_names_is_one():
    """With its settings, behind -d or in the text; FILE and the like stand for what a reader has."""
    named = {spec for text in TEXTS.values() for spec in SPEC.findall(text)}
    for _, words in COMMANDS:
        named |= {after for word, after in pairwise(words) if word in ("-d", "--drafter") and ":" in after}
    assert len(named) > 5
    for spec in named - {"mine:RepeatSpec"}:  # of the reader's own
        check_names([spec], folders_for("demo"))


def test_every_command_of_recipes_is_one_that_is_taken():
    found = [words for _, line in LINES for words in commands_in(line, "python -m recipes.demo_model")]
    start = "python -m recipes.demo_model drafter -m demo --data demo --answers out/answers"
    assert f'A() {{ {start} "$@"; }}' in TEXTS["docs/training.md"]
    written = [line.replace("A", start, 1) for _, line in LINES if line.startswith("A --")]
    found += [words for line in written for words in commands_in(line, "python -m recipes.demo_model")]
    assert len(found) > 6
    for words in found:
        if words:
            _parser().parse_args(words)


def test_scripts_extras_and_targets_that_are_named_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, line in LINES:
        for named in re.findall(r"pip install '\.\[([\w,]+)\]'", line):
            assert set(named.split(",")) <= set(extras), (name, line)
        if found := re.fullmatch(r"make ((?:[a-z-]+ ?)+)(?: {2,}.*)?", line):
            assert set(found[1].split()) <= targets, (name, line)
        for path in re.findall(r"^python ([\w/]+\.py)", line):
            assert (ROOT / path).is_file(), (name, line)
        for module in re.findall(r"^python -m ((?:benchmarks|recipes|tests)[\w.]*)", line):
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), (name, line)


def test_every_recipe_that_is_named_is_there():
    for name, words in COMMANDS:
        for path in (word for word in words if word.endswith(".toml")):
            assert (ROOT / path).is_file(), (name, words)


def test_snippets_of_python_are_python():
    for name, text in TEXTS.items():
        for block in fenced(text, "python"):
            ast.parse(textwrap.dedent(block), name)


def test_links_lead_to_files():
    for name, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), (name, target)


def test_files_that_are_named_are_there():
    roots = (ROOT, ROOT / "src" / "seeahead", ROOT / "src" / "seeahead" / "families")
    first = "src|tests|docs|recipes|benchmarks|bench|data|demo|drafters|executors|families|images|serve|testing|train"
    named = re.compile(rf"(?:{first})/[\w./-]*\.(?:py|toml|md|jsonl|json)|[a-z_]+\.toml")
    found = [(name, path) for name, text in TEXTS.items() for path in re.findall(r"`([^`\s]+)`", text)]
    paths = [(name, path) for name, path in found if named.fullmatch(path)]
    assert len(paths) > 40
    for name, path in paths:
        homes = (*roots, ROOT / "recipes" / "drafters", (ROOT / name).parent)
        assert any((home / path).exists() for home in homes), (name, path)


def test_every_document_has_its_place_among_the_pages():
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    stored = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    results = {name for name in stored if name.startswith("results/")}
    assert named - {"README.md"} == (stored - results) | set(docs_site.pages()) | {"results/README.md"}
    index = (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8")
    assert all(f"]({Path(name).name})" in index for name in results - {"results/README.md"})


def test_the_reference_names_what_can_be_imported():
    for name in re.findall(r"(?m)^::: ([\w.]+)$", docs_site.pages()["api.md"]):
        home, _, member = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(home), member), name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the images that documents speak of, and a tiny model that stands for every other."""
    folder = tmp_path_factory.mktemp("reader")
    model = folder / "model"
    tiny_model("llava", max_position_embeddings=1024).save_pretrained(model)
    tiny_processor("llava").save_pretrained(model)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cat.jpg", "a.jpg", "b.jpg", "photo.jpg", "before.png", "after.png"):
        shutil.copy(ROOT / "examples" / "pictures" / "receipt.png", folder / name)
    return folder


RUNNABLE = [words for _, words in COMMANDS if words[0] in RUN and (words[0] != "generate" or "-m" not in words)
            and not {"-d", "openvino", "-"} & set(words) and (words[0] != "generate" or len(words) > 1)]  # fmt: skip


@pytest.mark.parametrize("words", [list(one) for one in dict.fromkeys(map(tuple, RUNNABLE))], ids=" ".join)
def test_commands_run_as_they_stand(words, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("SEEAHEAD_MODEL", str(place / "model"))
    if words[0] == "check":
        words = [
            str(place / "model") if before == "-m" else word for before, word in zip(["", *words], words, strict=False)
        ]
    more = ["--max-new-tokens", "4"] if words[0] == "generate" else []
    assert cli.main([*words, *more]) == 0
    assert capsys.readouterr().out.strip()


def test_the_main_run_is_rendered_again(tmp_path):
    written = [tmp_path / "page.html", tmp_path / "tables.md"]
    options = [word for path in written for word in ("-o", str(path))]
    assert cli.main(["report", str(ROOT / "results" / "bench-demo.json"), *options]) == 0
    assert all(path.stat().st_size > 1000 for path in written)
    assert Path(written[0]).read_text(encoding="utf-8").rstrip().endswith("</html>")
