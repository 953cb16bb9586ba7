"""The public data sets by name, to ask and to train on; `docs/bench-data.md` shows those that are asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from string import ascii_uppercase
from typing import Any

from seeahead.data.files import Row
from seeahead.data.public import TABLES, PublicSuite, PublicTraining, Talk, Texts, turns
from seeahead.errors import shown

LONG = 128  # TABED's limit
CAPTION = "Describe the picture in one sentence."
COCO_FOLDERS = ("val2014", "train2014", "val2017", "train2017", "images", "")
LLAVA_FOLDERS = ("train2017", "coco/train2017", "images", "")

# ---- what a row says


def field(*names: str) -> Texts:
    """The first of these fields that the row has."""

    def ask(row: Row) -> Sequence[str]:
        for name in names:
            if isinstance(value := row.values.get(name), str):
                return [value]
        raise KeyError(" or ".join(names))

    return ask


def each(name: str, *, optional: bool = False) -> Texts:
    """A field that is a list of texts, or one text; one that rows may lack where it is `optional`."""

    def ask(row: Row) -> Sequence[str]:
        if optional and not row.values.get(name):
            return []
        value = row.values[name]
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{name} is {shown(str(value))}, not texts")
        return texts

    return ask


def template(form: str) -> Texts:
    """A text made from fields of the row, such as "{image_id}.jpg", or from none."""
    return lambda row: [form.format(**row.values)]


def nothing(row: Row) -> Sequence[str]:
    return []


def around(ask: Texts, before: str = "", after: str = "") -> Texts:
    return lambda row: [f"{before}{question}{after}" for question in ask(row)]


def human_side(row: Row) -> Sequence[str]:
    """Of a LLaVA conversation; tables of the same data set have one question instead."""
    if "conversations" not in row.values:
        return field("question")(row)
    return [turn["value"] for turn in row.values["conversations"] if turn["from"] == "human"]


def lettered(options: Sequence[Any]) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options)]


def with_options(row: Row) -> Sequence[str]:
    """Question and lettered options, from a list, from choice_a … or from columns A …; a hint comes first."""
    values = row.values
    options: Sequence[Any] = values.get("choices") or [
        values[name] for letter in "abcd" for name in (f"choice_{letter}", letter.upper()) if values.get(name)
    ]
    if not options:
        raise KeyError("choices")
    start = [values["hint"]] if values.get("hint") else []
    return ["\n".join([*start, values["question"], *lettered(options)])]


def last_part(name: str) -> Texts:
    """The file name without the folders that the annotation puts before it."""
    return lambda row: [PurePosixPath(row.values[name]).name]


def coco_image(row: Row) -> Sequence[str]:
    """VQAv2 names an image by its number; the split is in the name of the question file."""
    split = re.search(r"(train|val|test)20\d\d", row.file.stem)
    if split is None:
        raise ValueError("the file name has no COCO split such as val2014")
    return [f"COCO_{split.group()}_{row.values['image_id']:012d}.jpg"]


def science_image(row: Row) -> Sequence[str]:
    values = row.values
    return [f"{values['split']}/{values['id']}/{values['image']}"] if values.get("image") else []


def is_value(name: str, wanted: str) -> Callable[[Row], bool]:
    """Rows whose field says so, or is not there."""
    return lambda row: bool(row.values.get(name, wanted) == wanted)


def part_of(dataset: str) -> Callable[[Row], bool]:
    """Rows of one data set among those that LLaVA-NeXT-Interleave-Bench has in one file."""

    def keep(row: Row) -> bool:
        metadata = row.values.get("metadata")
        inner = metadata.get("dataset") if isinstance(metadata, Mapping) else None
        return bool(row.values.get("sub_task", inner) == dataset)

    return keep


def caption(row: Row) -> Talk:
    found = row.values.get("caption") or row.values.get("answer")
    text = found[0] if isinstance(found, list) and found else found
    return [("user", CAPTION), ("assistant", str(text))] if text else []


def science(row: Row) -> Talk:
    """The answer is the letter's option with its rationale."""
    values, (asked,) = row.values, with_options(row)
    reason = f" {values['solution']}" if values.get("solution") else ""
    answer = lettered(values["choices"])[values["answer"]]
    return [("user", f"{asked}\nAnswer and give the reason."), ("assistant", f"{answer}.{reason}")]


