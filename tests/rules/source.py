"""The source of the package, parsed once, for the rules that are checked by reading it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "segcrit"


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str  # dotted, "segcrit.losses.formulas.pixel"; a package is named without "__init__"
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def where(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(REPOSITORY)}:{getattr(node, 'lineno', 1)}"

    def walk(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, in the order of their names."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path))))
    return tuple(found)


@cache
def module_names() -> frozenset[str]:
    return frozenset(module.name for module in modules())


def imported_modules(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Each module of the package that ``module`` imports, anywhere in it, with the statement that does so."""
    for node in module.walk():
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "segcrit":
                    yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = module.name.split(".")
                anchor = anchor[: len(anchor) - node.level + module.is_package]
                base = ".".join([*anchor, base] if base else anchor)
            if base.split(".")[0] != "segcrit":
                continue
            for alias in node.names:
                # "from segcrit.losses.formulas import pixel" imports the module, not a name of the package.
                inner = f"{base}.{alias.name}"
                yield node, inner if inner in module_names() else base


def functions_with_their_owner(
    node: ast.AST, function: ast.FunctionDef | ast.AsyncFunctionDef | None = None
) -> Iterator[tuple[ast.AST, ast.FunctionDef | ast.AsyncFunctionDef | None]]:
    """Every node below ``node`` with the innermost function that holds it."""
    for child in ast.iter_child_nodes(node):
        yield child, function
        inner = child if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        yield from functions_with_their_owner(child, inner)
