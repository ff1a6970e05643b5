"""Parts of a report: groups, worst cases, object sizes, shards."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

import segcrit
from segcrit.core.errors import DataError, ParameterError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.measures.objects import ObjectSizes
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import POLICIES
from segcrit.metrics.report import Report
from segcrit.metrics.statistics import bootstrap, compare_pair
from tests.evaluation import oracle


def _data(images: int = 24, classes: int = 4, pixels: int = 30, seed: int = 0) -> tuple[Any, Any, list[str]]:
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(classes, 0.4), size=images)
    truth = np.stack([generator.choice(classes, pixels, p=row) for row in weights])
    guess = np.where(
        generator.random(truth.shape) < generator.random((images, 1)), truth, generator.integers(0, classes)
    )
    return guess, truth, [f"i{row:02d}" for row in generator.permutation(images)]


def _report(**options: Any) -> Report:
    guess, truth, ids = _data()
    return Evaluator(4, **options).update(guess, truth, ids).compute()


# Groups


def test_groups_are_evaluations_of_their_own() -> None:
    guess, truth, ids = _data()
    report = _report()
    groups = {name: "odd" if int(name[1:]) % 2 else "even" for name in ids}
    parts = report.by_group(groups)
    assert list(parts) == ["even", "odd"]
    for word, part in parts.items():
        rows = [row for row, name in enumerate(ids) if groups[name] == word]
        alone = Evaluator(4).update(guess[rows], truth[rows], [ids[row] for row in rows]).compute()
        np.testing.assert_equal(part.figures, alone.figures)
        assert np.array_equal(part.confusion, alone.confusion)
        assert sorted(part.per_image.ids) == sorted(alone.per_image.ids)
    assert np.array_equal(parts["even"].confusion + parts["odd"].confusion, report.confusion)
    in_order = [groups[name] for name in report.per_image.ids]
    np.testing.assert_equal(report.by_group(in_order)["odd"].figures, parts["odd"].figures)
    with pytest.raises(DataError, match="none for"):
        report.by_group({ids[0]: "a"})
    with pytest.raises(DataError, match="3 groups"):
        report.by_group(["a", "b", "c"])


def test_select_and_worst() -> None:
    report = _report()
    values = [oracle.mean(row.tolist()) for row in report.per_image.iou]
    expected = sorted(zip(values, report.per_image.ids, strict=True))[:3]
    assert [name for name, _ in report.worst(3)] == [name for _, name in expected]
    np.testing.assert_allclose([value for _, value in report.worst(3)], [value for value, _ in expected])
    by_class = report.worst(100, "iou[2]")
    assert len(by_class) == int((~np.isnan(report.per_image.iou[:, 2])).sum())
    one = report.select([report.worst(1)[0][0]])
    assert one.num_images == 1
    assert one.image_miou == pytest.approx(expected[0][0])
    assert report.select([0]).per_image.ids == report.per_image.ids[:1]
    for wrong in ("nobody", 24, -1):
        with pytest.raises(DataError, match="evaluated image"):
            report.select([wrong])


# Worst cases


@pytest.mark.parametrize("percent", [1, 10, 25, 70, 100])
def test_worst_cases_against_sorting(percent: float) -> None:
    report = _report()
    each = [[float(value) for value in row] for row in report.per_image.iou]
    image = oracle.lowest([oracle.mean(row) for row in each], percent)
    by_class = oracle.mean([oracle.lowest([row[index] for row in each], percent) for index in range(4)])
    interval = report.bootstrap(f"worst_image_miou[{percent}]", resamples=200)
    assert interval.value == pytest.approx(image, rel=1e-12)
    assert report.bootstrap(f"worst_class_miou[{percent}]", resamples=200).value == pytest.approx(by_class, rel=1e-12)
    if percent == 100:
        assert interval.value == pytest.approx(report.image_miou)
        assert by_class == pytest.approx(report.class_miou)
    if percent == 10:
        assert report.figures["worst_image_miou"] == pytest.approx(image)
        assert report.figures["worst_class_miou"] == pytest.approx(by_class)


def test_worst_case_figures_by_hand() -> None:
    """IoU of class 0 on ten images: 0.0, 0.1, ..., 0.9; the worst 30 %: 0.1 in the mean."""
    counts = PerImage(range(10), [[k] for k in range(10)], [[0]] * 10, [[10 - k] for k in range(10)], [10] * 10)
    assert bootstrap(counts, "worst_image_miou[30]", resamples=100).value == pytest.approx(0.1)
    assert bootstrap(counts, "worst_image_miou", resamples=100).value == 0
    assert bootstrap(counts, "worst_class_miou[1]", resamples=100).value == 0
    for wrong in ("0", "101", "x"):
        with pytest.raises(ParameterError, match="percentage"):
            bootstrap(counts, f"worst_image_miou[{wrong}]")


def test_resamples_of_a_worst_case_are_drawn_images() -> None:
    """Each resample of the bootstrap, made by hand from the same draws, has the same figure."""
    from segcrit.metrics.named import get_figure
    from segcrit.metrics.resampling import draw, units

    report = _report()
    counts = report.per_image
    figures = [get_figure(name, 4) for name in ("worst_image_miou[25]", "worst_class_miou[25]", "miou")]
    unit, number = units(counts, None)
    drawn = draw([counts], figures, unit, number, 120, 7)[:, :, 0]
    generator = np.random.default_rng([7, 0])
    chosen = generator.integers(0, number, size=(120, number))
    row_of = np.argsort(unit)
    for place, resample in enumerate(chosen):
        copied = counts.select(row_of[resample])
        for column, figure in enumerate(figures):
            assert drawn[place, column] == pytest.approx(figure.of(copied), rel=1e-12)


def test_permutation_of_a_worst_case_against_all_swaps() -> None:
    guess, truth, ids = _data(images=7, seed=3)
    other = np.where(np.random.default_rng(1).random(truth.shape) < 0.6, truth, guess)
    one = Evaluator(4).update(guess, truth, ids).compute().per_image
    two = Evaluator(4).update(other, truth, ids).compute().per_image
    name = "worst_image_miou[30]"
    result = compare_pair(one, two, name, resamples=200)

    def lowest(counts: list[PerImage]) -> float:
        return oracle.lowest([oracle.mean(part.iou[0].tolist()) for part in counts], 30)

    rows = [(one.select([row]), two.select([row])) for row in range(7)]
    observed = abs(lowest([a for a, _ in rows]) - lowest([b for _, b in rows]))
    hits = 0
    for swaps in itertools.product([0, 1], repeat=7):
        sides = [
            [pair[swap] if side == 0 else pair[1 - swap] for pair, swap in zip(rows, swaps, strict=True)]
            for side in (0, 1)
        ]
        hits += abs(lowest(sides[0]) - lowest(sides[1])) >= observed - 1e-12
    assert result.p_value == hits / 2**7
    assert result.difference == pytest.approx(lowest([a for a, _ in rows]) - lowest([b for _, b in rows]))


# Object sizes


def _components(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Connected components by flood fill, neighbours along the axes, in reading order."""
    left = {tuple(int(k) for k in place) for place in np.argwhere(mask)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        piece, todo = set(), [start]
        left.discard(start)
        while todo:
            place = todo.pop()
            piece.add(place)
            for axis in range(len(place)):
                for step in (-1, 1):
                    near = (*place[:axis], place[axis] + step, *place[axis + 1 :])
                    if near in left:
                        left.discard(near)
                        todo.append(near)
        found.append(piece)
    return found


def _by_size(truth: np.ndarray, guess: np.ndarray, edges: tuple[int, ...]) -> np.ndarray:
    table = np.zeros((3, len(edges) + 1), dtype=np.int64)

    def place(size: int) -> int:
        return sum(size >= edge for edge in edges)

    objects = _components(truth)
    for piece in objects:
        hit = sum(bool(guess[p]) for p in piece)
        table[0, place(len(piece))] += hit
        table[2, place(len(piece))] += len(piece) - hit
    for piece in _components(guess):
        overlaps = [len(piece & thing) for thing in objects]
        best = max(overlaps, default=0)
        home = place(len(objects[overlaps.index(best)])) if best else place(len(piece))
        table[1, home] += sum(not truth[p] for p in piece)
    return table


@pytest.mark.parametrize("shape", [(11, 9), (5, 4, 6)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("seed", range(6))
def test_object_sizes_against_flood_fill(shape: tuple[int, ...], seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, guess = generator.integers(0, 3, (2, 2, *shape))
    truth[generator.random(truth.shape) < 0.1] = 255
    edges = (2, 6)
    report = Evaluator(3, ignore_index=255, measures=[ObjectSizes(edges)]).update(guess, truth).compute()
    expected = np.zeros((3, 3, 3), dtype=np.int64)
    for image in range(2):
        valid = truth[image] != 255
        for index in range(3):
            expected[:, index] += _by_size((truth[image] == index) & valid, (guess[image] == index) & valid, edges)
    objects = report.objects
    assert objects is not None
    for name, table in zip(("tp", "fp", "fn"), expected, strict=True):
        assert np.array_equal(getattr(objects, name), table), name
        # consistent with the counts of the class
        assert np.array_equal(getattr(objects, name).sum(axis=1), report.class_counts[name])
    iou = np.divide(expected[0], expected.sum(0), out=np.full((3, 3), np.nan), where=expected.sum(0) > 0)
    np.testing.assert_allclose(objects.iou, iou)
    for place in range(3):
        assert report.figures[f"objects_miou_{place + 1}"] == pytest.approx(oracle.mean(iou[:, place].tolist()))


def test_object_sizes_by_hand() -> None:
    truth = np.array([[[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]])
    guess = np.array([[[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]])
    report = Evaluator(2, measures=[ObjectSizes(edges=(4,))]).update(guess, truth).compute()
    assert report.objects is not None
    # Large: 3 of 4 pixels found, one more beside them. Small: the single pixel missed, one false alarm of one pixel.
    assert report.objects.tp[1].tolist() == [0, 3]
    assert report.objects.fp[1].tolist() == [1, 1]
    assert report.objects.fn[1].tolist() == [1, 1]
    assert report.objects.iou[1].tolist() == [0, 3 / 5]
    assert report.objects.words == ("below 4 pixels", "of 4 pixels and more")
    assert [row["size"] for row in report.objects.rows() if row["index"] == 1] == list(report.objects.words)


def test_object_sizes_in_sigmoid_tasks() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=generator)
    truth = torch.randint(0, 2, (3, 2, 8, 8), generator=generator)
    multilabel = Evaluator(2, task="multilabel", measures="objects").update(logits, truth).compute()
    for channel in range(2):
        binary = (
            Evaluator(1, task="binary", measures="objects").update(logits[:, [channel]], truth[:, channel]).compute()
        )
        assert multilabel.objects is not None
        assert binary.objects is not None
        assert np.array_equal(multilabel.objects.fp[channel], binary.objects.fp[1])
        assert binary.figures["objects_miou_1"] == binary.objects.iou[1, 0]


@pytest.mark.parametrize("edges", [(), (4, 4), (9, 4), (0,), (2.5,), (True,)])
def test_wrong_sizes(edges: Any) -> None:
    with pytest.raises(ParameterError, match="edges"):
        ObjectSizes(edges)


def test_measures_by_word_and_wrong_ones() -> None:
    assert Evaluator(2, measures=["objects"]).settings == Evaluator(2, measures=[segcrit.ObjectSizes()]).settings
    for wrong in ("volume", 3, [None]):
        with pytest.raises(ParameterError, match="'objects'"):
            Evaluator(2, measures=[wrong] if not isinstance(wrong, list) else wrong)
    with pytest.raises(ParameterError, match="twice"):
        Evaluator(2, measures=["objects", ObjectSizes((5,))])
    with pytest.raises(ParameterError, match="measures"):
        Evaluator(2, measures="objects").merge(Evaluator(2, measures=[ObjectSizes((5,))]))
    assert Evaluator(2).compute().objects is None


# Files and shards


def _image_data(seed: int = 0) -> tuple[Any, Any, list[str]]:
    generator = np.random.default_rng(seed)
    truth, guess = generator.integers(0, 3, (2, 6, 7, 5))
    return guess, truth, [f"i{row}" for row in range(6)]


def test_reports_survive_json() -> None:
    guess, truth, ids = _image_data()
    report = Evaluator(3, measures=["objects"]).update(guess, truth, ids).compute()
    content = json.loads(json.dumps(report.to_dict(per_image=True), allow_nan=False))
    assert content["schema_version"] == 2
    assert content["measures"]["objects"]["options"] == {"kind": "objects", "edges": [1024, 9216]}
    back = Report.from_dict(content)
    np.testing.assert_equal(back.figures, report.figures)
    assert back.objects is not None
    assert report.objects is not None
    assert np.array_equal(back.objects.tp, report.objects.tp)
    np.testing.assert_equal(back.select(["i3"]).figures, report.select(["i3"]).figures)
    assert "per_image" not in report.to_dict()


def test_version_1_is_still_read() -> None:
    guess, truth, ids = _image_data()
    report = Evaluator(3).update(guess, truth, ids).compute()
    content = report.to_dict(per_image=True)
    old = {key: value for key, value in content.items() if key != "measures"} | {"schema_version": 1}
    old["per_image"] = {key: value for key, value in content["per_image"].items() if key != "pairs"}
    back = Report.from_dict(old)
    np.testing.assert_equal(back.figures, report.figures)
    with pytest.raises(DataError, match="Evaluate anew"):
        back.select([0])
    with pytest.raises(DataError, match="confusion counts"):
        back.merge(back)


@pytest.mark.parametrize("part", ["starts", "cells", "counts", "shape"])
def test_damaged_pairs_are_refused(part: str) -> None:
    guess, truth, ids = _image_data()
    content = Evaluator(3).update(guess, truth, ids).compute().to_dict(per_image=True)
    pairs = content["per_image"]["pairs"]
    for damage in (pairs[part][:-1], [value + 1 for value in pairs[part]], [-1] * len(pairs[part]), None):
        broken = content | {"per_image": content["per_image"] | {"pairs": pairs | {part: damage}}}
        with pytest.raises((DataError, ValueError)):
            Report.from_dict(broken)


def test_damaged_measures_are_refused() -> None:
    guess, truth, ids = _image_data()
    content = Evaluator(3, measures="objects").update(guess, truth, ids).compute().to_dict(per_image=True)
    table = content["per_image"]["measures"]["objects"]
    for broken in (
        {},
        {"options": table["options"]},
        table | {"arrays": {"tp": [1]}},
        table | {"options": {"kind": "x"}},
    ):
        with pytest.raises((DataError, ParameterError)):
            Report.from_dict(content | {"per_image": content["per_image"] | {"measures": {"objects": broken}}})


def test_shards_of_reports_in_any_order() -> None:
    guess, truth, ids = _image_data()
    whole = Evaluator(3, measures="objects").update(guess, truth, ids).compute()

    def shard(rows: list[int]) -> Report:
        return Evaluator(3, measures="objects").update(guess[rows], truth[rows], [ids[row] for row in rows]).compute()

    shards = [shard([4, 1]), shard([0, 1, 5]), shard([2, 3])]
    empty = Evaluator(3, measures="objects").compute()
    for order in itertools.permutations(shards):
        merged = order[0].merge(order[1]).merge(order[2]).merge(empty)
        assert merged.per_image.ids == tuple(sorted(ids))
        assert np.array_equal(merged.confusion, whole.confusion)
        for name, value in whole.figures.items():
            assert merged.figures[name] == pytest.approx(value, rel=1e-12, nan_ok=True)
        assert merged.objects is not None
        assert whole.objects is not None
        assert np.array_equal(merged.objects.fp, whole.objects.fp)
    other = Evaluator(3, measures="objects").update(truth[:1], truth[:1], ids[:1]).compute()
    with pytest.raises(DataError, match="different ones of 'i0'"):
        whole.merge(other)
    with pytest.raises(DataError, match="measures"):
        whole.merge(Evaluator(3).compute())
    with pytest.raises(DataError, match="ids of their own"):
        whole.merge(Evaluator(3, measures="objects").update(guess[:1], truth[:1]).compute())


def test_measures_in_states_copies_and_repetitions() -> None:
    guess, truth, ids = _image_data()
    options: dict[str, Any] = {"measures": [ObjectSizes((3,))]}
    whole = Evaluator(3, **options).update(guess, truth, ids)
    repeated = Evaluator(3, **options).update(guess[::-1].copy(), truth[::-1].copy(), ids[::-1])
    repeated.merge(Evaluator(3, **options).update(guess[:4], truth[:4], ids[:4])).merge(Evaluator(3, **options))
    loaded = Evaluator(3, **options).load_state_dict(whole.state_dict())
    for other in (repeated, loaded):
        one, two = whole.compute().objects, other.compute().objects
        assert one is not None
        assert two is not None
        assert np.array_equal(one.tp, two.tp)
        assert np.array_equal(one.fp, two.fp)
    assert math.isnan(Evaluator(3, **options).compute().figures["objects_miou_1"])


def test_measures_in_tables_text_and_pairs() -> None:
    guess, truth, ids = _image_data()
    report = Evaluator(3, measures=["boundary", "objects"]).update(guess, truth, ids).compute()
    assert "HD95" in str(report)
    frame = report.to_dataframe("images")
    for name in ("hd95", "boundary_iou", "objects_miou_1"):
        for image in ids:
            assert frame.loc[image, name] == pytest.approx(report.select([image]).figures[name], nan_ok=True)
    plain = Evaluator(3).update(guess, truth, ids).compute()
    assert compare_pair(report.per_image, plain.per_image, "miou", resamples=100).difference == 0
    with pytest.raises(DataError, match="nothing"):
        compare_pair(report.per_image, plain.per_image, "hd95", resamples=100)
    other = Evaluator(3, measures=[segcrit.Boundary(frame=True)]).update(guess, truth, ids).compute()
    with pytest.raises(DataError, match="frame=True"):
        compare_pair(report.per_image, other.per_image, "hd95", resamples=100)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("ignore_index", [255, 1])
def test_objects_of_all_sizes_add_up_to_the_counts(policy: str, ignore_index: int) -> None:
    """Under every policy, predicted ignore labels and an ignored class included."""
    generator = np.random.default_rng(6)
    truth, guess = generator.integers(0, 3, (2, 2, 20, 20))
    truth[0, :3] = ignore_index
    if ignore_index == 255 and POLICIES[policy].ignored_prediction != "error":
        guess[1, 5:9] = ignore_index
    report = (
        Evaluator(3, ignore_index=ignore_index, policy=policy, measures=[ObjectSizes((2, 5))])
        .update(guess, truth)
        .compute()
    )
    for name in ("tp", "fp", "fn"):
        wanted = getattr(report.per_image, name).sum(axis=0)
        np.testing.assert_array_equal(getattr(report.objects, name).sum(axis=1), wanted)