# ---- the sets


def _interleave(dataset: str, scenario: str) -> PublicSuite:
    return PublicSuite(
        f"{dataset} (LLaVA-NeXT-Interleave-Bench)", "lmms-lab/LLaVA-NeXT-Interleave-Bench",
        ("multi_image_in_domain.json", "in_domain/test-*.parquet", *TABLES), ("", "eval_images"), each("image"),
        "CC-BY-4.0 by its card; the images have terms of their own", scenario, human_side,
        keep=part_of(dataset), max_new_tokens=LONG,
    )  # fmt: skip


_PLAIN: Mapping[str, PublicSuite] = {
    "llava-instruct": PublicSuite(
        "LLaVA-Instruct-150K", "liuhaotian/LLaVA-Instruct-150K",
        ("llava_instruct_150k.json", "llava_instruct_80k.json", "*conversation_58k.json", "*detail_23k.json",
         "*complex_reasoning_77k.json"),
        LLAVA_FOLDERS, each("image"),
        "CC-BY-4.0 and OpenAI's terms; the images are COCO's", "instruction", human_side, max_new_tokens=LONG,
    ),
    "coco-captions": PublicSuite(
        "COCO captions", "lmms-lab/COCO-Caption2017",
        ("captions_val2017.json", "captions_val2014.json", *TABLES), COCO_FOLDERS, each("file_name"),
        "annotations CC-BY-4.0; images under Flickr's terms", "caption", template(CAPTION), key="images",
    ),
    "scienceqa": PublicSuite(
        "ScienceQA", "derek-thomas/ScienceQA", ("problems.json", *TABLES), ("images", ""), science_image,
        "CC-BY-NC-SA-4.0", "science question", with_options, keep=is_value("split", "test"), max_new_tokens=LONG,
    ),
    "chartqa": PublicSuite(
        "ChartQA", "ahmed-masry/ChartQA",
        ("test_*.json", "val_*.json", *TABLES), ("png", "test/png", "val/png"), each("imgname"),
        "GPL-3.0", "chart", field("query", "question"),
    ),
    "textvqa": PublicSuite(
        "TextVQA", "lmms-lab/textvqa", ("TextVQA_*_val.json", *TABLES),
        ("train_images", "train_val_images/train_images", "images", ""), template("{image_id}.jpg"),
        "CC-BY-4.0", "text in pictures", field("question"), key="data",
    ),
    "vqav2": PublicSuite(
        "VQAv2", "lmms-lab/VQAv2",
        ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_OpenEnded_mscoco_*_questions.json", *TABLES),
        COCO_FOLDERS, coco_image,
        "annotations CC-BY-4.0; the images are COCO's", "question", field("question"), key="questions",
    ),
    "mme": PublicSuite(
        "MME", "lmms-lab/MME", ("*/*.txt + */questions_answers_YN/*.txt", *TABLES), ("",), each("image"),
        "see its page", "{category}", field("question"),
    ),
    "mm-vet": PublicSuite(
        "MM-Vet", "lmms-lab/MMVet", ("mm-vet.json", *TABLES), ("images", ""), each("imagename"),
        "see its page", "question", field("question"),
    ),
    "seed": PublicSuite(
        "SEED-Bench (its images, not its videos)", "AILab-CVC/SEED-Bench",
        ("SEED-Bench.json", *TABLES), ("SEED-Bench-image", "images", ""), each("data_id"),
        "CC-BY-NC-4.0", "multiple choice", with_options, key="questions", keep=is_value("data_type", "image"),
    ),
    "gqa": PublicSuite(
        "GQA", "lmms-lab/GQA", ("testdev_balanced_questions.json", "val_balanced_questions.json", "*.tsv"),
        ("images", ""), template("{imageId}.jpg"),
        "CC-BY-4.0", "question", field("question"),
    ),
    "llava-wild": PublicSuite(
        "LLaVA-Bench in the Wild", "liuhaotian/llava-bench-in-the-wild",
        ("questions.jsonl", *TABLES), ("images", ""), each("image"),
        "see its page", "{category}", field("text", "question"), max_new_tokens=LONG,
    ),
    "docvqa": PublicSuite(
        "DocVQA", "lmms-lab/DocVQA", ("val_v1.0*.json", *TABLES),
        ("documents", "spdocvqa_images", "images", ""), last_part("image"),
        "terms of the Robust Reading Competition; see its page", "document", field("question"), key="data",
    ),
    "pope": PublicSuite(
        "POPE", "lmms-lab/POPE", ("coco_pope_*.json", *TABLES), COCO_FOLDERS, each("image"),
        "see its page; the images are COCO's", "yes or no", field("text", "question"),
    ),
    "iedit": _interleave("IEdit", "two pictures"),
    "magicbrush": _interleave("MagicBrush", "two pictures"),
    "spot-the-diff": _interleave("Spot-the-Diff", "two pictures"),
    "pororosv": _interleave("PororoSV", "story"),
    "vist": _interleave("VIST", "story"),
    "nq-open": PublicSuite(
        "NQ-open", "google-research-datasets/nq_open",
        ("NQ-open.dev.jsonl", "NQ-open*.jsonl", *TABLES), (), nothing,
        "CC-BY-SA-3.0", "text only", field("question"), max_new_tokens=LONG,
    ),
    "gsm8k": PublicSuite(
        "GSM8K", "openai/gsm8k", ("test.jsonl", *TABLES), (), nothing,
        "MIT", "text only", field("question"), max_new_tokens=LONG,
    ),
    "mmspec": PublicSuite(
        "MMSpec", "killthefullmoon/MMSpec (on GitHub)", ("mmspec.jsonl",), ("images", ""), each("image", optional=True),
        "see its page", "{topic}", each("turns"), max_new_tokens=LONG,
    ),
}  # fmt: skip


