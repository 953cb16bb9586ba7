"""The package's source files, parsed, as tests of its shape ask about them."""

import ast
from pathlib import Path


class Module:
    """One source file, parsed: its name inside the package, and what it imports and calls."""

    def __init__(self, path: Path, text: str) -> None:
        """`path` is relative to the package."""
        self.parts = path.with_suffix("").parts
        self.unit = self.parts[0]
        self.tree = ast.parse(text)
        self.nodes = list(ast.walk(self.tree))

    def __str__(self) -> str:
        return "/".join(self.parts)

    def imports(self) -> list[tuple[int, str]]:
        """(line, full dotted name) of everything imported anywhere in the file, relative imports resolved."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        here = ["seeahead", *self.parts]
        return ".".join(here[: len(here) - node.level] + ([node.module] if node.module else []))

    def used_names(self) -> list[tuple[int, str]]:
        """(line, dotted name) of every name and attribute, such as torch.manual_seed."""
        return [(node.lineno, ast.unparse(node)) for node in self.nodes if isinstance(node, ast.Name | ast.Attribute)]
