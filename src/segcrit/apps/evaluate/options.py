"""What a user asks of an evaluation of files: plain values that can be written down, compared and read again."""

from __future__ import annotations

import ast
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from segcrit.core.atomic import user_path
from segcrit.core.errors import ParameterError
from segcrit.core.names import nearest
from segcrit.metrics.measure_table import MeasureOptions, measure_from_dict

__all__ = ["Options", "parse_measure", "parse_shard"]

Values = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Options:
    """Everything that decides about the figures.

    Attributes:
        classes: number of classes, names separated by commas, or the path of a classes.json or of a text file with a name
            on each line; None: a classes.json beside the label maps, or what values they hold.
        task, threshold, policy, upsample, align_corners: as in :class:`segcrit.Evaluator`.
        ignore_index: label of pixels that do not count, ``"none"`` for no such label; None: what classes.json says, or 255.
        map: ``"7:0,8:1,*:ignore"``: what the values of the label maps mean.
        map_predictions: the same for predictions; ``"same"``: as in the label maps; ``"index"``: class numbers.
        reduce_zero_label: ``"target"`` or ``"both"``: value 0 is ignored and classes count from 1.
        values: what floating predictions hold: ``"logits"`` or ``"probabilities"``; ``"auto"``: logits, where the file does
            not say otherwise and they do not look like probabilities.
        axes: ``"xyz"`` or ``"zyx"``: the order of axes of arrays beside NIfTI volumes; None: what their shapes, the files
            beside them or their content tell.
        measures: such as ``"boundary(tolerance=2)"``.
        tile: images of more than twice the square of this are read by windows of this side.
        allow_unmatched: evaluate what matches, whatever does not.
        pair: an expression that finds in each name what predictions and label maps share.
        valid: a folder of masks of the pixels that count, or one file for all images; 0 does not count.
        only: a text file that lists the images to evaluate, one a line.
        groups: a table of image and group, ``group_by``: an expression that finds the group in the id.
    """

    classes: str | None = None
    task: str = "multiclass"
    threshold: float = 0.5
    ignore_index: int | str | None = None
    policy: str = "segcrit"
    map: str | None = None
    map_predictions: str | None = None
    reduce_zero_label: str | None = None
    values: str = "auto"
    axes: str | None = None
    upsample: str | None = None
    align_corners: bool = False
    measures: tuple[str, ...] = ()
    tile: int = 4096
    allow_unmatched: bool = False
    pair: str | None = None
    valid: str | None = None
    only: str | None = None
    groups: str | None = None
    group_by: str | None = None

    def __post_init__(self) -> None:
        if self.values not in ("auto", "logits", "probabilities"):
            hint = nearest(str(self.values), ("logits", "probabilities"))
            raise ParameterError(
                "values to be 'logits' or 'probabilities'", repr(self.values), hint or "Choose one of them."
            )
        if self.axes not in (None, "xyz", "zyx"):
            raise ParameterError("axes to be 'xyz' or 'zyx'", repr(self.axes), "Choose one of them.")
        if self.reduce_zero_label not in (None, "target", "both"):
            raise ParameterError(
                "reduce_zero_label to be 'target' or 'both'", repr(self.reduce_zero_label), "Choose one of them."
            )
        if self.map is not None and self.reduce_zero_label is not None:
            raise ParameterError("--map or --reduce-zero-label", "both", "Write the whole map.")
        if self.tile < 16:
            raise ParameterError("a tile of at least 16 pixels", str(self.tile), "Take 1024 or more.")
        if self.groups is not None and self.group_by is not None:
            raise ParameterError("--groups or --group-by", "both", "Keep one of them.")
        void = self.ignore_index
        if void is not None and void != "none" and not isinstance(void, int):
            raise ParameterError("ignore_index to be a whole number or 'none'", repr(void), "Correct it.")
        for text in self.measures:
            parse_measure(text)

    @property
    def floats(self) -> Values:
        """How floating predictions are read where the file does not say what they are."""
        return "probabilities" if self.values == "probabilities" else "logits"

    @property
    def valid_area(self) -> Path | None:
        """The folder or file of valid pixels."""
        return None if self.valid is None else user_path(self.valid)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"measures": list(self.measures)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Options:
        """What :meth:`to_dict` gave."""
        known = {entry.name for entry in fields(cls)}
        given = {name: value for name, value in content.items() if name in known}
        return cls(**given | {"measures": tuple(given.get("measures", ()))})


def parse_measure(text: str) -> MeasureOptions:
    """Read ``"boundary"`` or ``"boundary(tolerance=2, spacing=(1, 1))"``.

    Raises:
        ParameterError: no such measure or option.

    Example:
        >>> parse_measure("calibration(bins=10)").bins
        10
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return measure_from_dict({"kind": node.id})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            given = {entry.arg: ast.literal_eval(entry.value) for entry in node.keywords if entry.arg}
            return measure_from_dict({"kind": node.func.id, **given})
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ParameterError):
            raise
    raise ParameterError(
        "a measure such as boundary or 'calibration(bins=10)'",
        reprlib.repr(text),
        "Write NAME or NAME(OPTION=VALUE, ...).",
    )


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``"3/16"``.

    Raises:
        ParameterError: it is not I/N with 1 <= I <= N.

    Example:
        >>> parse_shard("3/16")
        (3, 16)
    """
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is not None and 1 <= int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    raise ParameterError("a shard I/N with I from 1 to N", reprlib.repr(text), "Write --shard 3/16.")
