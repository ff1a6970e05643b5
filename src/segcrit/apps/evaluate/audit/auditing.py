"""What is the matter with label maps and predictions, told before any figure: by kind, with files and how many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segcrit.apps.evaluate.audit.misnumbered import other_numbering
from segcrit.apps.evaluate.audit.value_audit import (
    advice_for_values,
    audit_coding,
    classes_of,
    expected_values,
    rules_from_1,
)
from segcrit.apps.evaluate.counting.store import Tally, Trouble
from segcrit.apps.evaluate.reading.arrays import ONES, SHARES, holds_numbers
from segcrit.apps.evaluate.reading.matching import Matched, Pair
from segcrit.core.errors import DataError
from segcrit.data.files.formats import probe
from segcrit.data.folders.layout import most_common
from segcrit.data.problems import Problem, named, several
from segcrit.data.reading import mask_shape, shown_size
from segcrit.metrics.ratios import Integers
from segcrit.metrics.tables import CountTable

__all__ = ["audit_names", "audit_tally", "look_at_headers"]


def audit_names(matched: Matched, *, allow_unmatched: bool) -> list[Problem]:
    """Truths without a prediction and predictions without a truth."""
    problems = []
    for models, ids in _alike(matched.without_prediction).items():
        got = f"{several(ids, 'label map')} without a prediction of {_models(models)}: {named(ids)}"
        if allow_unmatched:
            problems.append(Problem.warning("no-prediction", got[0].upper() + got[1:], "They are left out.", ids))
        else:
            problems.append(
                Problem.error(
                    "no-prediction",
                    "a prediction for every label map",
                    got,
                    "Bring them, list the images to evaluate in a file for --only, or pass --allow-unmatched.",
                    ids,
                )
            )
    for models, ids in _alike(matched.without_target).items():
        problems.append(
            Problem.warning(
                "no-label-map",
                f"{several(ids, 'prediction')} of {_models(models)} without a label map: {named(ids)}",
                "They are left out.",
                ids,
            )
        )
    return problems


def _alike(found: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Models that lack the same ids are named together."""
    by_ids: dict[tuple[str, ...], list[str]] = {}
    for model, ids in found.items():
        by_ids.setdefault(ids, []).append(model)
    return {tuple(models): ids for ids, models in by_ids.items()}


def _models(models: Sequence[str]) -> str:
    return named([repr(model) for model in models], 8)


def look_at_headers(pairs: Sequence[Pair], models: Sequence[str]) -> list[Trouble]:
    """Label maps and label images of other size, by their headers alone.

    Arrays of numbers are left to the counting, which knows what they hold.
    """
    troubles = []
    for pair in pairs:
        if holds_numbers(pair.target):
            continue
        try:
            size = mask_shape(probe(pair.target))
        except DataError as error:
            troubles.append(_of(error, "unreadable", "", pair, pair.target))
            continue
        for model, path in zip(models, pair.predictions, strict=True):
            if holds_numbers(path):
                continue
            try:
                header = probe(path)
            except DataError as error:
                troubles.append(_of(error, "unreadable", model, pair, path))
                continue
            if mask_shape(header) != size:
                differs = DataError(
                    f"a prediction of the size of its label map, {shown_size(size)}",
                    shown_size(mask_shape(header)),
                    "Save predictions at full size (labels by nearest neighbour).",
                )
                troubles.append(_of(differs, "sizes-differ", model, pair, path))
    return troubles


def _of(error: DataError, code: str, role: str, pair: Pair, path: Path) -> Trouble:
    return Trouble(code, role, pair.id, path.name, error.expected, error.got, error.advice)


def audit_tally(tally: Tally) -> list[Problem]:
    """All problems that counting found, errors first."""
    errors = problems_of(tally.troubles, tally)
    others = [*_modes(tally), *_geometry(tally)]
    errors += [*_probabilities(tally), *_labels_as_probabilities(tally)]
    if tally.ids:
        others += _truth(tally)
        for model, table in zip(tally.models, tally.tables, strict=True):
            others += _predictions(model, tally, table)
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted([*errors, *others], key=lambda problem: order[problem.severity])


def problems_of(troubles: Sequence[Trouble], tally: Tally) -> list[Problem]:
    """One error a kind of trouble and model."""
    kinds: dict[tuple[str, str], list[Trouble]] = {}
    for trouble in troubles:
        kinds.setdefault((trouble.role, trouble.code), []).append(trouble)
    return [_problem(role, code, found, tally) for (role, code), found in sorted(kinds.items())]


