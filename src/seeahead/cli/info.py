"""Show what is supported here: devices, number formats, model families, drafters, the demo model.

examples:
  seeahead info
  seeahead info --json
"""

import argparse
from importlib import import_module, metadata
from typing import Any

from rich.table import Table

from seeahead.cli import streams, terminal
from seeahead.cli.options import add_cache
from seeahead.errors import counted
from seeahead.provenance import provenance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")
    add_cache(parser)


def run(args: argparse.Namespace) -> int:
    facts = collect()
    if args.json:
        streams.print_json(facts)
        return 0
    console = terminal.console()
    for title, entries in facts.items():
        table = Table(
            title=title.replace("_", " "), title_justify="left", title_style="bold", show_header=False, box=None
        )
        table.add_column()
        table.add_column(overflow="fold")  # a path that does not fit is broken, not cut off
        for name, value in entries.items():
            table.add_row(LABELS.get(name, name), _words(name, value))
        console.print(table)
        console.print()
    return 0


def collect() -> dict[str, dict[str, object]]:
    """Everything the command knows, as plain values."""
    import torch  # here and not above, so that --help stays fast

    record: dict[str, Any] = provenance()
    cpu = {"name": record["hardware"]["cpu"], "num_cores": record["hardware"]["num_cores"]}
    cpu |= {"num_threads": torch.get_num_threads(), "dtypes": ["float32", "bfloat16", "float16"]}
    devices: dict[str, object] = {"cpu": cpu}
    for index in range(torch.cuda.device_count()):
        devices[f"cuda:{index}"] = {
            "name": torch.cuda.get_device_name(index),
            "num_bytes": torch.cuda.get_device_properties(index).total_memory,
            "dtypes": ["float32", *(["bfloat16"] if torch.cuda.is_bf16_supported() else []), "float16"],
        }
    others = {name: metadata.version(name) for name in ("numpy", "pillow", "safetensors")}
    return {
        "versions": record["versions"] | others,
        "devices": devices,
        "families": dict(import_module("seeahead.families").TESTED),
        "drafters": dict(import_module("seeahead.drafters").KINDS),
        "demo_model": dict(import_module("seeahead.demo.build").state()),
    }


LABELS = {"is_built": "built", "num_bytes": "size"}
"""What a fact is called for people, where that is not its name."""


def _words(name: str, value: object) -> str:
    match value:
        case dict():
            return " · ".join(_words(key, entry) for key, entry in value.items())
        case list():
            return " ".join(map(str, value))
        case None:
            return "not installed"
        case bool():
            return "yes" if value else "no"
        case int() if name == "num_bytes":
            return f"{value / 1e6:,.0f} MB"
        case int() if name in ("num_cores", "num_threads"):
            return counted(value, name.removeprefix("num_").removesuffix("s"))
    return str(value)
