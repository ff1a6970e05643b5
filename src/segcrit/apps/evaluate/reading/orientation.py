"""In which order the axes of each model's arrays run, decided once for all images of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from typing import Final

import numpy as np
import torch

from segcrit.apps.evaluate.audit.misnumbered import LEAST_GAIN, LEAST_KAPPA, agreement
from segcrit.apps.evaluate.counting.one_image import Plan
from segcrit.apps.evaluate.reading.arrays import holds_numbers, prediction_of, shape_of, target_of
from segcrit.apps.evaluate.reading.axes import turned_for, written_by_nnunet
from segcrit.apps.evaluate.reading.matching import Pair
from segcrit.core.errors import ParameterError, SegcritError
from segcrit.data.files.axes import may_be_reversed, order_of
from segcrit.metrics.counts import count_batch, predict_labels
from segcrit.metrics.inputs import read_batch
from segcrit.metrics.ratios import Integers
from segcrit.metrics.settings import Settings

__all__ = ["with_axes"]

# Volumes that are read in both orders where neither their shape nor the files beside them tell.
_LOOKED_AT: Final = 3
# Arrays are refused, not only warned about: chance must not do it.
_CLEAR_KAPPA: Final = 0.4
_SHOWN: Final = {False: "those of the label maps", True: "the reverse of those of the label maps"}


def with_axes(plan: Plan, pairs: Sequence[Pair], axes: str | None) -> tuple[Plan, list[str]]:
    """The plan with the order of axes of each model, and what was decided, in sentences.

    Args:
        plan: what is known about labels.
        pairs: all images, also those of other shards.
        axes: "xyz" or "zyx", what the user says about arrays beside NIfTI volumes; None: nothing.

    Raises:
        ParameterError: volumes fit both ways, and nothing tells which is right.
    """
    turned: list[bool] = []
    notes = []
    reversible = False
    for place, model in enumerate(plan.models):
        beside = [pair for pair in pairs if _reversible(pair, place, axes)]
        reversible |= bool(beside)
        chosen, why = (bool(beside), "") if axes is not None else _told(plan, beside, place)
        if axes is None:
            _refuse_other_order(plan, pairs, place, turned=bool(chosen))
        if chosen is None:
            pair = beside[0]
            raise ParameterError(
                f"--axes, because only one of the predictions of {model!r} and the label maps are NIfTI volumes",
                f"volumes with equal first and last side, such as {pair.predictions[place].name}, whose axes can be "
                "(X, Y, Z) or (Z, Y, X)",
                "Pass --axes zyx for arrays of nnU-Net or SimpleITK, --axes xyz for arrays of MONAI or nibabel.",
            )
        if why:
            notes.append(f"The axes of the predictions of {model!r} are {_SHOWN[chosen]}, as {why}.")
        turned.append(chosen)
    return replace(plan, turned=tuple(turned) if reversible else ()), notes


def _reversible(pair: Pair, place: int, axes: str | None) -> bool:
    """Whether a prediction and its label map may, or by ``axes`` do, run in opposite orders."""
    prediction, target = pair.predictions[place], pair.target
    if axes is None:
        return may_be_reversed(prediction, target)
    return (order_of(prediction) or axes) != (order_of(target) or axes)


def _refuse_other_order(plan: Plan, pairs: Sequence[Pair], place: int, *, turned: bool) -> None:
    """Ask about arrays that agree far better with their label maps if their axes run in yet another order.

    Raises:
        ParameterError: they do.
    """
    settings = plan.settings
    if settings.task == "multilabel" or settings.upsample is not None:
        return
    matrices: dict[tuple[int, ...], Integers] = {}
    arrays = [pair for pair in pairs if order_of(pair.predictions[place]) is None][:_LOOKED_AT]
    for pair in arrays:
        path = pair.predictions[place]
        with suppress(SegcritError):  # the reason is told when the file is counted
            size = tuple(n for n in shape_of(pair.target) if n != 1) if holds_numbers(pair.target) else ()
            if size and (len(set(size)) == len(size) or math.prod(size) > 2 * plan.tile**2):
                continue
            target, _ = target_of(pair.target, plan.target, settings, path)
            if len(set(target.shape)) == target.ndim or target.size > 2 * plan.tile**2:
                continue
            own = turned_for((turned,), 0, path, pair.target)
            guess, _ = prediction_of(path, target.shape, plan.predictions[place], settings, plan.values, own)
            if guess.dtype.kind == "f":
                guess = predict_labels(torch.from_numpy(guess[None]), settings, target.shape)[0].numpy()
            elif guess.ndim > target.ndim:  # one-hot, or a batch of one
                guess = guess.argmax(axis=0) if len(guess) > 1 else guess[0]
            if guess.ndim != target.ndim:
                continue
            for order in permutations(range(target.ndim)):
                moved = guess.transpose(order)
                if moved.shape == target.shape:
                    batch = read_batch(np.ascontiguousarray(moved)[None], target[None], settings)
                    matrices[order] = matrices.get(order, 0) + count_batch(batch, settings).confusion()
    if len(matrices) < 2:
        return
    kappas = {order: agreement(matrix, matrix.sum(axis=1)) for order, matrix in matrices.items()}
    as_is = tuple(range(len(next(iter(kappas)))))
    best = max(kappas, key=lambda order: kappas[order])
    if kappas[best] < _CLEAR_KAPPA or kappas[best] < kappas[as_is] + LEAST_GAIN:
        return
    truth = order_of(arrays[0].target)
    is_reversed = best == as_is[::-1] and truth == "zyx"
    order = tuple(as_is[-1] - axis for axis in best) if turned else best
    keeps = "xyz" if (truth == "xyz") != turned else "zyx"
    raise ParameterError(
        f"arrays of {plan.models[place]!r} whose axes run as those of their label maps",
        f"arrays that agree with them by {kappas[best]:.2f} instead of {kappas[as_is]:.2f} (Cohen's kappa) where their "
        f"axes are taken in the order {order}",
        f"{'If they run (X, Y, Z), pass --axes xyz; else save' if is_reversed else 'Save'} them in the order of the "
        f"label maps: numpy.transpose(array, {order}). If they are right as they are, pass --axes {keeps}.",
        code="other-axes",
    )


def _told(plan: Plan, pairs: Sequence[Pair], place: int) -> tuple[bool | None, str]:
    """Whether axes are reversed where a shape fits both ways, and what tells it."""
    fitting = {pair.id: _fitting(pair, place, plan.settings) for pair in pairs}
    unsure = [pair for pair in pairs if len(fitting[pair.id]) != 1]
    known = {way for ways in fitting.values() if len(ways) == 1 for way in ways}
    if len(known) == 1 and (len(unsure) < len(pairs)):
        (way,) = known
        return way, "their shape tells" if way or unsure else ""
    if not unsure:
        return False, ""  # each volume by its own shape
    if any(written_by_nnunet(pair.predictions[place]) for pair in unsure):
        return True, "nnU-Net wrote them"
    if plan.settings.task != "multilabel":
        ways = [_agreement(plan, unsure[:_LOOKED_AT], place, turned=way) for way in (False, True)]
        if max(ways) >= LEAST_KAPPA and abs(ways[1] - ways[0]) >= LEAST_GAIN:
            return ways[1] > ways[0], f"their content tells (Cohen's kappa {max(ways):.2f} instead of {min(ways):.2f})"
    if all(order_of(file) is not None for file in (unsure[0].predictions[place], unsure[0].target)):
        return True, "their formats state"
    return None, ""


def _fitting(pair: Pair, place: int, settings: Settings) -> set[bool]:
    """The ways in which a prediction fits its label map by its shape: as it is (False), reversed (True)."""
    try:
        size, shape = (tuple(n for n in shape_of(path) if n != 1) for path in (pair.target, pair.predictions[place]))
    except SegcritError:
        return {False}  # the reason is told when the file is read
    if settings.task == "multilabel":
        size = size[1:] if size[0] == settings.channels else size[:-1]
    parts = (shape, shape[1:], shape[:-1])
    found = {turned for turned, wanted in ((False, size), (True, size[::-1])) if wanted in parts}
    # Another size is told when the file is read; logits of a lower resolution may run either way.
    return found if found else {False, True} if settings.upsample is not None else {False}


def _agreement(plan: Plan, pairs: Sequence[Pair], place: int, *, turned: bool) -> float:
    """Cohen's kappa of some predictions with their label maps, where the axes are read in this order."""
    matrix = np.zeros((plan.settings.classes, plan.settings.classes), dtype=np.int64)
    for pair in pairs:
        with suppress(SegcritError):  # the reason is told when the file is counted
            target, _ = target_of(pair.target, plan.target, plan.settings)
            coding = plan.predictions[place]
            guess, _ = prediction_of(
                pair.predictions[place], target.shape, coding, plan.settings, plan.values, turned=turned
            )
            matrix += count_batch(read_batch(guess[None], target[None], plan.settings), plan.settings).confusion()
    return agreement(matrix, matrix.sum(axis=1))