def _explained(suite: PublicSuite) -> PublicSuite:
    """TABED asks for the reasoning, so that answers are long. The words are ours."""
    ask = around(suite.ask, before="Answer the question and explain in detail how you reach the answer.\n")
    return replace(suite, title=f"{suite.title}, explanation asked for", ask=ask, max_new_tokens=LONG)


def _follow_up(suite: PublicSuite) -> PublicSuite:
    """As TABED asks: a text question as the second turn of a conversation about an image."""
    return replace(
        suite,
        title=f"{suite.title} after a question about a bundled photograph",
        scenario="text follow-up",
        ask=around(suite.ask, after="\nExplain in detail, step by step."),
        after_image=True,
    )


SUITES: Mapping[str, PublicSuite] = {
    **_PLAIN,
    **{f"{name}-explained": _explained(_PLAIN[name]) for name in ("docvqa", "pope", "mm-vet")},
    **{f"{name}-follow-up": _follow_up(_PLAIN[name]) for name in ("nq-open", "gsm8k")},
}

TRAINING: Mapping[str, PublicTraining] = {
    "llava-instruct": PublicTraining(
        "LLaVA-Instruct-150K", "liuhaotian/LLaVA-Instruct-150K",
        ("llava_instruct_150k.json", "llava_instruct_80k.json", "*.json"),
        LLAVA_FOLDERS, each("image", optional=True), turns,
    ),
    "llava-mix665k": PublicTraining(
        "LLaVA-1.5 mix 665K", "liuhaotian/LLaVA-Instruct-150K", ("llava_v1_5_mix665k.json",),
        ("", "images"), each("image", optional=True), turns,
    ),
    "coco-captions": PublicTraining(
        "COCO captions", "lmms-lab/COCO-Caption2017", ("captions_train2017.json", "captions_train2014.json"),
        ("train2017", "train2014", "images", ""), template("{image_id:012d}.jpg"), caption,
        key="annotations", split="val",
    ),
    "scienceqa": PublicTraining(
        "ScienceQA", "derek-thomas/ScienceQA", ("problems.json",), ("images", ""), science_image, science,
    ),
    "sharegpt": PublicTraining(
        "ShareGPT", "anon8231489123/ShareGPT_Vicuna_unfiltered",
        ("ShareGPT_V3_unfiltered_cleaned_split.json", "*.json"), ("",), nothing, turns,
    ),
}  # fmt: skip
