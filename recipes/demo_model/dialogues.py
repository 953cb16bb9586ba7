"""Questions and answers about images of the bank: what it is, its kind, colour, place, descriptions, pairs."""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from recipes.demo_model.bank import Bank, Card
from recipes.demo_model.categories import STAMP_KINDS, is_plural, with_article
from recipes.demo_model.scenes import PALE, SIZE, Thing, backdrop

KIND_WORDS = (*STAMP_KINDS.values(), "flag")


@dataclass(frozen=True)
class Turn:
    """One question with its answer; `truth` are the words a right answer must say, `ability` what it tests."""

    question: str
    answer: str
    ability: str
    truth: tuple[str, ...] = ()
    finished: bool = True  # False: the answer was cut at a length limit, so no end must be learned


Dialogue = tuple[Turn, ...]


@dataclass(frozen=True)
class Example:
    """One or two images with independent dialogues about them, and the words that describe them."""

    images: tuple[Image.Image, ...]
    dialogues: tuple[Dialogue, ...]
    kind: str
    words: tuple[str, ...] = ()
    places: dict[int, tuple[str, ...]] | None = None
    name: str = ""
    ground: tuple[str, ...] = ()  # words of the patches where nothing is shown


def joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


HUES = (
    (10, "red"),
    (23, "orange"),
    (47, "yellow"),
    (117, "green"),
    (134, "teal"),
    (176, "blue"),
    (205, "purple"),
    (240, "pink"),
)


