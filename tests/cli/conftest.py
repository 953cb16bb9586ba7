"""The model that whole commands run on."""

from pathlib import Path

import pytest

from seeahead.testing import tiny_model, tiny_processor


@pytest.fixture(autouse=True)
def no_defaults(monkeypatch, tmp_path):
    """What the user of this machine has set is nobody's business here."""
    for name in ("MODEL", "DRAFTER", "DTYPE", "EXECUTOR", "DEVICE", "CACHE_DIR", "CONFIG"):
        monkeypatch.delenv(f"SEEAHEAD_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-llava")
    tiny_model("llava", max_position_embeddings=1024).save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return str(folder)


@pytest.fixture
def never_loaded(monkeypatch):
    """A built demo model without weights: nothing may read them."""
    from seeahead import api
    from seeahead.demo import build

    own = {kind: Path("drafters") / kind for kind in ("language", "vision", "msd")}
    monkeypatch.setattr(build, "ensure", lambda progress=None: build.DemoPaths(Path("target"), own))
    monkeypatch.setattr(api, "load_model", lambda *given: pytest.fail("a model was loaded"))
