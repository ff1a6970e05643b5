"""The classes of data sets that people download: from files that come with them, or by the names of their label files.

Sources: cityscapesScripts (helpers/labels.py), the VOC 2012 development kit, ADEChallengeData2016 (objectInfo150.txt),
COCO-Stuff (stuffthingmaps), LoveDA (arXiv 2110.08733, values 1 to 7, 0 no data), CVAT's format Segmentation mask
(labelmap.txt) and Supervisely's app Export to masks (obj_class_to_machine_color.json).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from segcrit.core import json_files
from segcrit.core.errors import DataError, ParameterError
from segcrit.data.coding.class_names import read_class_names
from segcrit.data.coding.classes import VOID, ClassesFile
from segcrit.data.files.formats import stem
from segcrit.labels.class_list import Entry, as_color

__all__ = ["known_classes"]

Color = tuple[int, int, int]

# Name, number in labelIds, colour; the place in the list is the number in labelTrainIds.
_CITYSCAPES: tuple[tuple[str, int, Color], ...] = (
    ("road", 7, (128, 64, 128)), ("sidewalk", 8, (244, 35, 232)), ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)), ("fence", 13, (190, 153, 153)), ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)), ("traffic sign", 20, (220, 220, 0)), ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)), ("sky", 23, (70, 130, 180)), ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)), ("car", 26, (0, 0, 142)), ("truck", 27, (0, 0, 70)), ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)), ("motorcycle", 32, (0, 0, 230)), ("bicycle", 33, (119, 11, 32)),
)  # fmt: skip
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_LOVEDA = ("background", "building", "road", "water", "barren", "forest", "agriculture")
_ADE_CLASSES = 150
# Things and stuff with indices 0 to 181, of which 11 never occur; 255 is unlabelled.
_COCO_STUFF_CLASSES = 182


def known_classes(folders: Iterable[Path], masks: Sequence[Path]) -> tuple[ClassesFile, Path] | None:
    """The classes of label files, and what tells them; None where nothing does.

    Args:
        folders: where a file that describes them may lie, the likeliest first.
        masks: the label files.

    Raises:
        DataError: a file that describes the classes is damaged.
    """
    for folder in folders:
        for name, read in _DESCRIPTIONS.items():
            if (folder / name).is_file():
                return read(folder / name), folder / name
    if not masks:
        return None
    names = [stem(path) for path in masks]
    for pattern, make in _BY_NAME:
        if all(re.search(pattern, name) for name in names):
            return make(), masks[0].parent
    if all(path.parent.name == "masks_png" and path.parent.parent.name in ("Urban", "Rural") for path in masks):
        return _listed(_LOVEDA, first=1, ignored=(0,)), masks[0].parent
    if all("stuffthingmaps" in path.parts for path in masks):
        return _listed([f"class {value}" for value in range(_COCO_STUFF_CLASSES)]), masks[0].parent
    return None


def _file(
    entries: Sequence[Entry], stored: Sequence[int], ignored: Sequence[int], void: Color | None = None
) -> ClassesFile:
    values = tuple((value,) for value in stored)
    return ClassesFile(tuple(entries), values, tuple(ignored), True, None, void, "error")


def _listed(names: Sequence[str], first: int = 0, ignored: Sequence[int] = (VOID,)) -> ClassesFile:
    entries = [Entry(label, name, None) for label, name in enumerate(names)]
    return _file(entries, range(first, first + len(names)), ignored)


def _cityscapes_ids() -> ClassesFile:
    entries = [Entry(label, name, color) for label, (name, _, color) in enumerate(_CITYSCAPES)]
    numbers = [number for _, number, _ in _CITYSCAPES]
    return _file(entries, numbers, [VOID, *(value for value in range(34) if value not in numbers)])


def _cityscapes_train_ids() -> ClassesFile:
    entries = [Entry(label, name, color) for label, (name, _, color) in enumerate(_CITYSCAPES)]
    return _file(entries, range(len(entries)), (VOID,))


def _ade() -> ClassesFile:
    return _listed([f"class {value}" for value in range(1, _ADE_CLASSES + 1)], first=1, ignored=(0,))


_BY_NAME: tuple[tuple[str, Callable[[], ClassesFile]], ...] = (
    (r"_gtFine_labelIds$", _cityscapes_ids),
    (r"_gtFine_labelTrainIds$", _cityscapes_train_ids),
    (r"^ADE_(train|val)_\d{8}$", _ade),
    (r"^20\d\d_\d{6}$", lambda: _listed(_VOC)),
)


def _labelmap(path: Path) -> ClassesFile:
    """CVAT: ``name:red,green,blue:parts:actions``, the number of a line is the number of its class."""
    rows = read_class_names(path)
    try:
        entries = [Entry(label, row["name"], as_color(row["color"])) for label, row in enumerate(rows)]
    except (KeyError, ParameterError):
        raise DataError(f"lines 'name:red,green,blue::' in {path}", "others", "Export it from CVAT again.") from None
    return _file(entries, range(len(entries)), ())


def _machine_colors(path: Path) -> ClassesFile:
    """Supervisely: class name -> three equal numbers; what no class covers is 0."""
    content = json_files.read_json(path, "an object", "Export the project from Supervisely again.")
    shown = _meta_colors(path.parent / "meta.json")
    try:
        values = {str(name): int(color[0]) for name, color in content.items()}
    except (AttributeError, TypeError, ValueError, LookupError, OverflowError):
        raise DataError(
            f'{{"name": [1, 1, 1], ...}} in {path}', "something else", "Export the project again."
        ) from None
    if 0 not in values.values():
        values = {"background": 0} | values
        shown |= {"background": (0, 0, 0)} if "background" not in shown else {}
    ordered = sorted(values.items(), key=lambda entry: entry[1])
    entries = [Entry(label, name, shown.get(name)) for label, (name, _) in enumerate(ordered)]
    return _file(entries, [value for _, value in ordered], ())


def _meta_colors(path: Path) -> dict[str, Color]:
    try:
        content: Any = json_files.read_json(path)
        return {str(entry["title"]): as_color(entry["color"]) for entry in content["classes"]}
    except (OSError, DataError, ParameterError, LookupError, TypeError):
        return {}  # colours are for pictures: others do as well


def _object_info(path: Path) -> ClassesFile:
    """ADE20K: a table with a title, whose column Idx is the value in the files."""
    names = {row["index"]: row["name"] for row in read_class_names(path)}
    if 0 in names:  # lines without the title are counted from 0
        raise DataError(f"a table of numbers and names in {path}", "something else", "Download it again.")
    entries = [Entry(label, names[value], None) for label, value in enumerate(sorted(names))]
    return _file(entries, sorted(names), (0,))


_DESCRIPTIONS: dict[str, Callable[[Path], ClassesFile]] = {
    "labelmap.txt": _labelmap,
    "obj_class_to_machine_color.json": _machine_colors,
    "objectInfo150.txt": _object_info,
}