def _problem(role: str, code: str, found: list[Trouble], tally: Tally) -> Problem:
    what = "label maps" if not role else f"predictions of {role!r}"
    first = found[0]
    files = [trouble.file for trouble in found]
    got, expected, advice = first.got, first.expected, first.advice
    values: Counter[int] = Counter()
    for trouble in found:
        values.update(dict(trouble.values))
    if code == "unknown-labels" and values:
        listing = ", ".join(f"{value} ({pixels:,} pixels)" for value, pixels in values.most_common(5))
        more = f" and {len(values) - 5} more values" if len(values) > 5 else ""
        got = f"{listing}{more}"
        expected, advice = expected_values(role, tally), advice_for_values(values, role, tally)
    place = f"in {len(found)} {what}" if len(found) > 1 else f"in one of the {what}"
    return Problem.error(
        code if not role else f"prediction-{code}", expected, f"{got} {place}: {named(files)}", advice, files
    )


def _geometry(tally: Tally) -> list[Problem]:
    problems = []
    for role in tally.models:
        found = [doubt for doubt in tally.doubts if doubt.role == role]
        if not found:
            continue
        sizes = Counter((doubt.expected, doubt.got) for doubt in found if doubt.expected != doubt.got)
        (expected, got), _ = sizes.most_common(1)[0] if sizes else (("", ""), 0)
        differ = f"; {got} beside {expected}" if sizes else ""
        files = [doubt.file for doubt in found]
        problems.append(
            Problem.warning(
                "affine-differs",
                f"{several(files, 'prediction')} of {role!r} lie elsewhere in space (NIfTI affine) than their label maps: "
                f"{named(files)}{differ}",
                "Voxels are paired by their index, and distances measured in the voxels of the label maps: check in a "
                "viewer that nothing is flipped, shifted or resampled.",
                files,
            )
        )
    return problems


def _probabilities(tally: Tally) -> list[Problem]:
    """Models whose floats all look like probabilities, read as logits where that changes a figure."""
    settings = tally.settings
    # The largest logit is the largest probability; only its size is another.
    matters = settings.task != "multiclass" or any(measure.kind == "calibration" for measure in settings.measures)
    given = tally.sources.get("options", {}).get("values", "logits")
    if given == "logits" or not matters:
        return []
    advice = "Pass --values probabilities; --values logits if that is what they are."
    if given == "probabilities":  # what a name in an npz file says is believed first
        advice = "Call the arrays probabilities, not logits or scores; pass --values logits if that is what they are."
    problems = []
    for role, modes in tally.modes.items():
        if not role or not modes or not all(mode.endswith(SHARES) for mode in modes):
            continue
        sums = ", and those of the classes add up to 1" if settings.task == "multiclass" else ""
        problems.append(
            Problem.error(
                "probabilities",
                "logits, or --values",
                f"predictions of {role!r} that all lie between 0 and 1{sums}",
                advice,
            )
        )
    return problems


def _labels_as_probabilities(tally: Tally) -> list[Problem]:
    """Models whose grey images hold 0 and 1, which are labels and no shares of 255, beside others or alone."""
    problems = []
    for role, modes in tally.modes.items():
        ones, number = sum(n for mode, n in modes.items() if mode.endswith(ONES)), sum(modes.values())
        if not ones:
            continue
        got = f"{ones} of {number} predictions of {role!r} hold 0 and 1 only, which are read as shares of the largest value"
        advice = "If they are labels, leave out --values probabilities, and bring all files into one coding."
        problems.append(Problem.warning("prediction-labels", got, advice))
    return problems


def _modes(tally: Tally) -> list[Problem]:
    problems = []
    for role, stored in tally.modes.items():
        modes = Counter[str]()
        for mode, number in stored.items():
            modes[mode.removesuffix(SHARES).removesuffix(ONES)] += number
        what = f"predictions of {role!r}" if role else "label maps"
        what = what[0].upper() + what[1:]
        if len(modes) > 1:
            problems.append(
                Problem.note(
                    "modes-differ",
                    f"{what} are stored in different ways: {most_common(modes.elements())}",
                    "Check them.",
                )
            )
        lossy = sum(number for mode, number in modes.items() if mode.endswith("with loss"))
        if lossy:
            problems.append(
                Problem.warning(
                    "jpeg-masks",
                    f"{lossy} of the {what.lower()} are stored with loss (JPEG) and read with a threshold at half of white",
                    "Borders may be off by a pixel; take PNG files where there are some.",
                )
            )
        alpha = sum(number for mode, number in modes.items() if "alpha" in mode)
        if alpha:
            problems.append(
                Problem.warning(
                    "alpha",
                    f"{alpha} of the {what.lower()} have an alpha channel, which is dropped",
                    "Save labels without.",
                )
            )
    return problems


