"""Training labels that are not the full masks: scribbles, points, partly drawn masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segcrit.core.errors import DataError
from segcrit.data.audit.counting import decoded_counts
from segcrit.data.audit.survey import damaged
from segcrit.data.coding.classes import free_void
from segcrit.data.model import SegmentationData
from segcrit.data.problems import FolderError, named, several
from segcrit.data.scanning import Scanner

__all__ = ["add_training_labels"]


def add_training_labels(data: SegmentationData, folder: Path, scanner: Scanner) -> SegmentationData:
    """Check the training labels and decide which of their values mean unlabelled."""
    without = [name for name in data.splits["train"] if data.cases[name].train_label is None]
    if without:
        raise DataError(
            f"a training label in {folder} for every image of the training split",
            f"{several(without, 'image')} without one: {named(without)}",
            "Bring them, or take these images out of splits/train.txt.",
        )
    paths = [path for name in data.splits["train"] if (path := data.cases[name].train_label) is not None]
    scan = scanner.mask_values(paths)
    if scan.errors:
        raise FolderError([damaged(scan.errors)])
    values = {value for found in scan.found.values() if not found.is_color for value in found.counts}
    coding, ignore_index = data.coding, data.ignore_index
    declared = {found.nodata for found in scan.found.values()}
    unlabelled = sorted(
        value for value in values if value < 0 or ((value == 255 or value in declared) and value not in coding.table)
    )
    if unlabelled:
        if ignore_index is None:
            ignore_index = free_void(data.num_classes)
        coding = replace(coding, ignored=(*coding.ignored, *unlabelled), ignore_index=ignore_index)
    strangers: dict[int, int] = {}
    labelled = pixels = 0
    for path, found in scan.found.items():
        if not found.is_color:
            for value in set(found.counts) - set(coding.table):
                strangers[value] = strangers.get(value, 0) + found.counts[value]
            if strangers:
                continue
        counts = decoded_counts(found, coding, path)
        pixels += sum(counts.values())
        labelled += sum(count for label, count in counts.items() if 0 <= label < data.num_classes)
    if strangers and coding.unknown == "error":
        problem = coding.unknown_error(strangers)
        raise DataError(
            f"the classes and one value for unlabelled pixels (255, or ignore_index) in {folder}",
            problem.got,
            f'If {max(strangers)} means unlabelled, write "ignore_index": {max(strangers)} into classes.json.',
        )
    note = (
        f"The training split is trained on the labels in {folder.name}/, which cover "
        f"{labelled / max(pixels, 1):.2%} of its pixels; val and test are judged by the full masks."
    )
    notes = (*data.notes, note)
    return replace(data, train_coding=coding, ignore_index=ignore_index, notes=notes)
