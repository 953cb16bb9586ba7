"""The public surface: exactly the documented names, and nothing heavy before one of them is used."""

import subprocess
import sys

import pytest

import seeahead
from seeahead import errors


def run(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_all_is_the_documented_surface():
    assert set(seeahead.__all__) == {
        "load", "Engine", "Reply", "Piece", "SamplingParams", "custom_generate", "register_family",
        "SeeaheadError", "InputError", "ImageError", "LengthError", "ModelError", "FaultError", "DrafterError",
        "__version__",
    }  # fmt: skip


@pytest.mark.parametrize("name", seeahead.__all__)
def test_every_public_name_exists(name):
    assert getattr(seeahead, name) is not None


def test_all_equals_the_names_without_an_underscore():
    code = (
        "import seeahead, types; [getattr(seeahead, name) for name in seeahead.__all__];"
        "print(sorted(n for n, v in vars(seeahead).items() if n[0] != '_' and not isinstance(v, types.ModuleType)))"
    )
    names = set(seeahead.__all__) - {"__version__"} | {"TYPE_CHECKING", "import_module"}
    assert run(code) == str(sorted(names))


def test_every_error_is_public():
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert raised <= set(seeahead.__all__)
    assert all(issubclass(getattr(errors, name), errors.SeeaheadError) for name in raised)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = seeahead.lod


def test_import_loads_nothing_heavy():
    code = (
        "import sys, seeahead; print(sorted({'torch', 'transformers', 'numpy', 'PIL', 'rich'} & set(sys.modules)));"
        "print(dir(seeahead) == sorted(seeahead.__all__))"
    )
    assert run(code).split("\n") == ["[]", "True"]


def test_errors_and_provenance_need_no_torch():
    assert run("import sys; from seeahead import InputError; print('torch' in sys.modules)") == "False"
