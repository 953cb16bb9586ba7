"""Tiny data sets in the published form of each public suite: two rows and pictures of 8 x 8 pixels."""

import json

from PIL import Image


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "blue").save(path, "JPEG")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


def rows(path, *entries):
    write(path, "".join(json.dumps(entry) + "\n" for entry in entries))


def llava_instruct(folder):
    said = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "What color?"},
        {"from": "gpt", "value": "Red."},
    ]
    after = [{"from": "human", "value": "Describe it.\n<image>"}, {"from": "gpt", "value": "It is a dog."}]
    write(folder / "llava_instruct_150k.json", [
        {"id": "000000033471", "image": "000000033471.jpg", "conversations": said},
        {"id": "000000052846", "image": "000000052846.jpg", "conversations": after},
    ])  # fmt: skip
    for number in ("000000033471", "000000052846"):
        picture(folder / "train2017" / f"{number}.jpg")


def coco_captions(folder):
    names = ("000000397133.jpg", "000000037777.jpg")
    write(folder / "annotations/captions_val2017.json", {
        "info": {}, "licenses": [],
        "images": [{"file_name": name, "id": number, "height": 8, "width": 8} for number, name in enumerate(names)],
        "annotations": [{"image_id": 0, "id": 38, "caption": "A man cooks."}],
    })  # fmt: skip
    for name in names:
        picture(folder / "val2017" / name)


def scienceqa(folder):
    common = {"choices": ["ice", "fire"], "answer": 1, "lecture": "", "solution": "", "subject": "natural science"}
    write(folder / "problems.json", {
        "1": {**common, "question": "Which is hot?", "hint": "Think.", "image": "image.png", "split": "test"},
        "2": {**common, "question": "Which is cold?", "hint": "", "image": None, "split": "test"},
        "3": {**common, "question": "Which is wet?", "hint": "", "image": None, "split": "train"},
    })  # fmt: skip
    picture(folder / "images/test/1/image.png")


def chartqa(folder):
    write(folder / "test/test_human.json", [{"imgname": "41.png", "query": "How many?", "label": "14"}])
    write(folder / "test/test_augmented.json", [{"imgname": "42.png", "query": "Which year?", "label": "1999"}])
    for name in ("41.png", "42.png"):
        picture(folder / "test/png" / name)


def textvqa(folder):
    write(folder / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": [
        {"question": "what is the brand?", "image_id": "003a8ae2ef43b901", "question_id": 34602},
        {"question": "what number is it?", "image_id": "a1", "question_id": 34603},
    ]})  # fmt: skip
    for name in ("003a8ae2ef43b901", "a1"):
        picture(folder / "train_images" / f"{name}.jpg")


def vqav2(folder):
    write(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {"data_subtype": "val2014", "questions": [
        {"image_id": 262148, "question": "Where is he looking?", "question_id": 262148000},
        {"image_id": 42, "question": "Is it red?", "question_id": 42000},
    ]})  # fmt: skip
    for number in (262148, 42):
        picture(folder / "val2014" / f"COCO_val2014_{number:012d}.jpg")


def mme(folder):
    write(folder / "existence/0001.txt", "Is there a dog? Please answer yes or no.\tYes\n")
    picture(folder / "existence/0001.jpg")
    write(folder / "artwork/questions_answers_YN/0001.txt", "Is this art? Please answer yes or no.\tNo\n\n")
    picture(folder / "artwork/images/0001.jpg")
    write(folder / "eval_tool/readme.txt", "Not a question.")


