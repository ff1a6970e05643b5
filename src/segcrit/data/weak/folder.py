"""Weak labels for a whole folder of masks."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.atomic import atomic_write_text, user_path
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.progress import progress_bar
from segcrit.data.coding.classes import ClassTable, build_table, read_classes_file
from segcrit.data.coding.inference import infer_table
from segcrit.data.coding.mask_coding import StoredMask
from segcrit.data.coding.values import IN_FILE, check_values
from segcrit.data.files.formats import file_format
from segcrit.data.folders.layout import Layout, images_in
from segcrit.data.folders.pairing import pair_names
from segcrit.data.folders.walking import walk
from segcrit.data.problems import FolderError, named
from segcrit.data.reading import read_stored_mask
from segcrit.data.scanning import Scanner
from segcrit.data.weak.files import output_name, save_like
from segcrit.data.weak.preview import PREVIEW, draw_preview
from segcrit.data.weak.weak import WeakLabelOptions, generator, kept_pixels

__all__ = ["RECORD", "ClassCoverage", "WeakLabels", "write_weak_labels"]

RECORD = "weak_labels.json"
_PREVIEW_ROWS = 4


@dataclass(frozen=True)
class ClassCoverage:
    """How much of a class is labelled.

    Attributes:
        name: of the class.
        pixels: in the full masks.
        labelled: of these, in the weak labels.
        images: masks that contain the class.
        labelled_images: of these, weak labels that do.
    """

    name: str
    pixels: int
    labelled: int
    images: int
    labelled_images: int


@dataclass(frozen=True)
class WeakLabels:
    """What :func:`write_weak_labels` wrote.

    Attributes:
        folder: where.
        files: number of label maps.
        classes: how much of each class is labelled.
        ignore_value: the value of unlabelled pixels in the files.
        pixels: all pixels of the masks, those without a class included.
        preview: the picture.
        notes: decisions, in plain words.
    """

    folder: Path
    files: int
    classes: tuple[ClassCoverage, ...]
    ignore_value: int
    pixels: int
    preview: Path
    notes: tuple[str, ...]


def write_weak_labels(
    masks: str | Path,
    out: str | Path,
    options: WeakLabelOptions | None = None,
    *,
    seed: int = 0,
    ignore_value: int | None = None,
    classes_file: str | Path | None = None,
    images: str | Path | None = None,
    pair: str | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> WeakLabels:
    """Make weak labels from every mask of a folder.

    The files keep the names, format and palette of the masks, so that the folder serves as training labels
    beside them. A picture, ``preview.png``, shows some of them; ``weak_labels.json`` records how they were
    made. The folder appears complete or not at all.

    Args:
        masks: folder of full masks: index, palette or colour png, tif, npy, nii, nii.gz.
        out: folder to write; it must not exist, or be empty.
        options: what to keep; scribbles by default.
        seed: another seed gives other labels; each file depends on the seed and its own name only.
        ignore_value: the value of unlabelled pixels; by default the one that the masks have for ignored
            pixels, or 255. It must not be a class.
        classes_file: a classes.json; by default the one in ``masks``, or beside it. Without one, the classes
            are the values in the masks.
        images: folder of the images, for the picture; by default ``images`` beside ``masks``.
        pair: expression that finds in the names of images and masks what the two share; masks whose names it does not
            match are left out.
        overwrite: write into ``out`` although it holds files; files of other names stay.
        progress: True shows a progress bar, False none, None in a terminal.

    Raises:
        DataError: the masks cannot be read, or ``out`` cannot be used.
        ParameterError: ``ignore_value`` is a class.

    Example:
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "masks").mkdir()
        >>> np.save(root / "masks" / "a.npy", np.kron([[0, 1]], np.ones((40, 20), dtype=np.uint8)))
        >>> result = write_weak_labels(root / "masks", root / "scribbles", seed=1)
        >>> np.unique(np.load(root / "scribbles" / "a.npy")).tolist()
        [0, 1, 255]
    """
    options = options or WeakLabelOptions()
    folder, target = user_path(masks), user_path(out)
    photos = _images_of(folder, images)
    files, notes = _mask_files(folder, photos, pair)
    _check_target(folder, target, overwrite)
    table, doubts = _classes(folder, files, classes_file, progress)
    value = _ignore_value(table, ignore_value)
    job = _Job(folder, table, options, seed, value)
    with _staging(target) as staging:
        with progress_bar(f"Making {options.kind}", len(files), progress) as advance:
            for file in files:
                job.write(file, staging)
                advance()
        rows = [job.example(file) for file in job.instructive(_PREVIEW_ROWS)]
        preview = _preview_name(files)
        draw_preview(staging / preview, rows, table.classes, options, photos, pair)
        coverage = job.coverage()
        record = {
            **asdict(options),
            "seed": seed,
            "ignore_value": value,
            "classes": [asdict(entry) for entry in coverage],
        }
        atomic_write_text(staging / RECORD, json.dumps(record, indent=2) + "\n")
        _publish(staging, target)
    notes += (*table.notes, *doubts, *job.notes())
    return WeakLabels(target, len(files), coverage, value, job.pixels, target / preview, notes)


class _Job:
    """Makes the weak labels of one file after the other, and counts."""

    def __init__(self, masks: Path, table: ClassTable, options: WeakLabelOptions, seed: int, ignore_value: int) -> None:
        self._masks, self._table, self._options, self._seed, self._value = masks, table, options, seed, ignore_value
        size = len(table.classes)
        self._pixels, self._labelled = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        self._images, self._labelled_images = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        self._variety: dict[Path, int] = {}
        self._recolored = 0
        self.pixels = 0

    def example(self, file: Path) -> tuple[Path, npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The file, its labels, and where they are kept."""
        _, labels, kept = self._weaken(file)
        return file, labels, kept

    def write(self, file: Path, folder: Path) -> None:
        """Make the weak labels of a file."""
        mask, labels, kept = self._weaken(file)
        size = len(self._table.classes)
        is_class = (labels >= 0) & (labels < size)
        counts = np.bincount(labels[is_class].astype(np.int64), minlength=size)
        labelled = np.bincount(labels[kept].astype(np.int64), minlength=size)
        self._pixels += counts
        self._labelled += labelled
        self._images += counts > 0
        self._labelled_images += labelled > 0
        self._variety[file] = int((labelled > 0).sum())
        self.pixels += labels.size
        values = colors = None
        if mask.is_color:
            values, colors = self._as_values(labels)
            self._recolored += 1
        save_like(
            file,
            mask,
            kept,
            folder / self._name(file),
            ignore_value=self._value,
            values=values,
            colors=colors,
        )

    def _name(self, file: Path) -> Path:
        """Of the weak labels: as the mask's, with the folders that it lies in."""
        return file.relative_to(self._masks).with_name(output_name(file))

    def instructive(self, number: int) -> list[Path]:
        """A few files with many classes, from all over the folder."""
        most = max(self._variety.values())
        best = [file for file, variety in self._variety.items() if variety >= max(1, 0.8 * most)]
        best = best or list(self._variety)
        return [best[round(place)] for place in np.linspace(0, len(best) - 1, min(number, len(best)))]

    def coverage(self) -> tuple[ClassCoverage, ...]:
        """How much of each class is labelled."""
        columns = (self._pixels, self._labelled, self._images, self._labelled_images)
        return tuple(
            ClassCoverage(entry.name, *(int(column[label]) for column in columns))
            for label, entry in enumerate(self._table.classes)
        )

    def notes(self) -> list[str]:
        """What a reader of the folder should know."""
        notes = []
        if self._recolored:
            notes.append(
                f"{self._recolored} colour masks became palette images: indices are classes, "
                f"{self._value} is unlabelled, the colours are the same."
            )
        lost = [entry.name for entry in self.coverage() if entry.pixels and not entry.labelled]
        if lost:
            notes.append(f"No pixel of {named(lost)} is labelled, so nothing can be learnt about it.")
        return notes

    def _weaken(self, file: Path) -> tuple[StoredMask, npt.NDArray[Any], npt.NDArray[np.bool_]]:
        mask = read_stored_mask(file)
        labels = self._table.coding.decode(mask, file)
        # The mask alone knows what is ignored: its label is none of the classes.
        other = set(np.unique(labels).tolist()) - set(range(len(self._table.classes)))
        rng = generator(self._seed, self._name(file).as_posix())
        return mask, labels, kept_pixels(labels, other, self._options, rng)

    def _as_values(self, labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], dict[int, tuple[int, int, int]]]:
        """Labels of a colour mask as the numbers that stand for them in an index mask."""
        values = {label: value for value, label in reversed(list(self._table.coding.classes.items()))}
        highest = max(*values.values(), self._value)
        stored = np.full(labels.shape, self._value, dtype=np.uint8 if highest <= 255 else np.uint16)
        for label, value in values.items():
            stored[labels == label] = value
        return stored, {values[label]: entry.color for label, entry in enumerate(self._table.classes)}


