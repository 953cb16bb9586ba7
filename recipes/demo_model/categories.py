"""Which kind of thing an image shows, read from its folder (or emoji group), in the words the demo model says."""

from __future__ import annotations

# Folder of the stamp collection -> the kind as said in an answer.
STAMP_KINDS: dict[str, str] = {
    "animals": "animal",
    "clothes": "piece of clothing",
    "food": "food",
    "hobbies": "hobby thing",
    "household": "household thing",
    "medical": "medical thing",
    "military": "military thing",
    "naturalforces": "force of nature",
    "people": "person",
    "plants": "plant",
    "seasonal": "holiday thing",
    "space": "space thing",
    "sports": "sports thing",
    "symbols": "symbol",
    "town": "town thing",
    "vehicles": "vehicle",
}

# Folder prefix of the drawings -> (kind, most images taken). Longest prefix wins; other folders are left out.
CLIPART_KINDS: dict[str, tuple[str, int]] = {
    "animals": ("animal", 400),
    "buildings": ("town thing", 100),
    "buildings/furniture": ("household thing", 20),
    "computer/hardware": ("household thing", 60),
    "containers": ("household thing", 20),
    "education": ("household thing", 40),
    "electronics": ("household thing", 50),
    "food": ("food", 400),
    "geography/astronomy": ("space thing", 20),
    "office": ("household thing", 150),
    "people": ("person", 240),
    "people/bodypart": ("person", 30),
    "people/clothing": ("piece of clothing", 80),
    "people/smilies": ("symbol", 30),
    "plants": ("plant", 100),
    "recreation/games/cards/white": ("hobby thing", 15),
    "recreation/games/chess": ("symbol", 14),
    "recreation/holiday": ("holiday thing", 60),
    "recreation/music": ("hobby thing", 80),
    "recreation/party": ("holiday thing", 65),
    "recreation/sports": ("sports thing", 72),
    "recreation/toys": ("household thing", 33),
    "science/astronomy": ("space thing", 10),
    "science/medicine": ("medical thing", 3),
    "shapes": ("symbol", 60),
    "shapes/stars": ("symbol", 25),
    "shapes/arrows": ("symbol", 25),
    "signs_and_symbols": ("symbol", 150),
    "signs_and_symbols/clocks": ("household thing", 26),
    "signs_and_symbols/flags": ("flag", 80),
    "signs_and_symbols/weather": ("force of nature", 31),
    "tools": ("household thing", 115),
    "tools/weapons": ("military thing", 40),
    "transportation": ("vehicle", 80),
    "transportation/aiga-symbols": ("symbol", 30),
    "transportation/boating": ("vehicle", 35),
    "transportation/roadsigns": ("town thing", 72),
    "transportation/vehicles": ("vehicle", 70),
}

# Emoji come in one fixed order; each entry starts a run of one kind. An empty kind leaves the run out.
EMOJI_RUNS: tuple[tuple[str, str], ...] = (
    ("grinning face", "symbol"),
    ("waving hand", "person"),
    ("monkey face", "animal"),
    ("bouquet", "plant"),
    ("grapes", "food"),
    ("fork and knife with plate", "household thing"),
    ("globe showing Europe-Africa", "space thing"),
    ("world map", ""),
    ("snow-capped mountain", ""),
    ("stadium", "town thing"),
    ("fountain", ""),
    ("carousel horse", "town thing"),
    ("locomotive", "vehicle"),
    ("skateboard", "sports thing"),
    ("bus stop", "town thing"),
    ("anchor", ""),
    ("sailboat", "vehicle"),
    ("parachute", ""),
    ("helicopter", "vehicle"),
    ("satellite", "space thing"),
    ("bellhop bell", "household thing"),
    ("new moon", "space thing"),
    ("thermometer", ""),
    ("sun", "space thing"),
    ("cloud", "force of nature"),
    ("closed umbrella", "household thing"),
    ("high voltage", "symbol"),
    ("snowflake", "holiday thing"),
    ("comet", "space thing"),
    ("fire", "force of nature"),
    ("jack-o-lantern", "holiday thing"),
    ("admission tickets", ""),
    ("soccer ball", "sports thing"),
    ("yo-yo", "hobby thing"),
    ("spade suit", "symbol"),
    ("performing arts", "hobby thing"),
    ("glasses", "piece of clothing"),
    ("folding hand fan", ""),
    ("purse", "piece of clothing"),
    ("hair pick", ""),
    ("crown", "piece of clothing"),
    ("prayer beads", ""),
    ("muted speaker", "household thing"),
    ("musical score", "symbol"),
    ("studio microphone", "household thing"),
    ("saxophone", "hobby thing"),
    ("mobile phone", "household thing"),
    ("dagger", "military thing"),
    ("boomerang", ""),
    ("bow and arrow", "military thing"),
    ("carpentry saw", "household thing"),
    ("test tube", "medical thing"),
    ("microscope", ""),
    ("syringe", "medical thing"),
    ("door", "household thing"),
    ("cigarette", ""),
    ("ATM sign", "symbol"),
    ("chequered flag", "flag"),
)


def clipart_kind(folder: str) -> tuple[str, str, int]:
    """(matched prefix, kind, most images) for a folder of the drawings; an empty kind means not used."""
    parts = folder.split("/")
    for length in range(len(parts), 0, -1):
        prefix = "/".join(parts[:length])
        if prefix in CLIPART_KINDS:
            return prefix, *CLIPART_KINDS[prefix]
    return folder, "", 0


def is_plural(noun: str) -> bool:
    return noun.endswith("s") and not noun.endswith(("ss", "us", "is"))


def with_article(noun: str) -> str:
    """ "an owl", "grapes", "the letter A"; names that bring their own article or are plural stay as they are."""
    lowered = noun.lower()
    if lowered.startswith(("a ", "an ", "the ", "some ")) or is_plural(noun):
        return noun
    return ("an " if lowered[0] in "aeiou" and not lowered.startswith(("uni", "eur", "one")) else "a ") + noun
