"""The shape of the code: who may import whom, how long things may get, and what belongs in one place only."""

import ast
import os
import re
from pathlib import Path

import pytest
import torch

from seeahead.cli import VERBS
from tests.modules import Module
from tests.sizes import HARD_FILE_LINES, HARD_FUNCTION_LINES, ROOT, function_lines, python_files

PACKAGE = ROOT / "src" / "seeahead"

# A module imports only from lower levels. The first part of its name decides: seeahead.drafters.lookup is "drafters".
LEVELS = [
    {"errors", "hidden_warnings", "garbage"},
    {"checked", "compat", "option_table", "provenance", "cache_folder", "fetch", "image_formats", "tree", "records"},
    {"images", "history", "metrics", "detokenize"},
    {"sampling"},
    {"verify", "stopping", "prompt"},
    {"executor", "generation_config", "data"},
    {"executors"},
    {"families", "session"},
    {"target", "drafting"},
    {"request"},
    {"decode"},
    {"drafters", "reply"},
    {"demo"},
    {"proof"},
    {"proven"},
    {"api", "hf_generate", "testing"},
    {"self_check"},
    {"train", "bench", "export", "serve"},
    {"cli"},
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
DOORS = {"__init__", "__main__"}  # `import seeahead` names everything, lazily

# Whole packages that a part of the code must not know.
FORBIDDEN = {
    "errors": {"torch", "transformers", "numpy", "PIL"},
    "provenance": {"torch", "transformers", "numpy", "PIL"},
    "records": {"torch", "transformers", "numpy", "PIL"},
    "metrics": {"torch", "transformers", "numpy", "PIL"},
    "fetch": {"torch", "transformers", "numpy", "PIL"},
    "image_formats": {"torch", "transformers", "numpy", "PIL"},
    "images": {"torch", "transformers"},
    "tree": {"transformers", "PIL"},
    "sampling": {"transformers", "PIL"},
    "verify": {"transformers", "PIL"},
    "stopping": {"transformers", "PIL"},
    "session": {"transformers", "PIL"},
    "request": {"transformers", "PIL"},
    "decode": {"transformers", "PIL"},
}
# Private to transformers, or renamed by one of its releases: `compat` alone says them.
VERSIONED_NAMES = ("past_key_values", "_attn_implementation", "all_tied_weights_keys", "rope_deltas", "get_rope_index")
# Run with the Python of another environment, where they are doors themselves.
PROGRAMS = "bench/peers/programs/"
NOWHERE = {"torchvision", "pickle", "marshal", "shelve"}

TURNS_LOGITS_INTO_TOKENS = {"softmax", "log_softmax", "multinomial", "gumbel_softmax"}
MAY_USE_SOFTMAX = {"sampling", "data", "train"}
ATTENDS = {"drafters/msd", "executors/exact"}  # over an image's slots, with a learned query; over keys of its own
GLOBAL_STATE = {
    "torch.manual_seed", "torch.seed", "torch.random.manual_seed", "random.seed", "np.random.seed", "numpy.random.seed",
    "torch.set_default_dtype", "torch.set_default_device", "torch.set_num_threads", "torch.set_grad_enabled",
    "logging.basicConfig",
}  # fmt: skip
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base_utils"}


MODULES = [Module(path.relative_to(PACKAGE), path.read_text(encoding="utf-8")) for path in python_files(PACKAGE)]
INSIDE = [module for module in MODULES if module.unit not in DOORS]


def report(found):
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text", "imported"),
    [
        ("session.py", "from .tree import ROOT", "seeahead.tree.ROOT"),
        ("session.py", "def f():\n    from . import tree", "seeahead.tree"),
        ("drafters/__init__.py", "from ..tree import ROOT", "seeahead.tree.ROOT"),
        ("drafters/__init__.py", "from .lookup import x", "seeahead.drafters.lookup.x"),
        ("drafters/lookup.py", "if True:\n    from ..session import Session", "seeahead.session.Session"),
        ("cache.py", "import seeahead.tree", "seeahead.tree"),
    ],
)
def test_imports_are_found_however_they_are_written(path, text, imported):
    assert [name for _, name in Module(Path(path), text).imports()] == [imported]


def test_every_module_has_a_level():
    report([f"{module}: give '{module.unit}' a level in LEVELS" for module in INSIDE if module.unit not in LEVEL])


def test_imports_go_down():
    found = []
    for module in INSIDE:
        for line, name in module.imports():
            package, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if package != "seeahead" or target == module.unit or target not in LEVEL:
                continue
            if LEVEL[target] >= LEVEL.get(module.unit, 99):
                found.append(f"{module}:{line} imports {name}, which is not below it")
    report(found)


def test_the_library_imports_nothing_of_its_repository():
    own = {"benchmarks", "recipes", "tests", "tools"}
    report(
        [
            f"{module}:{line} imports {name}"
            for module in MODULES
            for line, name in module.imports()
            if name.split(".")[0] in own
        ]
    )


def test_verbs_do_not_import_one_another():
    verbs = {f"seeahead.cli.{verb}" for verb in VERBS}
    report(
        [
            f"{module}:{line} imports {name}"
            for module in INSIDE
            if module.unit == "cli" and module.parts[-1] in VERBS
            for line, name in module.imports()
            if name.rpartition(".")[0] in verbs or name in verbs
        ]
    )


