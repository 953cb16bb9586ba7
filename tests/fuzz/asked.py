"""What a caller hands over: images, prompts, a drafter's settings, sampling settings."""

import atexit
import base64
import io
import shutil
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from seeahead.api import Engine
from seeahead.drafters import KINDS, bind, split_settings
from seeahead.drafters.lookup import LookupDrafter
from seeahead.families import family_for
from seeahead.images import load_image
from seeahead.prompt import make_prompt
from seeahead.sampling import SamplingParams
from seeahead.stopping import StopRule, check_stop_texts
from seeahead.testing import tiny_model, tiny_processor
from tests.drafters import tiny_folders


@cache
def image_files():
    """A small file of every format and of its special parts."""
    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 255, (12, 17, 4), np.uint8), "RGBA")
    plain = colours.convert("RGB")
    files = [_saved(plain, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")]
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    texts = PngInfo()
    texts.add_text("a", "b" * 500, zip=True)
    texts.add_itxt("c", "d" * 500, zip=True)
    files += [
        _saved(colours, "PNG", pnginfo=texts, icc_profile=zlib.compress(b"no profile")),
        _saved(colours, "WEBP", lossless=True, exif=exif),
        _saved(plain, "JPEG", exif=exif, progressive=True, dpi=(300, 300)),
        _saved(plain.quantize(7), "PNG", transparency=3),
        _saved(plain.convert("I;16"), "PNG"),
        _saved(plain.convert("L"), "JPEG", comment=b"a comment"),
        _saved(plain.convert("CMYK"), "JPEG"),
        _saved(plain.convert("1"), "TIFF", compression="group4"),
        _saved(plain.convert("F"), "TIFF"),
        _saved(plain, "TIFF", compression="tiff_lzw", exif=exif),
        _saved(plain.quantize(9), "GIF", save_all=True, append_images=[plain.quantize(5)], loop=0),
        _saved(plain.quantize(9), "BMP"),
        b"P2 2 2 255 1 2 3 4",
        b"P1 2 2 1 0 1 0",
    ]
    return tuple(files)


def _saved(image, kind, **settings):
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


_WAYS = ("bytes", "file", "path", "stream", "data URL", "PIL")
_ADDRESSES = (
    "image.png", "./folder/../image.png", "~/cat.jpg", "file:///cat.jpg", "http://127.0.0.1/cat.png", "C:\\cat.jpg",
    "https://user:word@[::1]:99999/a?b#c", "data:image/png;base64,", "data:,", "data:text/plain;charset=utf-8,%41",
)  # fmt: skip


def make_image(mutator):
    """(way, bytes or text): a damaged image, an address, or an odd value."""
    way = mutator.pick((*_WAYS, *_WAYS, "address", "array", "odd"))
    if way == "address":
        return [way, mutator.text(_ADDRESSES)]
    if way == "odd":
        return [way, mutator.odd()]
    if way == "array":
        return [way, mutator.value([[[4, 5, 3], "uint8"], [[4, 5], "uint8"], [[2, 2, 4], "float32"]])]
    data = mutator.data(image_files())
    if way != "data URL":
        return [way, data]
    text = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return [way, mutator.text([text]) if mutator.chance(0.3) else text]


def read_image(value, folder):
    way, data = value
    path = folder / "image.png"
    path.write_bytes(data if isinstance(data, bytes) else b"")
    given = {
        "file": lambda: str(path),
        "path": lambda: path,
        "stream": lambda: io.BytesIO(data),
        "PIL": lambda: _opened(data),
        "array": lambda: _array(data),
    }
    image = load_image(given.get(way, lambda: data)())
    assert image.mode == "RGB"
    assert min(image.size) >= 1


def _opened(data):
    """An image of Pillow's that is not decoded yet; bytes that Pillow does not even open are handed over as such."""
    try:
        return Image.open(io.BytesIO(data))
    except Exception:  # noqa: BLE001 that is Pillow's affair
        return data


def _array(value):
    """An array of the shape and type that `value` names, where numpy makes one of it."""
    try:
        shape, kind = value
        return np.zeros(shape, kind) if np.prod(shape, dtype=float) < 1e6 else value
    except Exception:  # noqa: BLE001 that is numpy's affair
        return value


_IMAGE = "an image"
"""Stands for an image in messages, which are plain values."""
_MESSAGES = (
    "What is this?",
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
    [{"role": "user", "content": [{"type": "image", "image": _IMAGE}, "a bare text"]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}],
    [{"role": "user", "content": [{"type": "image", "url": "http://127.0.0.1/a.png"}]}],
    [
        {"role": "user", "content": [{"type": "image", "path": "none.png"}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And this?", "name": "me"},
    ],
    {"role": "user", "content": "alone"},
)


@dataclass
class _Object:
    """A message with attributes in the place of keys."""

    role: object
    content: object


def make_asked(mutator):
    """Most often the messages alone are damaged, since odd images or captions are refused whatever the messages."""
    images = [[_IMAGE], [_IMAGE, _IMAGE], _IMAGE, [], None]
    captions = [["a cat"], "a cat", [], None]
    part = mutator.pick(("prompt",) * 4 + ("images", "captions"))
    return {
        "prompt": mutator.value(_MESSAGES) if part == "prompt" else mutator.pick(_MESSAGES),
        "images": mutator.value(images) if part == "images" else mutator.pick(images),
        "captions": mutator.value(captions) if part == "captions" else mutator.pick([[], [], ["a cat"]]),
        "as": mutator.pick(("tables", "tables", "objects", "tuples")),
    }


def read_asked(value, folder):
    kind = value.get("as", "tables")
    prompt = _with_images(value.get("prompt"), kind)
    asked = make_prompt(prompt, _with_images(value.get("images"), "tables"), value.get("captions", ()))
    "".join(message.text for message in asked.messages).encode()


def _with_images(value, kind, levels=20):
    """`value` with images where they are named, and its tables as what `kind` says."""
    if value == _IMAGE:
        return Image.new("RGB", (3, 2))
    if not levels:
        return value
    if isinstance(value, list):
        inner = [_with_images(entry, kind, levels - 1) for entry in value]
        return tuple(inner) if kind == "tuples" else inner
    if isinstance(value, dict):
        table = {name: _with_images(entry, kind, levels - 1) for name, entry in value.items()}
        if kind == "objects" and {"role", "content"} <= table.keys():
            return _Object(table["role"], table["content"])
        return SimpleNamespace(**table) if kind == "objects" and "role" in table else table
    return value


_SPECS = (
    "language:chain=5", "vision:depth=7,width=2,draws=1", "lookup:min_match=2,width=3", "out/mine/drafter:as=mine",
    "language:num_nodes=12,min_probability=0.25,fixed=1,tuned=0", "none", "tabed:views=MT,rule=grid,window=8",
    "tabed:views=none,members=lookup+language,weights=0.5+0.5", "tabed:pooled=2,captions=own,vision=vision,views=P",
    "tabed:views=MTCP,weights=0.25+0.25+0.25+0.25,rule=static,draws=1,as=b", "lookup:max_match=4,depth=9",
    "msd:depth=3,tuned=0",
)  # fmt: skip


@cache
def _own():
    """A target, and the drafters that are made for it."""
    root = Path(mkdtemp())
    atexit.register(shutil.rmtree, root)
    with torch.random.fork_rng(devices=[]):
        return tiny_folders.target(), {kind: tiny_folders.write(kind, root / kind) for kind in tiny_folders.KINDS}


def make_spec(mutator):
    return mutator.text(_SPECS)


def read_spec(value, folder):
    target, own = _own()
    name, _ = split_settings(value)
    # Names are changed too: that must not keep settings from being read.
    text = value if name in KINDS or value == name else f"language{value[len(name) :]}"
    return bind(text, target, own)


_SETTINGS = (
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1, "seed": 7},
    {"temperature": 0.0, "max_new_tokens": 5, "stop": ["a", "bc"]},
    {"temperature": 1.0, "max_new_tokens": 3, "stop": "ab", "seed": 0, "captions": []},
    {"max_new_tokens": 4, "repetition_penalty": 0.8},
)
_OWN = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")


@cache
def _engine():
    return Engine(family_for(tiny_model("llama"), tiny_processor("llama")), LookupDrafter())


def make_settings(mutator):
    return {"way": mutator.pick(("params", "params", "rule", "engine")), "settings": mutator.value(_SETTINGS)}


def read_settings(value, folder):
    settings = value.get("settings")
    settings = settings if isinstance(settings, dict) else {"temperature": settings}
    # A name that is no name of a parameter is Python's own TypeError.
    known = {name: settings[name] for name in _OWN if name in settings}
    if value.get("way") == "params":
        return SamplingParams(**known)
    if value.get("way") == "rule":
        return StopRule(settings.get("max_new_tokens", 5)), check_stop_texts(settings.get("stop", ()))
    more = {name: settings[name] for name in ("max_new_tokens", "stop") if name in settings}
    pieces = _engine().stream("What is 7?", **known, **more)
    return next(pieces)
