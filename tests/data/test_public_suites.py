"""Public suites on tiny data sets of the published shape; what is missing or wrong is one line that names a way out."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from seeahead.bench.suites import load_suite
from seeahead.data.public import SUITES as PUBLIC
from seeahead.data.suite import BUNDLED
from seeahead.errors import InputError
from tests.data import public_data
from tests.sizes import ROOT

# name: (scenarios, first question, first picture)
EXPECTED = {
    "llava-instruct": ({"instruction"}, "What is it?", "train2017/000000033471.jpg"),
    "coco-captions": ({"caption"}, "Describe the picture in one sentence.", "val2017/000000397133.jpg"),
    "scienceqa": ({"science question"}, "Think.\nWhich is hot?\nA. ice\nB. fire", "images/test/1/image.png"),
    "chartqa": ({"chart"}, "Which year?", "test/png/42.png"),
    "textvqa": ({"text in pictures"}, "what is the brand?", "train_images/003a8ae2ef43b901.jpg"),
    "vqav2": ({"question"}, "Where is he looking?", "val2014/COCO_val2014_000000262148.jpg"),
    "mme": ({"existence", "artwork"}, "Is this art? Please answer yes or no.", "artwork/images/0001.jpg"),
    "mm-vet": ({"question"}, "What is x?", "images/v1_0.png"),
    "seed": (
        {"multiple choice"},
        "How many?\nA. One\nB. Two\nC. Three\nD. Four",
        "SEED-Bench-image/1454426_2591111986",
    ),
    "gqa": ({"question"}, "Is it overcast?", "images/n161313.jpg"),
    "llava-wild": ({"conv", "detail"}, "What is the name?", "images/001.jpg"),
    "docvqa": ({"document"}, "What is the 'actual' value?", "spdocvqa_images/pybv0228_81.png"),
    "pope": ({"yes or no"}, "Is there a snowboard in the image?", "val2014/COCO_val2014_000000310196.jpg"),
    "iedit": ({"two pictures"}, "What of IEdit?", "eval_images/IEdit/0_0.jpg"),
    "magicbrush": ({"two pictures"}, "What of MagicBrush?", "eval_images/MagicBrush/0_0.jpg"),
    "spot-the-diff": ({"two pictures"}, "What of Spot-the-Diff?", "eval_images/Spot-the-Diff/0_0.jpg"),
    "pororosv": ({"story"}, "What of PororoSV?", "eval_images/PororoSV/0_0.jpg"),
    "vist": ({"story"}, "What of VIST?", "eval_images/VIST/0_0.jpg"),
    "nq-open": ({"text only"}, "when was the last time it snowed", None),
    "gsm8k": ({"text only"}, "Janet has 16 eggs. How many are left?", None),
    "mmspec": ({"general vqa", "text vqa"}, "What plant?", "images/general_vqa/img_000001.png"),
}
IN_ONE_FILE = ("iedit", "magicbrush", "spot-the-diff", "pororosv", "vist")


def make(name, folder):
    maker = "interleave" if name in IN_ONE_FILE else re.sub(r"-(explained|follow-up)$", "", name).replace("-", "_")
    getattr(public_data, maker)(folder)


def load(name, folder, workspace=Path("unused"), count=None, seed=0):
    return load_suite(name, count=count, seed=seed, folder=folder, workspace=workspace)


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.endswith(("-explained", "-follow-up"))])
def test_each_is_read_from_its_published_form(name, tmp_path):
    make(name, tmp_path)
    suite = load(name, tmp_path)
    scenarios, question, picture = EXPECTED[name]
    assert (suite.name, suite.about) == (name, PUBLIC[name].title)
    assert len(suite.items) == 2
    assert len({item.id for item in suite.items}) == 2
    assert set(suite.scenarios) == scenarios
    first = suite.items[0]
    assert first.turns[0].text == question
    assert [str(path.relative_to(tmp_path)) for path in first.images[:1]] == ([picture] if picture else [])
    assert all(path.is_file() for item in suite.items for path in item.images)
    assert len(load(name, tmp_path, count=1).items) == len(scenarios)


def test_several_images_and_several_turns(tmp_path):
    make("vist", tmp_path)
    assert [len(item.images) for item in load("vist", tmp_path).items] == [5, 5]
    assert [len(item.images) for item in load("iedit", tmp_path).items] == [2, 2]
    public_data.llava_instruct(tmp_path)
    turns = [[turn.text for turn in item.turns] for item in load("llava-instruct", tmp_path).items]
    assert turns == [["What is it?", "What color?"], ["Describe it."]]
    public_data.scienceqa(tmp_path)
    assert [len(item.images) for item in load("scienceqa", tmp_path).items] == [1, 0]


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.endswith("-explained")])
def test_the_long_form_asks_for_an_explanation(name, tmp_path):
    make(name, tmp_path)
    plain, long = load(name.removesuffix("-explained"), tmp_path), load(name, tmp_path)
    for short, item in zip(plain.items, long.items, strict=True):
        assert item.images == short.images
        assert item.turns[0].text.endswith(short.turns[0].text)
        assert "explain in detail" in item.turns[0].text
        assert item.turns[0].max_new_tokens == 128 > short.turns[0].max_new_tokens


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.endswith("-follow-up")])
def test_the_follow_up_comes_after_a_image(name, tmp_path):
    make(name, tmp_path)
    plain, second = load(name.removesuffix("-follow-up"), tmp_path), load(name, tmp_path)
    assert second == load(name, tmp_path)
    for short, item in zip(plain.items, second.items, strict=True):
        assert item.scenario == "text follow-up"
        assert [path.parent for path in item.images] == [BUNDLED]
        assert len(item.turns) == 2
        assert item.turns[1].text.startswith(short.turns[0].text)


@pytest.mark.parametrize("name", PUBLIC)
def test_without_its_folder_each_says_where_to_put_it(name, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "nowhere", tmp_path / "file", tmp_path):
        with pytest.raises(InputError) as caught:
            load(name, folder)
        message = str(caught.value)
        assert f"get {PUBLIC[name].hub} yourself and say seeahead bench --suite {name} --folder FOLDER" in message
        assert PUBLIC[name].files[0].split(" + ")[0] in message
        assert "\n" not in message
        assert "`" not in message


WRONG_FILES = [
    ("mm-vet", "mm-vet.json", "{", "is not JSON"),
    ("mm-vet", "mm-vet.json", '"text"', "is not a list of objects"),
    ("mm-vet", "mm-vet.json", '{"v1_0": 3}', "is not a list of objects"),
    ("mm-vet", "mm-vet.json", '{"v1_0": {"imagename": "x.png"}}', "row 1 is not a row of MM-Vet (KeyError"),
    ("mm-vet", "mm-vet.json", '{"v1_0": {"question": "?"}}', "row 1 is not a row of MM-Vet (KeyError: 'imagename')"),
    ("mm-vet", "mm-vet.json", '{"a": {"question": "?", "imagename": 3}}', "(TypeError"),
    ("mm-vet", "mm-vet.json", '{"a": {"question": " ", "imagename": "x.png"}}', "row 1 has an empty question"),
    ("mm-vet", "mm-vet.json", '{"a": {"question": "?", "imagename": "x.png"}}', "no image 'x.png'"),
    ("mm-vet", "mm-vet.json", '{"a": {"question": "?", "imagename": "../x.png"}}', "leaves the folder"),
    ("mm-vet", "mm-vet.json", "{}", "has no row for suite mm-vet"),
    ("textvqa", "TextVQA_0.5.1_val.json", "{}", "has no 'data'"),
    ("iedit", "multi_image_in_domain.json", '[{"sub_task": "VIST"}]', "has no row for suite iedit"),
    ("vqav2", "v2_OpenEnded_mscoco_val2014_questions.json", '{"questions": [{"question": "?", "image_id": "a"}]}',
     "row 1 is not a row of VQAv2 (ValueError"),
    ("gsm8k", "test.jsonl", '{"question": "?"}\nnonsense', "line 2 is not JSON"),
    ("mme", "MME.tsv", "question\timage\n?\t" + "A" * 200_000, "images written into a table are not read"),
    ("mme", "MME.tsv", "question\timage\n?\t/9j/" + "A" * 700, "row 2 holds an image"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "text", "said"), WRONG_FILES, ids=[row[-1] for row in WRONG_FILES])
def test_a_wrong_file_is_one_clear_line(name, file, text, said, tmp_path):
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(name, tmp_path)
    assert said in str(caught.value)
    assert str(tmp_path / file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    folder = tmp_path / "data"
    public_data.mm_vet(folder)
    picture = folder / "images/v1_0.png"
    picture.rename(tmp_path / "elsewhere.png")
    picture.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match="is a link out of the folder"):
        load("mm-vet", folder)
    (folder / "mm-vet.json").rename(tmp_path / "elsewhere.json")
    (folder / "mm-vet.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="is a link out of"):
        load("mm-vet", folder)


def test_a_table_may_name_its_images(tmp_path):
    public_data.picture(tmp_path / "pictures/1.jpg")
    (tmp_path / "MME.tsv").write_text(
        "index\timage_path\tquestion\tcategory\n1\tpictures/1.jpg\tIs it?\tcount\n2\tpictures/1.jpg\tIs it not?\tOCR\n"
    )
    suite = load("mme", tmp_path)
    assert [(item.scenario, item.turns[0].text) for item in suite.items] == [("count", "Is it?"), ("OCR", "Is it not?")]


def jpeg(tmp_path):
    public_data.picture(tmp_path / "made.jpg")
    return (tmp_path / "made.jpg").read_bytes()


class FakeTable:
    """As much of pyarrow's ParquetFile as is used, over JSON; pictures are hexadecimal there."""

    def __init__(self, path):
        self.groups = [
            [
                {name: self._picture(value) if name.startswith("image_") else value for name, value in row.items()}
                for row in group
            ]
            for group in json.loads(Path(path).read_text())
        ]
        self.num_row_groups = len(self.groups)
        kinds = dict.fromkeys(("image_0", "image_1"), "struct<bytes: binary, path: string>")
        self.schema_arrow = [SimpleNamespace(name=name, type=kinds.get(name, "string")) for name in self.groups[0][0]]

    @staticmethod
    def _picture(value):
        return value and {"bytes": bytes.fromhex(value), "path": "ignored.jpg"}

    def read_row_group(self, index, columns):
        rows = [{name: row[name] for name in columns} for row in self.groups[index]]
        return SimpleNamespace(
            to_pylist=lambda: rows,
            slice=lambda start, num: SimpleNamespace(to_pylist=lambda: rows[start : start + num]),
        )


