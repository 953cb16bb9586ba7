"""The bank of cut-out images (stamps, drawings, emoji): found in packages, split into sides, drawn at 128 pixels."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFont

from recipes.demo_model.categories import EMOJI_RUNS, STAMP_KINDS, clipart_kind
from seeahead.errors import InputError
from seeahead.provenance import write_text

SIZE = 128
HELD_OUT_PERCENT = 15
# The images bundled with the demo come from the stamps: they and everything of the same name are held out.
DEMO_STAMPS = frozenset(
    {"firetruck", "green korean bus", "pelican", "cow", "guitar classical", "basketball", "daffodil"}
)
MOST_PIXELS = 16_000_000
ICON_SETS = ("@iconify-json/fluent-emoji", "@iconify-json/noto-v1", "@iconify-json/twemoji", "@iconify-json/emojione")
NEAR_DUPLICATE = 0.035  # mean absolute difference of two 16 x 16 thumbnails, in units of full scale


@dataclass(frozen=True)
class Card:
    """What is known about one image."""

    key: str
    name: str
    kind: str
    source: str
    held_out: bool


@dataclass(frozen=True)
class Svg:
    """A drawing as SVG text."""

    text: str


def is_held_out(group: str) -> bool:
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def stem(name: str) -> str:
    """The part of a file name that variants share: no digits, colours, author tails or 'cartoon' endings."""
    words = re.sub(r"[^a-z]+", " ", name.lower()).split()
    dropped = {"bw", "cartoon", "black", "white", "filled", "outlined", "left", "right", "r", "b", "w", "md", "ganson"}
    return " ".join(word for word in words if word not in dropped) or name


def stamp_cards(root: Path) -> list[tuple[Card, Path]]:
    base = root / "usr/share/tuxpaint/stamps"
    found = []
    for path in sorted([*base.rglob("*.png"), *base.rglob("*.svg")]):
        folder = path.relative_to(base).parts[0]
        if not path.is_file() or path.stem.endswith("_mirror"):
            continue
        key = str(path.relative_to(base))
        text = path.with_suffix(".txt")
        caption = text.read_text("utf-8", "replace").splitlines()[0] if text.is_file() else path.stem.replace("_", " ")
        name = stamp_name(caption, path)
        # One group per name, whatever the folder: the letter A filled and outlined, an owl drawn and photographed.
        held_out = stem(path.stem) in DEMO_STAMPS or is_held_out("stamp " + stem(path.stem))
        found.append((Card(f"stamp/{key}", name, STAMP_KINDS[folder], "stamp", held_out), path))
    return found


def stamp_name(caption: str, path: Path) -> str:
    sentence = re.split(r"[.!?(:;,]", caption.strip())[0].strip()
    name = re.sub(r"^(an?|the|some) ", "", sentence, flags=re.IGNORECASE)
    if not name or len(name.split()) > 5:
        name = re.sub(r"[\d_]+", " ", path.stem).strip() or "number"
    # Sentence starts are lowered; names of places and planets keep their capitals only behind the first word.
    return name[0].lower() + name[1:] if len(name) > 1 and not name[1].isupper() else name


def clipart_cards(root: Path, words: set[str]) -> list[tuple[Card, Path]]:
    base = root / "usr/share/openclipart/png"
    taken: Counter[str] = Counter()
    found = []
    # Ordered by hash, so that a cap takes a fair sample of a folder.
    for path in sorted(base.rglob("*.png"), key=lambda item: hashlib.sha256(item.name.encode()).digest()):
        folder = str(path.parent.relative_to(base))
        prefix, kind, most = clipart_kind(folder)
        if not kind or taken[prefix] >= most:
            continue
        taken[prefix] += 1
        name = clipart_name(path.stem, words)
        held_out = is_held_out("clipart " + stem(path.stem)[:12])
        found.append((Card(f"clipart/{folder}/{path.name}", name, kind, "clipart", held_out), path))
    return found


def clipart_name(file_stem: str, words: set[str]) -> str:
    """Leading English words of a file name; what follows is the author's name. Empty when nothing readable is left."""
    kept: list[str] = []
    for word in re.sub(r"[^a-z]+", " ", file_stem.lower()).split():
        if word not in words or len(kept) == 3:
            break
        kept.append(word)
    while kept and kept[-1] in {"with", "and", "of", "the", "a", "in", "on", "by", "for"}:
        kept.pop()
    return " ".join(kept)


def emoji_cards(root: Path) -> list[tuple[Card, str]]:
    groups = json.loads((root / "package/data-by-group.json").read_text("utf-8"))
    starts = dict(EMOJI_RUNS)
    kind, found = "", []
    taken: Counter[str] = Counter()
    for entry in (item for group in groups for item in group["emojis"]):
        kind = starts.get(entry["name"], kind)
        glyph = entry["emoji"].replace("\ufe0f", "")
        taken[kind] += 1
        # Sequences (skin tones, families, flags) are left out: one code point, one image.
        if not kind or len(glyph) != 1 or (kind == "symbol" and taken[kind] > 240):
            continue
        name = entry["name"].replace("’", "'")
        held_out = is_held_out("emoji " + stem(name))
        found.append((Card(f"emoji/{ord(glyph):x}", name, kind, "emoji", held_out), glyph))
    return found


def icon_cards(folder: Path, emoji: Iterable[Card]) -> list[tuple[Card, Svg]]:
    """The same emoji as another artist draws them, found by name in an icon set; sides and kinds stay."""
    icons = json.loads((folder / "package/icons.json").read_text("utf-8"))
    style, found = icons["prefix"], []
    for card in emoji:
        slug = re.sub("[^a-z0-9]+", "-", card.name.lower()).strip("-")
        if icon := icons["icons"].get(slug):
            width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
            box = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
            found.append((replace(card, key=f"{style}/{slug}"), Svg(box)))
    return found


