"""The rooms of the package stand in an order, and nothing imports from a room above its own."""

from __future__ import annotations

import pytest

from tests.rules.source import Module, imported_modules, module_names, modules

# From the ground up. A module belongs to the room of its longest prefix; within a room the order is free.
PUBLIC = ""  # segcrit/__init__.py, the names that users import; the command line is one of its users
ROOMS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("_csv", "_extras", "_widths", "_files", "_json", "_constants", "_dtypes", "_names", "_notice", "_numbers"),
    ("_constraints", "_masking", "_registry", "_keywords", "_tensors", "_buffers"),
    ("formulas",),
    ("expression",),
    ("engines",),
    ("_gate", "_levels", "_reduce", "distributed", "plan"),
    ("sums",),
    ("_evaluate",),
    ("criterion",),
    ("functional",),
    ("custom", "modules"),
    ("encodings", "weights"),
    ("evaluation",),
    ("data",),
    ("explain", "scribble", "evaluating"),
    ("comparison",),
    ("bench", "_load"),
    (PUBLIC,),
    ("cli",),
    ("__main__",),
)


def _rank(name: str) -> int:
    room = name.split(".")[1] if "." in name else PUBLIC
    return next(rank for rank, members in enumerate(ROOMS) if room in members)


def test_every_module_has_a_room() -> None:
    known = {member for members in ROOMS for member in members}
    homeless = [name for name in module_names() if "." in name and name.split(".")[1] not in known]
    assert not homeless, f"add these to ROOMS, or move them: {sorted(homeless)}"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_nothing_reaches_up(module: Module) -> None:
    own = _rank(module.name)
    reaching = [f"{module.where(node)} imports {name}" for node, name in imported_modules(module) if _rank(name) > own]
    assert not reaching, "\n".join(reaching)


def test_the_rule_notices_a_reach() -> None:
    assert _rank("segcrit.core.errors") < _rank("segcrit.losses.formulas.pixel") < _rank("segcrit.cli.compare")
    assert _rank("segcrit.apps.compare.results") < _rank("segcrit") < _rank("segcrit.cli.compare")
