"""Print what a shell needs to complete commands, options and files.

examples:
  source <(seeahead completion bash)   # in ~/.bashrc
  source <(seeahead completion zsh)    # in ~/.zshrc, after compinit
  seeahead completion fish > ~/.config/fish/completions/seeahead.fish
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from seeahead.cli import VERBS, parser_of
from seeahead.drafters import KINDS
from seeahead.executors import DTYPES, EXECUTORS

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="which shell is to be told")


def run(args: argparse.Namespace) -> int:
    written = {"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]
    print("\n".join(written()))
    return 0


def _options(verb: str) -> list[argparse.Action]:
    """Those of a verb, as its own parser has them."""
    return [action for action in parser_of(verb)._actions if action.option_strings]


def _words(verb: str) -> list[str]:
    """What may stand after a verb and is no option, where that is one of a few words."""
    positional = [action for action in parser_of(verb)._actions if not action.option_strings]
    return [str(word) for action in positional for word in action.choices or ()]


def _values() -> dict[str, tuple[str, ...]]:
    """What may stand after an option that takes one of a few words."""
    from seeahead.bench.suites import SUITES

    return {
        **dict.fromkeys(("--drafter", "-d"), tuple(KINDS)),
        "--executor": EXECUTORS,
        "--dtype": DTYPES,
        "--device": ("auto", "cpu", "cuda"),
        "--suite": tuple(SUITES),
    }


def _told(text: str | None) -> str:
    """Help as the inside of a text in single quotes, which no shell reads as anything else."""
    return re.sub(r"['\\]", "", (text or "").replace("%%", "%"))


def _bash() -> Iterator[str]:
    yield "_seeahead() {"
    yield '  local word="${COMP_WORDS[COMP_CWORD]}" options="" words=""'
    yield '  case "${COMP_WORDS[COMP_CWORD - 1]}" in'
    for name, values in _values().items():
        yield f'    {name}) COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$word")); return ;;'
    yield "  esac"
    yield f'  if (( COMP_CWORD == 1 )); then words="{" ".join((*VERBS, "help"))} --help --version"; fi'
    yield '  (( COMP_CWORD > 1 )) && case "${COMP_WORDS[1]}" in'
    yield f'    help) words="{" ".join(VERBS)}" ;;'
    for verb in VERBS:
        options = " ".join(name for action in _options(verb) for name in action.option_strings)
        yield f'    {verb}) options="{options}" words="{" ".join(_words(verb))}" ;;'
    yield "  esac"
    yield '  [[ "$word" == -* && -n "$options" ]] && words="$options"'
    yield '  COMPREPLY=($(compgen -W "$words" -- "$word"))'  # where it stays empty, files are completed
    yield "}"
    yield "complete -o default -F _seeahead seeahead"


def _zsh() -> Iterator[str]:
    yield "_seeahead() {"
    yield "  local -a commands options words_here"
    yield f"  commands=({_described(VERBS)} 'help:explain a command')"
    yield "  if (( CURRENT == 2 )); then _describe command commands; return; fi"
    yield "  case $words[CURRENT-1] in"
    for name, values in _values().items():
        yield f"    {name}) compadd {' '.join(values)}; _files; return ;;"
    yield "  esac"
    yield "  case $words[2] in"
    yield "    help) _describe command commands; return ;;"
    for verb in VERBS:
        names = {name: action.help or "" for action in _options(verb) for name in action.option_strings}
        yield f"    {verb}) options=({_described(names)}) words_here=({' '.join(_words(verb))}) ;;"
    yield "  esac"
    yield "  if [[ $words[CURRENT] == -* ]]; then _describe -o option options"
    yield "  elif (( CURRENT == 3 && $#words_here )); then compadd -a words_here"
    yield "  else _files; fi"
    yield "}"
    yield "compdef _seeahead seeahead"


def _described(entries: dict[str, str]) -> str:
    return " ".join(f"'{name}:{_told(about).replace(':', ' ')}'" for name, about in entries.items())


def _fish() -> Iterator[str]:
    alone, values = "-n __fish_use_subcommand", _values()
    for verb, about in {**VERBS, "help": "explain a command"}.items():
        yield f"complete -c seeahead -f {alone} -a {verb} -d '{_told(about)}'"
    yield f"complete -c seeahead -f -n '__fish_seen_subcommand_from help' -a '{' '.join(VERBS)}'"
    for verb in VERBS:
        start = f"complete -c seeahead -n '__fish_seen_subcommand_from {verb}'"
        if words := _words(verb):
            yield f"{start} -f -a '{' '.join(words)}'"
        for action in _options(verb):
            names = " ".join(f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}"
                             for name in action.option_strings)  # fmt: skip
            takes = "" if action.nargs == 0 else " -x" if action.type in (int, float) else " -r"
            known = next((values[name] for name in action.option_strings if name in values), ())
            told = f" -a '{' '.join(known)}'" if known else ""
            yield f"{start} {names}{takes}{told} -d '{_told(action.help)}'"
