"""The checks of an audit: each looks at figures that were measured and returns the problems it sees."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segcrit.core.atomic import open_regular
from segcrit.data.coding.mask_coding import value_ranges
from segcrit.data.folders.layout import most_common
from segcrit.data.intensity import ImageFigures
from segcrit.data.model import SPLITS, SegmentationData
from segcrit.data.normalise import MOST_RATIO, scale_ratio
from segcrit.data.problems import Problem, named
from segcrit.data.scanning import Scanner

if TYPE_CHECKING:
    from segcrit.data.audit.label_counts import LabelTable

__all__ = ["check_duplicates", "check_geometry", "check_intensities", "check_labels", "check_splits"]

# A class in fewer images than this of a split gives figures that hang on one image.
_FEW = 3


def check_labels(data: SegmentationData, table: LabelTable, *, training: bool = False) -> list[Problem]:
    """Unknown values, masks that cannot be read, masks without a label, masks of one class, mixed ways of storing."""
    kind = "training labels" if training else "masks"
    coding = data.train_coding if training and data.train_coding is not None else data.coding
    problems = []
    if table.unknown:
        pixels: Counter[int] = Counter()
        for found in table.unknown.values():
            pixels.update(found)
        listing = ", ".join(f"{value} ({count} pixels)" for value, count in pixels.most_common(5))
        more = f" and {len(pixels) - 5} more values" if len(pixels) > 5 else ""
        problems.append(
            Problem.error(
                "unknown-labels",
                f"values {value_ranges([*coding.classes, *coding.ignored])} in the {kind}",
                f"{listing}{more} in {len(table.unknown)} of {len(table.ids)} {kind}: {named(list(table.unknown))}",
                coding.advice_for(pixels),
                list(table.unknown),
            )
        )
    if table.errors:
        first = next(iter(table.errors.values()))
        names = list(table.errors)
        more = f" ({len(names)} {kind}: {named(names)})" if len(names) > 1 else ""
        problems.append(Problem.error("unreadable", first.expected, first.got + more, first.advice, names))
    readable = np.array([name in table.values and name not in table.unknown for name in table.ids], dtype=bool)
    labelled = table.counts.sum(axis=1)
    empty = [name for name, count, ok in zip(table.ids, labelled, readable, strict=True) if ok and count == 0]
    if empty:
        problems.append(
            Problem.warning(
                "empty-masks",
                f"In {len(empty)} {kind} every pixel is ignored: {named(empty)}",
                "They teach and test nothing; take them out, or check them.",
                empty,
            )
        )
    single = (table.counts > 0).sum(axis=1) == 1
    constant = [name for name, one in zip(table.ids, single & readable, strict=True) if one]
    if constant:
        common = most_common(
            data.classes[int(row.argmax())].name
            for row, one in zip(table.counts, single & readable, strict=True)
            if one
        )
        make = Problem.warning if len(constant) > len(table.ids) / 2 and not training else Problem.note
        problems.append(
            make(
                "constant-masks",
                f"{len(constant)} of {len(table.ids)} {kind} hold one class only: {common}",
                "That is as it should be where an image holds no object; otherwise check them.",
                constant,
            )
        )
    return [*problems, *_check_palettes(table)]


def _check_palettes(table: LabelTable) -> list[Problem]:
    """Palette masks that draw one value in different colours may mean different classes by it."""
    colors: dict[int, Counter[tuple[int, ...]]] = {}
    for values in table.values.values():
        if values.palette is not None:
            for value in values.counts:
                if 0 <= value < len(values.palette):
                    colors.setdefault(value, Counter())[tuple(values.palette[value].tolist())] += 1
    torn = {value: found for value, found in colors.items() if len(found) > 1}
    if not torn:
        return []
    value, found = next(iter(torn.items()))
    return [
        Problem.warning(
            "palettes-differ",
            f"Palette masks draw one value in different colours: value {value} as {most_common(found.elements())}",
            "If the files number their classes differently, save them anew with one palette.",
        )
    ]


def check_splits(data: SegmentationData, table: LabelTable) -> list[Problem]:
    """Classes that a split lacks or that hardly occur in it, and groups that stand on both sides."""
    problems = []
    row_of = {name: row for row, name in enumerate(table.ids)}
    images = {split: (table.counts[[row_of[name] for name in data.splits[split]]] > 0).sum(axis=0) for split in SPLITS}
    everywhere = sum(images.values())
    names = data.class_names
    absent = [names[label] for label in range(data.num_classes) if everywhere[label] == 0]
    if absent:
        problems.append(
            Problem.warning(
                "class-absent",
                f"No mask holds {named(absent, 6)}",
                "Take the class out of classes.json, or bring images of it; its IoU will not be defined.",
            )
        )
    for split in SPLITS:
        lacking = [names[c] for c in range(data.num_classes) if everywhere[c] and not images[split][c]]
        few = [f"{names[c]} ({images[split][c]})" for c in range(data.num_classes) if 0 < images[split][c] < _FEW]
        if lacking:
            consequence = "cannot be learnt" if split == "train" else "does not enter its mean IoU"
            problems.append(
                Problem.warning(
                    "class-missing-in-split",
                    f"The {split} split holds no {named(lacking, 6)}",
                    f"Such a class {consequence}; divide the images anew (without splits/, segcrit does it).",
                )
            )
        if few and len(data.splits[split]) > 2 * _FEW:
            problems.append(
                Problem.note(
                    "class-rare-in-split",
                    f"In the {split} split some classes are in one or two images only: {named(few, 6)}",
                    "The figures of such a class hang on single images.",
                )
            )
    if data.groups is not None:
        places: dict[str, set[str]] = {}
        for split in SPLITS:
            for name in data.splits[split]:
                places.setdefault(data.groups[name], set()).add(split)
        torn = sorted(group for group, found in places.items() if len(found) > 1)
        if torn:
            problems.append(
                Problem.warning(
                    "group-divided",
                    f"{len(torn)} groups stand in several splits: {named(torn)}",
                    "Results on the test split will look better than they are; make the splits by group.",
                    torn,
                )
            )
    return problems


def check_geometry(data: SegmentationData, scanner: Scanner) -> list[Problem]:
    """Volumes whose mask lies elsewhere in space than the image, and voxels of different size."""
    cases = {name: data.case(name) for name in data.ids}
    headers = scanner.headers([path for case in cases.values() for path in (*case.images, case.mask)]).found
    shifted = []
    spacings = []
    for name, case in cases.items():
        image, mask = headers.get(case.images[0]), headers.get(case.mask)
        if image is None or mask is None:
            continue
        if image.spacing is not None:
            spacings.append(image.spacing)
        if not image.lies_like(mask):
            shifted.append(name)
    problems = []
    if shifted:
        problems.append(
            Problem.warning(
                "affine-differs",
                f"{len(shifted)} masks lie elsewhere in space (NIfTI affine) than their images: {named(shifted)}",
                "segcrit pairs voxels by their index; check in a viewer that these masks are not flipped or shifted.",
                shifted,
            )
        )
    if spacings and len({len(entry) for entry in spacings}) == 1:
        table = np.array(spacings)
        if (table.max(axis=0) > 1.2 * table.min(axis=0)).any():
            low, high = ("×".join(f"{value:.3g}" for value in edge) for edge in (table.min(axis=0), table.max(axis=0)))
            problems.append(
                Problem.note(
                    "spacing-differs",
                    f"Voxels differ in size from {low} to {high}",
                    "Volumes are not resampled; objects will have different sizes in voxels.",
                )
            )
    return problems


def check_intensities(data: SegmentationData, found: Mapping[Path, ImageFigures]) -> list[Problem]:
    """Constant images, missing values, ranges that differ between cases, mixed types."""
    problems = []
    figures = {name: [found[path] for path in data.case(name).images if path in found] for name in data.ids}
    flat = [
        name
        for name, parts in figures.items()
        if parts and all(channel.minimum == channel.maximum for part in parts for channel in part.channels)
    ]
    if flat:
        problems.append(
            Problem.warning(
                "constant-images",
                f"In {len(flat)} images every pixel has the same value: {named(flat)}",
                "Check them; nothing can be learnt from them.",
                flat,
            )
        )
    holes = {name: max(part.missing for part in parts) for name, parts in figures.items() if parts}
    missing = [name for name, share in holes.items() if share > 0]
    if missing:
        values = sorted({value for parts in figures.values() for part in parts for value in part.nodata})
        meaning = f" ({', '.join(f'{value:g}' for value in values)})" if values else " (NaN or infinite)"
        problems.append(
            Problem.note(
                "missing-values",
                f"{len(missing)} images have missing values{meaning}, at most {max(holes.values()):.1%} of one",
                "They are left out of the statistics and become the mean. Ignore such pixels in the masks as well.",
                missing,
            )
        )
    whole = [[channel for part in parts for channel in part.channels] for parts in figures.values() if parts]
    same = [case for case in whole if len(case) == len(whole[0])]
    kinds = {part.dtype for parts in figures.values() for part in parts}
    ratio = scale_ratio(same) if same else 1.0
    if ratio > MOST_RATIO and not kinds <= {"uint8", "bool"}:
        problems.append(
            Problem.note(
                "intensity-ranges",
                f"Intensity ranges differ {ratio:,.0f} times between cases",
                "Every image is therefore normalised by itself.",
            )
        )
    if len(kinds) > 1 and ratio <= MOST_RATIO:
        problems.append(
            Problem.note(
                "types-differ",
                f"Images are stored as different types: {', '.join(sorted(kinds))}",
                "Check that their scales agree.",
            )
        )
    return problems


def check_duplicates(data: SegmentationData, scanner: Scanner) -> list[Problem]:
    """Image files that are the same, byte for byte; between training and test they make results look better."""
    split_of = {name: split for split in SPLITS for name in data.splits[split]}
    by_size: dict[int, list[str]] = {}
    for name in data.ids:
        try:
            by_size.setdefault(data.case(name).images[0].stat().st_size, []).append(name)
        except OSError:
            continue
    suspects = [name for names in by_size.values() if len(names) > 1 for name in names]
    paths = {data.case(name).images[0]: name for name in suspects}
    digests = scanner.run("digest", list(paths), _digest, "Looking for duplicates").found
    same: dict[str, list[str]] = {}
    for path, digest in digests.items():
        same.setdefault(digest, []).append(paths[path])
    twins = [sorted(names) for names in same.values() if len(names) > 1]
    across = [names for names in twins if len({split_of[name] for name in names}) > 1]
    problems = []
    if across:
        shown = [" = ".join(f"{name} ({split_of[name]})" for name in names) for names in across]
        problems.append(
            Problem.warning(
                "duplicates-across-splits",
                f"{len(across)} images stand under several names in different splits: {named(shown, 2)}",
                "Results will look better than they are; keep one of each.",
                [name for names in across for name in names],
            )
        )
    within = [names for names in twins if names not in across]
    if within:
        problems.append(
            Problem.note(
                "duplicates",
                f"{len(within)} images occur several times in a split: {named([' = '.join(n) for n in within], 2)}",
                "They count several times.",
                [name for names in within for name in names],
            )
        )
    return problems


def _digest(path: Path) -> str:
    state = hashlib.blake2b(digest_size=16)
    with open_regular(path) as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()
