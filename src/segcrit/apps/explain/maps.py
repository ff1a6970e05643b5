"""Where in an image a loss comes from: loss map, gradient map, probabilities, the pixels that dominate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrit.apps.explain.curves import Curve, Panel
from segcrit.apps.explain.steps import Array, Mask
from segcrit.core.errors import DataError, ParameterError, ShapeError
from segcrit.labels import mask
from segcrit.losses.criterion import Criterion
from segcrit.losses.expression.syntax import parse
from segcrit.losses.table import Loss, lookup

__all__ = ["Concentration", "ImageMaps", "Pixel", "concentration", "concentration_panel", "explain_image"]

Labels = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]

LISTED_PIXELS = 20
SHARES = (0.01, 0.1)


@dataclass(frozen=True)
class Pixel:
    """One of the pixels that dominate.

    Attributes:
        place: index along each axis (row, column).
        truth: true class.
        prediction: most probable class.
        probability: of the true class.
        share: of the whole loss (or gradient).
        times_average: what it adds, in multiples of the average pixel that counts.
    """

    place: tuple[int, ...]
    truth: int
    prediction: int
    probability: float
    share: float
    times_average: float


@dataclass(frozen=True)
class Concentration:
    """How much of a quantity its largest pixels hold.

    Attributes:
        name: ``"loss"`` or ``"gradient"``.
        top: (share of the pixels, share of the quantity) pairs, for 1 % and 10 %.
        pixels: share of the pixels along the curve, from 0 to 1.
        quantity: share of the quantity that those largest pixels hold.
    """

    name: str
    top: tuple[tuple[float, float], ...]
    pixels: Array
    quantity: Array


@dataclass(frozen=True)
class ImageMaps:
    """What a loss sees in one image.

    Attributes:
        name: of the image.
        expression: the loss.
        loss: its value on the image.
        terms: values of its terms.
        class_names: one a class (background and foreground in binary tasks).
        picture: (*S, 3) uint8, the image as people look at it.
        truth: (*S), 0 where not valid.
        prediction: (*S), the most probable class.
        valid: (*S), pixels that count.
        probability: (classes, *S).
        loss_map: (*S), what each pixel adds to the loss, NaN where not valid; None where no term is a pixel loss.
        gradient_map: (*S), norm over classes of the gradient of the logits, NaN where not valid.
        concentrations: of the loss (if it has a map) and of the gradient.
        dominant: the pixels with the largest share of the first concentration, largest first.
        only_pixel_terms: whether the loss map holds all of the loss.
        notes: remarks.
    """

    name: str
    expression: str
    loss: float
    terms: Mapping[str, float]
    class_names: tuple[str, ...]
    picture: Picture
    truth: Labels
    prediction: Labels
    valid: Mask
    probability: Array
    loss_map: Array | None
    gradient_map: Array
    concentrations: tuple[Concentration, ...]
    dominant: tuple[Pixel, ...]
    only_pixel_terms: bool
    notes: tuple[str, ...] = ()

    def class_shares(self) -> list[dict[str, Any]]:
        """For each class of the truth: its share of the pixels, of the loss and of the gradient, and the mean p of truth."""
        rows = []
        for index, name in enumerate(self.class_names):
            inside = self.valid & (self.truth == index)
            if not inside.any():
                continue
            rows.append(
                {
                    "name": name,
                    "index": index,
                    "pixels": float(inside.sum() / self.valid.sum()),
                    "loss": None if self.loss_map is None else _share(self.loss_map, inside),
                    "gradient": _share(self.gradient_map, inside),
                    "probability": float(self.probability[index][inside].mean()),
                }
            )
        return rows


def explain_image(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    criterion: Criterion,
    *,
    name: str = "image",
    class_names: Sequence[str] | None = None,
    picture: npt.NDArray[Any] | None = None,
    notes: Sequence[str] = (),
) -> ImageMaps:
    """Find out where in an image the loss of a network comes from.

    Args:
        predict: a network, or any function from images (1, channels, *S) to logits (1, C, *S).
        image: what the network gets, (channels, *S) or (1, channels, *S).
        label: true labels (*S), integers.
        criterion: the loss, with its task and ignore label; ``"multiclass"`` or ``"binary"``.
        name: of the image.
        class_names: one a class; in binary tasks background and foreground.
        picture: (channels, *S) intensities to show; None for ``image``.
        notes: remarks to keep.

    Returns:
        The maps; ``segcrit.apps.explain.page.image_page`` makes a page of them.

    Raises:
        ShapeError: logits, image and label do not fit.
        DataError: the loss is not finite, because the network's logits are not.
        ParameterError: the task has no single label a pixel, or nothing in the image counts.

    Example:
        >>> network = torch.nn.Conv2d(3, 2, 1)
        >>> label = torch.zeros(8, 8, dtype=torch.int64)
        >>> maps = explain_image(network, torch.randn(3, 8, 8), label, Criterion("ce"))
        >>> maps.loss_map.shape, maps.probability.shape
        ((8, 8), (2, 8, 8))
    """
    if criterion.task == "multilabel":
        raise ParameterError(
            "a multiclass or binary task for maps of an image",
            "multilabel",
            "Explain one channel at a time as a binary task.",
        )
    batch = image if image.ndim == label.ndim + 2 else image[None]
    target = label.to(torch.int64)[None]
    with torch.no_grad():
        logits = predict(batch)
    if logits.shape[0] != 1 or logits.shape[2:] != target.shape[1:]:
        raise ShapeError(
            f"logits of shape (1, C, {', '.join(map(str, label.shape))}), as large as the label",
            f"shape {tuple(logits.shape)}",
            "Resize the logits of the network to the label inside predict.",
        )
    logits = logits.detach().float().requires_grad_()
    value = criterion(logits, target)
    if not torch.isfinite(value):
        strange = int((~torch.isfinite(logits)).any(dim=1).sum())
        raise DataError(
            "a network whose logits give a finite loss",
            f"the loss {float(value.detach())}, with logits that are not finite at {strange} pixels",
            "Give another checkpoint: the weights are damaged, or the training diverged.",
            code="not-finite",
        )
    (gradient,) = torch.autograd.grad(value, logits)
    valid, truth = _read(logits, target, criterion)
    if not valid.any():
        raise ParameterError("pixels that count", "an image whose pixels are all ignored", "Choose another image.")
    has_map = any(loss.family == "pixel" for loss in _losses(criterion))
    loss_map = _numpy(criterion.pixel_map(logits.detach(), target)[0]) if has_map else None
    probability = _probabilities(logits.detach(), criterion)
    names = _names(class_names, len(probability))
    gradient_map = np.where(valid, _numpy(gradient[0].norm(dim=0)), np.nan)
    masked_loss = None if loss_map is None else np.where(valid, loss_map, np.nan)
    found: list[tuple[str, Array]] = [("gradient", gradient_map)]
    if masked_loss is not None and np.nansum(masked_loss) > 0:
        found.insert(0, ("loss", masked_loss))
    concentrations = tuple(concentration(what, values) for what, values in found)
    prediction = probability.argmax(0)
    return ImageMaps(
        name=name,
        expression=criterion.expression,
        loss=float(value.detach()),
        terms={text: float(term) for text, term in criterion.last_terms.items()},
        class_names=names,
        picture=_to_picture(np.asarray(batch[0].numpy() if picture is None else picture, dtype=np.float64)),
        truth=truth,
        prediction=prediction,
        valid=valid,
        probability=probability,
        loss_map=masked_loss,
        gradient_map=gradient_map,
        concentrations=concentrations,
        dominant=_dominant(found[0][1], truth, prediction, probability),
        only_pixel_terms=all(loss.family == "pixel" for loss in _losses(criterion)),
        notes=tuple(notes),
    )


def concentration(name: str, values: Array) -> Concentration:
    """Sort a map and add up: how much do its largest pixels hold?

    Example:
        >>> found = concentration("loss", np.array([97.0, 1.0, 1.0, 1.0]))
        >>> [round(share, 2) for _, share in found.top]
        [0.97, 0.97]
    """
    ordered = np.sort(values[np.isfinite(values)])[::-1]
    total = float(ordered.sum())
    held = np.cumsum(ordered) / total if total > 0 else np.zeros_like(ordered)
    top = tuple((share, float(held[max(1, round(share * ordered.size)) - 1])) for share in SHARES)
    # 200 points draw a smooth line, more of them where the curve bends: at its beginning.
    picked = np.unique(np.round(np.linspace(0, 1, 200) ** 3 * (ordered.size - 1)).astype(np.int64))
    pixels = np.concatenate(([0.0], (picked + 1) / ordered.size))
    return Concentration(name, top, pixels, np.concatenate(([0.0], held[picked])))


def concentration_panel(maps: ImageMaps) -> Panel:
    """The concentrations as curves."""
    return Panel(
        "How concentrated it is",
        "Pixels are sorted by what they add, the largest first. A curve that rises at once means that few pixels decide the "
        "step; the diagonal would mean that all count the same.",
        "share of the pixels",
        "share that they hold",
        tuple(Curve(item.name, item.pixels, item.quantity) for item in maps.concentrations),
        (0.0, 1.02),
    )


def _losses(criterion: Criterion) -> list[Loss]:
    found = [lookup(term.name) for term in parse(criterion.expression).terms]
    return [loss for loss in found if loss is not None]


def _read(logits: Tensor, target: Tensor, criterion: Criterion) -> tuple[Mask, Labels]:
    """Which pixels count, and the class of each, as the terms of the loss read the target."""
    terms = parse(criterion.expression).terms
    binary = criterion.task != "multiclass"
    reading = mask.read_target(
        target.reshape(1, 1, -1) if binary else target.reshape(1, -1),
        kind="index",
        sigmoid=binary,
        num_classes=logits.shape[1],
        ignore_index=criterion.ignore_index,
        view=mask.View(background=any(t.parameters.get("unlabelled") == "background" for t in terms)),
        dtype=torch.float32,
        check=True,
    )
    truth = reading.target[0, 0] if binary else reading.target[0].argmax(0)
    shape = target.shape[1:]
    valid: Mask = reading.valid.reshape(shape).numpy()
    labels: Labels = truth.to(torch.int64).reshape(shape).numpy()
    return valid, labels


def _probabilities(logits: Tensor, criterion: Criterion) -> Array:
    if criterion.task == "multiclass":
        return _numpy(torch.softmax(logits[0], 0))
    foreground = torch.sigmoid(logits[0])
    return _numpy(torch.cat((1 - foreground, foreground)))


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy().astype(np.float64)
    return array


def _names(names: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if names is None:
        return ("background", "foreground") if classes == 2 else tuple(f"class {index}" for index in range(classes))
    if len(names) != classes:
        raise ShapeError(f"{classes} class names", f"{len(names)}", "Give one name for each class.")
    return tuple(names)


def _share(values: Array, inside: Mask) -> float:
    total = float(np.nansum(values))
    return float(np.nansum(values[inside]) / total) if total > 0 else 0.0


def _dominant(values: Array, truth: Labels, prediction: Labels, probability: Array) -> tuple[Pixel, ...]:
    total, counted = float(np.nansum(values)), int(np.isfinite(values).sum())
    if total <= 0:
        return ()
    flat = np.nan_to_num(values).reshape(-1)
    count = min(LISTED_PIXELS, flat.size)
    order = np.argpartition(-flat, count - 1)[:count]
    pixels = []
    for index in order[np.argsort(-flat[order], kind="stable")]:
        place = tuple(int(item) for item in np.unravel_index(int(index), values.shape))
        true = int(truth[place])
        share = float(flat[index]) / total
        if share > 0:
            of_truth = float(probability[true][place])
            pixels.append(Pixel(place, true, int(prediction[place]), of_truth, share, share * counted))
    return tuple(pixels)


def _to_picture(image: Array) -> Picture:
    """Intensities (channels, *S) as colours (*S, 3): the first three channels, or grey; 1st to 99th percentile."""
    channels = image[:3] if image.shape[0] >= 3 else image[:1].repeat(3, 0)
    finite = channels[np.isfinite(channels)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(channels) - low) / ((high - low) or 1.0)
    return np.moveaxis((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8), 0, -1)
