"""Lines of a file of JSON: a key that stands twice is found in one pass over them."""

import json

import pytest

from seeahead.data.files import read_lines
from seeahead.errors import InputError


class Key(str):
    """Counts how often it is compared."""

    num_compared = 0

    def __eq__(self, other):
        Key.num_compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_key_that_stands_twice_among_many_is_found_in_one_pass(tmp_path, monkeypatch):
    loads = json.loads

    def loads_counted(text, *, object_pairs_hook):
        return loads(text, object_pairs_hook=lambda pairs: object_pairs_hook([(Key(key), one) for key, one in pairs]))

    path = tmp_path / "a.jsonl"
    keys = [f"key {number}" for number in range(2000)]
    path.write_text("{" + ", ".join(f'"{key}": 1' for key in [*keys, keys[-1]]) + "}\n")
    monkeypatch.setattr(json, "loads", loads_counted)
    with pytest.raises(InputError, match="the key 'key 1999' stands twice; keep one of them"):
        read_lines(path)
    assert Key.num_compared < 10_000
