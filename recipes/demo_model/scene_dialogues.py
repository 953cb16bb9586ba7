"""Questions and answers about made images and easy-VQA: shapes, charts, signs, receipts, pairs with a difference."""

from __future__ import annotations

import random
import re

from recipes.demo_model.dialogues import DETAIL, Example, Turn, joined
from recipes.demo_model.scenes import COLOURS, PALE, Scene, Thing, changed, random_things, shapes_scene

NUMBERS = ("no", "one", "two", "three", "four", "five")


def plural(noun: str, count: int) -> str:
    return noun if count == 1 else noun + "s"


def scene_example(scene: Scene, rng: random.Random, everywhere: bool = False) -> Example:
    """`everywhere`: of a scene of shapes, the place of each is asked, not of one; places are learned last."""
    turns = {"shapes": shape_turns, "chart": chart_turns, "sign": sign_turns, "receipt": receipt_turns}[scene.kind](
        scene, rng
    )
    if everywhere and scene.kind == "shapes":
        turns += [where_turn(thing) for thing in scene.things]
    words = tuple(word for thing in scene.things for word in (thing.colour, thing.name.lower()) if word)
    number = (NUMBERS[len(scene.things)], plural("shape", len(scene.things))) if scene.kind == "shapes" else ()
    ground = (*scene.background.split(), *number)
    return Example((scene.image,), tuple((turn,) for turn in turns), scene.kind, words, scene.places, "", ground)


def sentence(thing: Thing) -> str:
    size = "large" if thing.large else "small"
    return f"There is a {size} {thing.noun} {thing.place}."


def relation(things: tuple[Thing, ...]) -> str:
    """How the first two things lie to each other, and that nothing else is there."""
    if len(things) == 1:
        return "There are no other shapes in the picture."
    first, second = things[:2]
    side = (
        "above" if first.row < second.row else "to the left of" if first.column < second.column else "to the right of"
    )
    return f"The {first.noun} is {side} the {second.noun}. There are no other shapes in the picture."


def where_turn(thing: Thing) -> Turn:
    return Turn(
        f"Where is the {thing.noun}?", f"The {thing.noun} is {thing.place} of the picture.", "where", (thing.place,)
    )


def shape_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    things, count = scene.things, len(scene.things)
    thing = rng.choice(things)
    number = f"{NUMBERS[count]} {plural('shape', count)}"
    there = "is" if count == 1 else "are"
    turns = [Turn("How many shapes are there?", f"There {there} {number} in the picture.", "count", (NUMBERS[count],))]
    unique = [item for item in things if sum(other.name == item.name for other in things) == 1]
    if unique:
        one = rng.choice(unique)
        turns.append(
            Turn(f"What color is the {one.name}?", f"The {one.name} is {one.colour}.", "colour", (one.colour,))
        )
    turns.append(
        Turn(f"What shape is {thing.colour}?", f"The {thing.colour} shape is a {thing.name}.", "shape", (thing.name,))
    )
    turns.append(where_turn(thing))
    asked = rng.choice((thing.colour, rng.choice(tuple(COLOURS))))
    present = next((item for item in things if item.colour == asked), None)
    answer = f"Yes, there is a {present.noun}." if present else f"No, there is no {asked} shape in the picture."
    turns.append(Turn(f"Is there a {asked} shape?", answer, "yes-no", ("yes" if present else "no",)))
    listed = joined([f"a {item.noun}" for item in things])
    turns.append(
        Turn(
            rng.choice(("What is in the picture?", "Describe the picture briefly.")),
            f"The picture shows {listed}.",
            "list",
        )
    )
    lines = " ".join(sentence(item) for item in things)
    detail = f"The picture shows {number} on a {scene.background} background. {lines} {relation(things)}"
    turns.append(Turn(rng.choice(DETAIL), detail, "detail"))
    return turns


