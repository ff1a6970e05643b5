"""An nnU-Net raw folder: dataset.json, imagesTr/NAME_0000.nii.gz (one file a channel), labelsTr/NAME.nii.gz."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcrit.core.atomic import read_text
from segcrit.core.errors import DataError
from segcrit.core.json_files import parse_json
from segcrit.data.coding.classes import ClassesFile
from segcrit.data.folders.layout import Layout, images_in, pair_up
from segcrit.data.folders.walking import find_images
from segcrit.data.model import Case
from segcrit.data.problems import FolderError, Problem, named
from segcrit.labels.class_list import Entry

__all__ = ["NnUnetFolder", "is_nnunet", "read_nnunet"]

_CHANNEL = re.compile(r"^(?P<name>.+)_(?P<channel>\d{4})$")


@dataclass
class NnUnetFolder:
    """The cases of an nnU-Net folder and what its dataset.json says."""

    layout: Layout
    classes: ClassesFile
    name: str
    description: str


def is_nnunet(root: Path) -> bool:
    """Whether a folder is laid out as nnU-Net (version 1 or 2) wants it."""
    return (root / "dataset.json").is_file() and not (root / "images").is_dir()


def read_nnunet(root: Path, pattern: str | None = None) -> NnUnetFolder:
    """Find the cases of an nnU-Net folder: those of imagesTr, and as test images those of imagesTs that have labels.

    Images without labels cannot be judged and are left out. Labels that are lists of numbers (regions) are
    read by the numbers in the files.

    Raises:
        DataError: dataset.json is damaged, or a channel of a case is missing.
    """
    file = root / "dataset.json"
    content = parse_json(read_text(file), f"a readable {file.name}", f"Correct {file}.")
    if not isinstance(content, dict):
        raise DataError(f"an object in {file}", type(content).__name__, "Correct the file.")
    layout = Layout({})
    classes = _classes(content.get("labels"), file, layout)
    channels = content.get("channel_names", content.get("modality", {}))
    listed = content.get("dataset")
    if isinstance(listed, dict) and listed:
        _listed_cases(root, listed, layout)
    else:
        count = len(channels) if isinstance(channels, Mapping) else 0
        _found_cases(root / "imagesTr", root / "labelsTr", count, layout, pattern)
        if all((root / name).is_dir() and find_images(root / name).files for name in ("imagesTs", "labelsTs")):
            _test_cases(root, count, layout, pattern)
    told = (
        "labelsTs holds the test images, the training cases are split into train and val."
        if layout.splits
        else "the training cases are used, split anew; imagesTs has no labels and is left out."
    )
    layout.notes.insert(0, f"An nnU-Net folder: {told}")
    parts = [str(content[key]) for key in ("description", "reference", "licence", "license") if content.get(key)]
    return NnUnetFolder(layout, classes, str(content.get("name") or root.name), " · ".join(parts))


def _label(number: Any, name: str, file: Path) -> int:
    try:
        return int(number)
    except (TypeError, ValueError, OverflowError):
        shown = f"{name!r}: {reprlib.repr(number)}"
        raise DataError(f"numbers for the labels in {file}", shown, "Correct it.") from None


def _classes(labels: Any, file: Path, layout: Layout) -> ClassesFile:
    if not isinstance(labels, dict) or not labels:
        raise DataError(f'"labels" in {file}', "none", 'Write {"labels": {"background": 0, "tumour": 1}}.')
    names: dict[int, str] = {}
    ignored: tuple[int, ...] = ()
    regions = [name for name, value in labels.items() if isinstance(value, list)]
    for key, value in labels.items():
        if isinstance(value, list):
            for number in value:
                names.setdefault(_label(number, key, file), f"label {number}")
            continue
        # Version 2 writes name -> number, version 1 and the Decathlon number -> name.
        name, number = (str(value), key) if isinstance(value, str) and not value.isdigit() else (str(key), value)
        index = _label(number, key, file)
        if name.lower() == "ignore":
            ignored = (index,)
        else:
            names[index] = name
    if regions:
        layout.notes.append(
            f"The regions {named(regions)} overlap; their numbers are taken as classes of their own instead."
        )
    entries = tuple(Entry(index, names[index], None) for index in sorted(names))
    return ClassesFile(entries, tuple((entry.index,) for entry in entries), ignored, bool(ignored), None, None, "error")


def _listed_cases(root: Path, listed: Mapping[str, Any], layout: Layout) -> None:
    """Cases that dataset.json lists with their files."""
    for name, files in listed.items():
        try:
            images = tuple((root / path).resolve() for path in files["images"])
            mask = (root / files["label"]).resolve()
        except (KeyError, TypeError):
            raise DataError(
                f'"images" and "label" for case {name!r} in {root / "dataset.json"}', repr(files), "Correct it."
            ) from None
        absent = [path for path in (*images, mask) if not path.is_file()]
        if absent or not images:
            layout.problems.append(
                Problem.error(
                    "missing-file",
                    f"the files of case {name!r} in dataset.json",
                    f"no file {named([str(path) for path in absent], 2)}",
                    "Bring it, or take the case out.",
                    [name],
                )
            )
            continue
        layout.cases[name] = Case(images, mask)


def _test_cases(root: Path, channels: int, layout: Layout, pattern: str | None) -> None:
    """The cases of imagesTs and labelsTs, which nnU-Net itself never trains on."""
    own = Layout({})
    # Images without labels cannot be judged, as all of imagesTs where there is no labelsTs.
    _found_cases(root / "imagesTs", root / "labelsTs", channels, own, pattern, listed=())
    both = sorted(set(own.cases) & set(layout.cases))
    if both:
        raise DataError(
            f"other cases in imagesTs than in imagesTr of {root}",
            f"{named(both)} in both",
            "Rename or remove one of the two: a network is not judged on what it was trained on.",
        )
    layout.cases |= own.cases
    layout.problems += own.problems
    layout.notes += own.notes
    layout.aliases |= own.aliases
    layout.splits["test"] = tuple(own.cases)


def _found_cases(
    images: Path,
    labels: Path,
    channels: int,
    layout: Layout,
    pattern: str | None,
    listed: Sequence[str] | None = None,
) -> None:
    for folder in (images, labels):
        if not folder.is_dir():
            raise FolderError(
                [
                    Problem.error(
                        "no-images",
                        f"the folder {folder.name}/ beside dataset.json in {folder.parent}",
                        "none",
                        "Lay the data out as nnU-Net wants it, or as images/ and masks/.",
                    )
                ]
            )
    by_case: dict[str, dict[int, Path]] = {}
    for file, path in images_in(images, layout).items():
        match = _CHANNEL.match(file)
        name, channel = (match["name"], int(match["channel"])) if match else (file, 0)
        by_case.setdefault(name, {})[channel] = path
    count = max(channels, max((max(parts) + 1 for parts in by_case.values()), default=1))
    # Where one file holds all channels (natural images, the Decathlon), there is a single one a case.
    if all(set(parts) == {0} for parts in by_case.values()):
        count = 1
    incomplete = [name for name, parts in by_case.items() if set(parts) != set(range(count))]
    if incomplete:
        layout.problems.append(
            Problem.error(
                "missing-channel",
                f"{count} channels (_0000 to _{count - 1:04d}) of every case in {images}",
                f"{len(incomplete)} cases without all of them: {named(incomplete)}",
                "Bring the missing files.",
                incomplete,
            )
        )
    firsts = {name: parts[min(parts)] for name, parts in by_case.items()}
    names = {path: name for name, path in firsts.items()}
    paired, masks = pair_up(firsts, images_in(labels, layout, "masks"), layout, pattern, listed)
    for name in sorted(set(paired) & set(masks)):
        parts = by_case[names[paired[name]]]
        layout.cases[name] = Case(tuple(parts[channel] for channel in sorted(parts)), masks[name])