def mm_vet(folder):
    write(folder / "mm-vet.json", {
        "v1_0": {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1", "capability": ["ocr", "math"]},
        "v1_1": {"imagename": "v1_1.png", "question": "What is d?", "answer": "1.25", "capability": ["ocr"]},
    })  # fmt: skip
    for name in ("v1_0.png", "v1_1.png"):
        picture(folder / "images" / name)


def seed(folder):
    options = {"choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four", "answer": "A"}
    write(folder / "SEED-Bench.json", {"question_type": {"Instances Counting": 5}, "questions": [
        {**options, "data_id": "1454426_2591111986", "data_type": "image", "question": "How many?", "question_id": "1"},
        {**options, "data_id": "2", "data_type": "image", "question": "How many towels?", "question_id": "2"},
        {**options, "data_id": "x.mp4", "data_type": "video", "question": "What next?", "question_id": "3"},
    ]})  # fmt: skip
    for name in ("1454426_2591111986", "2"):
        picture(folder / "SEED-Bench-image" / name)


def gqa(folder):
    write(folder / "questions/testdev_balanced_questions.json", {
        "201307251": {"question": "Is it overcast?", "imageId": "n161313", "answer": "no"},
        "201640614": {"question": "Who wears the dress?", "imageId": "n235859", "answer": "woman"},
    })  # fmt: skip
    for name in ("n161313", "n235859"):
        picture(folder / "images" / f"{name}.jpg")


def llava_wild(folder):
    rows(folder / "questions.jsonl",
         {"question_id": 0, "image": "001.jpg", "text": "What is the name?", "category": "conv"},
         {"question_id": 1, "image": "001.jpg", "text": "Describe this photo.", "category": "detail"})  # fmt: skip
    picture(folder / "images/001.jpg")


def docvqa(folder):
    write(folder / "val_v1.0_withQT.json", {"dataset_name": "SP-DocVQA", "dataset_split": "val", "data": [
        {"questionId": 49153, "question": "What is the 'actual' value?", "image": "documents/pybv0228_81.png"},
        {"questionId": 24580, "question": "What is the name?", "image": "documents/nkbl0226_1.png"},
    ]})  # fmt: skip
    for name in ("pybv0228_81.png", "nkbl0226_1.png"):
        picture(folder / "spdocvqa_images" / name)


def pope(folder):
    image = "COCO_val2014_000000310196.jpg"
    rows(folder / "coco_pope_random.json",  # one object per line, whatever its ending says
         {"question_id": 1, "image": image, "text": "Is there a snowboard in the image?", "label": "yes"},
         {"question_id": 2, "image": image, "text": "Is there a car in the image?", "label": "no"})  # fmt: skip
    picture(folder / "val2014" / image)


def interleave(folder):
    """All five data sets of LLaVA-NeXT-Interleave-Bench are in one file."""
    entries = []
    for dataset, number in {"IEdit": 2, "MagicBrush": 2, "Spot-the-Diff": 2, "PororoSV": 5, "VIST": 5}.items():
        for row in range(2):
            names = [f"{dataset}/{row}_{index}.jpg" for index in range(number)]
            marks = " ".join(["<image>"] * number)
            entries.append({
                "sample_id": row,
                "conversations": [{"from": "human", "value": f"{marks}\nWhat of {dataset}?"},
                                  {"from": "gpt", "value": "This."}],
                "image": names,
                "choice_list": None,
                "metadata": {"dataset": dataset, "split": "test", "question_type": "open-ended"},
            })  # fmt: skip
            for name in names:
                picture(folder / "eval_images" / name)
    write(folder / "multi_image_in_domain.json", entries)


def nq_open(folder):
    rows(folder / "NQ-open.dev.jsonl",
         {"question": "when was the last time it snowed", "answer": ["1999"]},
         {"question": "who plays the doctor", "answer": ["someone"]})  # fmt: skip


def gsm8k(folder):
    rows(folder / "test.jsonl",
         {"question": "Janet has 16 eggs. How many are left?", "answer": "9 #### 9"},
         {"question": "A robe takes 2 bolts. How many in all?", "answer": "3 #### 3"})  # fmt: skip


def mmspec(folder):
    rows(folder / "mmspec.jsonl",
         {"id": "img_000001", "image": "general_vqa/img_000001.png", "turns": ["What plant?", "What weather?"],
          "category": "Landscape with reeds", "topic": "general vqa"},
         {"id": "img_000101", "image": "text_vqa/img_000101.png", "turns": ["What does it say?"],
          "category": "A sign", "topic": "text vqa"})  # fmt: skip
    picture(folder / "images/general_vqa/img_000001.png")
    picture(folder / "images/text_vqa/img_000101.png")