def draw_svg(svg: Svg | Path) -> Image.Image:
    import resvg_py  # an optional package: only building the bank needs it

    drawn = (
        resvg_py.svg_to_bytes(svg_path=str(svg), width=256)
        if isinstance(svg, Path)
        else resvg_py.svg_to_bytes(svg_string=svg.text, width=256)
    )
    return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")


def draw_item(item: Svg | Path) -> Image.Image:
    return draw_svg(item) if isinstance(item, Svg) else open_cut_out(item)


def open_cut_out(path: Path) -> Image.Image:
    if path.suffix == ".svg":
        return draw_svg(path)
    with Image.open(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise InputError(
                f"{path.name} has {image.width} x {image.height} pixels, more than {MOST_PIXELS}; use another"
            )
        return image.convert("RGBA")


def fit(image: Image.Image) -> Image.Image:
    """Cuts the transparent margin away and centres the rest on a clear square of 128 pixels."""
    box = image.getchannel("A").point(lambda value: 255 if value > 16 else 0).getbbox()
    if box is None:
        raise InputError("the picture is fully transparent; use another")
    image = image.crop(box)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    if max(image.size) < SIZE:
        factor = SIZE / max(image.size)
        image = image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))
    canvas = Image.new("RGBA", (SIZE, SIZE))
    canvas.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    return canvas


def common_words(vocabulary: Iterable[str]) -> set[str]:
    """Lower-case words that are one token: a word list good enough to tell file names from authors' names."""
    tokens = [token[1:] for token in vocabulary if token.startswith("Ġ")]
    return {token for token in tokens if len(token) > 2 and token.isalpha() and token.isascii() and token.islower()}


def draw_emoji(glyph: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    from PIL import ImageDraw

    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((10, 10), glyph, font=font, embedded_color=True)
    return canvas


@dataclass(frozen=True)
class Bank:
    """Cards and their images, one uint8 RGBA array of 128 x 128 each."""

    cards: tuple[Card, ...]
    pixels: np.ndarray

    def side(self, held_out: bool) -> list[int]:
        return [index for index, card in enumerate(self.cards) if card.held_out == held_out]


def read_bank(cache: Path) -> Bank | None:
    """The bank an earlier run left in the cache, or None."""
    index, pixels = cache / "bank.json", cache / "bank.npy"
    if not (index.is_file() and pixels.is_file()):
        return None
    cards = tuple(Card(**row) for row in json.loads(index.read_text("utf-8")))
    return Bank(cards, np.load(pixels, mmap_mode="r"))


def build_bank(folders: dict[str, Path], words: set[str], cache: Path) -> Bank:
    """Draws every image once, drops near-duplicates of held-out ones, and keeps the result in the cache.

    `words` are English words; they tell the readable start of a drawing's file name from its author's name."""
    font_path = next(folders["fonts-noto-color-emoji"].rglob("*.ttf"))
    font = ImageFont.truetype(str(font_path), 109)
    emoji = emoji_cards(folders["unicode-emoji-json"])
    files = stamp_cards(folders["tuxpaint-stamps-default"])
    names = {word for card, _ in [*emoji, *files] for word in re.findall(r"[a-z]+", card.name.lower())}
    files += clipart_cards(folders["openclipart-png"], words | names)
    kept: list[Card] = []
    arrays: list[np.ndarray] = []
    icons = [pair for name in ICON_SETS for pair in icon_cards(folders[name], [card for card, _ in emoji])]
    drawings: list[tuple[Card, Path | Svg | str]] = [*files, *emoji, *icons]
    for card, item in drawings:
        try:
            drawn = fit(draw_emoji(item, font) if isinstance(item, str) else draw_item(item))
        except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):
            continue  # a few files of the packages are empty or broken; they are simply not used
        kept.append(card)
        arrays.append(np.asarray(drawn))
    bank = drop_near_duplicates(Bank(tuple(kept), np.stack(arrays)))
    keep(bank, cache)
    return bank


def keep(bank: Bank, cache: Path) -> None:
    """In files that are whole once they are there."""
    partial = cache / ".bank.partial.npy"
    np.save(partial, bank.pixels)
    partial.replace(cache / "bank.npy")
    rows = [asdict(card) for card in bank.cards]
    write_text(cache / "bank.json", json.dumps(rows, ensure_ascii=False, indent=0))


def drop_near_duplicates(bank: Bank) -> Bank:
    """Takes out of training what looks like a held-out image, plain or mirrored: packages share drawings."""
    thumbnails = np.stack([thumbnail(pixels) for pixels in bank.pixels])
    mirrored = thumbnails.reshape(-1, 16, 16, 4)[:, :, ::-1].reshape(len(thumbnails), -1)
    held_out = bank.side(True)
    keep = np.ones(len(bank.cards), bool)
    for index in bank.side(False):
        nearest = min(
            np.abs(thumbnails[held_out] - thumbnails[index]).mean(1).min(),
            np.abs(mirrored[held_out] - thumbnails[index]).mean(1).min(),
        )
        keep[index] = nearest > NEAR_DUPLICATE
    return Bank(tuple(card for card, kept in zip(bank.cards, keep, strict=True) if kept), bank.pixels[keep])


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX)
    values = np.asarray(image, dtype=np.float32) / 255
    return np.concatenate([values[..., :3] * values[..., 3:], values[..., 3:]], axis=-1).reshape(-1)