def _listing(tally: Tally, counts: Integers, rows: Integers) -> str:
    names = tally.settings.class_names
    return most_common(names[int(counts[row].argmax())] for row in rows)


def _truth(tally: Tally) -> list[Problem]:
    settings = tally.settings
    counts = classes_of(tally, tally.tables[0], truth=True)
    problems = []
    present = (counts > 0).sum(axis=1)
    judged = tally.tables[0].class_counts(settings.task)[3]
    judged = judged if judged.ndim == 1 else judged.sum(axis=1)
    empty = np.flatnonzero(judged == 0)
    if len(empty):
        ids = [tally.ids[row] for row in empty]
        problems.append(
            Problem.warning(
                "empty-label-maps",
                f"In {several(ids, 'label map')} every pixel is ignored: {named(ids)}",
                "They count nothing; take them out, or check them.",
                ids,
            )
        )
    constant = np.flatnonzero((present == 1) & (judged > 0))
    if len(constant) and settings.task != "multilabel":
        ids = [tally.ids[row] for row in constant]
        kind = Problem.warning if len(constant) > len(tally.ids) / 2 else Problem.note
        problems.append(
            kind(
                "constant-label-maps",
                f"{len(ids)} of {len(tally.ids)} label maps hold one class only: {_listing(tally, counts, constant)}",
                "That is as it should be where an image holds no object; otherwise check them.",
                ids,
            )
        )
    absent = [name for name, pixels in zip(settings.class_names, counts.sum(axis=0), strict=True) if not pixels]
    values = audit_coding(tally, counts)
    problems += values
    if absent and not any(problem.severity == "error" for problem in values):
        problems.append(
            Problem.warning(
                "class-absent",
                f"No label map holds {named(absent, 6)}",
                "Means count such a class as 0 where a model predicts it, and leave it out where no model does.",
            )
        )
    return problems


def _predictions(model: str, tally: Tally, table: CountTable) -> list[Problem]:
    if tally.settings.task == "multilabel":
        return []
    return [*_numbering(model, tally, table), *_constant(model, tally, table)]


def _numbering(model: str, tally: Tally, table: CountTable) -> list[Problem]:
    found = other_numbering(table.confusion())
    if found is None:
        return []
    kind, own, other = found
    classes = tally.settings.classes
    shifted = all(int(value) == label + 1 for value, label in tally.about["target"]["classes"].items())
    looks, advice = {
        "from 1": (
            "to count classes from 1",
            "--reduce-zero-label both" if shifted else f"--map-predictions '{rules_from_1(classes)}'",
        ),
        "from -1": ("to be one too low", "--map or --map-predictions 'VALUE:CLASS,...'"),
        "exchanged": ("to have the two classes exchanged", "--map-predictions '0:1,1:0'"),
    }[kind]
    return [
        Problem.warning(
            "numbered-otherwise",
            f"Predictions of {model!r} seem {looks}: read so, they agree with the truth by {other:.2f} instead of "
            f"{own:.2f} (Cohen's kappa)",
            f"Look at some; if it is so, pass {advice}.",
        )
    ]


def _constant(model: str, tally: Tally, table: CountTable) -> list[Problem]:
    predicted = classes_of(tally, table, truth=False)
    truth = classes_of(tally, table, truth=True)
    constant = np.flatnonzero(((predicted > 0).sum(axis=1) == 1) & ((truth > 0).sum(axis=1) > 1))
    if not len(constant):
        return []
    ids = [tally.ids[row] for row in constant]
    kind = Problem.warning if len(constant) > len(tally.ids) / 2 else Problem.note
    return [
        kind(
            "constant-predictions",
            f"{len(ids)} of {len(tally.ids)} predictions of {model!r} hold one class where the truth has several: "
            f"{_listing(tally, predicted, constant)}",
            "Look at them: files saved wrongly, or a model that learnt nothing.",
            ids,
        )
    ]
