"""What the page shows of boundaries: errors near and far from edges, figures of each class, and how they were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segcrit.apps.evaluate.measured import measured_classes
from segcrit.metrics.measures.boundary.options import Boundary
from segcrit.metrics.measures.boundary.scale import Scale, words

if TYPE_CHECKING:
    from segcrit.apps.evaluate.results import Outcome

__all__ = ["boundary_rows", "boundary_terms"]


def boundary_rows(outcome: Outcome) -> list[dict[str, Any]] | None:
    """For each model how many of the wrong pixels lie near a true boundary, and the scores of the boundaries."""
    rows = []
    for model, report in outcome.reports.items():
        table = report.per_image.measures.get(Boundary.kind)
        if table is None or report.boundary is None:
            return None
        # Not where only some of exclusive classes were measured: a wrong pixel may then be no error of any of them.
        measured = measured_classes(report)
        whole = report.task != "multiclass" or len(measured) == report.num_classes
        pixels = int(report.per_image.pixels[:, measured].sum()) if report.task == "multilabel" else report.num_pixels
        near_pixels = int(table.arrays["near_pixels"].sum())
        classes = [{**row, "iou": float(report.iou[row["index"]])} for row in report.boundary.rows() if row["judged"]]
        rows.append(
            {
                "model": model,
                "whole": whole,
                "near_share": 1 - report.figures["interior_error_share"],
                "near_pixels": near_pixels / pixels if pixels else float("nan"),
                "near_rate": report.figures["edge_error_rate"],
                "far_rate": report.figures["interior_error_rate"],
                "classes": classes,
            }
        )
    return rows


def boundary_terms(outcome: Outcome) -> list[tuple[str, str]]:
    """Unit, tolerance, band, trimap and what a missed class counts, each as it was used."""
    counts = outcome.first.per_image
    table = counts.measures.get(Boundary.kind)
    if table is None or not isinstance(table.measure, Boundary) or not outcome.tally.ids:
        return []
    measure = table.measure
    scale = Scale.of(counts)
    used = scale.to_dict()
    spacing = " × ".join(words(side) for side in used["spacing"])
    unit = {
        "pixels": "pixels",
        "option": f"that of the spacing that was given, {spacing}",
        "images": f"that of the files, spacing {spacing}",
    }[scale.source]

    def length(name: str, given: Any) -> str:
        rule = "" if given is not None else " (by the diagonal of each image)"
        return "" if used[name] is None else words(used[name]) + rule

    trimap = measure.band if measure.trimap is None else measure.trimap
    terms = [
        ("Unit of distances", unit),
        ("Tolerance of boundary F1 and NSD", length("tolerance", measure.tolerance)),
        ("Band of the boundary IoU", length("band", measure.band)),
        ("Width of the trimap", length("trimap", trimap)),
    ]
    if measure.missing == "nan":
        terms.append(("Missed or invented class", "left out of the distances"))
    else:
        missing = length("missing", None if measure.missing == "diagonal" else measure.missing)
        terms.append(("Missed or invented class", f"counts a distance of {missing}"))
    return [term for term in terms if term[1]]
