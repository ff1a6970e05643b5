"""Where the ignore label goes in the source: followed from value to value, whatever the variables are called.

The flow starts at everything named ``ignore_index`` and passes through assignments, parameters, attributes, fields of data
classes and results of functions. It does not know which object a method or an attribute belongs to: there it goes by the
name alone, so that it follows the label too far rather than not far enough.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.rules.source import Module

SEEDS = frozenset({"ignore_index", "DEFAULT_IGNORE_INDEX"})
# Functions that compare elementwise.
COMPARING = frozenset({"equal", "not_equal", "array_equal", "eq", "ne", "eq_", "ne_", "isin", "in1d"})
_PASSING = frozenset({"int", "float", "getattr", "asarray", "as_tensor", "tensor", "array"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


class Flow:
    """The values that hold the ignore label.

    Attributes:
        names: (scope, variable): a scope is a function or a module.
        attributes: names of attributes.
        results: function -> positions of its result that hold it, None for the result itself.
    """

    def __init__(self, modules: Iterable[Module]) -> None:
        self.names: set[tuple[ast.AST, str]] = set()
        self.attributes: set[str] = set(SEEDS)
        self.results: dict[ast.AST, set[int | None]] = defaultdict(set)
        self._functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = defaultdict(list)
        self._classes: dict[str, list[ast.ClassDef]] = defaultdict(list)
        self._scopes: dict[ast.AST, tuple[ast.AST, ...]] = {}
        self._trees = {module.name: module.tree for module in modules}
        self._imports: dict[tuple[ast.AST, str], ast.AST | None] = {}
        self._nodes: list[ast.AST] = []
        for module in modules:
            self._enter(module.tree, (module.tree,))
        before = -1
        while before != (before := len(self.names) + len(self.attributes) + sum(map(len, self.results.values()))):
            for node in self._nodes:
                self._follow(node)

    def _enter(self, node: ast.AST, scopes: tuple[ast.AST, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            self._scopes[child] = scopes
            if isinstance(child, (ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.Return, ast.Call)):
                self._nodes.append(child)
            if isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    self._imports[scopes[-1], alias.asname or alias.name] = self._trees.get(child.module or "")
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._functions[child.name].append(child)
            elif isinstance(child, ast.ClassDef):
                self._classes[child.name].append(child)
            self._enter(child, (child, *scopes) if isinstance(child, _Function) else scopes)

    def _called(self, node: ast.Call) -> list[ast.AST]:
        """The functions and classes of the package that a call may run."""
        name = last_name(node.func)
        found: list[ast.AST] = [*self._functions[name], *self._classes[name]]
        if isinstance(node.func, ast.Name):
            here = self._scopes[node][-1]
            home = self._imports.get((here, name), here)
            known = [item for item in found if self._scopes[item][-1] is home]
            return known if known or (here, name) not in self._imports else found
        return found

    def holds(self, node: ast.AST | None) -> bool:
        """Whether an expression may be the ignore label."""
        if isinstance(node, ast.Name):
            return node.id in SEEDS or any((scope, node.id) in self.names for scope in self._scopes.get(node, ()))
        if isinstance(node, ast.Attribute):
            return node.attr in self.attributes
        if isinstance(node, ast.Subscript):
            return isinstance(node.slice, ast.Constant) and node.slice.value in SEEDS
        if isinstance(node, ast.IfExp):
            return self.holds(node.body) or self.holds(node.orelse)
        if isinstance(node, ast.BoolOp):
            return any(map(self.holds, node.values))
        if isinstance(node, (ast.UnaryOp, ast.NamedExpr)):
            return self.holds(node.operand if isinstance(node, ast.UnaryOp) else node.value)
        if isinstance(node, ast.Call):
            name = last_name(node.func)
            if any(None in self.results[function] for function in self._called(node)):
                return True
            if name == "get" and node.args and isinstance(node.args[0], ast.Constant):
                return node.args[0].value in SEEDS
            return name in _PASSING and any(map(self.holds, node.args))
        return False

    def _follow(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._store(target, node.value)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
            if node.value is not None:
                self._store(node.target, node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            function = next(item for item in self._scopes[node] if isinstance(item, _Function))
            if isinstance(function, ast.Lambda):
                return
            if self.holds(node.value):
                self.results[function].add(None)
            elif isinstance(node.value, ast.Tuple):
                self.results[function] |= {n for n, item in enumerate(node.value.elts) if self.holds(item)}
        elif isinstance(node, ast.Call):
            self._call(node)

    def _store(self, target: ast.AST, value: ast.AST) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for position, item in enumerate(target.elts):
                from_tuple = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
                if from_tuple:
                    self._store(item, value.elts[position])
                elif isinstance(value, ast.Call) and any(
                    position in self.results[function] for function in self._called(value)
                ):
                    self._mark(item)
        elif self.holds(value):
            self._mark(target)

    def _mark(self, target: ast.AST) -> None:
        if isinstance(target, ast.Name):
            self.names.add((self._scopes[target][0], target.id))
        elif isinstance(target, ast.Attribute):
            self.attributes.add(target.attr)

    def _call(self, node: ast.Call) -> None:
        places = [n for n, item in enumerate(node.args) if self.holds(item)]
        words = {item.arg for item in node.keywords if item.arg and self.holds(item.value)}
        if not places and not words:
            return
        for called in self._called(node):
            function = called
            if isinstance(called, ast.ClassDef):
                starts = [item for item in called.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
                if not starts:
                    fields = [last_name(item.target) for item in called.body if isinstance(item, ast.AnnAssign)]
                    self.attributes |= {fields[n] for n in places if n < len(fields)} | (words & set(fields))
                    continue
                function = starts[0]
            assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            parameters = [item.arg for item in (*function.args.posonlyargs, *function.args.args)]
            if parameters[:1] in (["self"], ["cls"]):
                del parameters[0]
            known = words & {*parameters, *(item.arg for item in function.args.kwonlyargs)}
            self.names |= {(function, word) for word in known | {parameters[n] for n in places if n < len(parameters)}}

    def comparisons(self, module: Module) -> Iterator[ast.AST]:
        """Expressions of a module that compare something with the ignore label for equality."""
        for node in module.walk():
            if isinstance(node, ast.Compare):
                operands = (node.left, *node.comparators)
                for left, operator, right in zip(operands, node.ops, node.comparators, strict=False):
                    equality = isinstance(operator, (ast.Eq, ast.NotEq, ast.In, ast.NotIn))
                    members = right.elts if isinstance(right, (ast.Tuple, ast.List, ast.Set)) else []
                    words = any(
                        isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (left, right)
                    )
                    if equality and not words and any(map(self.holds, (left, right, *members))):
                        yield node
            elif isinstance(node, ast.Call) and last_name(node.func) in COMPARING:
                owner = [node.func.value] if isinstance(node.func, ast.Attribute) else []
                if any(map(self.holds, (*owner, *node.args))):
                    yield node
