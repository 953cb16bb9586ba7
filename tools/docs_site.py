"""What `make docs` adds to the files in docs/: README as the first page, the Python reference.

A hook of MkDocs, named in mkdocs.yml. Links to files that are no pages become their names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import seeahead

ROOT = Path(__file__).resolve().parents[1]
MORE = ("seeahead.bench.run", "seeahead.train.run.train_drafter", "seeahead.drafters.spec.DrafterSpec",
        "seeahead.drafting", "seeahead.executor", "seeahead.testing")  # fmt: skip
"""What documents call besides the public names of `seeahead`."""
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


_RANGE = re.compile(r"(?<=\d)–(?=\d)")


def on_files(files: Any, config: Any) -> Any:
    """Adds pages that are made and not stored."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> dict[str, str]:
    """Made pages by name, in Markdown."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    named = [f"seeahead.{home}.{name}" for name in seeahead.__all__ if (home := seeahead._HOMES.get(name))]
    reference = "\n\n".join(f"::: {name}" for name in (*named, *MORE))
    head = (
        "# Python\n\nThe names of `seeahead`, and below them what one's own drafters, executors and tests are made of."
    )
    return {"index.md": readme, "api.md": f"{head}\n\n{reference}\n"}


def on_page_markdown(text: str, page: Any, files: Any, **_: Any) -> str:
    """Links that lead out of the pages become words; an interval such as 1.1–1.3 stays on one line."""
    known = {file.src_uri for file in files}
    folder = Path(page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        target = Path("/", folder, link[2]).resolve().relative_to("/").as_posix()
        return link[0] if target in known else f"`{link[1].strip('`')}`"

    return _RANGE.sub("–\u2060", _LINK.sub(kept, text))
