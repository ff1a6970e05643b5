"""Where a data set keeps its images and its masks: images/ and masks/, or one of the layouts that people download.

A place is a folder of images beside a folder of masks. The names that the two may have are listed here; further
folders around or inside them (splits, cities, areas) become part of the images' names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segcrit.data.files.formats import file_format
from segcrit.data.folders.pairing import split_word
from segcrit.data.folders.walking import walk
from segcrit.data.problems import FolderError, Problem, named

__all__ = ["Place", "find_places", "nothing_readable"]

# Cityscapes: leftImg8bit, gtFine. VOC and CVAT: JPEGImages, SegmentationClass. ADE20K, COCO-Stuff, mmsegmentation:
# images, annotations; img_dir, ann_dir. LoveDA: images_png, masks_png. Supervisely: img, masks_machine. DRIVE: images,
# 1st_manual; its folder mask holds the field of view. KITTI: image_2, semantic. CVC-ClinicDB: Original, Ground Truth.
_IMAGES = (
    "images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "images_png", "img_dir", "image_dir", "photos",
    "image_2", "inputs", "input", "original",
)  # fmt: skip
_MASKS = (
    "masks", "1st_manual", "mask", "masks_machine", "masks_png", "segmentationclass", "segmentationclasspng",
    "segmentationclassaug", "gtfine", "labels", "label", "annotations", "annotation", "ann_dir", "label_dir",
    "stuffthingmaps", "groundtruth", "ground_truth", "ground truth", "gt", "segmentations", "segmentation", "segs", "seg",
    "semantic", "targets", "target",
)  # fmt: skip
# Carvana: train, train_masks. CamVid as SegNet lays it out: train, trainannot.
_BESIDE = ("{}_masks", "{}_mask", "{}_labels", "{}_label", "{}_gt", "{}annot", "{}_annot")
# Folders around the places: VOCdevkit/VOC2012, Train/Urban, project/data set.
_DEEPEST = 3
_MOST_FOLDERS = 2000


@dataclass(frozen=True)
class Place:
    """A folder of images and the folder of their masks.

    Attributes:
        images, masks: the two folders.
        prefix: the folders between the data folder and these, ``Train/Urban``; empty for the data folder itself.
    """

    images: Path
    masks: Path
    prefix: str = ""

    @property
    def around(self) -> Path:
        """The folder that holds both."""
        return Path(os.path.commonpath([self.images, self.masks]))


def find_places(root: Path) -> list[Place]:
    """The places of a data folder.

    Raises:
        FolderError: there is none; the message tells what is there.
    """
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return [Place(root / "images", root / "masks")]
    found: list[Place] = []
    level = [root]
    visited = {os.path.realpath(root)}
    for _ in range(_DEEPEST + 1):
        deeper: list[Path] = []
        for folder in level:
            inside = _folders(folder)
            own = _places_in(folder, inside, root)
            found += own
            if not own:
                for path in inside.values():
                    real = os.path.realpath(path)
                    if real not in visited and len(visited) < _MOST_FOLDERS:
                        visited.add(real)
                        deeper.append(path)
        # Places further in are of other data sets, or of parts of this one.
        if found:
            break
        level = deeper
    if not found:
        raise FolderError([_nowhere(root)])
    # One kind of masks in all places: where only some have the likelier one, the others hold something else.
    ranks = {place: _MASKS.index(name) for place in found if (name := place.masks.name.lower()) in _MASKS}
    likeliest = min(ranks.values(), default=0)
    return sorted(
        (place for place in found if ranks.get(place, likeliest) == likeliest), key=lambda place: place.prefix
    )


def _folders(folder: Path) -> dict[str, Path]:
    """The folders in a folder by their names in small letters."""
    try:
        entries = sorted(folder.iterdir())
        return {path.name.lower(): path for path in entries if path.name[0] != "." and path.is_dir()}
    except OSError:
        return {}  # what cannot be entered holds no place; a place that cannot be entered is told when it is read


def _places_in(folder: Path, inside: dict[str, Path], root: Path) -> list[Place]:
    prefix = "" if folder == root else folder.relative_to(root).as_posix()
    images = next((inside[name] for name in _IMAGES if name in inside), None)
    masks = [inside[name] for name in _MASKS if name in inside]
    with_files = [path for path in masks if _holds_images(path)] if len(masks) > 1 or images is None else masks
    if images is not None and with_files:
        return [Place(images, with_files[0], prefix)]
    places = []
    for name, path in inside.items():
        if split_word(name) is None:
            continue
        beside = [inside[form.format(name)] for form in _BESIDE if form.format(name) in inside]
        below = [holder / part for holder in masks for part in (path.name, name) if (holder / part).is_dir()]
        if beside or below:
            places.append(Place(path, [*beside, *below][0], f"{prefix}/{path.name}".lstrip("/")))
    return places


def _holds_images(folder: Path) -> bool:
    """Whether there is an image file in a folder: VOC's Annotations/ holds XML."""
    return any(file_format(Path(name)) for _, names in walk(folder) for name in names)


def _nowhere(root: Path) -> Problem:
    inside = _folders(root)
    present = [path.name + "/" for path in inside.values()]
    missing = "masks" if any(name in inside for name in _IMAGES) else "images"
    annotated = [path for path in (root, *inside.values()) if (path / "ann").is_dir() and (path / "img").is_dir()]
    advice = (
        "Lay the data out as images/NAME.png and masks/NAME.png (png, jpg, tif, npy, nii); Cityscapes, VOC, ADE20K, "
        "COCO-Stuff, LoveDA, nnU-Net and exports of CVAT and Supervisely are read as they are."
    )
    if annotated:
        advice = (
            "This is a Supervisely project of shapes: export it with masks (the app Export to masks: masks_machine/)."
        )
    return Problem.error(
        f"no-{missing}",
        f"a folder {missing}/ in {root}",
        f"the folders {named(present, 6)}" if present else "no folders at all",
        advice,
    )


def nothing_readable(folder: Path, name: str, skipped: Sequence[str]) -> Problem:
    """The problem of a folder without a file that can be read; it names the endings that are there."""
    endings = sorted({Path(file).suffix.lower() for file in skipped if Path(file).suffix})
    if not skipped:
        return Problem.error(
            f"empty-{name}",
            f"image files in {folder}",
            "an empty folder",
            "Put the files there (png, jpg, tif, npy, nii).",
        )
    return Problem.error(
        f"empty-{name}",
        f"image files in {folder}",
        f"none in a format that can be read ({named(list(skipped), 3)})",
        f"Convert files of {named(endings)} to png, tif, npy or nii.gz."
        if endings
        else "Put png, tif, npy or nii there.",
    )
