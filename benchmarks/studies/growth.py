"""How passes grow (seeahead bench --growth): the stored seconds as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies import measured
from seeahead.bench.growth_page import TITLE, image, tables


def documents(found: Mapping[str, Any]) -> dict[str, str]:
    """Pages by name."""
    settings, source = found["settings"], found["provenance"]
    longest = settings["contexts"][-1]
    asked = max(settings["asked_contexts"])
    name, shortest = settings["model"], settings["contexts"][0]
    cut = f" {asked:,} were asked for; the model holds {settings['max_length']:,}." if longest < asked else ""
    parts = [
        f"# {TITLE}",
        f"Bare passes of the {name} model's executors, without drafters: a text prompt, a step of k tokens after "
        f"{shortest:,} to {longest:,} cached ones, a plain step of several requests.{cut} Executors take turns in one "
        f"run; medians of {settings['rounds']} rounds (long prompts are read less often, the longest once, and half as "
        "many rounds of passes follow it), in brackets the 95 % bootstrap interval over rounds. V(k) is the time of a "
        "pass over k tokens over that of one, within a round.",
        f"![{TITLE}](../images/growth.svg)",
        tables(found),
        f"{measured(source)}, with {source['hardware']['num_cores']} cores and {settings['num_threads']} threads.",
    ]
    return {"results/growth.md": "\n\n".join(parts) + "\n", "images/growth.svg": image(found)}