@pytest.fixture
def parquet(monkeypatch):
    fake = ModuleType("pyarrow.parquet")
    fake.ParquetFile = FakeTable
    monkeypatch.setitem(sys.modules, "pyarrow", ModuleType("pyarrow"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", fake)


def test_images_inside_parquet_files_are_unpacked_for_chosen_rows(parquet, tmp_path):
    folder, workspace, data = tmp_path / "data", tmp_path / "unpacked", jpeg(tmp_path)
    row = {
        "sub_task": "VIST",
        "question": "<image> <image> Go on.",
        "image_0": data.hex(),
        "image_1": (data + b"1").hex(),
    }
    other = {**row, "sub_task": "IEdit", "image_0": "00"}
    single = {**row, "question": "<image> Say.", "image_1": None}
    (folder / "in_domain").mkdir(parents=True)
    (folder / "in_domain/test-00000-of-00001.parquet").write_text(json.dumps([[other, row], [single]]))
    first, second = load("vist", folder, workspace).items
    assert [turn.text for turn in (*first.turns, *second.turns)] == ["Go on.", "Say."]
    assert [path.read_bytes() for path in first.images] == [data, data + b"1"]
    assert [path.read_bytes() for path in second.images] == [data]
    assert set(workspace.iterdir()) == {*first.images, *second.images}
    assert {path.suffix for path in first.images} == {".jpg"}
    with pytest.raises(InputError, match="row 1: the image in it is none of png, jpg, gif, webp, bmp"):
        load("iedit", folder, workspace)


def test_parquet_files_need_pyarrow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "test-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"needs pyarrow, which is not installed; pip install '\.\[bench\]'"):
        load("chartqa", tmp_path)


def test_parquet_files_of_pyarrow_itself(tmp_path):
    """The same with the real package, where it is installed."""
    pytest.importorskip("pyarrow")
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    folder, data = tmp_path / "data", jpeg(tmp_path)
    (folder / "data").mkdir(parents=True)
    rows = [{"question": f"Is it {n}?", "category": "c", "image": {"bytes": data, "path": None}} for n in range(5)]
    file = folder / "data/test-00000-of-00001.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), file, row_group_size=2)
    suite = load("mme", folder, tmp_path / "unpacked")
    assert [item.turns[0].text for item in suite.items] == [f"Is it {n}?" for n in range(5)]
    assert {item.images[0].read_bytes() for item in suite.items} == {data}
    file.write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot read"):
        load("mme", folder, tmp_path / "unpacked")


def test_the_document_shows_the_table_as_it_is():
    text = (ROOT / "docs/bench-data.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- public suites:.*?-->\n(.*?)\n<!-- end of public suites -->", text, re.DOTALL)
    assert shown is not None
    rows = [
        f"| `{name}` | {suite.title} | {suite.hub} | {suite.terms} | {suite.layout()} |"
        for name, suite in PUBLIC.items()
    ]
    head = "| name | data set | Hub | terms | what the folder holds |\n|---|---|---|---|---|"
    assert shown.group(1) == "\n".join([head, *rows])


def test_naming_suites_loads_no_torch():
    code = "import sys, seeahead.bench.suites; assert not {'torch', 'transformers', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "src")
