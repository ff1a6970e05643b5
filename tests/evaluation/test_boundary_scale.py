"""What boundaries are measured in: one spacing, told once; and errors near the edges and away from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcrit.core.errors import ParameterError, ShapeError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.measure_table import measure_from_dict
from segcrit.metrics.measures.boundary.options import Boundary
from segcrit.metrics.policy import POLICIES
from segcrit.metrics.report import Report

pytest.importorskip("scipy", reason="scipy is not installed")


def _square(left: int, shape: tuple[int, ...] = (20, 24)) -> np.ndarray:
    image = np.zeros((1, *shape), dtype=np.int64)
    image[(0, *(slice(5, 15) for _ in shape[1:]), slice(left, left + 8))] = 1
    return image


def _report(spacing: Any = None, *, images: Any = None, shape: tuple[int, ...] = (20, 24), **options: Any) -> Report:
    evaluator = Evaluator(2, measures=[Boundary(spacing=spacing, **options)])
    return evaluator.update(_square(7, shape), _square(5, shape), ids=["a"], spacing=images).compute()


def test_a_spacing_is_told_once() -> None:
    assert _report((1.0, 0.5)).boundary.hausdorff[1] == 1.0  # type: ignore[union-attr]
    assert _report((1.0, 0.5), images=(1.0, np.float32(0.5))).boundary.hausdorff[1] == 1.0  # type: ignore[union-attr]
    with pytest.raises(ParameterError, match=r"\(1.0, 0.5\).*spacing=\(1.0, 2.0\)"):
        _report((1.0, 0.5), images=(1.0, 2.0))


@pytest.mark.parametrize("shape", [(24,), (20, 24), (20, 20, 24)])
def test_one_number_for_every_dimension(shape: tuple[int, ...]) -> None:
    every = _report(0.5, shape=shape)
    assert every.figures == _report((0.5,) * len(shape), shape=shape).figures
    assert every.figures == _report(images=0.5, shape=shape).figures
    assert every.boundary.hausdorff[1] == 1.0  # type: ignore[union-attr]
    again = measure_from_dict(Boundary(spacing=2).to_dict())
    assert again == Boundary(spacing=2)


@pytest.mark.parametrize("wrong", [0, -1.0, True, (), (1, 0), "one", float("nan")])
def test_a_spacing_that_is_none(wrong: Any) -> None:
    with pytest.raises(ParameterError, match="spacing of positive numbers"):
        Boundary(spacing=wrong)


def test_a_slip_in_an_option_names_the_option() -> None:
    with pytest.raises(ParameterError, match=r"options of boundary among .*tolerance.*Did you mean 'tolerance'\?"):
        measure_from_dict({"kind": "boundary", "tolerence": 2})
    with pytest.raises(ParameterError, match=r"band, .*Leave it out"):
        measure_from_dict({"kind": "boundary", "zzz": 2})
    with pytest.raises(ShapeError, match="one number, of shape"):
        _report(images=(1.0, 1.0, 1.0))


def test_the_scale_says_what_was_used_and_where_it_came_from() -> None:
    option = _report((1.0, 0.5), tolerance=2)
    assert option.boundary is not None
    assert option.boundary.scale.source == "option"
    assert option.boundary.scale.spacing.tolist()[0][:2] == [1.0, 0.5]
    sentence = str(option.boundary.scale)
    assert "spacing 1 × 0.5, as the option spacing" in sentence
    assert "tolerance 2, " in sentence
    assert sentence in str(option)
    images = Evaluator(2, measures=["boundary"])
    for index, spacing in enumerate([(1.0, 0.5), (1.0, 2.0)]):
        images.update(_square(7), _square(5), ids=[str(index)], spacing=spacing)
    scale = images.compute().boundary.scale  # type: ignore[union-attr]
    assert scale.source == "images"
    diagonals = [np.hypot(20, 24 * side) for side in (0.5, 2.0)]
    np.testing.assert_allclose(scale.tolerance, [0.0075 * length for length in diagonals], rtol=1e-12)
    assert "spacing 1 × 0.5 to 2, as it came with the images" in str(scale)
    pixels = _report()
    assert pixels.boundary is not None
    assert "lengths are in pixels" in str(pixels.boundary.scale)
    stored = Report.from_dict(pixels.to_dict(per_image=True))
    assert str(stored.boundary.scale) == str(pixels.boundary.scale)  # type: ignore[union-attr]
    assert pixels.to_dict()["measures"]["boundary"]["scale"]["source"] == "pixels"


def test_the_option_comes_before_the_header_of_a_file(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    from segcrit.apps.evaluate.counting.job import Job
    from segcrit.apps.evaluate.counting.run import count_files
    from segcrit.apps.evaluate.options import Options
    from segcrit.apps.evaluate.results import Outcome

    for folder, left in (("truth", 5), ("guess", 7)):
        (tmp_path / folder).mkdir()
        image = nibabel.Nifti1Image(_square(left)[0].astype(np.uint8)[..., None], np.diag([1.0, 2.0, 1.0, 1.0]))
        nibabel.save(image, tmp_path / folder / "a.nii.gz")
    found = {}
    for measure in ("boundary", "boundary(spacing=0.5)"):
        job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("2", measures=(measure,)))
        tally, _ = count_files(job, tmp_path / measure[-4:], progress=False)
        found[measure] = Outcome(tally).first
    assert [report.figures["hausdorff"] for report in found.values()] == [4.0, 1.0]
    assert [report.boundary.scale.source for report in found.values()] == ["images", "option"]  # type: ignore[union-attr]


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_errors_near_edges_and_in_the_interior(task: str) -> None:
    """Beside a loop over the pixels: near is within the trimap of an edge between two true labels."""
    generator = np.random.default_rng(5)
    truth = np.kron(generator.integers(0, 2, (3, 3, 4)), np.ones((1, 7, 7), dtype=int))
    guess = np.where(generator.random(truth.shape) < 0.1, 1 - truth, truth)
    truth[generator.random(truth.shape) < 0.05] = 255
    number, options = (1, {"task": "binary"}) if task == "binary" else (2, {"task": task})
    evaluator = Evaluator(number, ignore_index=255, measures=[Boundary(trimap=2.5)], **options)  # type: ignore[arg-type]
    given = (guess, truth) if task != "multilabel" else (np.stack([guess] * 2, axis=1), np.stack([truth] * 2, axis=1))
    report = evaluator.update(*given, ids=["a", "b", "c"]).compute()
    counts = np.zeros((2, 2), dtype=int)  # near or not; pixels and wrong ones
    inside = np.zeros((2, 2), dtype=int)  # of the pixels that are not near
    for own, other in zip(truth, guess, strict=True):
        distance = _distance_to_edges(own)
        for place in np.ndindex(own.shape):
            if own[place] != 255:
                near = int(distance[place] < 2.5)
                counts[near] += (1, int(own[place] != other[place]))
                if not near:
                    inside[own[place], other[place]] += 1
    figures = report.figures
    assert figures["edge_error_rate"] == pytest.approx(counts[1, 1] / counts[1, 0], rel=1e-12)
    assert figures["interior_error_rate"] == pytest.approx(counts[0, 1] / counts[0, 0], rel=1e-12)
    assert figures["interior_error_share"] == pytest.approx(counts[0, 1] / counts[:, 1].sum(), rel=1e-12)
    iou = [inside[c, c] / (inside[c].sum() + inside[:, c].sum() - inside[c, c]) for c in range(2)]
    expected = {"binary": iou[1], "multiclass": np.mean(iou), "multilabel": iou[1]}[task]
    assert figures["interior_miou"] == pytest.approx(expected, rel=1e-12)
    assert report.bootstrap("interior_iou[1]", resamples=100).value == pytest.approx(iou[1], rel=1e-12)


def _distance_to_edges(labels: np.ndarray) -> np.ndarray:
    edges = [
        place
        for place in np.ndindex(labels.shape)
        for axis in range(labels.ndim)
        for step in (-1, 1)
        for other in [tuple(size + step * (axis == side) for side, size in enumerate(place))]
        if all(0 <= size < end for size, end in zip(other, labels.shape, strict=True))
        and labels[place] != 255
        and labels[other] not in (255, labels[place])
    ]
    result = np.full(labels.shape, np.inf)
    for place in np.ndindex(labels.shape):
        result[place] = min((float(np.hypot(*np.subtract(place, edge))) for edge in edges), default=np.inf)
    return result


def test_the_interior_under_a_policy_that_leaves_predictions_out() -> None:
    truth, guess = _square(5), _square(5)
    guess[0, 0, 0] = 255
    evaluator = Evaluator(2, ignore_index=255, policy="detectron2", measures=["boundary"])
    report = evaluator.update(guess, truth, ids=["a"]).compute()
    assert report.figures["interior_error_rate"] == 0
    assert report.figures["interior_miou"] == 1


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("ignore_index", [255, 1])
def test_errors_near_and_far_are_those_of_the_counts(policy: str, ignore_index: int) -> None:
    """Under every policy, with an ignore label that was predicted, or is a class."""
    generator = np.random.default_rng(6)
    truth, guess = np.kron(generator.integers(0, 3, (2, 2, 4, 4)), np.ones((5, 5), dtype=np.int64))
    truth[0, :3] = ignore_index
    if ignore_index == 255 and POLICIES[policy].ignored_prediction != "error":
        guess[1, 5:9] = ignore_index
    measure = Boundary(trimap=100)  # everything is near an edge
    report = Evaluator(3, ignore_index=ignore_index, policy=policy, measures=[measure]).update(guess, truth).compute()
    arrays = report.per_image.measures["boundary"].arrays
    np.testing.assert_array_equal(arrays["near_pixels"].sum(axis=1), report.per_image.pixels)
    np.testing.assert_array_equal(
        arrays["near_errors"].sum(axis=1), report.per_image.pixels - report.per_image.tp.sum(axis=1)
    )
    assert report.figures["edge_error_rate"] == pytest.approx(1 - report.pixel_accuracy)
