"""The audit finds what is wrong, measures what is there, and its advice follows from the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from segcrit import Criterion
from segcrit.data.audit.auditing import Audit, audit
from segcrit.data.audit.shapes import class_shapes, core_pixels, mean_widths
from segcrit.data.folders.folder import load_folder
from tests.data.making import blocks, photo, write_folder, write_png

SPLITS = {
    "train": [f"i{index:02d}" for index in range(8)],
    "val": ["i08", "i09"],
    "test": ["i10", "i11"],
}


def _folder(root: Path, values: list[int], **options: Any) -> Path:
    masks = {f"i{index:02d}": blocks(values) for index in range(12)}
    return write_folder(root, masks, splits=SPLITS, **options)


def _codes(report: Audit, severity: str = "") -> set[str]:
    return {problem.code for problem in report.problems if severity in ("", problem.severity)}


def _classes(*names: str, **options: Any) -> dict[str, Any]:
    return {"classes": list(names), "ignore_index": 255, **options}


def test_figures_of_a_clean_folder(tmp_path: Path) -> None:
    report = audit(load_folder(_folder(tmp_path, [0, 0, 1, 255], classes=_classes("a", "b"))))
    assert not report.problems
    first, second = report.classes
    assert (first.share, second.share) == pytest.approx((2 / 3, 1 / 3))
    assert (first.images, second.pixels) == (12, 12 * 12 * 4)
    assert report.ignored_share == 0.25
    assert report.pos_weight == pytest.approx(2.0)
    assert second.weights["inverse"] == pytest.approx(1.5)
    assert second.weights["median"] == pytest.approx((2 / 3 + 1 / 3) / 2 / (1 / 3))
    assert second.split_shares == pytest.approx({"train": 1 / 3, "val": 1 / 3, "test": 1 / 3})
    json.dumps(report.to_dict(), allow_nan=False)


# --- problems -------------------------------------------------------------------------------------------------------


def _unknown(root: Path) -> None:
    mask = blocks([0, 1]).copy()
    mask[:2, :3] = 7
    write_png(root / "masks" / "i03.png", mask)


def _empty(root: Path) -> None:
    write_png(root / "masks" / "i03.png", blocks([255]))


def _constant(root: Path) -> None:
    write_png(root / "masks" / "i03.png", blocks([1]))


def _cut_mask(root: Path) -> None:
    file = root / "masks" / "i03.png"
    file.write_bytes(file.read_bytes()[:-25])


def _cut_image(root: Path) -> None:
    file = root / "images" / "i03.png"
    file.write_bytes(file.read_bytes()[:-200])


def _copy_across(root: Path) -> None:
    (root / "images" / "i10.png").write_bytes((root / "images" / "i03.png").read_bytes())


def _copy_within(root: Path) -> None:
    (root / "images" / "i04.png").write_bytes((root / "images" / "i03.png").read_bytes())


def _flat(root: Path) -> None:
    write_png(root / "images" / "i03.png", np.full((12, 16, 3), 9, dtype=np.uint8))


def _missing_in_test(root: Path) -> None:
    for name in SPLITS["test"]:
        write_png(root / "masks" / f"{name}.png", blocks([0]))


def _palettes(root: Path) -> None:
    for name, red in (("i03", 10), ("i04", 200)):
        write_png(root / "masks" / f"{name}.png", blocks([0, 1]), palette=[0, 0, 0] + [red, 0, 0] * 255)


def _group(root: Path) -> None:
    rows = "".join(f"i{index:02d},g{index % 5}\n" for index in range(12))
    (root / "groups.csv").write_text(rows)


@pytest.mark.parametrize(
    ("spoil", "code", "severity", "files"),
    [
        (_unknown, "unknown-labels", "error", ["i03"]),
        (_cut_mask, "unreadable", "error", ["i03"]),
        (_cut_image, "unreadable", "error", ["i03.png"]),
        (_empty, "empty-masks", "warning", ["i03"]),
        (_constant, "constant-masks", "note", ["i03"]),
        (_copy_across, "duplicates-across-splits", "warning", ["i03", "i10"]),
        (_copy_within, "duplicates", "note", ["i03", "i04"]),
        (_flat, "constant-images", "warning", ["i03"]),
        (_missing_in_test, "class-missing-in-split", "warning", []),
        (_palettes, "palettes-differ", "warning", []),
        (_group, "group-divided", "warning", ["g0", "g1", "g3", "g4"]),
    ],
)
def test_each_trap_is_found_and_nothing_else(
    tmp_path: Path, spoil: Callable[[Path], None], code: str, severity: str, files: list[str]
) -> None:
    root = _folder(tmp_path, [0, 1, 255], classes=_classes("a", "b"))
    assert not audit(load_folder(root)).problems
    spoil(root)
    report = audit(load_folder(root))
    problem = next(entry for entry in report.problems if entry.code == code)
    assert problem.severity == severity
    assert list(problem.files) == files
    assert report.has_errors == (severity == "error")
    others = _codes(report) - {code}
    assert others <= ({"constant-masks"} if code == "class-missing-in-split" else set())


def test_unknown_labels_are_counted_and_explained(tmp_path: Path) -> None:
    root = _folder(tmp_path, [0, 1], classes={"classes": ["a", "b"], "ignore_index": None})
    for name in ("i02", "i03"):
        write_png(root / "masks" / f"{name}.png", blocks([0, 2]))
    report = audit(load_folder(root))
    problem = report.problems[0]
    assert "2 (192 pixels) in 2 of 12 masks: i02, i03" in problem.message
    assert '"ignore_index": 2' in problem.advice  # the void id right after the last class


def test_void_255_that_classes_json_denies(tmp_path: Path) -> None:
    root = _folder(tmp_path, [0, 1, 255], classes={"classes": ["a", "b"], "ignore_index": None})
    report = audit(load_folder(root))
    assert "255 (" in report.problems[0].message
    assert report.has_errors


def test_absent_class(tmp_path: Path) -> None:
    report = audit(load_folder(_folder(tmp_path, [0, 1], classes=_classes("a", "b", "unicorn"))))
    assert "No mask holds unicorn" in report.problems[0].message
    assert report.classes[2].weights["median"] == 1.0


def test_nifti_masks_elsewhere_in_space(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(6):
        affine = np.diag([1.0, 1.0, 2.0 + index % 2, 1.0])
        flipped = np.diag([-1.0, 1.0, 2.0, 1.0]) if index == 4 else affine
        image = random.normal(size=(6, 7, 5)).astype(np.float32) * 1000.0 ** (index % 3)
        labels = random.integers(0, 2, size=(6, 7, 5)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "images" / f"v{index}.nii.gz")  # type: ignore[no-untyped-call]
        nibabel.save(nibabel.Nifti1Image(labels, flipped), tmp_path / "masks" / f"v{index}.nii.gz")  # type: ignore[no-untyped-call]
    report = audit(load_folder(tmp_path))
    affine_problem = next(entry for entry in report.problems if entry.code == "affine-differs")
    assert affine_problem.files == ("v4",)
    assert {"spacing-differs", "intensity-ranges"} <= _codes(report, "note")


# --- regions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_width_and_core_of_a_strip(width: int, axis: int) -> None:
    strip = np.zeros((40, 40), dtype=np.uint8)
    strip[20 : 20 + width] = 1
    strip = strip if axis == 0 else strip.T
    area, border = mean_widths(strip, 2)
    assert 2 * area[1] / border[1] == width
    assert core_pixels(strip, 2)[1] == 40 * max(0, width - 4)


def test_core_is_what_two_erosions_leave() -> None:
    from scipy import ndimage

    labels = np.random.default_rng(0).integers(0, 3, size=(9, 10, 11))
    labels = np.kron(labels, np.ones((6, 6, 6), dtype=int))[:40, :40, :40]
    for label, found in enumerate(core_pixels(labels, 3)):
        left = ndimage.binary_erosion(labels == label, iterations=2, border_value=1)
        assert found == left.sum()


def test_objects(tmp_path: Path) -> None:
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[2:5, 2:5] = 1  # 9 pixels
    mask[10:20, 10:20] = 1  # 100 pixels: most pixels of the class lie here
    mask[30, 30] = 1
    data = load_folder(write_folder(tmp_path, {f"m{index}": mask for index in range(4)}))
    _, inner = class_shapes(data, data.ids)
    assert (inner.objects, inner.object_size, inner.object_share) == (3.0, 100.0, 0.05)


# --- advice ---------------------------------------------------------------------------------------------------------


def _advice(report: Audit, verdict: str = "try") -> dict[str, str]:
    return {entry.expression: entry.evidence for entry in report.recommendations if entry.verdict == verdict}


def _square(side: int, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[10 : 10 + side, 12 : 12 + side] = 1
    return mask


def test_advice_for_balanced_classes(tmp_path: Path) -> None:
    report = audit(load_folder(_folder(tmp_path, [0, 1, 2], classes=_classes("a", "b", "c"))))
    found = _advice(report)
    assert list(found)[:2] == ["ce", "ce + dice"]
    assert not any("class_weight" in expression or "focal" in expression for expression in found)
    assert "right for 38 % of them" in found["ce"]


def test_advice_for_a_small_foreground(tmp_path: Path) -> None:
    report = audit(load_folder(write_folder(tmp_path, {f"m{i:02d}": _square(8) for i in range(12)})))
    found = _advice(report)
    assert {"ce", "ce + dice", "focal", "ce + lovasz", 'ce(class_weight="median")', 'bce(pos_weight="auto")'} <= set(
        found
    )
    assert "63 to 1" in found["ce + dice"]
    assert "63 negatives for each positive" in found['bce(pos_weight="auto")']
    assert report.pos_weight == pytest.approx(63.0)
    assert {entry.task for entry in report.recommendations if "bce" in entry.expression} == {"binary"}


def test_extreme_weights_are_discouraged(tmp_path: Path) -> None:
    report = audit(load_folder(write_folder(tmp_path, {f"m{i:02d}": _square(2) for i in range(12)})))
    assert 'ce(class_weight="inverse")' in _advice(report, "careful")
    assert 'ce(class_weight="sqrt_inverse")' in _advice(report)
    assert "dice" in _advice(report, "careful")  # half of the foreground lies in objects of 4 pixels


def test_advice_for_thin_structures(tmp_path: Path) -> None:
    thin = np.zeros((64, 64), dtype=np.uint8)
    thin[::16] = 1
    thick = np.zeros((64, 64), dtype=np.uint8)
    thick[:16] = 1
    wanted = "ce + tversky(alpha=0.3, beta=0.7)"
    first = audit(load_folder(write_folder(tmp_path / "a", {f"m{i}": thin for i in range(6)})))
    second = audit(load_folder(write_folder(tmp_path / "b", {f"m{i}": thick for i in range(6)})))
    assert "foreground 0 %" in _advice(first)[wanted]
    assert wanted not in _advice(second)


def test_advice_for_areas_that_vary(tmp_path: Path) -> None:
    masks = {f"m{i:02d}": _square(2 + (i % 2) * 40) for i in range(40)}
    report = audit(load_folder(write_folder(tmp_path, masks)))
    assert "441 times" in _advice(report)["ce + dice(per_image=True)"]


def test_advice_for_ragged_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    masks = {f"m{i}": (random.random((64, 64)) < 0.2).astype(np.uint8) for i in range(6)}
    report = audit(load_folder(write_folder(tmp_path, masks)))
    assert "pieces an image" in _advice(report, "careful")["focal"]
    assert "focal" not in _advice(report)


def test_advice_for_scribbles(tmp_path: Path) -> None:
    root = _folder(tmp_path, [0, 1], classes=_classes("a", "b"))
    for name in SPLITS["train"]:
        scribble = np.full((12, 16), 255, dtype=np.uint8)
        scribble[4, 2:4], scribble[4, 13:14] = 0, 1
        write_png(root / "scribbles" / f"{name}.png", scribble)
    report = audit(load_folder(root, train_labels="scribbles"))
    assert report.labelled_share == pytest.approx(3 / 192)
    assert "1.6 % of the training pixels" in _advice(report)["partial_ce"]
    assert list(_advice(report, "contrast")) == ['ce(unlabelled="background")']
    assert report.pos_weight == pytest.approx(2.0)  # of the labels that are trained on


def test_every_advised_expression_is_a_loss(tmp_path: Path) -> None:
    reports = []
    for number, masks in enumerate(
        (
            {f"m{i:02d}": _square(2 + (i % 2) * 40) for i in range(40)},
            {f"m{i}": np.kron(np.eye(16, dtype=np.uint8), np.ones((4, 4), np.uint8)) for i in range(6)},
            {f"m{i}": _square(2) for i in range(6)},
            {f"m{i}": blocks([0, 1, 2, 3]) for i in range(6)},
        )
    ):
        reports.append(audit(load_folder(write_folder(tmp_path / str(number), masks))))
    entries = {(entry.expression, entry.task) for report in reports for entry in report.recommendations}
    assert len(entries) > 9
    for expression, task in entries:
        # Words such as "median" are resolved by the comparison; here it is enough that the rest is a loss.
        plain = expression.replace('(class_weight="', "#").replace('(pos_weight="', "#")
        plain = plain.split("#")[0] if "#" in plain else plain
        Criterion(plain, task=task or "multiclass", num_classes=None)
        from segcrit.losses.expression.syntax import parse

        assert parse(expression).terms


def test_reports_are_the_same_twice(tmp_path: Path) -> None:
    root = _folder(tmp_path, [0, 1, 255], classes=_classes("a", "b"))
    assert audit(load_folder(root)).to_dict() == audit(load_folder(root)).to_dict()
    assert photo().dtype == np.uint8