def colour_names(pixels: np.ndarray) -> list[str]:
    """One or two main colours of a cut-out, by hue; dull pixels are black, gray or white, dark orange ones brown."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert("HSV")
    hue, strength, light = np.asarray(image)[pixels[..., 3] > 128].astype(int).T
    names = np.full(len(hue), "red", dtype=object)  # hues close to 256 are red again
    for limit, name in reversed(HUES):
        names[hue < limit] = name
    warm = (hue < 30) | (hue > 245)
    names[warm & (light < 170) & (strength < 200)] = "brown"
    names[(hue >= 10) & (hue < 30) & (light < 190)] = "brown"
    dull = (strength < 50) | (light < 45)
    names[dull] = np.select([light[dull] < 70, light[dull] < 200], ["black", "gray"], "white")
    found = Counter(names.tolist()).most_common(2)
    return [name for name, count in found if count > 0.2 * len(names)] or [name for name, _ in found[:1]] or ["black"]


_colours: dict[tuple[str, int], list[str]] = {}
_MOST_COLOURS = 20_000
"""Images whose colours are remembered: more than the bank has."""


def known_colours(card: Card, pixels: np.ndarray) -> list[str]:
    """`colour_names`, which take longer than all else of an example, once for every image."""
    key = card.key, zlib.crc32(np.ascontiguousarray(pixels).data)
    if key not in _colours:
        if len(_colours) >= _MOST_COLOURS:
            _colours.clear()
        _colours[key] = colour_names(pixels)
    return _colours[key]


@dataclass(frozen=True)
class Placed:
    """A cut-out put on a background: what was done to it is known and can be asked."""

    image: Image.Image
    background: str
    scale: str
    place: str
    covered: tuple[int, ...]  # patches in which the cut-out is what is mostly seen


def place_image(pixels: np.ndarray, rng: random.Random, plain: bool = False) -> Placed:
    background = "white" if plain or rng.random() < 0.4 else rng.choice(tuple(PALE))
    canvas = backdrop(rng, background)
    cut_out = Image.fromarray(np.ascontiguousarray(pixels))
    if rng.random() < 0.5 and not plain:
        cut_out = cut_out.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = not plain and rng.random() < 0.12
    factor = rng.uniform(0.5, 0.55) if small else rng.uniform(0.8, 0.98)
    side = round(SIZE * factor)
    cut_out = cut_out.resize((side, side), Image.Resampling.BILINEAR)
    free, spot = SIZE - side, Thing("spot")
    x, y = rng.randint(0, free), rng.randint(0, free)
    if small:
        column, row = rng.choice((0, 2)), rng.choice((0, 2))
        x, y, spot = free * (column // 2), free * (row // 2), Thing("spot", row=row, column=column)
    canvas.paste(cut_out, (x, y), cut_out)
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(cut_out.getchannel("A"), (x, y))
    share = np.asarray(mask.resize((8, 8), Image.Resampling.BOX)).reshape(-1)
    covered = tuple(int(patch) for patch in np.flatnonzero(share > 0.3 * share.max()))
    return Placed(canvas, background, "small" if small else "large", spot.place, covered)


def image_example(card: Card, pixels: np.ndarray, rng: random.Random, facts: dict[str, list[str]]) -> Example:
    placed = place_image(pixels, rng)
    colours = known_colours(card, pixels)
    noun = card.name or card.kind
    words = tuple(re.findall(r"[a-z]+", f"{noun} {card.kind} {' '.join(colours)}".lower()))
    said = replace(card, name=spoken_name(card.name))
    turns = image_turns(said, placed, colours, rng)
    dialogues: list[Dialogue] = [(turn,) for turn in turns]
    known = facts.get(said.name)
    if said.name and known:
        fact = rng.choice(known)
        first = rng.choice([turn for turn in turns if turn.ability in ("name", "brief", "kind")])
        dialogues.append((first, Turn(rng.choice(MORE), fact, "follow-up")))
        detail = next(turn for turn in turns if turn.ability == "detail")
        longer = Turn(detail.question, f"{detail.answer} {fact}", "detail")
        dialogues = [(longer,) if dialogue[0] is detail else dialogue for dialogue in dialogues]
    places = dict.fromkeys(placed.covered, words)
    return Example((placed.image,), tuple(dialogues), card.kind, words, places, noun, tuple(placed.background.split()))


def spoken_name(name: str) -> str:
    """The name as somebody would say it, or "": a hundred ways to point with a hand teach only to make up names."""
    is_plain = re.fullmatch(r"[A-Za-z']+( [A-Za-z']+)?", name) is not None
    return name if is_plain else ""


MORE = ("Tell me more about it.", "What can you tell me about it?", "What is it known for?")


NAMING = (
    ("What is this?", "This is"),
    ("What is in the picture?", "The picture shows"),
    ("What do you see in the picture?", "I see"),
)


def image_turns(card: Card, placed: Placed, colours: list[str], rng: random.Random) -> list[Turn]:
    """Everything that can be asked about one placed image."""
    noun, kind = card.name or card.kind, kind_phrase(card.kind)
    a_noun, colour, background = with_article(noun), joined(colours), placed.background
    question, start = rng.choice(NAMING)
    # The kind first: it is surer than the noun, and the noun then follows from it.
    what = f"{kind}: {a_noun}" if card.name else kind
    looks = f" It looks like {a_noun}." if card.name else ""
    brief = f"{a_noun[0].upper()}{a_noun[1:]} in {colour} on a {background} background."
    return [
        Turn(question, f"{start} {what}.", "name", (noun,)),
        Turn("What kind of thing is this?", f"It is {kind}.{looks}", "kind", (card.kind,)),
        yes_no_kind(card.kind, a_noun if card.name else "", rng),
        Turn("What color is it?", f"It is mostly {colour}.", "colour", tuple(colours[:1])),
        Turn("What color is the background?", f"The background is {background}.", "background", (background,)),
        Turn("Where in the picture is it?", f"It is {placed.place} of the picture.", "where"),
        Turn(rng.choice(("Describe the picture briefly.", "Give a short caption.")), brief, "brief"),
        Turn(rng.choice(DETAIL), detail_of(noun, kind, colour, placed), "detail"),
    ]


def detail_of(noun: str, kind: str, colour: str, placed: Placed) -> str:
    subject = noun.capitalize() if noun.startswith("the ") else f"The {noun}"
    small = f"It is small and sits {placed.place} of the picture"
    size = "It fills most of the picture" if placed.scale == "large" else small
    what = f"{kind}, {with_article(noun)}," if noun not in KIND_WORDS else kind
    verb = "are" if is_plural(noun) else "is"
    return (
        f"The picture shows {what} on a {placed.background} background. "
        f"{subject} {verb} mostly {colour}. {size}. There is nothing else to see around it."
    )


def kind_phrase(kind: str) -> str:
    return kind if kind == "food" else with_article(kind)


DETAIL = ("Describe the picture in detail.", "Describe this image in detail.", "Please give a detailed description.")


def yes_no_kind(kind: str, a_noun: str, rng: random.Random) -> Turn:
    asked = kind if rng.random() < 0.5 else rng.choice([word for word in KIND_WORDS if word != kind])
    thing = kind_phrase(asked)
    real = kind_phrase(kind)
    if asked == kind:
        return Turn(
            f"Is this {thing}?", f"Yes, it is {real}." + (f" It is {a_noun}." if a_noun else ""), "yes-no", ("yes",)
        )
    tail = f" It is {a_noun}, which is {real}." if a_noun else f" It is {real}."
    return Turn(f"Is this {thing}?", f"No, it is not {thing}.{tail}", "yes-no", ("no",))


def image_pair_example(bank: Bank, indices: tuple[int, int], rng: random.Random) -> Example:
    cards = [bank.cards[index] for index in indices]
    placed = [place_image(bank.pixels[index], rng) for index in indices]
    nouns = [with_article(spoken_name(card.name) or card.kind) for card in cards]
    kinds = [kind_phrase(card.kind) for card in cards]
    both = (
        f"Both show {kinds[0]}." if kinds[0] == kinds[1] else f"The first is {kinds[0]}, and the second is {kinds[1]}."
    )
    answers = [
        Turn(
            "What do the two pictures show?",
            f"The first picture shows {nouns[0]}, and the second shows {nouns[1]}.",
            "compare",
        ),
        Turn(
            "Compare the two pictures.",
            f"The first picture shows {nouns[0]}, and the second shows {nouns[1]}. {both}",
            "compare",
        ),
    ]
    first = Turn("What is in the first picture?", f"The first picture shows {nouns[0]}.", "compare")
    second = Turn("And in the second?", f"The second picture shows {nouns[1]}.", "compare")
    return Example(tuple(item.image for item in placed), ((rng.choice(answers),), (first, second)), "pair")
