"""Measurements that are no benchmark: each file measures, and renders what it stored."""

from collections.abc import Mapping
from typing import Any


def measured(source: Mapping[str, Any]) -> str:
    """Where the figures of a study come from, by its provenance."""
    where = f"at commit `{str(source['commit'])[:12]}` on {source['hardware']['cpu']}"
    return f"Measured by `{' '.join(source['command'])}` {where}"
