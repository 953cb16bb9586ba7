"""How long files and functions are. Hard limits fail a test; soft ones are named after the test run."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SOFT_FILE_LINES, HARD_FILE_LINES = 300, 400
SOFT_FUNCTION_LINES, HARD_FUNCTION_LINES = 40, 60


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def function_lines(text: str) -> list[tuple[str, int]]:
    """(name, lines) of every function, from `def` to its last line."""
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def over_soft_limits() -> list[str]:
    found = []
    for path in [path for folder in ("src", "benchmarks", "recipes", "tests") for path in python_files(ROOT / folder)]:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        if (lines := len(text.splitlines())) > SOFT_FILE_LINES:
            found.append(f"{name}: {lines} lines, better at most {SOFT_FILE_LINES}")
        found += [
            f"{name}: {function} has {lines} lines, better at most {SOFT_FUNCTION_LINES}"
            for function, lines in function_lines(text)
            if lines > SOFT_FUNCTION_LINES
        ]
    return found
