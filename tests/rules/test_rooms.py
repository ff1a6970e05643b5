"""The rooms of the package stand in an order, nothing imports from a room above its own, and no imports run in a circle."""

from __future__ import annotations

from tests.rules.source import PACKAGE, imported_modules, modules

# From the ground up: a module imports from its own room and from those before it. ``functional`` is a public face.
PUBLIC = ""  # segcrit/__init__.py, the names that users import; the command line is one of its users
ROOMS = (
    "core",
    "labels",
    "engines",
    "losses",
    "functional",
    "metrics",
    "data",
    "reports",
    "apps",
    PUBLIC,
    "cli",
    "__main__",
)


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else PUBLIC


def _imports() -> dict[str, set[str]]:
    return {module.name: {name for _, name in imported_modules(module)} - {module.name} for module in modules()}


def test_only_the_rooms_stand_at_the_top() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")}
    assert found == set(ROOMS) - {PUBLIC}


def test_nothing_reaches_up() -> None:
    reaching = [
        f"{module.where(node)} imports {name}"
        for module in modules()
        for node, name in imported_modules(module)
        if ROOMS.index(_room(name)) > ROOMS.index(_room(module.name))
    ]
    assert not reaching, "\n".join(reaching)


def circles(imports: dict[str, set[str]]) -> list[str]:
    """The modules that import themselves by way of others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            for name in imports.get(left.pop(), set()) - seen:
                seen.add(name)
                left.append(name)
        return seen

    return sorted(name for name in imports if name in reached(name))


def test_no_imports_run_in_a_circle() -> None:
    assert circles(_imports()) == []


def test_the_rules_notice_a_reach_and_a_circle() -> None:
    assert ROOMS.index(_room("segcrit.core.errors")) < ROOMS.index(_room("segcrit.losses.formulas.pixel"))
    assert ROOMS.index(_room("segcrit.apps.compare.results")) < ROOMS.index(_room("segcrit"))
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
