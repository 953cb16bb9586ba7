"""Where what was made once is kept on this machine: the demo model, proofs, converted models, packages."""

from __future__ import annotations

import os
from pathlib import Path

from seeahead.errors import ModelError


def default_cache() -> Path:
    """Below XDG_CACHE_HOME where that is set, else in the home folder."""
    named = Path(os.path.expandvars("$XDG_CACHE_HOME"))  # stays as it is where nothing is set
    return (named if named.is_absolute() else _home() / ".cache") / "seeahead"


def _home() -> Path:
    try:
        if os.path.expandvars("$HOME"):
            return Path.home()
        import pwd  # HOME is set to nothing, which Path.home() takes for the root of the disk

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (KeyError, RuntimeError):
        raise ModelError("no home folder is known to keep things in; set XDG_CACHE_HOME to a folder") from None
