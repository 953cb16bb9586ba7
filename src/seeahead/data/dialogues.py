"""Questions and answers about pictures: what is there, its kind, colour, number, place, text, and longer descriptions."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.Image import Image as Picture

from seeahead.data.kinds import STAMP_KINDS, with_article
from seeahead.data.pictures import Bank, Card
from seeahead.data.scenes import COLOURS, PALE, SIZE, Scene, Thing, backdrop, changed, random_things, shapes_scene

NUMBERS = ("no", "one", "two", "three", "four", "five")
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
    """One or two pictures with independent dialogues about them, and the words that describe them."""

    pictures: tuple[Picture, ...]
    dialogues: tuple[Dialogue, ...]
    kind: str
    words: tuple[str, ...] = ()
    places: dict[int, tuple[str, ...]] | None = None
    name: str = ""
    background: str = ""


def plural(noun: str, count: int) -> str:
    return noun if count == 1 else noun + "s"


def joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def colour_names(pixels: np.ndarray) -> list[str]:
    """One or two main colours of a cut-out, by nearest named colour."""
    solid = pixels[..., 3] > 128
    names = [*COLOURS, "white"]
    table = np.array([*COLOURS.values(), (250, 250, 250)], dtype=np.int32)
    values = pixels[..., :3][solid].astype(np.int32)[::7]
    if not len(values):
        return ["black"]
    nearest = ((values[:, None] - table[None]) ** 2).sum(-1).argmin(1)
    counts = np.bincount(nearest, minlength=len(names))
    order = counts.argsort()[::-1]
    return [names[i] for i in order[:2] if counts[i] > 0.2 * len(values)] or [names[order[0]]]


@dataclass(frozen=True)
class Placed:
    """A cut-out put on a background: what was done to it is known and can be asked."""

    picture: Picture
    background: str
    scale: str
    place: str
    covered: tuple[int, ...]  # patches in which the cut-out is what is mostly seen


def place_picture(pixels: np.ndarray, rng: random.Random, plain: bool = False) -> Placed:
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


def picture_example(card: Card, pixels: np.ndarray, rng: random.Random, facts: dict[str, list[str]]) -> Example:
    placed = place_picture(pixels, rng)
    colours = colour_names(pixels)
    noun = card.name or card.kind
    words = tuple(re.findall(r"[a-z]+", f"{noun} {card.kind} {' '.join(colours)}".lower()))
    turns = picture_turns(card, placed, colours, rng)
    dialogues: list[Dialogue] = [(turn,) for turn in turns]
    known = facts.get(noun)
    if card.name and known:
        fact = rng.choice(known)
        first = rng.choice([turn for turn in turns if turn.ability in ("name", "brief", "kind")])
        dialogues.append((first, Turn(rng.choice(MORE), fact, "follow-up")))
        detail = next(turn for turn in turns if turn.ability == "detail")
        longer = Turn(detail.question, f"{detail.answer} {fact}", "detail")
        dialogues = [(longer,) if dialogue[0] is detail else dialogue for dialogue in dialogues]
    places = dict.fromkeys(placed.covered, words)
    return Example((placed.picture,), tuple(dialogues), card.kind, words, places, noun, placed.background)


MORE = ("Tell me more about it.", "What can you tell me about it?", "What is it known for?")


def picture_turns(card: Card, placed: Placed, colours: list[str], rng: random.Random) -> list[Turn]:
    noun, kind = card.name or card.kind, with_article(card.kind) if card.kind != "food" else "food"
    a_noun = with_article(noun)
    subject = f"The {noun}" if not noun.startswith("the ") else noun.capitalize()
    are = "are" if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) else "is"
    colour = joined(colours)
    it_is = f", which {are} {kind}" if card.name else ""
    naming = (
        ("What is this?", f"This is {a_noun}{it_is}."),
        ("What is in the picture?", f"The picture shows {a_noun}{it_is}."),
        ("What do you see in the picture?", f"I see {a_noun}{it_is}."),
    )
    question, answer = rng.choice(naming)
    turns = [Turn(question, answer, "name", (noun,)) for _ in range(1)]
    looks = f" It looks like {a_noun}." if card.name else ""
    turns.append(Turn("What kind of thing is this?", f"It is {kind}.{looks}", "kind", (card.kind,)))
    turns.append(yes_no_kind(card.kind, a_noun if card.name else "", rng))
    turns.append(Turn(f"What color is it?", f"It is mostly {colour}.", "colour", tuple(colours[:1])))
    turns.append(
        Turn("What color is the background?", f"The background is {placed.background}.", "background", (placed.background,))
    )
    turns.append(Turn("Where in the picture is it?", f"It is {placed.place} of the picture.".replace("center of", "center of"), "where"))
    brief = f"{a_noun[0].upper()}{a_noun[1:]} in {colour} on a {placed.background} background."
    turns.append(Turn(rng.choice(("Describe the picture briefly.", "Give a short caption.")), brief, "brief"))
    size = "It fills most of the picture" if placed.scale == "large" else f"It is small and sits {placed.place} of the picture"
    detail = (
        f"The picture shows {a_noun} on a {placed.background} background. {subject} {are} {kind}, and mostly {colour}. "
        f"{size}. There is nothing else to see around it."
    )
    turns.append(Turn(rng.choice(DETAIL), detail, "detail"))
    return turns


DETAIL = ("Describe the picture in detail.", "Describe this image in detail.", "Please give a detailed description.")


def yes_no_kind(kind: str, a_noun: str, rng: random.Random) -> Turn:
    asked = kind if rng.random() < 0.5 else rng.choice([word for word in KIND_WORDS if word != kind])
    thing = "food" if asked == "food" else with_article(asked)
    real = "food" if kind == "food" else with_article(kind)
    if asked == kind:
        return Turn(f"Is this {thing}?", f"Yes, it is {real}." + (f" It is {a_noun}." if a_noun else ""), "yes-no", ("yes",))
    tail = f" It is {a_noun}, which is {real}." if a_noun else f" It is {real}."
    return Turn(f"Is this {thing}?", f"No, it is not {thing}.{tail}", "yes-no", ("no",))


def scene_example(scene: Scene, rng: random.Random) -> Example:
    turns = {"shapes": shape_turns, "chart": chart_turns, "sign": sign_turns, "receipt": receipt_turns}[scene.kind](scene, rng)
    words = tuple(word for thing in scene.things for word in (thing.colour, thing.name.lower()) if word)
    return Example((scene.picture,), tuple((turn,) for turn in turns), scene.kind, words, scene.places, "", scene.background)


def sentence(thing: Thing) -> str:
    size = "large" if thing.large else "small"
    return f"There is a {size} {thing.noun} {thing.place}."


def shape_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    things, count = scene.things, len(scene.things)
    thing = rng.choice(things)
    number = f"{NUMBERS[count]} {plural('shape', count)}"
    there = "is" if count == 1 else "are"
    turns = [Turn("How many shapes are there?", f"There {there} {number} in the picture.", "count", (NUMBERS[count],))]
    unique = [item for item in things if sum(other.name == item.name for other in things) == 1]
    if unique:
        one = rng.choice(unique)
        turns.append(Turn(f"What color is the {one.name}?", f"The {one.name} is {one.colour}.", "colour", (one.colour,)))
    turns.append(Turn(f"What shape is {thing.colour}?", f"The {thing.colour} shape is a {thing.name}.", "shape", (thing.name,)))
    turns.append(
        Turn(f"Where is the {thing.noun}?", f"The {thing.noun} is {thing.place} of the picture.", "where", (thing.place,))
    )
    asked = rng.choice((thing.colour, rng.choice(tuple(COLOURS))))
    present = next((item for item in things if item.colour == asked), None)
    answer = f"Yes, there is a {present.noun}." if present else f"No, there is no {asked} shape in the picture."
    turns.append(Turn(f"Is there a {asked} shape?", answer, "yes-no", ("yes" if present else "no",)))
    listed = joined([f"a {item.noun}" for item in things])
    turns.append(Turn(rng.choice(("What is in the picture?", "Describe the picture briefly.")), f"The picture shows {listed}.", "list"))
    lines = " ".join(sentence(item) for item in things)
    detail = f"The picture shows {number} on a {scene.background} background. {lines}"
    turns.append(Turn(rng.choice(DETAIL), detail, "detail"))
    return turns


def chart_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    bars = scene.things
    order = sorted(bars, key=lambda bar: -bar.value)
    number = f"{NUMBERS[len(bars)]} bars"
    turns = [
        Turn("Which bar is the tallest?", f"The {order[0].colour} bar is the tallest.", "chart", (order[0].colour,)),
        Turn("Which bar is the shortest?", f"The {order[-1].colour} bar is the shortest.", "chart", (order[-1].colour,)),
        Turn("How many bars are there?", f"There are {number} in the chart.", "count", (NUMBERS[len(bars)],)),
    ]
    left, right = sorted(rng.sample(range(len(bars)), 2))
    pair = (bars[left], bars[right])
    taller = max(pair, key=lambda bar: bar.value)
    lower = min(pair, key=lambda bar: bar.value)
    turns.append(
        Turn(
            f"Which is taller, the {pair[0].colour} bar or the {pair[1].colour} bar?",
            f"The {taller.colour} bar is taller than the {lower.colour} bar.",
            "chart",
            (taller.colour,),
        )
    )
    detail = (
        f"The picture shows a bar chart with {number}. From left to right they are {joined([bar.colour for bar in bars])}. "
        f"The {order[0].colour} bar is the tallest, and the {order[-1].colour} bar is the shortest."
    )
    turns.append(Turn(rng.choice((*DETAIL, "What does the chart show?", "What is in the picture?")), detail, "detail"))
    return turns


def sign_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    sign = scene.things[0]
    says = f'The sign says "{sign.name}".'
    detail = (
        f"The picture shows a {sign.colour} sign on a {scene.background} background. "
        f'The sign stands on a gray pole, and it says "{sign.name}" in white letters.'
    )
    return [
        Turn(rng.choice(("What does the sign say?", "Read the text in the picture.")), says, "read", (sign.name.lower(),)),
        Turn("What color is the sign?", f"The sign is {sign.colour}.", "colour", (sign.colour,)),
        Turn("What is in the picture?", f'The picture shows a {sign.colour} sign that says "{sign.name}".', "list"),
        Turn(rng.choice(DETAIL), detail, "detail"),
    ]


def receipt_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    *lines, total = scene.things
    line = rng.choice(lines)
    listed = joined([f"{item.name.lower()} for ${item.value}" for item in lines])
    return [
        Turn("What is the total?", f"The total is ${total.value}.", "read", (str(total.value),)),
        Turn(f"How much is the {line.name.lower()}?", f"The {line.name.lower()} costs ${line.value}.", "read", (str(line.value),)),
        Turn("What was bought?", f"The receipt lists {listed}.", "read", tuple(item.name.lower() for item in lines)),
        Turn("What is in the picture?", f"The picture shows a receipt with {listed}.", "list"),
        Turn(rng.choice(DETAIL), f"The picture shows a receipt on white paper. It lists {listed}. The total is ${total.value}.", "detail"),
    ]


def shape_pair_example(rng: random.Random) -> Example:
    """Two scenes that differ in one thing."""
    things = random_things(rng, rng.choice((1, 2, 2, 3)))
    after, what, old, new = changed(rng, things)
    background = rng.choice(tuple(PALE))
    scenes = (shapes_scene(rng, things, background), shapes_scene(rng, after, background))
    if new is None:
        answer, truth = f"The {old.noun} {old.place} is missing in the second picture.", (old.colour, "missing")
    elif what == "colour":
        answer, truth = f"The {old.name} is {old.colour} in the first picture and {new.colour} in the second.", (old.colour, new.colour)
    else:
        answer, truth = f"The {old.noun} in the first picture is a {new.noun} in the second.", (old.name, new.name)
    turns = [Turn("What is different between the two pictures?", answer, "compare", truth)]
    counts = [f"{NUMBERS[len(scene.things)]} {plural('shape', len(scene.things))}" for scene in scenes]
    turns.append(
        Turn("How many shapes are in each picture?", f"There {'is' if len(things) == 1 else 'are'} {counts[0]} in the first picture and {counts[1]} in the second.", "compare")
    )
    return Example(tuple(scene.picture for scene in scenes), tuple((turn,) for turn in turns), "pair")


def picture_pair_example(bank: Bank, indices: tuple[int, int], rng: random.Random) -> Example:
    cards = [bank.cards[index] for index in indices]
    placed = [place_picture(bank.pixels[index], rng) for index in indices]
    nouns = [with_article(card.name or card.kind) for card in cards]
    kinds = [card.kind if card.kind == "food" else with_article(card.kind) for card in cards]
    both = f"Both show {kinds[0]}." if kinds[0] == kinds[1] else f"The first is {kinds[0]}, and the second is {kinds[1]}."
    answers = [
        Turn("What do the two pictures show?", f"The first picture shows {nouns[0]}, and the second shows {nouns[1]}.", "compare"),
        Turn("Compare the two pictures.", f"The first picture shows {nouns[0]}, and the second shows {nouns[1]}. {both}", "compare"),
    ]
    first = Turn("What is in the first picture?", f"The first picture shows {nouns[0]}.", "compare")
    second = Turn("And in the second?", f"The second picture shows {nouns[1]}.", "compare")
    return Example(tuple(item.picture for item in placed), ((rng.choice(answers),), (first, second)), "pair")


def easy_vqa_turn(question: str, answer: str) -> Turn:
    """An easy-VQA question with its one-word answer turned into a sentence."""
    said = question.lower()
    subject = re.search(r"\b(red|green|blue|yellow|brown|black|gray|teal|circle|rectangle|triangle)\b", said)
    text = question[0].upper() + question[1:]
    if answer in ("yes", "no") and subject:
        word = subject.group(1)
        thing = word if word in ("circle", "rectangle", "triangle") else f"{word} shape"
        there = (answer == "yes") != (" not " in said or "n't" in said)
        start = "Yes" if answer == "yes" else "No"
        return Turn(text, f"{start}, there is {'a' if there else 'no'} {thing} in the picture.", "easy-vqa", (answer,))
    if answer in ("circle", "rectangle", "triangle"):
        owner = f"The {subject.group(1)} shape" if subject else "The shape"
        return Turn(text, f"{owner} is a {answer}.", "easy-vqa", (answer,))
    owner = f"The {subject.group(1)}" if subject else "The shape"
    return Turn(text, f"{owner} is {answer}.", "easy-vqa", (answer,))
