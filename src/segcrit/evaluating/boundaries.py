"""What the page shows of boundaries: errors near and far from edges, figures of each class, and how they were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segcrit.evaluating.measured import measured_classes
from segcrit.evaluation.boundary import Boundary

if TYPE_CHECKING:
    from segcrit.data.formats import Header
    from segcrit.evaluating.pictures import Gallery
    from segcrit.evaluating.results import Outcome

__all__ = ["boundary_rows", "boundary_terms"]


def boundary_rows(outcome: Outcome) -> list[dict[str, Any]] | None:
    """For each model how many of the wrong pixels lie near a true boundary, and the scores of the boundaries."""
    rows = []
    for model, report in outcome.reports.items():
        table = report.per_image.measures.get(Boundary.kind)
        if table is None or report.boundary is None:
            return None
        # Every wrong pixel is the false negative of one class, where all classes are exclusive and measured.
        whole = report.task == "multiclass" and len(measured_classes(report)) == report.num_classes
        errors = int(report.class_counts["fn"].sum())
        pixels = report.num_pixels
        near = int(table.arrays["trimap_fn"].sum())
        near_pixels = int(table.arrays["trimap_tp"].sum()) + near
        classes = [{**row, "iou": float(report.iou[row["index"]])} for row in report.boundary.rows() if row["judged"]]
        rows.append(
            {
                "model": model,
                "whole": whole,
                "near_share": near / errors if errors else float("nan"),
                "near_pixels": near_pixels / pixels if pixels else float("nan"),
                "near_rate": near / near_pixels if near_pixels else float("nan"),
                "far_rate": (errors - near) / (pixels - near_pixels) if pixels > near_pixels else float("nan"),
                "classes": classes,
            }
        )
    return rows


def boundary_terms(outcome: Outcome, gallery: Gallery) -> list[tuple[str, str]]:
    """Unit, tolerance, band, trimap and what a missed class counts, each with its value.

    Widths that were not given depend on the size of an image; those of one image are told as an example.
    """
    table = outcome.first.per_image.measures.get(Boundary.kind)
    if table is None or not isinstance(table.measure, Boundary) or not outcome.tally.ids:
        return []
    measure, example = table.measure, outcome.tally.ids[0]
    # The arrays of a multilabel map have an axis of channels, which their headers do not tell from the others.
    header = None if outcome.first.task == "multilabel" else gallery.header(example)
    # As in the counting: the spacing of the file comes first, and axes of length 1 are no dimensions of the map.
    size, own = ((), None) if header is None else _size_and_spacing(header)
    if own is not None:
        unit = f"that of the files (spacing {_product(own)} in {example})"
    elif measure.spacing is not None:
        unit = f"that of the spacing that was given, {_product(measure.spacing)}"
    else:
        unit = "pixels" if header is not None else "pixels; of NIfTI files that of their spacing"
    spacing = own or measure.spacing or (1.0,) * len(size)
    widths = measure._widths(size, np.asarray(spacing)) if size and len(spacing) == len(size) else None

    def width(name: str, given: Any) -> str:
        if given is not None:
            return f"{given:g}"
        rule = "by the diagonal of each image"
        return rule if widths is None else f"{getattr(widths, name):.3g} in {example} ({rule})"

    terms = [("Unit of distances", unit)]
    terms += [
        ("Tolerance of boundary F1 and NSD", width("tolerance", measure.tolerance)),
        ("Band of the boundary IoU", width("band", measure.band)),
        ("Width of the trimap", width("trimap", measure.band if measure.trimap is None else measure.trimap)),
    ]
    if measure.missing == "nan":
        terms.append(("Missed or invented class", "left out of the distances"))
    else:
        missing = width("missing", None if measure.missing == "diagonal" else measure.missing)
        terms.append(("Missed or invented class", f"counts a distance of {missing}"))
    return terms


def _size_and_spacing(header: Header) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
    shape = header.shape[:2] if header.axes.endswith("S") else header.shape
    axes = [axis for axis, length in enumerate(shape) if length != 1]
    size = tuple(shape[axis] for axis in axes)
    if header.spacing is None or len(header.spacing) <= max(axes, default=0):
        return size, None
    return size, tuple(header.spacing[axis] for axis in axes)


def _product(spacing: Any) -> str:
    return " × ".join(f"{float(size):g}" for size in spacing)
