"""Images and their split: names, sides, near-duplicates."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes.demo_model.bank import (
    DEMO_STAMPS,
    Bank,
    Card,
    clipart_name,
    common_words,
    drop_near_duplicates,
    emoji_cards,
    fit,
    icon_cards,
    is_held_out,
    keep,
    read_bank,
    stamp_cards,
    stem,
)
from recipes.demo_model.categories import CLIPART_KINDS, EMOJI_RUNS, STAMP_KINDS, clipart_kind, with_article
from seeahead.errors import InputError


@pytest.mark.parametrize(
    ("first", "second"),
    [("dog_01", "dog_02"), ("owl_cartoon", "owl"), ("burrito_bw_ganson", "burrito_ganson"), ("A_filled", "A_outlined")],
)
def test_variants_of_one_name_share_a_group(first: str, second: str) -> None:
    assert stem(first) == stem(second)


def test_the_side_of_a_group_is_fixed_and_about_one_in_seven_is_held_out() -> None:
    assert is_held_out("stamp owl") == is_held_out("stamp owl")
    held_out = sum(is_held_out(f"group {number}") for number in range(4000))
    assert 0.12 < held_out / 4000 < 0.18


def test_stamps_are_named_by_their_caption_and_those_of_the_demo_are_held_out(tmp_path) -> None:
    folder = tmp_path / "usr/share/tuxpaint/stamps/animals/birds"
    folder.mkdir(parents=True)
    for name, caption in [("pelican", "A pelican."), ("gull_1", "A Silver Gull, flying.")]:
        Image.new("RGBA", (8, 8), "red").save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"{caption}\nfr.utf8=Un oiseau.\n")
    cards = {card.name: card for card, _ in stamp_cards(tmp_path)}
    assert set(cards) == {"pelican", "silver Gull"}
    assert cards["pelican"].held_out
    assert "pelican" in DEMO_STAMPS
    assert cards["pelican"].kind == "animal"


def test_a_drawing_is_named_by_the_readable_start_of_its_file_name() -> None:
    words = {"blue", "vacuum", "cleaner", "bread", "and", "wine"}
    assert clipart_name("blue_vacuum_cleaner_jaim_01", words) == "blue vacuum cleaner"
    assert clipart_name("bread_and_mark_near_", words) == "bread"
    assert clipart_name("xyzzy_01", words) == ""


def test_a_word_list_comes_from_the_single_word_tokens() -> None:
    assert common_words(["Ġowl", "Ġof", "ĠParis", "owl", "Ġc4t"]) == {"owl"}


def test_emoji_get_their_kind_from_their_run_and_sequences_are_left_out(tmp_path) -> None:
    (tmp_path / "package").mkdir()
    entries = [
        ("😀", "grinning face"),
        ("🐒", "monkey face"),
        ("👩‍🚀", "woman astronaut"),
        ("💐", "bouquet"),
        ("🗺", "world map"),
    ]
    rows = ", ".join(f'{{"emoji": "{emoji}", "name": "{name}"}}' for emoji, name in entries)
    (tmp_path / "package/data-by-group.json").write_text(f'[{{"name": "all", "emojis": [{rows}]}}]')
    assert [(card.name, card.kind) for card, _ in emoji_cards(tmp_path)] == [
        ("grinning face", "symbol"),
        ("monkey face", "animal"),
        ("bouquet", "plant"),
    ]


def test_icons_are_found_by_the_name_of_an_emoji_and_keep_its_side(tmp_path) -> None:
    (tmp_path / "package").mkdir()
    icons = {"monkey-face": {"body": "<path/>"}, "monkey-face-dark": {"body": ""}, "owl": {"body": "", "width": 8}}
    (tmp_path / "package/icons.json").write_text(json.dumps({"prefix": "art", "icons": icons, "width": 32}))
    cards = [Card(f"emoji/{name}", name, "animal", "emoji", name == "owl") for name in ("monkey face", "owl", "yak")]
    found = icon_cards(tmp_path, cards)
    assert [(card.key, card.name, card.held_out) for card, _ in found] == [
        ("art/monkey-face", "monkey face", False),
        ("art/owl", "owl", True),
    ]
    assert 'viewBox="0 0 32 16"' in found[0][1].text
    assert 'viewBox="0 0 8 16"' in found[1][1].text


def test_kinds_of_all_sources_are_the_same_words() -> None:
    said = {*STAMP_KINDS.values(), "flag", ""}
    assert {kind for kind, _ in CLIPART_KINDS.values()} <= said
    assert {kind for _, kind in EMOJI_RUNS} <= said
    assert clipart_kind("animals/mammals/dogs")[1] == "animal"
    assert clipart_kind("people/clothing/hats")[1] == "piece of clothing"
    assert clipart_kind("logos")[1] == ""


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("owl", "an owl"), ("bus", "a bus"), ("grapes", "grapes"), ("the moon", "the moon"), ("unicorn", "a unicorn")],
)
def test_articles(noun: str, expected: str) -> None:
    assert with_article(noun) == expected


def test_a_cut_out_loses_its_margin_and_fills_the_square() -> None:
    image = Image.new("RGBA", (300, 300))
    image.paste((255, 0, 0, 255), (100, 140, 140, 160))
    alpha = np.asarray(fit(image))[..., 3]
    assert alpha.shape == (128, 128)
    assert alpha[64].min() == 255
    assert alpha[0].max() == 0


def test_an_empty_cut_out_is_refused() -> None:
    with pytest.raises(InputError, match="fully transparent"):
        fit(Image.new("RGBA", (10, 10)))


def test_what_looks_like_a_held_out_image_leaves_training_also_when_mirrored() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (2, 8, 8, 4), dtype=np.uint8)
    seen, other = (np.kron(block, np.ones((16, 16, 1), dtype=np.uint8)) for block in blocks)
    cards = [Card(key, key, "food", "stamp", key == "seen") for key in ("seen", "copy", "mirrored", "other")]
    bank = drop_near_duplicates(Bank(tuple(cards), np.stack([seen, seen, seen[:, ::-1], other])))
    assert [card.key for card in bank.cards] == ["seen", "other"]
    assert len(bank.pixels) == 2


@pytest.mark.parametrize("name", ["bank.npy", "bank.json"])
def test_a_bank_that_was_cut_off_while_it_was_written_is_none(tmp_path, monkeypatch, name) -> None:
    bank = Bank((Card("a", "owl", "animal", "stamp", False),), np.zeros((1, 8, 8, 4), dtype=np.uint8))
    replaced = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise KeyboardInterrupt
        return replaced(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(bank, tmp_path)
    assert read_bank(tmp_path) is None
    keep(bank, tmp_path)
    found = read_bank(tmp_path)
    assert found.cards == bank.cards
    assert (found.pixels == bank.pixels).all()
