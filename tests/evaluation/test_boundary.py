"""Boundary and distance figures: by hand, beside loops over all pairs of pixels, beside MONAI and SciPy."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.measures.boundary.options import Boundary
from segcrit.metrics.measures.boundary.result import BoundaryScores
from segcrit.metrics.report import Report
from segcrit.metrics.statistics import compare_pair
from tests.evaluation import edge_oracle, oracle

NAMES = ["boundary_iou", "boundary_f1", "nsd", "hausdorff", "hd95", "hd95_pooled", "assd", "masd"]
SCORES, LENGTHS = NAMES[:3], NAMES[3:]


def _evaluate(
    guess: Any, truth: Any, number: int = 2, *, ids: Any = None, spacing: Any = None, **options: Any
) -> Report:
    evaluator = Evaluator(number, ignore_index=255, measures=[Boundary(**options)])
    return evaluator.update(np.asarray(guess), np.asarray(truth), ids, spacing=spacing).compute()


def _scores(report: Report) -> BoundaryScores:
    assert report.boundary is not None
    return report.boundary


def _square(top: int, left: int, side: int, shape: tuple[int, int] = (24, 30)) -> np.ndarray:
    image = np.zeros((1, *shape), dtype=np.uint8)
    image[0, top : top + side, left : left + side] = 1
    return image


def _regions(seed: int, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """A map of a few random boxes, so that regions have insides."""
    generator = np.random.default_rng(seed)
    image = np.zeros((1, *shape), dtype=np.uint8)
    for label in generator.integers(0, classes, 2 * classes):
        start = [int(generator.integers(0, size)) for size in shape]
        box = tuple(
            slice(low, low + int(generator.integers(1, 1 + size))) for low, size in zip(start, shape, strict=True)
        )
        image[(0, *box)] = label
    return image


@pytest.mark.parametrize("frame", [False, True], ids=["", "frame"])
@pytest.mark.parametrize("ignored", [0.0, 0.08], ids=["", "ignored"])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((9, 13), (1.0, 1.0)), ((12, 7), (0.7, 2.0)), ((5, 6, 4), (2.0, 0.5, 1.0)), ((17,), (1.0,))],
    ids=str,
)
def test_against_loops_over_all_pairs(shape: tuple[int, ...], spacing: Any, ignored: float, frame: bool) -> None:
    classes, options = 3, {"band": 2.2, "tolerance": 1.1, "trimap": 1.9, "missing": 50.0}
    maps = [(_regions(seed, shape, classes), _regions(100 + seed, shape, classes)) for seed in range(8)]
    truth, guess = (np.concatenate(side) for side in zip(*maps, strict=True))
    truth[np.random.default_rng(1).random(truth.shape) < ignored] = 255
    report = _evaluate(guess, truth, classes, spacing=spacing, frame=frame, **options)
    scores = _scores(report)
    matrices = []
    for image in range(len(truth)):
        valid = truth[image] != 255
        for index in range(classes):
            pair = (truth[image] == index, guess[image] == index)
            widths = (options["band"], options["tolerance"], options["missing"])
            expected = edge_oracle.pair(*pair, valid, spacing, *widths, frame)
            for name in NAMES:
                found = scores.per_image[name][image, index]
                np.testing.assert_allclose(
                    found, expected[name], rtol=1e-12, err_msg=f"{name}, image {image}, class {index}"
                )
        near = edge_oracle.trimap(truth[image], valid, spacing, options["trimap"])
        matrices.append(oracle.confusion(guess[image][near], truth[image][near], classes, 255))
    total = [[sum(m[t][p] for m in matrices) for p in range(classes)] for t in range(classes)]
    np.testing.assert_allclose(scores.trimap_iou, oracle.class_figures(total)["iou"], rtol=1e-12)
    assert report.figures["trimap_miou"] == pytest.approx(oracle.mean(scores.trimap_iou.tolist()), rel=1e-12)
    for name in NAMES:
        values = scores.per_image[name]
        by_class = [oracle.mean(values[:, index].tolist()) for index in range(classes)]
        np.testing.assert_allclose(getattr(scores, name), by_class, rtol=1e-12)
        assert report.figures[name] == pytest.approx(oracle.mean(by_class), rel=1e-12)


def test_shifted_square_by_hand() -> None:
    """A square of 10 shifted by 2 along the second axis."""
    report = _evaluate(_square(5, 9, 10), _square(5, 7, 10), band=2, tolerance=1, classes=(1,))
    scores = _scores(report)
    assert scores.hausdorff[1] == 2
    assert scores.hd95[1] == scores.hd95_pooled[1] == 2
    # Both edges are mirror images of each other, so that the two directed means are equal.
    distances = [
        edge_oracle.distance(p, edge_oracle.edge(_square(5, 9, 10)[0] > 0, np.ones((24, 30), bool)), (1, 1))
        for p in edge_oracle.edge(_square(5, 7, 10)[0] > 0, np.ones((24, 30), bool))
    ]
    assert scores.assd[1] == scores.masd[1] == pytest.approx(sum(distances) / 36)
    # Bands of two pixels: the squares without their inner 6 x 6.
    one, two = np.zeros((2, 24, 30), bool)
    one[5:15, 7:17], two[5:15, 9:19] = True, True
    one[7:13, 9:15], two[7:13, 11:17] = False, False
    assert scores.boundary_iou[1] == (one & two).sum() / (one | two).sum()
    assert math.isnan(scores.boundary_iou[0])  # not measured


def test_one_transform_gives_what_scipy_gives() -> None:
    """HD and ASSD from SciPy's own pieces: erosion for the edge, the transform of the whole image for the distances."""
    ndimage = pytest.importorskip("scipy.ndimage")
    truth, guess = _regions(3, (31, 44), 2)[0], _regions(9, (31, 44), 2)[0]
    edges = [mask ^ ndimage.binary_erosion(mask) for mask in (truth > 0, guess > 0)]
    fields = [ndimage.distance_transform_edt(~edge, sampling=(1.5, 0.4)) for edge in edges]
    one, two = fields[1][edges[0]], fields[0][edges[1]]
    scores = _scores(_evaluate(guess[None], truth[None], frame=True, spacing=(1.5, 0.4), classes=(1,)))
    assert scores.hausdorff[1] == pytest.approx(max(one.max(), two.max()), rel=1e-12)
    assert scores.assd[1] == pytest.approx(np.concatenate([one, two]).mean(), rel=1e-12)
    assert scores.hd95[1] == pytest.approx(max(np.percentile(one, 95), np.percentile(two, 95)), rel=1e-12)


