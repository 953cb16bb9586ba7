"""Prose of packages, in the layouts those packages have; the packages themselves are not fetched."""

import gzip
import re

import pytest

from seeahead.data.corpora import PROSE, check_text, read_texts
from seeahead.errors import InputError

ENTRY = """Lariat \\Lar"i*at\\ (l[a^]r"[i^]*[a^]t), n. [Sp. la reata the rope.]
   A long, slender rope made of hemp or strips of hide, esp. one
   with a noose; -- used as a lasso for catching cattle, horses,
   etc., and for picketing a horse so that he can graze without
   wandering. See {Lasso}. [Mexico & Western U.S.]
   [1913 Webster]
"""
GLOSS = "00005787 03 n 01 benthos 0 002 @ 00004475 n 0000 | organisms that live at the bottom of a sea  \n"
PAGE = f"<html><body><nav>Index</nav><p>{'A module is a file of definitions. ' * 10}</p></body></html>"


def unpacked(cache, package, file, data):
    path = cache / "unpacked" / PROSE[package].name / file
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("package", "file", "data", "says"),
    [
        (
            "dict-gcide",
            "usr/share/dictd/gcide.dict.dz",
            gzip.compress(ENTRY.encode()),
            "A long, slender rope made of hemp",
        ),
        ("dict-foldoc", "usr/share/dictd/foldoc.dict.dz", gzip.compress(ENTRY.encode()), "See Lasso."),
        ("wordnet-base", "usr/share/wordnet/data.noun", GLOSS.encode(), "organisms that live at the bottom of a sea"),
        ("python3-doc", "usr/share/doc/python3.11/html/modules.html", PAGE.encode(), "A module is a file"),
    ],
)
def test_prose_of_a_package(tmp_path, package, file, data, says):
    unpacked(tmp_path, package, file, data)
    (text,) = read_texts(f"package:{package}", tmp_path)
    assert says in text
    assert not {"1913", "{", "Index", "00005787"} & set(text.replace("]", " ").split())


def test_an_unknown_package_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="no text package 'kjv'; allowed: dict-gcide, dict-foldoc"):
        read_texts("package:kjv", tmp_path)


def test_texts_of_one_s_own_are_read_as_other_lines_are(tmp_path):
    lines = ['\ufeff{"text": "one\u2028still one"}', "", '{"text": "two"}']
    (tmp_path / "own.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert read_texts(str(tmp_path), tmp_path) == ["one\u2028still one", "two"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('{"text": "caf\u00e9"}'.encode("latin-1"), "own.jsonl"),
        (b'{"text": "good"}\n{"text": null}', 'own.jsonl line 2: "text" is None; give a text'),
        (b'{"texts": "x"}', 'own.jsonl line 1: "text" is None'),
        (b"[" * 100_000, "own.jsonl line 1"),
        (b"", "holds no text"),
        (b'{"text": " "}', "holds no text"),
    ],
)
def test_what_is_no_text_is_told_before_a_model_is_loaded(tmp_path, data, says):
    (tmp_path / "own.jsonl").write_bytes(data)
    with pytest.raises(InputError, match=re.escape(says)) as refused:
        check_text(str(tmp_path / "own.jsonl"))
    assert "\n" not in str(refused.value)


def test_an_empty_file_is_no_text(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=r"empty\.txt holds no text; it takes \.txt, \.md and \.jsonl files"):
        check_text(str(tmp_path / "empty.txt"))
    (tmp_path / "words.txt").write_text("one")
    assert read_texts(str(tmp_path), tmp_path) == ["", "one"]
