"""What a segmentation data set is, for every other part of segcrit: classes, cases, splits, and how to read one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.core.names import near_names
from segcrit.data.coding.class_info import ClassInfo
from segcrit.data.coding.mask_coding import LabelCoding
from segcrit.data.problems import Problem

__all__ = [
    "SPLITS",
    "Case",
    "FloatArray",
    "LabelArray",
    "LabelSource",
    "Sample",
    "SegmentationData",
    "Split",
]

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[Any]
LabelSource = Literal["masks", "train"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, Split, Split] = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """The files of one image: one file, or one file a channel, its mask, and what lies beside it."""

    images: tuple[Path, ...]
    mask: Path
    train_label: Path | None = None
    weight: Path | None = None
    valid: Path | None = None


@dataclass(frozen=True)
class Sample:
    """One image with its labels, as NumPy arrays.

    Attributes:
        id: the name of the case, as in the split files.
        image: ``float32`` of shape ``(channels, *S)``, intensities as they are stored (8-bit: 0 to 255).
            Missing values stay what they are in the file (NaN, -99999, ...); ``Normalisation.apply`` deals with them.
        label: ``uint8`` (``int64`` where labels do not fit) of shape ``(*S)``: class indices and ``ignore_index``.
        weight: ``float32`` of shape ``(*S)``, finite and not negative, or None where the data has no weights.
    """

    id: str
    image: FloatArray
    label: LabelArray
    weight: FloatArray | None = None


@dataclass(frozen=True)
class SegmentationData:
    """A data set for semantic segmentation: what is in it and how to read a case. Made by ``load_folder``.

    Attributes:
        name: short name, the folder's.
        root: the folder.
        classes: the classes in the order of their labels 0 .. ``num_classes - 1``.
        ignore_index: the label of pixels that do not count, or None where there are none.
        channels: channels of every image (a grey image among colour ones is repeated three times).
        spatial_dims: 2 for images, 3 for volumes.
        splits: the ids of ``"train"``, ``"val"`` and ``"test"``.
        groups: for every id the group (scene, patient) it belongs to, or None.
        description: origin and licence, from the folder's README where there is one.
        nodata: values that image files declare as missing (GeoTIFF).
        notes: the decisions made while loading, one sentence each.
        background: the class that figures of the foreground leave out, or None.
        problems: what is doubtful about the values of the masks or about the splits, warnings and notes.
        cases: the files of every id.
        coding: how values in the mask files become labels; ``train_coding`` the same for the training labels.
    """

    name: str
    root: Path
    classes: tuple[ClassInfo, ...]
    ignore_index: int | None
    channels: int
    spatial_dims: Literal[2, 3]
    splits: Mapping[Split, tuple[str, ...]]
    cases: Mapping[str, Case] = field(repr=False)
    coding: LabelCoding = field(repr=False)
    train_coding: LabelCoding | None = field(default=None, repr=False)
    groups: Mapping[str, str] | None = field(default=None, repr=False)
    description: str = ""
    nodata: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    background: int | None = 0
    problems: tuple[Problem, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes, the ignored label not counted."""
        return len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels."""
        return tuple(entry.name for entry in self.classes)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids that are in a split, training first."""
        return tuple(name for split in SPLITS for name in self.splits[split])

    @property
    def has_train_labels(self) -> bool:
        """Whether the training split is trained on other labels than the full masks."""
        return self.train_coding is not None

    def case(self, id: str) -> Case:
        """The files of ``id``.

        Raises:
            DataError: there is no such id; the message names the nearest ones.
        """
        try:
            return self.cases[id]
        except KeyError:
            near = near_names(id, self.cases, most=3) or sorted(self.cases)[:3]
            raise DataError(
                f"the name of an image of {self.name}", repr(id), f"Names look like {', '.join(map(repr, near))}."
            ) from None

    def read_label(self, id: str, labels: LabelSource = "masks") -> LabelArray:
        """Labels of ``id``: the full mask, or with ``"train"`` what the network is trained on.

        ``"train"`` gives the full mask where the data set has no other training labels.

        Raises:
            DataError: the file is damaged, or holds a value that is neither a class nor ignored.
        """
        from segcrit.data.folders.valid_area import read_valid, without_invalid
        from segcrit.data.reading import read_stored_mask

        case = self.case(id)
        if labels == "train" and self.train_coding is not None:
            if case.train_label is None:
                raise DataError(
                    f"a training label for {id!r}", "an image without one", "Only the training split has such labels."
                )
            path, coding = case.train_label, self.train_coding
        else:
            path, coding = case.mask, self.coding
        label = coding.decode(read_stored_mask(path, self.spatial_dims), path)
        if case.valid is None or self.ignore_index is None:
            return label
        return without_invalid(label, read_valid(case.valid, label.shape), self.ignore_index)

    def read_image(self, id: str, shape: tuple[int, ...] | None = None) -> FloatArray:
        """Image of ``id`` as ``float32 (channels, *S)``; ``shape`` is the mask's size where it is known already."""
        from segcrit.data.reading import mask_shape, match_channels, probe, read_image

        case = self.case(id)
        size = shape if shape is not None else mask_shape(probe(case.mask), self.spatial_dims)
        parts = [read_image(path, spatial_shape=size) for path in case.images]
        image = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return match_channels(image, self.channels, case.images[0])

    def read(self, id: str, labels: LabelSource = "masks") -> Sample:
        """Read one case: image, labels and weights, of equal size.

        Args:
            id: a name from ``splits``.
            labels: ``"masks"`` for the full masks, by which networks are judged; ``"train"`` for what they are
                trained on (scribbles, for example), the same where the data has no other training labels.

        Raises:
            DataError: a file is missing, damaged, of another size, or holds an unknown label.
        """
        from segcrit.data.reading import read_weight

        label = self.read_label(id, labels)
        image = self.read_image(id, label.shape)
        path = self.case(id).weight
        weight = None if path is None else read_weight(path, label.shape)
        return Sample(id, image, label, weight)
