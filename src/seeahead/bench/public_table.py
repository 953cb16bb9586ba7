"""The public data sets by name, one entry each; `docs/bench-data.md` shows this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from seeahead.bench.public_suites import (
    TABLES,
    PublicSuite,
    always,
    coco_picture,
    conversation,
    each,
    explained,
    field,
    if_any,
    last_part,
    no_picture,
    part_of,
    science_picture,
    step_by_step,
    template,
    with_options,
)
from seeahead.data.public_rows import Row

LONG = 128  # TABED's limit
COCO_FOLDERS = ("val2014", "train2014", "val2017", "train2017", "images", "")


def _has_picture(row: Row) -> bool:
    return bool(row.values.get("data_type", "image") == "image")


def _is_test(row: Row) -> bool:
    return bool(row.values.get("split", "test") == "test")


def _interleave(dataset: str, scenario: str) -> PublicSuite:
    return PublicSuite(
        f"{dataset} (LLaVA-NeXT-Interleave-Bench)",
        "lmms-lab/LLaVA-NeXT-Interleave-Bench",
        "CC-BY-4.0 by its card; the pictures have terms of their own",
        scenario,
        ("multi_image_in_domain.json", "in_domain/test-*.parquet", *TABLES),
        ("", "eval_images"),
        conversation,
        each("image"),
        keep=part_of(dataset),
        max_new_tokens=LONG,
    )


_PLAIN: Mapping[str, PublicSuite] = {
    "llava-instruct": PublicSuite(
        "LLaVA-Instruct-150K",
        "liuhaotian/LLaVA-Instruct-150K",
        "CC-BY-4.0 and OpenAI's terms; the pictures are COCO's",
        "instruction",
        ("llava_instruct_150k.json", "llava_instruct_80k.json", "*conversation_58k.json", "*detail_23k.json",
         "*complex_reasoning_77k.json"),
        ("train2017", "coco/train2017", "images", ""),
        conversation,
        each("image"),
        max_new_tokens=LONG,
    ),
    "coco-captions": PublicSuite(
        "COCO captions",
        "lmms-lab/COCO-Caption2017",
        "annotations CC-BY-4.0; pictures under Flickr's terms",
        "caption",
        ("captions_val2017.json", "captions_val2014.json", *TABLES),
        COCO_FOLDERS,
        always("Describe the picture in one sentence."),
        each("file_name"),
        key="images",
    ),
    "scienceqa": PublicSuite(
        "ScienceQA",
        "derek-thomas/ScienceQA",
        "CC-BY-NC-SA-4.0",
        "science question",
        ("problems.json", *TABLES),
        ("images", ""),
        with_options,
        science_picture,
        keep=_is_test,
        max_new_tokens=LONG,
    ),
    "chartqa": PublicSuite(
        "ChartQA",
        "ahmed-masry/ChartQA",
        "GPL-3.0",
        "chart",
        ("test_*.json", "val_*.json", *TABLES),
        ("png", "test/png", "val/png"),
        field("query", "question"),
        each("imgname"),
    ),
    "textvqa": PublicSuite(
        "TextVQA",
        "lmms-lab/textvqa",
        "CC-BY-4.0",
        "text in pictures",
        ("TextVQA_*_val.json", *TABLES),
        ("train_images", "train_val_images/train_images", "images", ""),
        field("question"),
        template("{image_id}.jpg"),
        key="data",
    ),
    "vqav2": PublicSuite(
        "VQAv2",
        "lmms-lab/VQAv2",
        "annotations CC-BY-4.0; the pictures are COCO's",
        "question",
        ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_OpenEnded_mscoco_*_questions.json", *TABLES),
        COCO_FOLDERS,
        field("question"),
        coco_picture,
        key="questions",
    ),
    "mme": PublicSuite(
        "MME",
        "lmms-lab/MME",
        "see its page",
        "{category}",
        ("*/*.txt + */questions_answers_YN/*.txt", *TABLES),
        ("",),
        field("question"),
        each("image"),
    ),
    "mm-vet": PublicSuite(
        "MM-Vet",
        "lmms-lab/MMVet",
        "see its page",
        "question",
        ("mm-vet.json", *TABLES),
        ("images", ""),
        field("question"),
        each("imagename"),
    ),
    "seed": PublicSuite(
        "SEED-Bench (its pictures, not its videos)",
        "AILab-CVC/SEED-Bench",
        "CC-BY-NC-4.0",
        "multiple choice",
        ("SEED-Bench.json", *TABLES),
        ("SEED-Bench-image", "images", ""),
        with_options,
        each("data_id"),
        key="questions",
        keep=_has_picture,
    ),
    "gqa": PublicSuite(
        "GQA",
        "lmms-lab/GQA",
        "CC-BY-4.0",
        "question",
        ("testdev_balanced_questions.json", "val_balanced_questions.json", "*.tsv"),
        ("images", ""),
        field("question"),
        template("{imageId}.jpg"),
    ),
    "llava-wild": PublicSuite(
        "LLaVA-Bench in the Wild",
        "liuhaotian/llava-bench-in-the-wild",
        "see its page",
        "{category}",
        ("questions.jsonl", *TABLES),
        ("images", ""),
        field("text", "question"),
        each("image"),
        max_new_tokens=LONG,
    ),
    "docvqa": PublicSuite(
        "DocVQA",
        "lmms-lab/DocVQA",
        "terms of the Robust Reading Competition; see its page",
        "document",
        ("val_v1.0*.json", *TABLES),
        ("documents", "spdocvqa_images", "images", ""),
        field("question"),
        last_part("image"),
        key="data",
    ),
    "pope": PublicSuite(
        "POPE",
        "lmms-lab/POPE",
        "see its page; the pictures are COCO's",
        "yes or no",
        ("coco_pope_*.json", *TABLES),
        COCO_FOLDERS,
        field("text", "question"),
        each("image"),
    ),
    "iedit": _interleave("IEdit", "two pictures"),
    "magicbrush": _interleave("MagicBrush", "two pictures"),
    "spot-the-diff": _interleave("Spot-the-Diff", "two pictures"),
    "pororosv": _interleave("PororoSV", "story"),
    "vist": _interleave("VIST", "story"),
    "nq-open": PublicSuite(
        "NQ-open",
        "google-research-datasets/nq_open",
        "CC-BY-SA-3.0",
        "text only",
        ("NQ-open.dev.jsonl", "NQ-open*.jsonl", *TABLES),
        (),
        field("question"),
        no_picture,
        max_new_tokens=LONG,
    ),
    "gsm8k": PublicSuite(
        "GSM8K",
        "openai/gsm8k",
        "MIT",
        "text only",
        ("test.jsonl", *TABLES),
        (),
        field("question"),
        no_picture,
        max_new_tokens=LONG,
    ),
    "mmspec": PublicSuite(
        "MMSpec",
        "killthefullmoon/MMSpec (on GitHub)",
        "see its page",
        "{topic}",
        ("mmspec.jsonl",),
        ("images", ""),
        each("turns"),
        if_any("image"),
        max_new_tokens=LONG,
    ),
}  # fmt: skip


def _long(name: str) -> PublicSuite:
    """As TABED asks: with the reasoning."""
    suite = _PLAIN[name]
    return replace(suite, title=f"{suite.title}, explanation asked for", ask=explained(suite.ask), max_new_tokens=LONG)


def _follow_up(name: str) -> PublicSuite:
    """As TABED asks: a text question as the second turn of a conversation about a picture."""
    suite = _PLAIN[name]
    return replace(
        suite,
        title=f"{suite.title} after a question about a bundled photograph",
        scenario="text follow-up",
        ask=step_by_step(suite.ask),
        after_picture=True,
    )


PUBLIC: Mapping[str, PublicSuite] = {
    **_PLAIN,
    **{f"{name}-explained": _long(name) for name in ("docvqa", "pope", "mm-vet")},
    **{f"{name}-follow-up": _follow_up(name) for name in ("nq-open", "gsm8k")},
}


def public_markdown() -> str:
    """The table of `docs/bench-data.md`."""
    rows = [
        f"| `{name}` | {suite.title} | {suite.hub} | {suite.terms} | {suite.layout()} |"
        for name, suite in PUBLIC.items()
    ]
    head = "| name | data set | Hub | terms | what the folder holds |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])
