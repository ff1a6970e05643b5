"""The evaluator: feed batches, merge, compute the report."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from segcrit.core.constants import DEFAULT_IGNORE_INDEX
from segcrit.core.errors import ParameterError
from segcrit.metrics.background import BY_NAME
from segcrit.metrics.checks import make_settings
from segcrit.metrics.counts import count_batch
from segcrit.metrics.inputs import looks_unbatched, read_batch, warn_if_probabilities, warn_unbatched
from segcrit.metrics.measure_table import MeasureTable, Values
from segcrit.metrics.measures.batches import measure_batch
from segcrit.metrics.numbering import Numbering, read_ids
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.ratios import Integers
from segcrit.metrics.report import Report
from segcrit.metrics.settings import Settings
from segcrit.metrics.tables import CountTable

__all__ = ["Evaluator"]

# Keys of the rows: the image's own id, or, for an image without one, the number of its counting.
_NAMED: Final = "id:"
_UNNAMED: Final = "counting:"
_STATE_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class _Row:
    """The counts of one image.

    Attributes:
        counting: a number that is unique to the call of update that counted the image, in whatever process:
            the same counting that arrives on two ways is not a repetition.
        entries: (2, entries): cells and counts.
        values: what was measured beside them: kind -> arrays.
    """

    counting: int
    entries: Integers
    values: Mapping[str, Values] = field(default_factory=dict)

    def as_bytes(self) -> bytes:
        """An order of the versions of an image that have equal counts."""
        arrays = (values[name] for _, values in sorted(self.values.items()) for name in sorted(values))
        return self.entries.tobytes() + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


class Evaluator:
    """Confusion counts of a stream of predictions, and the report on them.

    Keeps, for each image, the counts of the pairs (true class, predicted class) that occur in it, exactly, in
    int64; no predictions and no pixels. Everything in the report is derived from these counts at the end, so
    that no figure depends on how the images were batched, ordered or spread over processes.

    Args:
        num_classes: number of classes C; of channels in a multilabel task; 1 (or 2) in a binary task.
        task: ``"multiclass"``: the class with the largest logit; the lowest one on a tie.
            ``"multilabel"``: each channel is a binary map of its own. ``"binary"``: one channel; the figures
            per class are those of background and foreground.
        threshold: sigmoid tasks predict 1 where the probability is greater than this.
        ignore_index: pixels whose true label is this do not count, whatever was predicted there (NaN logits
            included). The default is PyTorch's. It may be a class: then this class has no figures (NaN) and is in no
            mean, and predicting it for a pixel of another class is a miss of that class.
        class_names: one name a class.
        policy: what classes count that are absent. ``"segcrit"``: a class neither in the truth nor in the
            prediction is NaN and skipped in means; one that was only predicted counts 0. Others reproduce other
            tools: ``"mmsegmentation"``, ``"detectron2"``, ``"cityscapes"``, ``"torchmetrics"``, ``"monai"``,
            ``"huggingface"``, ``"nnunet"``; see ``segcrit.metrics.policy.POLICIES``.
        background: the class that figures of the foreground leave out, or None. By default its name decides: a class
            called background, or class 0 where it has a name such as "other" or no name. Binary tasks have class 0,
            multilabel tasks none.
        upsample: ``"linear"`` interpolates logits (linearly, bi- or trilinearly) to the size of the target
            before the decision, pixels by pixels, so that full-resolution logits never exist.
        align_corners: as in ``torch.nn.functional.interpolate``.
        measures: what to measure beside the counts: measures with their options, or words for the defaults:
            ``"boundary"`` (:class:`segcrit.Boundary`), ``"calibration"`` (:class:`segcrit.Calibration`), ``"curves"``
            (:class:`segcrit.ThresholdCurves`), ``"objects"`` (:class:`segcrit.ObjectSizes`).

    Raises:
        ParameterError: a value is not allowed.

    Example:
        >>> import torch
        >>> evaluator = Evaluator(3, ignore_index=255, class_names=["road", "car", "tree"])
        >>> prediction = torch.tensor([[[0, 0, 1], [0, 1, 1]]])
        >>> target = torch.tensor([[[0, 0, 1], [0, 0, 255]]])
        >>> report = evaluator.update(prediction, target, ids=["a"]).compute()
        >>> report.iou
        array([0.75, 0.5 ,  nan])
        >>> report.miou
        0.625
    """

    def __init__(
        self,
        num_classes: int,
        *,
        task: str = "multiclass",
        threshold: float = 0.5,
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        class_names: Sequence[str] | None = None,
        policy: str = "segcrit",
        upsample: str | None = None,
        align_corners: bool = False,
        measures: Iterable[Any] | str = (),
        background: int | str | None = BY_NAME,
    ) -> None:
        self._settings = make_settings(
            num_classes,
            task=task,
            threshold=threshold,
            ignore_index=ignore_index,
            class_names=class_names,
            policy=policy,
            upsample=upsample,
            align_corners=align_corners,
            measures=measures,
            background=background,
        )
        self._rows: dict[str, _Row] = {}
        self._repeated: set[str] = set()
        self._conflicting: set[str] = set()
        self._warned = self._warned_unbatched = False
        self._numbering: Numbering | None = None

    @property
    def settings(self) -> Settings:
        """The checked settings."""
        return self._settings

    @property
    def num_images(self) -> int:
        """Number of different images so far."""
        return len(self._rows)

    def __repr__(self) -> str:
        settings = self._settings
        return f"Evaluator({settings.classes} classes, task={settings.task!r}, {self.num_images} images)"

    def update(
        self, prediction: Any, target: Any, ids: Iterable[object] | None = None, *, spacing: Any = None
    ) -> Evaluator:
        """Count a batch.

        A batch with an error changes nothing.

        Args:
            prediction: tensor or NumPy array. Floating: logits (N, C, \\*S). Integer or bool: labels (N,
                \\*S); in a multilabel task 0 or 1 for each channel, (N, C, \\*S). The first dimension is always that of
                the images: give one label map (H, W) as ``labels[None]``. Labels (N, L) are N images of one dimension;
                large ones without ``ids``, where the first dimension may be missing, are warned about once.
            target: labels (N, \\*S) or (N, 1, \\*S), of any integer dtype, bool or whole floats; or one-hot
                (N, C, \\*S), where a row of zeros is ignored. In a multilabel task (N, C, \\*S) of 0, 1 and
                ``ignore_index``.
            ids: a name for each of the N images (text or number). An image that comes again under the same
                name, as distributed samplers repeat some to fill up the last batch, counts once; if its
                counts differ, the version with fewer right pixels is kept, whatever the order.
            spacing: size of a pixel: one number, one a spatial dimension, or one row of them an image, (N, D); read by
                measures of distances. A measure with a spacing of its own refuses another one here.

        Returns:
            The evaluator itself.

        Raises:
            LabelError: a label is neither a class nor, in the target, the ignore label; it is named.
            DataError: logits are NaN where the target counts.
            ShapeError, DtypeError, DeviceError: prediction and target do not fit together.
            ParameterError: a spacing that is none, or another one than that of a measure.
        """
        batch = read_batch(prediction, target, self._settings)
        names = read_ids(ids, batch.images)
        if names is None and not self._warned_unbatched and looks_unbatched(batch):
            warn_unbatched(batch)
            self._warned_unbatched = True
        if batch.is_logits and self._settings.task != "multiclass" and not self._warned:
            self._warned = warn_if_probabilities(batch.prediction)
        table = count_batch(batch, self._settings)
        measured = measure_batch(batch, self._settings, spacing)
        for image in range(batch.images):
            number = self._next_number()
            key = f"{_UNNAMED}{number:x}" if names is None else _NAMED + names[image]
            values = {kind: rows[image] for kind, rows in measured.items()}
            self._add(key, _Row(number, table.row(image), values))
        return self

    def merge(self, other: Evaluator) -> Evaluator:
        """Add the images of another evaluator, in any order; the same image counts once.

        Merging the same evaluator twice changes nothing.

        Returns:
            The evaluator itself.

        Raises:
            ParameterError: the two have different settings.

        Example:
            >>> import torch
            >>> one, two = Evaluator(2), Evaluator(2)
            >>> _ = one.update(torch.tensor([[0, 1]]), torch.tensor([[0, 1]]))
            >>> _ = two.update(torch.tensor([[1, 1]]), torch.tensor([[0, 1]]))
            >>> one.merge(two).compute().pixel_accuracy
            0.75
        """
        if not isinstance(other, Evaluator):
            raise ParameterError(
                "another Evaluator to merge", type(other).__name__, "Load states with load_state_dict."
            )
        self._check_settings(other._settings)
        for key, row in list(other._rows.items()):
            self._add(key, row)
        self._repeated |= other._repeated
        self._conflicting |= other._conflicting
        return self

    def synchronize(self, process_group: Any = "world") -> Evaluator:
        """Give every process of a group the merged counts of all.

        A collective call: every process of the group must make it, with or without images of its own. Images
        that several processes counted under one id count once. Calling it again changes nothing. Without an
        initialised process group this does nothing.

        Args:
            process_group: a ``torch.distributed`` group; ``"world"`` or None for all processes.

        Returns:
            The evaluator itself.

        Raises:
            ParameterError: the processes have different settings.
        """
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return self
        if isinstance(process_group, str) and process_group != "world":
            raise ParameterError("a process group, 'world' or None", repr(process_group), "Use 'world' for all.")
        group = None if process_group in (None, "world") else process_group
        gathered: list[Evaluator | None] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(gathered, self, group=group)
        # In the order of the ranks, so that all processes hold the images in the same order.
        merged = [part for part in gathered if part is not None]
        for part in merged:
            self._check_settings(part._settings)
        self._rows = {}
        for part in merged:
            self.merge(part)
        return self

    def compute(self) -> Report:
        """Return the report on all images so far; call it as often as you like, beside updates in other threads too."""
        # A copy: another thread may add images meanwhile.
        return copy.copy(self)._report()

    def _report(self) -> Report:
        settings = self._settings
        table = self._table()
        tp, fp, fn, pixels = table.class_counts(settings.task)
        ids = [
            key.removeprefix(_NAMED) if key.startswith(_NAMED) else f"#{place}" for place, key in enumerate(self._rows)
        ]
        counts = (ids, tp, fp, fn, pixels, settings.task, settings.policy, table, self._measured())
        return Report(
            class_names=settings.class_names,
            task=settings.task,
            policy=settings.policy,
            confusion=table.confusion(),
            per_image=PerImage(*counts, settings.background),
            notes=self._notes(),
        )

    def reset(self) -> Evaluator:
        """Forget all images, for example before the next epoch."""
        self._rows = {}
        self._repeated, self._conflicting = set(), set()
        self._numbering = None
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return settings and counts as tensors and plain values, which ``torch.save`` stores safely."""
        return copy.copy(self)._state()

    def _state(self) -> dict[str, Any]:
        table = self._table()
        return {
            "version": _STATE_VERSION,
            "settings": self._settings.to_dict(),
            "keys": list(self._rows),
            "countings": torch.tensor([row.counting for row in self._rows.values()], dtype=torch.int64),
            "starts": torch.from_numpy(table.starts),
            "cells": torch.from_numpy(table.cells),
            "counts": torch.from_numpy(table.counts),
            "repeated": sorted(self._repeated),
            "conflicting": sorted(self._conflicting),
            "measures": {
                kind: {name: torch.from_numpy(values) for name, values in table.arrays.items()}
                for kind, table in self._measured().items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> Evaluator:
        """Replace all counts by those of :meth:`state_dict`.

        Raises:
            ParameterError: the state is of another version, or of an evaluator with other settings.
        """
        if not isinstance(state, dict) or state.get("version") != _STATE_VERSION:
            version = state.get("version") if isinstance(state, dict) else type(state).__name__
            raise ParameterError(
                f"a state of an Evaluator, version {_STATE_VERSION}", repr(version), "Save it with state_dict()."
            )
        settings = dict(state["settings"])
        classes = settings.pop("classes")
        self._check_settings(make_settings(classes, **settings))
        arrays = [np.asarray(state[name].cpu().numpy(), dtype=np.int64) for name in ("starts", "cells", "counts")]
        table = CountTable(self._settings.matrix, *arrays)
        countings = state["countings"].tolist()
        measured = {
            measure.kind: MeasureTable(
                measure, {name: values.cpu().numpy() for name, values in state["measures"][measure.kind].items()}
            )
            for measure in self._settings.measures
        }
        self._rows = {
            key: _Row(countings[image], table.row(image), {kind: found.row(image) for kind, found in measured.items()})
            for image, key in enumerate(state["keys"])
        }
        self._repeated, self._conflicting = set(state["repeated"]), set(state["conflicting"])
        self._numbering = None
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A copy names its further images itself: two copies must not call different images by one name.
        copied = {"_rows": dict(self._rows), "_repeated": set(self._repeated), "_conflicting": set(self._conflicting)}
        return self.__dict__ | copied | {"_numbering": None}

    def _table(self) -> CountTable:
        return CountTable.from_rows([row.entries for row in self._rows.values()], self._settings.matrix)

    def _measured(self) -> dict[str, MeasureTable]:
        rows = list(self._rows.values())
        classes = self._settings.classes
        return {
            measure.kind: MeasureTable.collect(measure, classes, [row.values[measure.kind] for row in rows])
            for measure in self._settings.measures
        }

    def _next_number(self) -> int:
        if self._numbering is None or self._numbering.process != os.getpid():
            # A forked process counts other images than its parent, and so needs other numbers.
            self._numbering = Numbering()
        return next(self._numbering)

    def _add(self, key: str, row: _Row) -> None:
        known = self._rows.get(key)
        if known is None:
            self._rows[key] = row
        elif known.counting != row.counting:
            self._repeated.add(key)
            if not np.array_equal(known.entries, row.entries):
                self._conflicting.add(key)
            # The smaller number, so that the result does not depend on the order.
            kept = min(known, row, key=self._preference)
            self._rows[key] = _Row(min(known.counting, row.counting), kept.entries, kept.values)

    def _preference(self, row: _Row) -> tuple[int, bytes]:
        """Order of the versions of one image: fewer right pixels first; then any fixed order."""
        side, entries = self._settings.matrix[-1], row.entries
        cell = entries[0] % (side * side)
        right = int(entries[1][cell // side == cell % side].sum())
        return right, row.as_bytes()

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._repeated:
            number = len(self._repeated)
            images = "1 image was" if number == 1 else f"{number} images were"
            notes.append(f"{images} given more than once and counted once.")
        if self._conflicting:
            number = len(self._conflicting)
            name = min(self._conflicting).removeprefix(_NAMED)
            images = "1 of them" if number == 1 else f"{number} of them"
            notes.append(
                f"{images} came with different predictions or masks (for example {name!r}); the version with fewer right "
                "pixels was kept. Call reset() between epochs."
            )
        if not self._rows:
            notes.append("No image was evaluated.")
        return tuple(notes)

    def _check_settings(self, other: Settings) -> None:
        if other == self._settings:
            return
        own, theirs = self._settings.to_dict(), other.to_dict()
        name = next(name for name in own if own[name] != theirs[name])
        raise ParameterError(
            f"an evaluator with the same settings ({name}={own[name]!r})",
            f"{name}={theirs[name]!r}",
            "Create both with the same arguments.",
        )
