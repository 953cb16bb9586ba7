"""Images made on the spot whose every fact is known: coloured shapes, bar charts, signs and receipts."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

SIZE = 128
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 35),
    "green": (40, 160, 60),
    "blue": (40, 80, 215),
    "yellow": (245, 215, 40),
    "orange": (245, 140, 25),
    "purple": (135, 50, 170),
    "pink": (250, 150, 190),
    "brown": (125, 75, 35),
    "black": (20, 20, 20),
    "gray": (128, 128, 128),
    "teal": (0, 135, 135),
}
PALE: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "light blue": (200, 225, 250),
    "light yellow": (253, 248, 205),
    "light green": (210, 240, 210),
    "pink": (250, 220, 230),
    "light gray": (222, 222, 222),
}
SHAPES = ("circle", "square", "triangle", "rectangle", "star", "heart", "diamond")
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "center", "right")
_ON_SIGNS = """
STOP EXIT OPEN SALE MILK TEA PARK TAXI BUS ZOO HOTEL BANK FOOD CAFE BOOK SHOP SCHOOL SLOW HELP FREE PIZZA FISH WATER
DANGER BEACH HOME PUSH PULL LEFT RIGHT EAST WEST NORTH SOUTH NEW HOT COLD ICE BREAD CAKE RICE SOUP EGGS APPLES JUICE
COFFEE MUSIC ART FILM CLUB GYM POOL
"""
SIGN_WORDS = _ON_SIGNS.split()
GOODS = ("TEA", "MILK", "BREAD", "CAKE", "SOUP", "RICE", "EGGS", "FISH", "JUICE", "PIZZA", "COFFEE", "WATER")


Places = dict[int, tuple[str, ...]]  # patch number -> its words


@dataclass(frozen=True)
class Thing:
    """One drawn thing: a shape with colour, place and size, a bar with its height, or a line of text with its price."""

    name: str
    colour: str = ""
    row: int = 1
    column: int = 1
    large: bool = True
    value: int = 0

    @property
    def place(self) -> str:
        if (self.row, self.column) == (1, 1):
            return "in the center"
        if self.row == 1:
            return f"on the {COLUMNS[self.column]}"
        if self.column == 1:
            return "at the top" if self.row == 0 else "at the bottom"
        return f"in the {ROWS[self.row]} {COLUMNS[self.column]}"

    @property
    def noun(self) -> str:
        return f"{self.colour} {self.name}"


@dataclass(frozen=True)
class Scene:
    """A made image with its facts; `places` holds the words that belong to each of the 8 x 8 patches."""

    kind: str  # shapes, chart, sign, receipt
    image: Image.Image
    things: tuple[Thing, ...]
    background: str
    places: Places = field(default_factory=dict)


def jitter(rgb: tuple[int, int, int], rng: random.Random, amount: int = 14) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, value + rng.randint(-amount, amount))) for value in rgb)
    return red, green, blue


def backdrop(rng: random.Random, name: str, size: int = SIZE) -> Image.Image:
    """A plain or softly graded background in a named pale colour."""
    first = jitter(PALE[name], rng, 0 if name == "white" else 6)
    if rng.random() < 0.7 or name == "white":
        return Image.new("RGB", (size, size), first)
    second = tuple(max(0, value - 22) for value in first)
    ramp = Image.linear_gradient("L").resize((size, size))
    return Image.composite(Image.new("RGB", (size, size), second), Image.new("RGB", (size, size), first), ramp)


def outline(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    if shape == "triangle":
        return [(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)]
    if shape == "diamond":
        return [(x, y - r), (x + r * 0.7, y), (x, y + r), (x - r * 0.7, y)]
    if shape == "star":
        spokes = [(r if i % 2 == 0 else r * 0.42, math.pi * i / 5 - math.pi / 2) for i in range(10)]
        return [(x + length * math.cos(angle), y + length * math.sin(angle)) for length, angle in spokes]
    if shape == "heart":
        steps = [math.tau * i / 40 for i in range(40)]
        return [
            (
                x + r * math.sin(t) ** 3,
                y - r * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
            )
            for t in steps
        ]
    wide, high = (r * 0.85, r * 0.85) if shape == "square" else (r, r * 0.55)
    return [(x - wide, y - high), (x + wide, y - high), (x + wide, y + high), (x - wide, y + high)]


def draw_shape(draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float, fill: tuple[int, int, int]) -> None:
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    else:
        draw.polygon(outline(shape, x, y, r), fill=fill)


def cover(places: Places, box: tuple[float, float, float, float], words: tuple[str, ...]) -> None:
    """Gives the words to every patch of 16 pixels whose centre lies in the box."""
    left, top, right, bottom = box
    for patch in range(64):
        x, y = patch % 8 * 16 + 8, patch // 8 * 16 + 8
        if left <= x <= right and top <= y <= bottom:
            places[patch] = words


def shapes_scene(rng: random.Random, things: tuple[Thing, ...] | None = None, background: str | None = None) -> Scene:
    if things is None:
        things = random_things(rng)
    background = background or rng.choice(tuple(PALE))
    image = backdrop(rng, background, SIZE * 2)
    draw = ImageDraw.Draw(image)
    places: Places = {}
    for thing in things:
        radius = (
            (rng.uniform(17, 20) if thing.large else rng.uniform(9, 11)) if len(things) > 1 else rng.uniform(17, 30)
        )
        x, y = 22 + 42 * thing.column + rng.uniform(-2, 2), 22 + 42 * thing.row + rng.uniform(-2, 2)
        radius = min(radius, x - 1, y - 1, 127 - x, 127 - y) if len(things) == 1 else radius
        draw_shape(draw, thing.name, 2 * x, 2 * y, 2 * radius, jitter(COLOURS[thing.colour], rng))
        words = (thing.colour, thing.name, *thing.place.split()[2:])  # without "in the"
        cover(places, (x - radius * 0.9, y - radius * 0.9, x + radius * 0.9, y + radius * 0.9), words)
        places.setdefault(int(y // 16) * 8 + int(x // 16), words)
    return Scene("shapes", image.resize((SIZE, SIZE), Image.Resampling.LANCZOS), things, background, places)


def random_things(rng: random.Random, count: int | None = None) -> tuple[Thing, ...]:
    """One to four shapes in different cells, no two of the same colour, so that every question has one answer."""
    count = count or rng.choice((1, 1, 2, 2, 3, 3, 4))
    cells = rng.sample(range(9), count)
    colours = rng.sample(tuple(COLOURS), count)
    shapes = [rng.choice(SHAPES) for _ in range(count)]
    return tuple(
        Thing(shape, colour, cell // 3, cell % 3, count == 1 or rng.random() < 0.6)
        for shape, colour, cell in sorted(zip(shapes, colours, cells, strict=True), key=lambda item: item[2])
    )


def chart_scene(rng: random.Random) -> Scene:
    count = rng.randint(2, 4)
    names = rng.sample([name for name in COLOURS if name not in ("pink", "gray", "black")], count)
    heights = rng.sample(range(2, 11), count)
    background = rng.choice(("white", "white", "light gray", "light yellow"))
    image = backdrop(rng, background)
    draw = ImageDraw.Draw(image)
    places: Places = {}
    draw.line((8, 8, 8, 120, 122, 120), fill=(30, 30, 30), width=2)
    step = 112 / count
    for index, (name, height) in enumerate(zip(names, heights, strict=True)):
        box = (10 + step * index + 4, 120 - height * 10.5, 10 + step * (index + 1) - 4, 118)
        draw.rectangle(box, fill=jitter(COLOURS[name], rng))
        cover(places, box, (name, "bar"))
    things = tuple(Thing("bar", name, value=height) for name, height in zip(names, heights, strict=True))
    return Scene("chart", image, things, background, places)


def sign_scene(rng: random.Random) -> Scene:
    word, colour = rng.choice(SIGN_WORDS), rng.choice([name for name in COLOURS if name not in ("yellow", "pink")])
    background = rng.choice(tuple(PALE))
    image = backdrop(rng, background)
    draw = ImageDraw.Draw(image)
    places: Places = {}
    top = rng.randint(28, 48)
    box = (4, top, 124, top + 44)
    draw.rounded_rectangle(box, 8, fill=jitter(COLOURS[colour], rng))
    draw.rectangle((60, top + 44, 68, 128), fill=(90, 90, 90))
    text_box = draw_text(draw, word, (64, top + 22), 30, (255, 255, 255), 108)
    cover(places, box, (colour, "sign"))
    cover(places, text_box, (word.lower(), colour))
    return Scene("sign", image, (Thing(word, colour),), background, places)


def receipt_scene(rng: random.Random) -> Scene:
    image = backdrop(rng, "white")
    draw = ImageDraw.Draw(image)
    places: Places = {}
    lines = [Thing(name, value=rng.randint(1, 9)) for name in rng.sample(GOODS, rng.randint(1, 2))]
    total = Thing("TOTAL", value=sum(line.value for line in lines))
    draw.rectangle((2, 2, 125, 125), outline=(150, 150, 150))
    for index, line in enumerate([*lines, total]):
        y = 24 + 38 * index
        cover(places, draw_text(draw, line.name, (44, y), 23, (10, 10, 10), 78), (line.name.lower(),))
        cover(places, draw_text(draw, f"${line.value}", (106, y), 23, (10, 10, 10), 40), (str(line.value),))
    return Scene("receipt", image, (*lines, total), "white", places)


def draw_text(
    draw: ImageDraw.ImageDraw, text: str, centre: tuple[int, int], size: int, fill: tuple[int, int, int], most: int
) -> tuple[float, float, float, float]:
    """Draws in Pillow's own font, shrunk until it fits; returns the box it covers."""
    font = ImageFont.load_default(size)
    while font.getlength(text) > most and size > 8:
        size -= 1
        font = ImageFont.load_default(size)
    draw.text(centre, text, font=font, fill=fill, anchor="mm", stroke_width=1, stroke_fill=fill)
    half = font.getlength(text) / 2
    return centre[0] - half, centre[1] - 9, centre[0] + half, centre[1] + 9


def changed(rng: random.Random, things: tuple[Thing, ...]) -> tuple[tuple[Thing, ...], str, Thing, Thing | None]:
    """A copy with one difference: (things, what changed, the thing before, the thing after or None when it is gone)."""
    index = rng.randrange(len(things))
    old = things[index]
    what = rng.choice(("colour", "gone", "shape")) if len(things) > 1 else rng.choice(("colour", "shape"))
    if what == "gone":
        return things[:index] + things[index + 1 :], what, old, None
    used = {thing.colour for thing in things}
    colour = rng.choice([name for name in COLOURS if name not in used]) if what == "colour" else old.colour
    shape = rng.choice([name for name in SHAPES if name != old.name]) if what == "shape" else old.name
    new = Thing(shape, colour, old.row, old.column, old.large)
    return (*things[:index], new, *things[index + 1 :]), what, old, new
