"""An nnU-Net raw folder: dataset.json, imagesTr/NAME_0000.nii.gz (one file a channel), labelsTr/NAME.nii.gz."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcrit.data.classes import ClassesFile
from segcrit.data.formats import file_format, stem
from segcrit.data.layout import Layout, files_by_stem, pair_up
from segcrit.data.model import Case
from segcrit.data.problems import FolderError, Problem, named
from segcrit.encodings.class_list import Entry
from segcrit.errors import DataError

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


def read_nnunet(root: Path) -> NnUnetFolder:
    """Find the training cases of an nnU-Net folder.

    Images without labels (imagesTs) cannot be judged and are left out. Labels that are lists of numbers (regions) are
    read by the numbers in the files.

    Raises:
        DataError: dataset.json is damaged, or a channel of a case is missing.
    """
    file = root / "dataset.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise DataError(f"an object in {file}", type(content).__name__, "Correct the file.")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError("a readable dataset.json", f"{file}: {error}", "Correct the file.") from error
    layout = Layout({})
    classes = _classes(content.get("labels"), file, layout)
    channels = content.get("channel_names", content.get("modality", {}))
    listed = content.get("dataset")
    if isinstance(listed, dict) and listed:
        _listed_cases(root, listed, layout)
    else:
        _found_cases(root, len(channels) if isinstance(channels, Mapping) else 0, layout)
    layout.notes.insert(
        0, "An nnU-Net folder: the training cases are used, split anew; imagesTs has no labels and is left out."
    )
    parts = [str(content[key]) for key in ("description", "reference", "licence", "license") if content.get(key)]
    return NnUnetFolder(layout, classes, str(content.get("name") or root.name), " · ".join(parts))


def _classes(labels: Any, file: Path, layout: Layout) -> ClassesFile:
    if not isinstance(labels, dict) or not labels:
        raise DataError(f'"labels" in {file}', "none", 'Write {"labels": {"background": 0, "tumour": 1}}.')
    names: dict[int, str] = {}
    ignored: tuple[int, ...] = ()
    regions = [name for name, value in labels.items() if isinstance(value, list)]
    for key, value in labels.items():
        if isinstance(value, list):
            for number in value:
                names.setdefault(int(number), f"label {number}")
            continue
        # Version 2 writes name -> number, version 1 and the Decathlon number -> name.
        name, number = (str(value), key) if isinstance(value, str) and not value.isdigit() else (str(key), value)
        try:
            index = int(number)
        except (TypeError, ValueError):
            raise DataError(f"numbers for the labels in {file}", f"{key!r}: {value!r}", "Correct it.") from None
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


def _found_cases(root: Path, channels: int, layout: Layout) -> None:
    folders = root / "imagesTr", root / "labelsTr"
    for folder in folders:
        if not folder.is_dir():
            raise FolderError(
                [
                    Problem.error(
                        "no-images",
                        f"the folder {folder.name}/ beside dataset.json in {root}",
                        "none",
                        "Lay the data out as nnU-Net wants it, or as images/ and masks/.",
                    )
                ]
            )
    files = [path for path in sorted(folders[0].iterdir()) if file_format(path) and path.name[0] != "."]
    by_case: dict[str, dict[int, Path]] = {}
    for path in files:
        match = _CHANNEL.match(stem(path))
        name, channel = (match["name"], int(match["channel"])) if match else (stem(path), 0)
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
                f"{count} channels (_0000 to _{count - 1:04d}) of every case in {folders[0]}",
                f"{len(incomplete)} cases without all of them: {named(incomplete)}",
                "Bring the missing files.",
                incomplete,
            )
        )
    firsts = {name: parts[min(parts)] for name, parts in by_case.items()}
    masks = files_by_stem(folders[1], layout)
    if not firsts or not masks:
        empty = folders[0] if not firsts else folders[1]
        raise FolderError([Problem.error("no-images", f"image files in {empty}", "none", "Put the files there.")])
    firsts, masks = pair_up(firsts, masks, layout)
    for name in sorted(set(firsts) & set(masks)):
        parts = by_case[name]
        layout.cases[name] = Case(tuple(parts[channel] for channel in sorted(parts)), masks[name])