def chart_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    bars = scene.things
    order = sorted(bars, key=lambda bar: -bar.value)
    number = f"{NUMBERS[len(bars)]} bars"
    turns = [
        Turn("Which bar is the tallest?", f"The {order[0].colour} bar is the tallest.", "chart", (order[0].colour,)),
        Turn(
            "Which bar is the shortest?", f"The {order[-1].colour} bar is the shortest.", "chart", (order[-1].colour,)
        ),
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
        f"The picture shows a bar chart with {number}. "
        f"From left to right they are {joined([bar.colour for bar in bars])}. "
        f"The {order[0].colour} bar is the tallest, and the {order[-1].colour} bar is the shortest. "
        f"The {taller.colour} bar is taller than the {lower.colour} bar. The bars stand on a black line."
    )
    turns.append(Turn(rng.choice((*DETAIL, "What does the chart show?", "What is in the picture?")), detail, "detail"))
    return turns


def sign_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    sign = scene.things[0]
    says = f'The sign says "{sign.name}".'
    detail = (
        f"The picture shows a {sign.colour} sign on a {scene.background} background. "
        f'The sign stands on a gray pole, and it says "{sign.name}" in white letters. '
        "There is nothing else to see around it."
    )
    return [
        Turn(
            rng.choice(("What does the sign say?", "Read the text in the picture.")), says, "read", (sign.name.lower(),)
        ),
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
        Turn(
            f"How much is the {line.name.lower()}?",
            f"The {line.name.lower()} costs ${line.value}.",
            "read",
            (str(line.value),),
        ),
        Turn("What was bought?", f"The receipt lists {listed}.", "read", tuple(item.name.lower() for item in lines)),
        Turn("What is in the picture?", f"The picture shows a receipt with {listed}.", "list"),
        Turn(
            rng.choice(DETAIL),
            f"The picture shows a receipt on white paper. It lists {listed}. The total is ${total.value}.",
            "detail",
        ),
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
        answer, truth = (
            f"The {old.name} is {old.colour} in the first picture and {new.colour} in the second.",
            (old.colour, new.colour),
        )
    else:
        answer, truth = f"The {old.noun} in the first picture is a {new.noun} in the second.", (old.name, new.name)
    turns = [Turn("What is different between the two pictures?", answer, "compare", truth)]
    there = "is" if len(things) == 1 else "are"
    counts = [f"{NUMBERS[len(scene.things)]} {plural('shape', len(scene.things))}" for scene in scenes]
    turns.append(
        Turn(
            "How many shapes are in each picture?",
            f"There {there} {counts[0]} in the first picture and {counts[1]} in the second.",
            "compare",
        )
    )
    return Example(tuple(scene.image for scene in scenes), tuple((turn,) for turn in turns), "pair")


def easy_vqa_turn(question: str, answer: str) -> Turn:
    """An easy-VQA question with its one-word answer turned into a sentence."""
    said = question.lower()
    subject = re.search(r"\b(red|green|blue|yellow|brown|black|gray|teal|circle|rectangle|triangle)\b", said)
    text = question[0].upper() + question[1:]
    if answer in ("yes", "no") and subject:
        word = subject.group(1)
        thing = word if word in ("circle", "rectangle", "triangle") else f"{word} shape"
        there = (answer == "yes") != bool(re.search(r"\bno\b|\bnot\b|n't\b", said))
        start = "Yes" if answer == "yes" else "No"
        return Turn(text, f"{start}, there is {'a' if there else 'no'} {thing} in the picture.", "easy-vqa", (answer,))
    if answer in ("circle", "rectangle", "triangle"):
        owner = f"The {subject.group(1)} shape" if subject else "The shape"
        return Turn(text, f"{owner} is a {answer}.", "easy-vqa", (answer,))
    owner = f"The {subject.group(1)}" if subject else "The shape"
    return Turn(text, f"{owner} is {answer}.", "easy-vqa", (answer,))
