"""Where what was made once is kept on this machine: the demo model, proofs, converted models, packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seeahead.errors import ModelError

_chosen: Path | None = None


def default_cache() -> Path:
    """What `kept_in` says; else below XDG_CACHE_HOME where that is set, else in the home folder."""
    if _chosen is not None:
        return _chosen
    named = Path(os.path.expandvars("$XDG_CACHE_HOME"))  # stays as it is where nothing is set
    return (named if named.is_absolute() else home() / ".cache") / "seeahead"


@contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """Keep things in `folder`, for the whole process and as long as it is entered; None changes nothing."""
    global _chosen
    before = _chosen
    try:
        _chosen = before if folder is None else folder.expanduser().absolute()
    except RuntimeError as error:
        raise ModelError(f"the folder '{folder}' to keep things in is not known: {error}; give a path") from None
    try:
        yield
    finally:
        _chosen = before


def home() -> Path:
    """Raises ModelError where no home folder is known."""
    try:
        if os.path.expandvars("$HOME"):
            return Path.home()
        import pwd  # HOME is set to nothing, which Path.home() takes for the root of the disk

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (KeyError, RuntimeError):
        raise ModelError(f"no home folder is known to keep things in; {OTHER_PLACE}") from None


OTHER_PLACE = "set XDG_CACHE_HOME to a folder, or give --cache-dir on the command line"
"""What to do where the place is of no use."""