def _mask_files(folder: Path, images: Path | None, pair: str | None) -> tuple[list[Path], tuple[str, ...]]:
    """The masks, without other kinds of files that lie among them, and what was decided about their names."""
    if not folder.is_dir():
        kind = "a file" if folder.is_file() else "no such folder"
        raise DataError("a folder of masks", f"{folder}: {kind}", "Give the folder that holds the masks.")
    if (folder / "masks").is_dir() and not any(file_format(path) for path in folder.iterdir()):
        raise DataError(f"masks (png, tif, npy, nii) in {folder}", "none", f"Give {folder / 'masks'}.")
    layout = Layout({})
    found = images_in(folder, layout, "masks")
    if layout.problems:
        raise FolderError(layout.problems)
    photos = [] if images is None else list(images_in(images, Layout({})))
    pairing = pair_names(photos or list(found), found, pair)
    others = set(pairing.others)
    return [path for name, path in found.items() if name not in others], (pairing.how,) if pairing.how else ()


def _check_target(masks: Path, out: Path, overwrite: bool) -> None:
    source, target = masks.resolve(), out.resolve()
    if target == source or target in source.parents or source in target.parents:
        raise DataError(
            "a folder of its own for the weak labels",
            f"{out}, which is, holds or lies in the folder of the masks",
            f"Write to {masks.parent / 'scribbles'}, for example: a folder beside the masks.",
        )
    if out.exists() and not out.is_dir():
        raise DataError("a folder to write to", f"the file {out}", "Choose another name.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise DataError(
            "a new or empty folder to write to",
            f"{out}, which holds files",
            "Choose another one, or allow to replace the files with --overwrite.",
        )