@pytest.mark.filterwarnings("ignore:monai:FutureWarning")  # of its own functions about each other
@pytest.mark.parametrize("shape", [(23, 31), (31, 23), (9, 12, 10)], ids=str)
def test_monai(shape: tuple[int, ...]) -> None:
    metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    classes, spacing = 3, [1.0 + 0.5 * place for place in range(len(shape))]
    for seed in range(4):
        truth, guess = _regions(seed, shape, classes), _regions(50 + seed, shape, classes)
        if len(np.unique(truth)) + len(np.unique(guess)) < 2 * classes:
            continue
        scores = _scores(_evaluate(guess, truth, classes, frame=True, spacing=spacing, tolerance=1.5))
        hot = [torch.nn.functional.one_hot(torch.from_numpy(m).long(), classes).movedim(-1, 1) for m in (guess, truth)]
        keywords = {"include_background": True, "spacing": spacing}
        expected = {
            "hausdorff": metrics.compute_hausdorff_distance(*hot, **keywords),
            "hd95": metrics.compute_hausdorff_distance(*hot, **keywords, percentile=95),
            "assd": metrics.compute_average_surface_distance(*hot, **keywords, symmetric=True),
            "nsd": metrics.compute_surface_dice(*hot, class_thresholds=[1.5] * classes, **keywords),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(scores.per_image[name][0], values[0].numpy(), rtol=1e-5, err_msg=name)


# Traps


@pytest.mark.parametrize("shape", [(11, 10), (10, 11), (3, 40), (40, 3)], ids=str)
def test_images_that_are_not_square(shape: tuple[int, int]) -> None:
    truth, guess = np.zeros((2, 1, *shape), dtype=int)
    truth[0, 1, 1], guess[0, -2, -2] = 1, 1
    expected = math.hypot(shape[0] - 3, shape[1] - 3)
    assert _scores(_evaluate(guess, truth)).hausdorff[1] == pytest.approx(expected)


def test_a_missed_object_never_improves() -> None:
    """From a perfect set of images, objects are deleted one by one: no mean gets better."""
    truth = np.concatenate([_square(2 + k, 3 + k, 6 + k) for k in range(6)])
    guess = np.concatenate([_square(3 + k, 3 + k, 6 + k) for k in range(6)])
    before: dict[str, float] | None = None
    for deleted in range(7):
        changed = guess.copy()
        changed[:deleted] = 0
        figures = _evaluate(changed, truth, classes=(1,)).figures
        assert not any(math.isnan(figures[name]) for name in NAMES)
        if before is not None:
            for name in [*SCORES, "dataset_boundary_iou", "dataset_boundary_f1", "dataset_nsd", "trimap_miou"]:
                assert figures[name] <= before[name] + 1e-12, name
            for name in LENGTHS:
                assert figures[name] > before[name], name
        before = figures
    assert before is not None
    assert before["boundary_iou"] == 0
    assert before["hd95"] == pytest.approx(math.hypot(23, 29))
    # With missing="nan" they are skipped, as in other tools: the model that misses most looks perfect.
    skipped = guess.copy()
    skipped[1:] = 0
    assert _evaluate(skipped, truth, classes=(1,), missing="nan").figures["hd95"] == pytest.approx(1)
    assert _evaluate(guess * 0, truth, classes=(1,), missing=70).figures["hd95"] == 70


def test_empty_masks() -> None:
    nothing, thing = _square(0, 0, 0), _square(4, 5, 9)
    both = _scores(_evaluate(nothing, nothing))
    assert all(math.isnan(getattr(both, name)[1]) for name in NAMES)
    assert both.judged.tolist() == [1, 0]
    # The background fills the image in both: nothing to judge.
    assert all(math.isnan(getattr(both, name)[0]) for name in NAMES)
    farthest = math.hypot(23, 29)
    for guess, truth, counts in ((nothing, thing, ([0, 1], [0, 0])), (thing, nothing, ([0, 0], [0, 1]))):
        scores = _scores(_evaluate(guess, truth))
        for name in NAMES:
            # The background is in both, with an edge in one: as wrong as can be.
            assert getattr(scores, name).tolist() == [0.0 if name in SCORES else farthest] * 2, name
        assert (scores.missed.tolist(), scores.invented.tolist()) == counts
    perfect = _scores(_evaluate(thing, thing))
    for name in NAMES:
        assert getattr(perfect, name).tolist() == [1.0 if name in SCORES else 0.0] * 2


def test_a_missed_region_that_fills_the_image_is_as_wrong_as_can_be() -> None:
    full, nothing = np.ones((1, 6, 8), dtype=int), np.zeros((1, 6, 8), dtype=int)
    scores = _scores(_evaluate(nothing, full))
    assert scores.boundary_iou.tolist() == [0, 0]
    assert scores.hausdorff.tolist() == [math.hypot(5, 7)] * 2


def test_a_mask_of_one_pixel_and_identical_masks() -> None:
    truth = _square(5, 5, 1)
    assert _scores(_evaluate(truth, truth)).hausdorff[1] == 0
    assert _scores(_evaluate(_square(5, 8, 1), truth)).hd95[1] == 3


def test_three_classes_are_three_binary_problems() -> None:
    """Class ids are names, not numbers: the map of three classes has the scores of its binary maps."""
    truth, guess = _regions(5, (20, 26), 3), _regions(6, (20, 26), 3)
    options = {"band": 3, "tolerance": 2}
    together = _scores(_evaluate(guess, truth, 3, **options))
    for index in range(3):
        alone = _scores(_evaluate(guess == index, truth == index, 2, **options))
        for name in NAMES:
            np.testing.assert_allclose(getattr(together, name)[index], getattr(alone, name)[1], err_msg=name)
    # Renaming the classes changes nothing but the order.
    order = np.array([2, 0, 1])
    renamed = _scores(_evaluate(order[guess], order[truth], 3, **options))
    for name in [*NAMES, "trimap_iou"]:
        np.testing.assert_allclose(getattr(renamed, name)[order], getattr(together, name))


def test_ignored_pixels_make_no_edge_and_hide_everything() -> None:
    truth, guess = _square(4, 4, 10), _square(4, 4, 10)
    truth[0, :, 9:12] = 255
    first = _scores(_evaluate(guess, truth, tolerance=0.5))
    # Whatever is predicted there, and however the region ends there: perfect.
    guess[0, :, 9:12] = np.random.default_rng(0).integers(0, 2, guess[0, :, 9:12].shape)
    second = _scores(_evaluate(guess, truth, tolerance=0.5))
    for scores in (first, second):
        assert scores.hausdorff.tolist() == [0, 0]
        assert scores.boundary_f1.tolist() == [1, 1]
    # A border of ignored pixels around an object leaves no edge in the truth; cutting into the object makes one.
    ringed = _square(4, 4, 10)
    ringed[0, 3:15, 3:15] = 255
    ringed[0, 4:14, 4:14] = 1
    assert math.isnan(_scores(_evaluate(_square(3, 3, 12), ringed)).hausdorff[1])
    assert _scores(_evaluate(_square(4, 4, 5), ringed)).boundary_iou[1] == 0
    everything = _evaluate(guess, np.full_like(truth, 255))
    assert all(math.isnan(everything.figures[name]) for name in [*NAMES, "trimap_miou"])


def test_confused_objects_without_edges_are_as_wrong_as_can_be() -> None:
    """Void rings around objects, as in PASCAL VOC, leave no edge anywhere; two objects with their classes exchanged."""
    truth = np.full((1, 12, 20), 255)
    truth[0, 3:9, 2:8], truth[0, 3:9, 11:17] = 1, 2
    right = _scores(_evaluate(np.where(truth == 255, 0, truth), truth, 3))
    assert all(np.isnan(getattr(right, name)).all() for name in NAMES)
    exchanged = np.where(truth == 255, 0, 3 - truth)
    merged = np.where(truth == 255, 0, 1)
    for guess in (exchanged, merged):
        scores = _scores(_evaluate(guess, truth, 3))
        for name in NAMES:
            worst = 0.0 if name in SCORES else math.hypot(11, 19)
            assert getattr(scores, name)[1:].tolist() == [worst] * 2, name
        assert scores.judged.tolist() == [0, 1, 1]
    assert scores.missed.tolist() == [0, 0, 1]


def test_the_frame_is_an_edge_only_where_asked_for() -> None:
    truth, guess = np.zeros((2, 1, 12, 12), dtype=int)
    truth[0, :6], guess[0, :8] = 1, 1
    without, having = _scores(_evaluate(guess, truth)), _scores(_evaluate(guess, truth, frame=True))
    assert without.assd.tolist() == [2, 2]  # one straight line two rows from the other
    assert without.boundary_f1.tolist() == [0, 0]
    assert 0 < having.assd[0] < 2  # the frame matches for free
    assert having.boundary_f1[0] > 0


def test_spacing_is_in_the_order_of_the_array() -> None:
    truth, guess = _square(5, 5, 6), _square(5, 8, 6)
    assert _scores(_evaluate(guess, truth, spacing=(10.0, 0.5))).hausdorff[1] == 1.5
    assert _scores(_evaluate(guess, truth, spacing=None)).hausdorff[1] == 3
    evaluator = Evaluator(2, measures=[Boundary(spacing=(10.0, 0.5))])
    assert _scores(evaluator.update(guess, truth).compute()).hausdorff[1] == 1.5
    both = Evaluator(2, measures=["boundary"]).update(
        np.concatenate([guess, guess]), np.concatenate([truth, truth]), spacing=np.array([[1, 1], [1, 2.0]])
    )
    assert _scores(both.compute()).per_image["hausdorff"][:, 1].tolist() == [3, 6]
    # Everything scales: twice the spacing, twice the lengths, the same scores.
    one = _evaluate(_regions(1, (20, 20), 3), _regions(2, (20, 20), 3), 3)
    two = _evaluate(_regions(1, (20, 20), 3), _regions(2, (20, 20), 3), 3, spacing=torch.tensor([2.0, 2.0]))
    for name in NAMES:
        assert two.figures[name] == pytest.approx(one.figures[name] * (1 if name in SCORES else 2)), name
    for wrong in ((1.0,), (1.0, 1.0, 1.0), np.ones((2, 2))):
        with pytest.raises(ShapeError, match="spacing"):
            _evaluate(guess, truth, spacing=wrong)
    with pytest.raises(ParameterError, match="positive"):
        _evaluate(guess, truth, spacing=(1.0, 0.0))
    with pytest.raises(ShapeError, match="spacing of 2"):
        Evaluator(2, measures=[Boundary(spacing=(1, 1, 1))]).update(guess, truth)


def test_defaults_are_shares_of_the_diagonal() -> None:
    """300 x 400: diagonal 500, band 10, tolerance 3.75."""
    truth, guess = _square(50, 50, 100, (300, 400)), _square(50, 53, 100, (300, 400))
    default = _evaluate(guess, truth).figures
    named = _evaluate(guess, truth, band=10, tolerance=3.75, trimap=10).figures
    assert default == named
    assert default["nsd"] == 1
    assert _evaluate(guess, truth, tolerance=2.9).figures["nsd"] < 1


def test_a_crop_to_the_objects_changes_nothing() -> None:
    small = (_square(3, 4, 6, (14, 16)), _square(4, 4, 7, (14, 16)))
    large = [np.pad(values, ((0, 0), (40, 13), (22, 60))) for values in small]
    options = {"band": 2, "tolerance": 1, "classes": (1,)}
    for name in NAMES:
        one, two = (_evaluate(guess, truth, **options).figures[name] for truth, guess in (small, large))
        assert one == two, name


def test_tasks_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.nn.functional.avg_pool2d(torch.randn(3, 2, 30, 30, generator=generator), 5, 1, 2)
    truth = (torch.nn.functional.avg_pool2d(torch.randn(3, 2, 30, 30, generator=generator), 5, 1, 2) > 0).long()
    multilabel = Evaluator(2, task="multilabel", measures="boundary").update(logits, truth).compute()
    for channel in range(2):
        binary = (
            Evaluator(1, task="binary", measures="boundary").update(logits[:, [channel]], truth[:, channel]).compute()
        )
        two = np.stack([-logits[:, channel].numpy(), logits[:, channel].numpy()], axis=1)
        classes = Evaluator(2, measures=[Boundary(classes=(1,))]).update(two, truth[:, channel]).compute()
        for name in NAMES:
            value = getattr(_scores(multilabel), name)[channel]
            assert getattr(_scores(binary), name)[1] == getattr(_scores(classes), name)[1] == value
            assert binary.figures[name] == classes.figures[name] == value


def test_class_figures_and_intervals() -> None:
    truth = np.concatenate([_square(2 + k % 3, 3, 8) for k in range(12)])
    guess = np.concatenate([_square(2, 3 + k % 4, 8) for k in range(12)])
    evaluator = Evaluator(2, class_names=["ground", "cell"], measures="boundary")
    report = evaluator.update(guess, truth).compute()
    scores = _scores(report)
    for name in NAMES:
        interval = report.bootstrap(f"{name}[cell]", resamples=300)
        assert interval.value == pytest.approx(getattr(scores, name)[1])
        assert interval.low < interval.value < interval.high
    assert report.bootstrap("trimap_iou[1]", resamples=200).value == scores.trimap_iou[1]
    assert report.bootstrap("hd95", resamples=200).value == pytest.approx(report.figures["hd95"])
    assert report.worst(1, "hausdorff")[0][1] == max(np.nanmean(scores.per_image["hausdorff"], axis=1))
    same = evaluator.compute().per_image
    better = Evaluator(2, measures="boundary").update(truth, truth).compute().per_image
    result = compare_pair(same, better, "hausdorff", resamples=500)
    assert result.difference == pytest.approx(report.figures["hausdorff"])
    assert result.p_value < 0.05
    assert [row["name"] for row in scores.rows()] == ["ground", "cell"]


def test_parts_merge_exactly_in_any_order() -> None:
    truth = np.concatenate([_regions(seed, (15, 18), 3) for seed in range(6)])
    guess = np.concatenate([_regions(60 + seed, (15, 18), 3) for seed in range(6)])
    ids = [f"i{k}" for k in range(6)]
    whole = _evaluate(guess, truth, 3, ids=ids)
    merged = Evaluator(3, ignore_index=255, measures="boundary")
    for row in (4, 0, 3, 0, 5, 1, 2):
        part = Evaluator(3, ignore_index=255, measures="boundary")
        merged.merge(part.update(guess[[row]], truth[[row]], [ids[row]]))
    report = merged.compute()
    order = np.argsort(report.per_image.ids)
    for name, values in whole.per_image.measures["boundary"].arrays.items():
        assert np.array_equal(report.per_image.measures["boundary"].arrays[name][order], values, equal_nan=True)
    for name in NAMES:
        assert report.figures[name] == pytest.approx(whole.figures[name], rel=1e-12)
    content = json.loads(json.dumps(whole.to_dict(per_image=True), allow_nan=False))
    np.testing.assert_equal(Report.from_dict(content).figures, whole.figures)
    assert content["measures"]["boundary"]["rows"][0]["name"] == "class 0"


def test_labels_are_checked_first() -> None:
    evaluator = Evaluator(2, measures="boundary")
    with pytest.raises(LabelError, match="label 7"):
        evaluator.update(np.zeros((1, 4, 4), int), np.full((1, 4, 4), 7))
    assert evaluator.num_images == 0
    with pytest.raises(ShapeError, match="spatial"):
        evaluator.update(np.zeros(3, int), np.zeros(3, int))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band": 0}, "band"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"trimap": -1}, "trimap"),
        ({"missing": "inf"}, "missing"),
        ({"missing": math.inf}, "missing"),
        ({"missing": -1}, "missing"),
        ({"missing": True}, "missing"),
        ({"spacing": (1, 0)}, "spacing"),
        ({"classes": ()}, "classes"),
        ({"classes": (1, 1)}, "classes"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Boundary(**options)
    with pytest.raises(ParameterError, match="between 0 and 1"):
        Evaluator(2, measures=[Boundary(classes=(2,))])


def test_skeletons() -> None:
    morphology = pytest.importorskip("skimage.morphology", reason="scikit-image is not installed")
    truth, guess = np.zeros((2, 1, 20, 30), dtype=int)
    truth[0, 8:11, 2:28] = 1
    guess[0, 9:12, 2:20] = 1
    report = _evaluate(guess, truth, cldice=True, classes=(1,))
    # The definition of the paper's own code.
    skeletons = [morphology.skeletonize(mask[0] > 0) for mask in (guess, truth)]
    precision = (skeletons[0] & (truth[0] > 0)).sum() / skeletons[0].sum()
    recall = (skeletons[1] & (guess[0] > 0)).sum() / skeletons[1].sum()
    assert report.figures["cldice"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert _evaluate(truth, truth, cldice=True, classes=(1,)).figures["cldice"] == 1
    assert _evaluate(truth * 0, truth, cldice=True, classes=(1,)).figures["cldice"] == 0
    assert math.isnan(_evaluate(truth * 0, truth * 0, cldice=True, classes=(1,)).figures["cldice"])
    volume = np.zeros((1, 7, 20, 7), dtype=int)
    volume[0, 2:5, 2:18, 2:5] = 1
    assert _evaluate(volume, volume, cldice=True, classes=(1,)).figures["cldice"] == 1


@pytest.mark.slow
def test_camvid_takes_less_than_a_minute(real_data: Path) -> None:
    """Every seventh of the 233 test images, with the shifted truth as prediction, in a seventh of a minute."""
    pillow = pytest.importorskip("PIL.Image")
    root = real_data / "camvid"
    names = (root / "splits" / "test.txt").read_text().split()[::7]
    evaluator = Evaluator(11, ignore_index=255, measures="boundary")
    spent = 0.0
    for name in names:
        truth = np.asarray(pillow.open(next((root / "masks").glob(f"{Path(name).stem}.*"))))[None]
        guess = np.roll(truth, (2, 3), (1, 2))
        start = time.process_time()
        evaluator.update(np.where(guess == 255, 0, guess), truth, [name])
        spent += time.process_time() - start
    figures = evaluator.compute().figures
    assert spent / len(names) < 60 / 233
    assert figures["nsd"] > 0.5
    assert figures["hausdorff"] > figures["hd95"] > figures["assd"]


@pytest.mark.parametrize("side", [12, 40, 72, 256])
def test_the_band_is_as_wide_as_in_the_code_of_its_authors(side: int) -> None:
    """2 % of the diagonal in whole pixels, by erosion (Cheng et al. 2021); straight edges make squares equal to circles."""
    truth, guess = np.zeros((2, 1, side, side), dtype=int)
    quarter = side // 4
    truth[:, quarter:-quarter, quarter:-quarter] = guess[:, quarter:-quarter, quarter + 2 : 2 - quarter or None] = 1
    times = max(1, round(0.02 * np.sqrt(2) * side))

    def band(mask: np.ndarray) -> np.ndarray:
        return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=times)

    both, either = (
        operation(band(truth[0] == 1), band(guess[0] == 1)).sum() for operation in (np.logical_and, np.logical_or)
    )
    evaluator = Evaluator(2, measures=[Boundary(classes=[1])])
    scores = evaluator.update(guess, truth).compute().boundary
    assert scores.boundary_iou[1] == pytest.approx(both / either)
    assert scores.scale.band == [times]
    assert str(scores).startswith(str(scores.scale))
    assert f"{both / either:.4f}" in str(scores)
