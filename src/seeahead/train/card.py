"""The model card: a JSON record of what was trained and measured, and the page rendered from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seeahead.data.sources import SOURCES
from seeahead.provenance import provenance

if TYPE_CHECKING:
    from seeahead.train.demo import DemoTraining
    from seeahead.train.recipe import Recipe


def card_of(recipe: Recipe, training: DemoTraining, figures: dict[str, object]) -> dict[str, object]:
    bank = training.world.bank
    return {
        "figures": figures,
        "targets": targets(figures),
        "pictures": {"training": len(bank.side(False)), "held_out": len(bank.side(True))},
        "weights_bytes": {
            str(path.relative_to(training.out)): path.stat().st_size for path in weight_files(training.out)
        },
        "sources": [
            {"name": s.name, "version": s.version, "registry": s.registry, "licence": s.licence, "used_for": s.used_for}
            for s in SOURCES
        ],
        "provenance": provenance(recipe.seed),
    }


def weight_files(out: Path) -> list[Path]:
    return sorted((out / "weights").rglob("*.safetensors"))


def targets(figures: dict[str, object]) -> list[dict[str, object]]:
    """Each promise of the card: what, at least or at most which value, and what was measured."""
    text, base = float(figures["text"]["perplexity"]), float(figures["base_text_perplexity"])  # type: ignore[index, arg-type]
    rows = [
        ("stamps: noun of the right kind", ">=", 0.60, figures["stamps"]["right_kind"]),  # type: ignore[index]
        ("easy-VQA test questions right", ">=", 0.90, figures["easy_vqa"]["right"]),  # type: ignore[index]
        ("attributes of made scenes right", ">=", 0.80, figures["scenes_shapes"]["right"]),  # type: ignore[index]
        ("perplexity on SmolLM2's own text answers, relative to SmolLM2", "<=", 1.05, round(text / base, 4)),
        ("sentences when asked for detail", ">=", 3, figures["details"]["mean_sentences"]),  # type: ignore[index]
    ]
    return [
        {"what": what, "bar": f"{sign} {bar}", "measured": value, "met": value >= bar if sign == ">=" else value <= bar}
        for what, sign, bar, value in rows
    ]