def test_the_loop_knows_drafters_and_families_only_as_protocols():
    units = {"decode", "request", "session", "verify"}
    report(
        [
            f"{module}:{line} imports {name}"
            for module in INSIDE
            if module.unit in units
            for line, name in module.imports()
            if name.startswith(("seeahead.drafters", "seeahead.families"))
        ]
    )


def test_packages_stay_where_they_belong():
    report(
        [
            f"{module}:{line} imports {name}"
            for module in MODULES
            for line, name in module.imports()
            if name.split(".")[0] in FORBIDDEN.get(module.unit, set()) | NOWHERE
        ]
    )


def test_only_compat_says_what_changes_between_releases_of_transformers():
    """Modules inside transformers (its own `utils.logging` apart) have moved before, and so have these names."""
    imported = [
        f"{module}:{line} imports {name}"
        for module in INSIDE
        if module.unit != "compat"
        for line, name in module.imports()
        if name.startswith("transformers.") and (name.count(".") > 1 or name.endswith("Cache"))
        if not name.startswith("transformers.utils.logging")
    ]
    said = [
        f"{module} says {name}"
        for module in INSIDE
        if module.unit != "compat"
        for node in module.nodes
        for name in VERSIONED_NAMES
        if name in (getattr(node, "attr", None), getattr(node, "arg", None), getattr(node, "value", None))
    ]
    report(imported + said)


def test_only_sampling_turns_logits_into_tokens():
    report(
        [
            f"{module}:{line} uses {name}"
            for module in INSIDE
            if module.unit not in MAY_USE_SOFTMAX and str(module) not in ATTENDS
            for line, name in module.used_names()
            if name.rsplit(".", 1)[-1] in TURNS_LOGITS_INTO_TOKENS
        ]
    )


def test_only_the_doors_print_and_read_the_environment():
    report(
        [
            f"{module}:{line} uses {name}"
            for module in MODULES
            if module.unit not in {"cli", "serve"} and not str(module).startswith(PROGRAMS)
            for line, name in module.used_names()
            if name in {"print", "os.environ", "os.getenv", "environ", "getenv", "sys.stdout"}
        ]
    )


def test_the_library_sets_nothing_for_the_whole_process():
    report(
        [
            f"{module}:{line} uses {name}"
            for module in INSIDE
            if module.unit not in {"cli", "train"}  # a training run owns its process
            for line, name in module.used_names()
            if name in GLOBAL_STATE
        ]
    )


def test_every_module_says_what_it_is_for():
    report([f"{module} has no docstring" for module in MODULES if not ast.get_docstring(module.tree)])


def test_no_module_has_a_vague_name():
    report([str(module) for module in MODULES if VAGUE_NAMES & set(module.parts)])


# Lines of Python that a folder may have. They go down as folders shrink; what is to grow takes it from another.
BUDGETS = {
    "": 5391, "bench": 4172, "cli": 1828, "data": 1190, "demo": 423, "drafters": 6307, "executors": 4859,
    "families": 2018, "images": 401, "serve": 3119, "testing": 394, "train": 3046,
}  # fmt: skip


def test_folders_stay_within_their_budgets():
    lines = dict.fromkeys(BUDGETS, 0)
    for path in python_files(PACKAGE):
        parts = path.relative_to(PACKAGE).parts
        lines[parts[0] if len(parts) > 1 else ""] += len(path.read_text(encoding="utf-8").splitlines())
    report([f"{folder or 'seeahead'}: {lines[folder]} lines, {most} at most" for folder, most in BUDGETS.items()
            if lines[folder] > most])  # fmt: skip


# One word per concept (docs/glossary.md): these are said otherwise now.
GONE = re.compile(r"picture|voice|beliefs|\bheard\b|teller|bound_to|log_worth|\bworths\b", re.IGNORECASE)
# Fields under which stored records and recipes have them.
STORED = {"pictures", "most_pictures"}


def test_one_word_for_a_concept():
    found = []
    for module in INSIDE:
        for node in module.nodes:
            names = {getattr(node, part, None) for part in ("id", "attr", "name", "arg")} - STORED
            found += [
                f"{module}:{node.lineno} says {name}" for name in names if isinstance(name, str) and GONE.search(name)
            ]
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                told = re.sub(r"`[^`]*`", "", ast.get_docstring(node) or "")
                found += [f"{module}: a docstring says {word}" for word in GONE.findall(told)]
    report(found)


@pytest.mark.parametrize("folder", ["src", "benchmarks", "recipes", "tests"])
def test_files_and_functions_stay_short(folder):
    found = []
    for path in python_files(ROOT / folder):
        name = path.relative_to(ROOT)
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > HARD_FILE_LINES:
            found.append(f"{name} has {lines} lines, the limit is {HARD_FILE_LINES}")
        for function, lines in function_lines(text):
            if lines > HARD_FUNCTION_LINES:
                found.append(f"{name}: {function} has {lines} lines, the limit is {HARD_FUNCTION_LINES}")
    report(found)


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="of tests that run side by side")
def test_test_processes_side_by_side_compute_with_one_thread_each():
    """With more, the threads of each wait for a core in turn: the suite took twelve times as long on a busy machine."""
    assert torch.get_num_threads() == 1
