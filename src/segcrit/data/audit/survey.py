"""A look at every file's header: sizes, channels, kinds of pixel; what does not fit together becomes a problem."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segcrit.core.errors import DataError
from segcrit.data.files.axes import fits, may_be_reversed
from segcrit.data.files.formats import Header
from segcrit.data.files.stored_labels import require_plain, short_axis
from segcrit.data.folders.layout import most_common
from segcrit.data.model import Case
from segcrit.data.problems import Problem, named, several
from segcrit.data.reading import header_channels, image_layout, mask_shape, read_stored_mask, shown_size
from segcrit.data.scanning import Scanner

__all__ = ["Survey", "survey_files"]


@dataclass
class Survey:
    """What the headers say.

    Attributes:
        headers: of every file that could be opened.
        spatial_dims: 2 or 3.
        channels: of the images.
        nodata: values that files declare as missing.
        problems: what does not fit.
        notes: what was decided.
        doubts: what is doubtful, warnings.
        is_lossy: whether masks are stored with loss (JPEG): their values tell whether they can be read.
    """

    headers: dict[Path, Header]
    spatial_dims: int = 2
    channels: int = 1
    nodata: tuple[float, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[Problem] = field(default_factory=list)
    is_lossy: bool = False


def survey_files(cases: Mapping[str, Case], scanner: Scanner) -> Survey:
    """Read all headers and compare the sizes of images, masks, training labels and weights."""
    images = [path for case in cases.values() for path in case.images]
    masks = [case.mask for case in cases.values()]
    others = [
        path for case in cases.values() for path in (case.train_label, case.weight, case.valid) if path is not None
    ]
    scan = scanner.headers([*images, *masks, *others])
    survey = Survey(scan.found)
    if scan.errors:
        survey.problems.append(damaged(scan.errors))
    survey.is_lossy = any(path in scan.found and scan.found[path].lossy for path in masks)
    doubtful = {name: error for name, case in cases.items() if (error := _doubt(case.mask, survey)) is not None}
    if doubtful:
        survey.problems.append(_gathered("doubtful-values", doubtful))
    survey.spatial_dims = 3 if any(_is_volume(case, survey) for case in cases.values()) else 2
    _compare_sizes(cases, survey)
    # Of images alone: what masks declare as missing is their own matter.
    headers = [scan.found[path] for path in images if path in scan.found]
    declared = {header.nodata for header in headers if header.nodata is not None and math.isfinite(header.nodata)}
    survey.nodata = tuple(sorted(declared))
    _note_modes(images, masks, survey)
    return survey


def _doubt(mask: Path, survey: Survey) -> DataError | None:
    if mask in survey.headers:
        try:
            require_plain(survey.headers[mask], mask)
        except DataError as error:
            return error
    return None


def _is_volume(case: Case, survey: Survey) -> bool:
    """Whether a mask is a volume; one of three axes may also be a map with channels beside a flat image."""
    header = survey.headers.get(case.mask)
    if header is None or len(mask_shape(header)) != 3:
        return False
    image = survey.headers.get(case.images[0])
    if header.axes != "???" or image is None:
        return True
    axis = image_layout(image.shape, image.axes, None, case.images[0])
    size = image.shape if axis is None else image.shape[:axis] + image.shape[axis + 1 :]
    short = short_axis(header.shape)
    if size != header.shape[:short] + header.shape[short + 1 :]:
        return True
    if "?" not in image.axes:
        return False
    try:  # two arrays of the same kind: the values of the mask tell
        return read_stored_mask(case.mask).array.ndim == 3
    except DataError:
        return True


def damaged(errors: Mapping[Path, DataError]) -> Problem:
    """The problem of files that cannot be read."""
    first = next(iter(errors.values()))
    code = "jpeg-masks" if all(error.code == "lossy" for error in errors.values()) else "unreadable"
    more = "" if len(errors) == 1 else f" and {len(errors) - 1} more files: {named([path.name for path in errors][1:])}"
    return Problem.error(
        code,
        first.expected,
        first.got + more,
        first.advice,
        [path.name for path in errors],
    )


def _compare_sizes(cases: Mapping[str, Case], survey: Survey) -> None:
    sizes: dict[str, DataError] = {}
    rotations: dict[str, DataError] = {}
    channels: Counter[int] = Counter()
    beside: dict[str, str] = {}
    unsure: list[str] = []
    for name, case in cases.items():
        mask = survey.headers.get(case.mask)
        if mask is None:
            continue
        size = mask_shape(mask, survey.spatial_dims)
        if may_be_reversed(case.mask, case.images[0]) and fits(size, size) == "both":
            unsure.append(name)
        count = 0
        for path in case.images:
            header = survey.headers.get(path)
            if header is None:
                count = -len(case.images)
                continue
            try:
                count += header_channels(header, size, path)
            except DataError as error:
                if may_be_reversed(case.mask, path) and fits(header.shape, size) == "reversed":
                    error = DataError(
                        error.expected,
                        f"{error.got}, the same in reverse",
                        "Save masks and images in one format: arrays "
                        "from SimpleITK and TIFF stacks are (Z, Y, X), NIfTI volumes (X, Y, Z).",
                    )
                (rotations if error.code == "exif-rotation" else sizes)[name] = error
                count = -len(case.images)
        if count > 0:
            channels[count] += 1
        for other in (case.train_label, case.weight, case.valid):
            found = survey.headers.get(other) if other is not None else None
            if other is not None and found is not None and mask_shape(found, survey.spatial_dims) != size:
                beside[f"{other.parent.name}/{other.name}"] = (
                    f"{shown_size(mask_shape(found, survey.spatial_dims))} beside {shown_size(size)}"
                )
    if unsure:
        survey.doubts.append(
            Problem.warning(
                "axes-unknown",
                f"{several(unsure, 'mask')} and their images, of which one is NIfTI and the other is not, have equal first "
                f"and last sides; their axes are taken to run in one order, (X, Y, Z): {named(unsure)}",
                "Arrays from SimpleITK and TIFF stacks are (Z, Y, X): save such masks as NIfTI.",
                unsure,
            )
        )
    for code, errors in (("sizes-differ", sizes), ("exif-rotation", rotations)):
        if errors:
            survey.problems.append(_gathered(code, errors))
    if beside:
        examples = [f"{path} ({sizes})" for path, sizes in beside.items()]
        survey.problems.append(
            Problem.error(
                "sizes-differ",
                "training labels, valid areas and weights of the size of the masks",
                f"{len(beside)} of another size: {named(examples, 2)}",
                "Resize them by nearest neighbour.",
                list(beside),
            )
        )
    _decide_channels(channels, survey)


def _gathered(code: str, errors: Mapping[str, DataError]) -> Problem:
    first = next(iter(errors.values()))
    names = list(errors)
    got = first.got if len(names) == 1 else f"{first.got}; so in {len(names)} images: {named(names)}"
    return Problem.error(code, first.expected, got, first.advice, names)


def _decide_channels(channels: Counter[int], survey: Survey) -> None:
    if not channels:
        return
    survey.channels = max(channels)
    if set(channels) == {1, 3}:
        survey.notes.append(
            f"{channels[1]} grey images among {channels[3]} colour images are read as colour (R = G = B)."
        )
    elif len(channels) > 1:
        counts = ", ".join(f"{count} images with {number}" for number, count in channels.most_common())
        survey.problems.append(
            Problem.error(
                "channels-differ",
                "the same number of channels in all images",
                counts,
                "Save all images with the same channels.",
                count=sum(channels.values()),
            )
        )


def _note_modes(images: Sequence[Path], masks: Sequence[Path], survey: Survey) -> None:
    headers = survey.headers
    alpha = sum("+alpha" in headers[path].mode for path in images if path in headers)
    if alpha:
        survey.notes.append(f"{alpha} images have an alpha channel, which is dropped.")
    see_through = sum("+alpha" in headers[path].mode for path in masks if path in headers)
    if see_through:
        survey.notes.append(f"{see_through} masks have an alpha channel, which is dropped: transparent pixels count.")
    deep = sum("16 bits" in headers[path].mode for path in images if path in headers)
    if deep:
        survey.notes.append(
            f"{deep} colour PNGs of 16 bits are read with 8 bits; save them as TIFF or npy to keep all bits."
        )
    turned = sum(headers[path].orientation != 1 for path in images if path in headers)
    if turned:
        survey.notes.append(
            f"{turned} images carry an EXIF rotation: it is applied where that makes the image fit its mask, and only there."
        )
    modes = [headers[path].mode for path in masks if path in headers]
    if len(set(modes)) > 1:
        survey.notes.append(f"Masks are stored in different ways: {most_common(modes)}.")
