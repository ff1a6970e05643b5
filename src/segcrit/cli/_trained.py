"""A trained network from a checkpoint of ``segcrit compare``, and the data that it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segcrit.core.errors import DataError, ParameterError
from segcrit.core.optional import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from segcrit.apps.compare.run_directory import DataRecord
    from segcrit.core.constants import Task
    from segcrit.data.model import SegmentationData

__all__ = ["Trained", "load_trained", "open_data"]

COMPARE_ADVICE = "Give a .ckpt file that segcrit compare wrote, for example runs/x/losses/01-ce/seed-0/best.ckpt."


@dataclass(frozen=True)
class Passport:
    """What a checkpoint tells about its network; see ``segcrit.apps.compare.prepare``."""

    model: str
    num_classes: int
    channels: int
    spatial_dims: int
    task: Literal["multiclass", "binary", "multilabel"]
    crop: tuple[int, ...]
    loss: str
    normalisation: dict[str, Any]

    def __post_init__(self) -> None:
        sizes = (self.num_classes, self.channels, *self.crop)
        if not (1 <= self.spatial_dims <= 3 and len(self.crop) <= 3 and all(1 <= size <= 1 << 16 for size in sizes)):
            raise DataError("sizes of a network in the checkpoint", f"{sizes}", COMPARE_ADVICE, code="damaged-file")


@dataclass(frozen=True)
class Trained:
    """A network with its weights, and what is needed to use it.

    Attributes:
        path: the checkpoint.
        predict: images (1, channels, *S) as ``normalise`` makes them -> logits (1, C, *S) of the same size.
        normalise: intensities of an image (channels, *S) as the data set stores them -> what the network gets.
        task: of its output.
        loss: expression that it was trained with.
        model: the network's specification.
        channels: of the images.
        num_classes: of the labels.
    """

    path: Path
    predict: Callable[[Tensor], Tensor]
    normalise: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    task: Task
    loss: str
    model: str
    channels: int
    num_classes: int

    def check_data(self, data: SegmentationData) -> None:
        """Refuse data of another kind than the network was trained on."""
        if (data.channels, data.num_classes) != (self.channels, self.num_classes):
            raise DataError(
                f"data with {self.channels} channels and {self.num_classes} classes, as the network was trained on",
                f"{data.channels} channels and {data.num_classes} classes in {data.name}",
                "Give the data set of that run.",
            )


def load_trained(path: str | Path, model: str | None = None) -> Trained:
    """Read a checkpoint and build its network.

    Args:
        path: a checkpoint, or the folder that holds ``best.ckpt``.
        model: how to make the network, where the checkpoint cannot tell (networks given as objects).

    Raises:
        DataError: no checkpoint of ``segcrit compare``, or its weights do not fit the network.
    """
    require("lightning", extra="compare")
    from segcrit.apps.compare.training.checkpoints import load_weights, read_tensors
    from segcrit.apps.compare.training.inference import make_predictor
    from segcrit.apps.compare.training.networks import Purpose, make_network
    from segcrit.core.json_files import decode

    file = _find(Path(path))
    content = read_tensors(file, "a checkpoint of segcrit compare", COMPARE_ADVICE, keys=("segcrit", "state_dict"))
    passport = decode(Passport, content["segcrit"], str(file), advice=COMPARE_ADVICE)
    outputs = 1 if passport.task == "binary" else passport.num_classes
    purpose = Purpose(passport.channels, outputs, passport.spatial_dims, passport.crop)
    spec = passport.model if model is None else model
    try:
        recipe = make_network(spec, purpose, named_in=file if model is None else None)
    except ParameterError as error:
        if model is not None or error.code == "code-from-data":
            raise
        raise ParameterError(
            f"to know how to make the network {spec!r} of the checkpoint",
            "a network that was given as an object",
            "Add --model SPEC, for example --model my_module:make_network.",
        ) from error
    network = recipe.build(0)
    what = f"weights of the network {spec!r} in {file}"
    load_weights(network, content["state_dict"], what, "Give the network that was trained with --model.")
    network.eval()
    predictor = make_predictor(
        "auto", (), passport.crop, passport.spatial_dims, recipe.fixed_size, False, recipe.multiple
    )
    return Trained(
        path=file,
        predict=lambda image: predictor(network, image),
        normalise=_normalisation(passport.normalisation, file),
        task=passport.task,
        loss=passport.loss,
        model=spec,
        channels=passport.channels,
        num_classes=passport.num_classes,
    )


def open_data(folder: str | None, checkpoint: Path, pair: str | None = None) -> SegmentationData:
    """The data folder, or without one the data that the run of the checkpoint names."""
    from segcrit.data.folders.folder import load_folder
    from segcrit.data.landcover import land_cover

    if folder is not None:
        return load_folder(folder, pair=pair)
    record = _run_data(checkpoint)
    if record is not None and record.kind == "default":
        return land_cover()
    if record is not None and record.kind == "folder" and Path(record.path).is_dir():
        return load_folder(
            record.path, group_by=record.group_by or None, pair=pair or record.pair or None, valid=record.valid or None
        )
    raise DataError("the data folder of the image", "no --data, and a run that does not tell it", "Add --data FOLDER.")


def _run_data(checkpoint: Path) -> DataRecord | None:
    from segcrit.apps.compare.run_directory import RunDirectory

    for folder in checkpoint.resolve().parents:
        directory = RunDirectory(folder)
        if directory.run_file.is_file():
            try:
                return directory.read().data
            except (DataError, OSError):
                return None
    return None


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        for name in ("best.ckpt", "last.ckpt"):
            if (path / name).is_file():
                return path / name
        found = sorted(path.rglob("*.ckpt"))
        if len(found) == 1:
            return found[0]
        names = ", ".join(str(file.relative_to(path)) for file in found[:6])
        raise DataError(
            f"one checkpoint in {path}",
            f"{len(found)} of them" if found else "none",
            f"Choose one: {names}." if found else COMPARE_ADVICE,
        )
    raise DataError("a checkpoint", f"no file {path}", COMPARE_ADVICE)


def _normalisation(record: dict[str, Any], file: Path) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    from segcrit.apps.compare.batches.folder_source import imagenet_normalised
    from segcrit.data.normalise import Normalisation

    if not record:
        raise DataError(
            "a checkpoint that was trained on a data folder",
            f"{file}, trained on loaders of its own, whose normalisation is not known",
            "Call segcrit.apps.explain.maps.explain_image with the network and an image as your loader gives it.",
        )
    return imagenet_normalised if record.get("scheme") == "imagenet" else Normalisation.from_dict(record).apply
