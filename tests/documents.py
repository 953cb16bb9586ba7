"""What documents tell their readers to type, as lists of words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

_ENDS = {"|", ">", ">>", "<", "&&", "||", ";", ")", "&"}
_ENVIRONMENT = re.compile(r"[A-Z_]+=\S*")


def fenced(text: str, kinds: str = "[a-z]*") -> list[str]:
    """Fenced blocks of a Markdown document whose kind, the word behind the fence, matches the whole of `kinds`."""
    return re.findall(rf"^```(?:{kinds})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def typed(text: str) -> Iterator[str]:
    """Lines of a Markdown document that a shell could be given: fenced ones, and code between backticks."""
    for block in fenced(text):
        yield from block.replace("\\\n", " ").splitlines()
    rest = re.sub(r"^```[a-z]*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest))


def commands_in(line: str, program: str = "seeahead") -> list[list[str]]:
    """Words after the program in a line of a shell, of each time it is run; points of omission are left out.

    What stands behind three blanks or a # explains the command."""
    line = re.split(r" {3,}|\s#\s", line.strip())[0]
    if program not in line:
        return []
    shell = shlex.shlex(re.sub(r"[$<]\(", " ; ", line), posix=True, punctuation_chars="|<>;&)")
    shell.whitespace_split, shell.commenters = True, ""
    try:
        words = list(shell)
    except ValueError:  # a quote that is none: prose
        return []
    found = list[list[str]]()
    name, num_words = program.split(), len(program.split())
    for place in range(len(words)):
        before = words[place - 1] if place else ";"
        if words[place : place + num_words] != name or not (before in _ENDS or _ENVIRONMENT.fullmatch(before)):
            continue
        rest = words[place + num_words :]
        end = next((number for number, word in enumerate(rest) if word in _ENDS), len(rest))
        found.append([word for word in rest[:end] if word not in ("…", "...")])
    return found
