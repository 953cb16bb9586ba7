"""Where a drafter comes from and whom it serves: the target it was made for, from a folder or by a hub id."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError

from seeahead.drafters import bind
from seeahead.errors import DrafterError, SeeaheadError
from seeahead.families import family_for, loading
from seeahead.target import Target
from seeahead.testing import tiny_model, tiny_processor
from tests.drafters.tiny_folders import CONFIG, KINDS, NUM_TARGET, change_config, make


@pytest.mark.parametrize("kind", KINDS)
def test_a_drafter_for_a_target_of_more_or_fewer_tokens_is_refused(whole: dict[str, Path], kind: str) -> None:
    """Of the same width; every token that it drafts is there."""
    assert make(whole[kind])
    for size in (NUM_TARGET + 1, NUM_TARGET + 40):
        with pytest.raises(DrafterError, match=rf"for a target of {NUM_TARGET} tokens, this one has {size}.*lookup"):
            make(whole[kind], size)


def test_a_folder_that_does_not_say_serves_any_target_that_has_its_tokens(copy_of) -> None:
    folder = copy_of("language")
    change_config(folder, target_vocab_size=...)
    assert make(folder, NUM_TARGET + 3)


# ---- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's copy on this machine; nothing else is asked."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(hub: Path, name: str, folder: Path, revision: str = "main") -> None:
    place, commit = hub / f"models--{name.replace('/', '--')}", "0" * 40
    (place / "refs" / revision).parent.mkdir(parents=True)
    (place / "refs" / revision).write_text(commit)
    shutil.copytree(folder, place / "snapshots" / commit)


@pytest.mark.parametrize("kind", KINDS)
def test_a_drafter_is_loaded_by_its_hub_id(hub: Path, whole: dict[str, Path], kind: str) -> None:
    put(hub, "somebody/drafter", whole[kind])
    assert make("somebody/drafter").name == kind


@pytest.mark.parametrize("revision", ["older", "refs/pr/1"])
@pytest.mark.parametrize("kind", ["llama", "llava"])
def test_a_whole_model_is_loaded_by_its_hub_id_and_revision(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, revision: str
) -> None:
    """No other revision is there, nor asked for."""
    source, rooms = tmp_path / "model", []
    tiny_model(kind).save_pretrained(source)
    tiny_processor(kind).save_pretrained(source)
    (source / "model.safetensors.index.json").write_text('{"metadata": {"total_size": 7}}')
    put(hub, "somebody/model", source, revision)
    stored = loading._stored_bytes
    monkeypatch.setattr(loading, "_stored_bytes", lambda source: rooms.append(stored(source)) or 7)
    target = Target.of(family_for(tiny_model("llava"), tiny_processor("llava")))
    drafter = bind(f"somebody/model@{revision}:chain=2", target)
    assert type(drafter).__name__ == ("VlmDrafter" if kind == "llava" else "LanguageDrafter")
    assert rooms == [7]
    with pytest.raises(SeeaheadError, match="'somebody/model@gone' is no folder here, and the hub does not give it"):
        bind("somebody/model@gone", target)


def absent(*given: object, **settings: object) -> None:
    raise EntryNotFoundError("404 Client Error")


def test_what_the_hub_does_not_give_is_one_line(hub: Path, whole: dict[str, Path], copy_of) -> None:
    with pytest.raises(DrafterError, match="'no/such' is no folder here, and the hub does not give it"):
        make("no/such")
    with pytest.raises(DrafterError, match="check the id, or give a folder"):
        make("no/such thing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seeahead.drafters.folder.hf_hub_download", absent)
        with pytest.raises(DrafterError, match=r"'some/head' has no config\.json on the hub; put the config"):
            make("some/head")
    folder = copy_of("language")
    (folder / CONFIG).write_text("[]")
    put(hub, "somebody/damaged", folder)
    with pytest.raises(SeeaheadError, match="not an object"):
        make("somebody/damaged")
