"""Whole drafter folders, one of each kind, and copies of them that a test may change."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drafters.tiny_folders import KINDS, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("whole")
    return {kind: write(kind, root / kind) for kind in KINDS}


@pytest.fixture
def copy_of(whole: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    def copied(kind: str) -> Path:
        return shutil.copytree(whole[kind], tmp_path / f"bad {kind}")

    return copied