def _classes(
    folder: Path, files: list[Path], classes_file: str | Path | None, progress: bool | None
) -> tuple[ClassTable, list[str]]:
    """The classes, and what is doubtful about the values of the masks."""
    given = [folder / "classes.json", folder.parent / "classes.json"]
    if classes_file is not None:
        given = [user_path(classes_file)]
        if not given[0].is_file():
            raise DataError("a classes.json", f"no file {given[0]}", "Check the path.")
    table = next((build_table(read_classes_file(file), file) for file in given if file.is_file()), None)
    if table is not None and not table.coding.assumed and table.coding.unknown == "error":
        return table, []
    scan = Scanner(folder, progress=progress, remember=False).mask_values(files)
    for error in scan.errors.values():
        raise error
    table = table or infer_table(scan.found, folder)
    problems = check_values({path.name: mask for path, mask in scan.found.items()}, table.coding, IN_FILE)
    if any(problem.severity == "error" for problem in problems):
        raise FolderError(problems)
    return table, [problem.noted for problem in problems]


def _ignore_value(table: ClassTable, wanted: int | None) -> int:
    value = wanted
    if value is None:
        own = [value for value in table.coding.ignored if value >= 0]
        value = own[0] if len(own) == 1 else 255
    if value in table.coding.classes:
        name = table.classes[table.coding.classes[value]].name
        raise ParameterError(
            "a value for unlabelled pixels that is no class",
            f"{value}, which is the class {name!r} in these masks",
            "Choose another one, such as 254, with --ignore-index, and name it as ignore_index in classes.json; "
            "if it means unlabelled already, name it there.",
        )
    return value


def _preview_name(files: list[Path]) -> str:
    """``preview.png``, unless a mask has that name."""
    taken = {output_name(file) for file in files}
    return PREVIEW if PREVIEW not in taken else f"{PREVIEW.removesuffix('.png')}_of_weak_labels.png"


def _images_of(masks: Path, images: str | Path | None) -> Path | None:
    if images is None:
        beside = masks.parent / "images"
        return beside if beside.is_dir() else None
    folder = user_path(images)
    if not folder.is_dir():
        raise DataError("a folder of images", f"no folder {folder}", "Check the path.")
    return folder


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` in which everything is made first; it is gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, target: Path) -> None:
    """Move what is complete to where it belongs."""
    if not target.exists() or not any(target.iterdir()):
        if target.exists():
            target.rmdir()
        # mkdtemp makes folders that only their owner can enter.
        mask = os.umask(0)
        os.umask(mask)
        staging.chmod(0o777 & ~mask)
        os.replace(staging, target)
        return
    for place, names in walk(staging):
        (target / place.relative_to(staging)).mkdir(exist_ok=True)
        for name in names:
            os.replace(place / name, target / place.relative_to(staging) / name)
