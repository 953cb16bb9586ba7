"""What need not be said each time: `SEEAHEAD_MODEL` and the like, and, with the lowest priority, a file of settings.

The file is config.toml in the folder seeahead below XDG_CONFIG_HOME (else ~/.config), or what SEEAHEAD_CONFIG names:

  model = "Qwen/Qwen2.5-VL-3B-Instruct"
  executor = "openvino"
  dtype = "int8"

What the command line says wins, then the environment, then the file.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from seeahead.cache_folder import home
from seeahead.checked import checked, is_file, matching, placed, read_toml
from seeahead.errors import ModelError

_Text = Annotated[str, matching(r"^[^\x00]{1,4096}$", "a text in quotes")]


@dataclass(frozen=True)
class Defaults:
    """Of options that several verbs have; empty where nothing is said."""

    model: _Text = ""
    drafter: _Text = ""
    dtype: _Text = ""
    executor: _Text = ""
    device: _Text = ""
    cache_dir: _Text = ""


def defaults() -> Defaults:
    """Raises InputError, naming the file, for one that cannot be read, is not TOML, or has other settings."""
    found = asdict(_of_file())
    for name in found:
        if given := os.environ.get(f"SEEAHEAD_{name.upper()}"):
            found[name] = given
        if found[name].startswith("~/") and name in ("model", "drafter"):  # which no shell has seen in a file
            found[name] = str(home() / found[name][2:])
    return Defaults(**found)


def _of_file() -> Defaults:
    if named := os.environ.get("SEEAHEAD_CONFIG"):
        path = Path(named)
    else:
        try:
            above = Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config")
        except ModelError:  # no home folder
            return Defaults()
        path = above / "seeahead" / "config.toml"
        if not is_file(path):
            return Defaults()
    values = read_toml(path, 'give a file of lines such as model = "demo", or leave SEEAHEAD_CONFIG out')
    return checked(Defaults, values, placed(path))
