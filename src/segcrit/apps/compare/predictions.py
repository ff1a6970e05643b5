"""Predicted labels as files: palette PNG for images, NIfTI for volumes that came as NIfTI, npy otherwise."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segcrit.apps.compare.batches.folder_source import FolderSource
from segcrit.apps.compare.batches.source import Source
from segcrit.core import atomic
from segcrit.core.constants import Task
from segcrit.core.optional import require
from segcrit.labels.palette import Palette

__all__ = ["PredictionWriter", "file_stem", "write_label_png"]


class PredictionWriter:
    """Writes the labels of one image after the other into a folder, each file atomically.

    Args:
        folder: where to.
        source: tells dimensions, colours and, for NIfTI, the geometry.
        task: of the run.
    """

    def __init__(self, folder: Path, source: Source, task: Task) -> None:
        self.folder = folder
        self.source = source
        self.task = task

    def __call__(self, id: str, labels: Tensor) -> None:
        """Write labels (*S), or (C, *S) of 0 and 1 in a multilabel task."""
        info = self.source.info
        array = labels.numpy()
        path = self.folder / file_stem(id)
        small = info.num_classes <= 256
        if self.task != "multilabel" and info.spatial_dims == 2 and small and isinstance(self.source, FolderSource):
            write_label_png(path.with_name(path.name + ".png"), array, [entry.color for entry in info.classes])
        elif info.spatial_dims == 3 and isinstance(self.source, FolderSource) and self._is_nifti(id):
            self._write_nifti(id, path.with_name(path.name + ".nii.gz"), array)
        else:
            array = array.astype(np.uint8 if small else np.uint16)
            with atomic.atomic_path(path.with_name(path.name + ".npy")) as temporary:
                np.save(temporary, array)

    def _is_nifti(self, id: str) -> bool:
        return isinstance(self.source, FolderSource) and self.source.data.case(id).mask.name.endswith(
            (".nii", ".nii.gz")
        )

    def _write_nifti(self, id: str, path: Path, array: npt.NDArray[Any]) -> None:
        nibabel = require("nibabel", extra="data")
        if not isinstance(self.source, FolderSource):
            return
        like = nibabel.load(self.source.data.case(id).mask)
        small = array.astype(np.uint8 if self.source.info.num_classes <= 256 else np.uint16)
        image = nibabel.Nifti1Image(small, like.affine)
        image.header.set_zooms(like.header.get_zooms()[: array.ndim])
        atomic.atomic_write_bytes(path, gzip.compress(image.to_bytes(), mtime=0))


def file_stem(id: str) -> str:
    """A file name for an image's name; folders in it are kept, what no file system takes is not.

    A name that is changed gets a checksum of the old one: names that differ only in such characters stay apart.

    Example:
        >>> file_stem("scene 1/tile03"), file_stem("scene 1/tile:03")
        ('scene 1/tile03', 'scene 1/tile_03-381fd35a')
    """
    parts = [re.sub(r'[<>:"|?*\\\x00-\x1f]', "_", part) for part in id.split("/")]
    name = "/".join(part for part in parts if part not in ("", ".", "..")) or "image"
    return name if name == id else f"{name}-{hashlib.sha256(id.encode()).hexdigest()[:8]}"


def write_label_png(path: Path, labels: npt.NDArray[Any], colors: Sequence[str], ignored: int | None = None) -> None:
    """Write labels as an 8-bit palette PNG, whose pixels are the labels.

    Args:
        path: the file.
        labels: (height, width), classes below 256.
        colors: "#rrggbb" of every class.
        ignored: a label besides the classes, painted in a colour of its own.
    """
    picture = Palette(colors, ignore_index=ignored).to_image(labels)
    with atomic.atomic_path(path) as temporary:
        picture.save(temporary, optimize=True)
