"""Whole comparisons of a tiny network: equal conditions, folders, resuming, adding, refusing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import segcrit
from segcrit.apps.compare import runner, session
from segcrit.apps.compare.batches import evaluation_images
from segcrit.apps.compare.batches.forms import read_batch
from segcrit.apps.compare.records import Results
from segcrit.apps.compare.results import read_results
from segcrit.apps.compare.training import context as context_module
from segcrit.apps.compare.training import module as module_module
from segcrit.core.errors import DataError, ExpressionError, LabelError, ParameterError, TrainingError
from tests.compare.making import Arrays, loaders, tiny, write_folder

STEPS: dict[str, Any] = {"steps": 6, "epochs": 3, "batch_size": 4, "crop": 32, "progress": False}


@pytest.fixture(autouse=True)
def no_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has tests of its own; drawing it takes longer than these trainings."""
    if "with_page" not in request.keywords:
        monkeypatch.setattr(session, "render_report", lambda results, folder: folder / "report.html")


def figures(results: Results) -> dict[str, float]:
    return {
        f"{loss.name} {seed.seed}": seed.figures.miou for loss in results.losses for seed in loss.seeds if seed.figures
    }


def curves(results: Results) -> dict[str, Any]:
    return {
        f"{loss.name} {seed.seed}": (
            seed.training.steps,
            seed.training.loss,
            seed.validation.steps,
            seed.validation.miou,
        )
        for loss in results.losses
        for seed in loss.seeds
    }


# --------------------------------------------------------------------------------------------- one whole run


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A run of three losses and two seeds with everything that is written."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    results = segcrit.compare(
        tiny,
        folder,
        ["ce", 'ce(class_weight="median")', "ce + dice"],
        seeds=2,
        out=out,
        save_predictions=True,
        steps=60,
        epochs=3,
        batch_size=4,
        crop=32,
        learning_rate=0.03,
        progress=False,
    )
    return results, out


def test_the_network_learns_under_every_loss(whole: tuple[Results, Path]) -> None:
    results, _ = whole
    assert results.baseline is not None
    assert len(figures(results)) == 6
    assert all(value > results.baseline.figures.miou + 0.2 for value in figures(results).values())


def test_everything_is_written(whole: tuple[Results, Path]) -> None:
    results, out = whole
    for name in ("report.html", "results.json", "losses.csv", "run.json", "initial/seed-0.pt", "initial/seed-1.pt"):
        assert (out / name).stat().st_size > 0, name
    training = out / "losses" / "03-ce+dice" / "seed-1"
    assert sorted(path.name for path in training.iterdir()) == [
        "batches.txt",
        "best.ckpt",
        "predictions",
        "result.json",
    ]
    assert list((out / "tensorboard" / "03-ce+dice" / "seed-1").glob("events.out.tfevents.*"))
    assert results.verdict is None or results.verdict.best
    stored = read_results(out)
    assert figures(stored) == figures(results)
    assert stored.run.status == "complete"


def test_predictions_are_images_of_labels_that_give_the_figures(whole: tuple[Results, Path], folder: Path) -> None:
    from PIL import Image

    results, out = whole
    evaluator = segcrit.Evaluator(3, ignore_index=255)
    for name in ("09", "10", "11"):
        with Image.open(out / "losses" / "01-ce" / "seed-0" / "predictions" / f"{name}.png") as picture:
            assert picture.mode == "P"
            prediction = np.array(picture)
        truth = np.array(Image.open(folder / "masks" / f"{name}.png"))
        evaluator.update(prediction[None], truth[None], ids=[name])
    assert evaluator.compute().miou == pytest.approx(results.losses[0].seeds[0].figures.miou)
    assert not list((out / "losses").rglob(".*"))


def test_words_are_numbers_in_what_is_copied(whole: tuple[Results, Path]) -> None:
    results, _ = whole
    weighted = results.losses[1]
    assert "median" not in weighted.criterion_expression
    assert weighted.criterion_arguments == {"ignore_index": 255}
    criterion = segcrit.Criterion(weighted.criterion_expression, **weighted.criterion_arguments)
    assert criterion(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)) > 0
    (word,) = results.data.words
    assert word.word == 'class_weight="median"'
    assert len(word.values) == 3


def test_the_baseline_predicts_the_most_frequent_class(whole: tuple[Results, Path], folder: Path) -> None:
    from PIL import Image

    results, _ = whole
    truths = {name: np.array(Image.open(folder / "masks" / f"{name}.png")) for name in ("09", "10", "11")}
    evaluator = segcrit.Evaluator(3, ignore_index=255)
    for name, truth in truths.items():
        evaluator.update(np.zeros_like(truth)[None], truth[None], ids=[name])
    report = evaluator.compute()
    assert results.baseline.class_index == 0
    assert results.baseline.figures.miou == pytest.approx(report.miou)
    assert results.baseline.figures.pixel_accuracy == pytest.approx(report.pixel_accuracy)
    assert np.array_equal(results.baseline.confusion, report.confusion)
    assert results.data.class_shares["test"] == pytest.approx(report.share.tolist())


def test_examples_show_what_the_losses_predict(whole: tuple[Results, Path]) -> None:
    from PIL import Image

    results, out = whole
    assert 1 <= len(results.examples) <= 3
    for example in results.examples:
        truth = np.array(Image.open(out / example.truth))
        assert [prediction.loss for prediction in example.predictions] == [loss.name for loss in results.losses]
        shown = np.stack([np.array(Image.open(out / prediction.labels)) for prediction in example.predictions])
        disagreement = ((shown != shown[0]).any(0) & (truth != 255)).sum() / (truth != 255).sum()
        assert disagreement == pytest.approx(example.disagreement)
        for prediction, labels in zip(example.predictions, shown, strict=True):
            accuracy = (labels == truth)[truth != 255].mean()
            assert prediction.figures.pixel_accuracy == pytest.approx(accuracy)


def test_costs_and_curves_are_kept(whole: tuple[Results, Path]) -> None:
    results, _ = whole
    for loss in results.losses:
        for seed in loss.seeds:
            assert seed.validation.steps == (20, 40, 60)
            assert seed.training.steps[-1] == 60
            assert list(seed.training.seconds) == sorted(seed.training.seconds)
            assert 0 < seed.cost.step_seconds < 10
            assert 0 < seed.cost.loss_share < 1
            assert seed.best_step in (20, 40, 60)
            assert seed.best_validation == max(seed.validation.miou)


def test_checkpoints_tell_how_to_build_the_network(whole: tuple[Results, Path]) -> None:
    _, out = whole
    content = torch.load(out / "losses" / "01-ce" / "seed-0" / "best.ckpt", weights_only=True)
    passport = content["segcrit"]
    assert passport["classes"] == ["ground", "house", "tree"]
    assert passport["loss"] == "ce"
    network = tiny()
    network.load_state_dict({name.removeprefix("network."): value for name, value in content["state_dict"].items()})


# ------------------------------------------------------------------------------------------ equal conditions


def test_losses_start_from_equal_weights_and_see_equal_batches(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[bytes]] = {}
    weights: dict[str, list[bytes]] = {}
    step = module_module.Trainee.training_step

    def recorded(self: Any, raw: Any, index: int) -> Any:
        name = self.criterion.expression
        batch = read_batch(raw)
        seen.setdefault(name, []).append(batch.image.numpy().tobytes() + batch.target.numpy().tobytes())
        if self.global_step == 0:
            weights.setdefault(name, []).append(
                b"".join(p.detach().numpy().tobytes() for p in self.network.parameters())
            )
        # Whatever a loss does to the global generator must not reach the batches.
        torch.rand(len(name))
        np.random.rand(len(name))
        return step(self, raw, index)

    monkeypatch.setattr(module_module.Trainee, "training_step", recorded)
    segcrit.compare(tiny, folder, ["ce", "dice"], out=tmp_path / "a", **STEPS)
    assert len(seen["ce"]) == 7  # one step to look ahead, six to train
    assert seen["ce"] == seen["dice"]
    assert len(set(seen["ce"][1:])) == 6
    assert weights["ce"] == weights["dice"]


def test_a_run_repeats_itself(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = segcrit.compare(tiny, folder, ["dice"], out=tmp_path / "a", **STEPS)
    torch.manual_seed(2)
    second = segcrit.compare(tiny, folder, ["ce", "dice"], out=tmp_path / "b", **STEPS)
    assert curves(first)["dice 0"] == curves(second)["dice 0"]
    assert figures(first)["dice 0"] == figures(second)["dice 0"]


def test_the_users_generators_are_left_alone(folder: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


# ------------------------------------------------------------------------------------------ resuming, adding


class Stop(RuntimeError):
    """Stands for a crash."""


def crash_at(monkeypatch: pytest.MonkeyPatch, expression: str, at: int, error: BaseException) -> None:
    step = module_module.Trainee.training_step
    steps = 0

    def crashing(self: Any, raw: Any, index: int) -> Any:
        nonlocal steps
        if self.criterion.expression == expression and self.steps > 1:
            steps += 1
            if steps > at:
                raise error
        return step(self, raw, index)

    monkeypatch.setattr(module_module.Trainee, "training_step", crashing)


@pytest.mark.parametrize("at", [3, 5, 6])
def test_a_crashed_run_goes_on_as_if_nothing_had_happened(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    length = STEPS | {"steps": 8, "epochs": 4}
    whole = segcrit.compare(tiny, folder, ["ce", "dice"], out=tmp_path / "whole", **length)
    with monkeypatch.context() as patch:
        crash_at(patch, "dice", at, Stop("crash"))
        with pytest.raises(Stop):
            segcrit.compare(tiny, folder, ["ce", "dice"], out=tmp_path / "parts", **length)
    assert not (tmp_path / "parts" / "results.json").exists()
    resumed_at = []
    step = module_module.Trainee.training_step

    def recorded(self: Any, raw: Any, index: int) -> Any:
        if self.steps > 1:
            resumed_at.append(self.global_step)
        return step(self, raw, index)

    monkeypatch.setattr(module_module.Trainee, "training_step", recorded)
    parts = segcrit.compare(tiny, out=tmp_path / "parts", resume=True, progress=False)
    # Two steps an epoch: what was done of the epoch is lost, nothing else.
    assert resumed_at == list(range(at // 2 * 2, 8))
    assert curves(parts) == curves(whole)
    assert figures(parts) == figures(whole)
    assert parts.run.steps == whole.run.steps


def test_ctrl_c_leaves_the_finished_losses_and_says_how_to_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, "dice", 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="resume=True"):
            segcrit.compare(tiny, folder, ["ce", "dice"], out=tmp_path / "a", **STEPS)
    partial = read_results(tmp_path / "a")
    assert partial.run.status == "interrupted"
    assert [len(loss.seeds) for loss in partial.losses] == [1, 0]
    done = segcrit.compare(tiny, out=tmp_path / "a", resume=True, progress=False)
    assert done.run.status == "complete"
    assert done.run.elapsed_seconds > partial.run.elapsed_seconds
    assert figures(done)["ce 0"] == figures(partial)["ce 0"]


def test_a_finished_run_is_resumed_without_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)

    def never(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module_module.Trainee, "training_step", never)
    again = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", resume=True, progress=False)
    assert curves(again) == curves(first)


def test_added_losses_are_trained_as_if_they_had_been_there(folder: Path, tmp_path: Path) -> None:
    together = segcrit.compare(tiny, folder, ["ce", "focal"], seeds=2, out=tmp_path / "a", **STEPS)
    segcrit.compare(tiny, folder, ["ce"], seeds=2, out=tmp_path / "b", **STEPS)
    added = segcrit.compare(tiny, out=tmp_path / "b", add=["focal"], progress=False)
    assert figures(added) == figures(together)
    assert curves(added) == curves(together)
    assert [loss.color for loss in added.losses] == [0, 1]
    with pytest.raises(ParameterError, match="which it has"):
        segcrit.compare(tiny, out=tmp_path / "b", add=["focal(gamma=2)", "focal"], progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "batch size 4"),
        ({"seeds": 2}, "seeds 0"),
        ({"learning_rate": 0.5}, "learning rate"),
        ({"losses": ["ce", "dice"]}, "--add"),
        ({"crop": 16}, "crop 32 32"),
        ({"model": "unet"}, "network"),
    ],
)
def test_another_setting_is_refused_when_resuming(
    folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)
    arguments: dict[str, Any] = {"model": tiny, "out": tmp_path / "a", "resume": True, "progress": False} | change
    with pytest.raises(ParameterError, match=message):
        segcrit.compare(**arguments)


def test_predictions_can_be_asked_for_later(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", save_predictions=True, **STEPS)
    segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "b", **STEPS)

    def never(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module_module.Trainee, "training_step", never)
    later = segcrit.compare(tiny, out=tmp_path / "b", resume=True, save_predictions=True, progress=False)
    assert curves(later) == curves(first)
    written = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "losses/01-ce/seed-0/predictions").iterdir()}
        for name in ("a", "b")
    ]
    assert written[0] == written[1]
    assert len(written[0]) == 3


def test_a_network_of_the_users_own_must_be_given_again(folder: Path, tmp_path: Path) -> None:
    segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)
    with pytest.raises(ParameterError, match=r"\(tiny\).*Give the same model= again"):
        segcrit.compare(out=tmp_path / "a", resume=True, progress=False)


def test_other_data_are_refused_when_resuming(folder: Path, tmp_path: Path) -> None:
    segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)
    other = write_folder(tmp_path / "other", number=13, classes=2)
    with pytest.raises(DataError, match="other images"):
        segcrit.compare(tiny, other, out=tmp_path / "a", resume=True, progress=False)


def test_a_damaged_checkpoint_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, "ce", 3, Stop("crash"))
        with pytest.raises(Stop):
            segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)
    checkpoint = tmp_path / "a" / "losses" / "01-ce" / "seed-0" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"last\.ckpt"):
        segcrit.compare(tiny, out=tmp_path / "a", resume=True, progress=False)


# ---------------------------------------------------------------------------------------------- what is refused


def test_nothing_is_written_where_something_is_refused(folder: Path, tmp_path: Path) -> None:
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (ExpressionError, {"losses": ["ce", "dcie"]}),
        (ParameterError, {"losses": ["ce", "bce"]}),
        (ParameterError, {"losses": ["ce", "ce"]}),
        (ParameterError, {"losses": "ce"}),
        (ParameterError, {"losses": []}),
        (ParameterError, {"crop": (32, 32, 32)}),
        (ParameterError, {"task": "binary"}),
        (ParameterError, {"task": "multilabel"}),
        (ParameterError, {"model": "unett"}),
        (ParameterError, {"accelerator": "quantum"}),
        (ParameterError, {"accelerator": "tpu" if torch.cuda.is_available() else "gpu"}),
        (ParameterError, {"metric": "accuracy"}),
        (ParameterError, {"metric": "foreground_iou"}),  # class 0 is "ground"
        (ParameterError, {"seeds": 0}),
        (DataError, {"data": tmp_path / "nowhere"}),
        (DataError, {"data": 3}),
        (DataError, {"data": {"train": [1]}}),
    ]
    for kind, change in wrong:
        arguments: dict[str, Any] = {"model": tiny, "data": folder, "losses": ["ce"], "out": tmp_path / "run"} | STEPS
        with pytest.raises(kind):
            segcrit.compare(**(arguments | change))
        assert not (tmp_path / "run").exists(), change


def test_figures_of_the_foreground_leave_out_what_is_the_background(folder: Path, tmp_path: Path) -> None:
    every = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "every", **STEPS)
    found = every.losses[0].seeds[0].figures
    assert every.data.background is None
    assert found is not None
    assert found.foreground_iou == found.miou == pytest.approx(np.nanmean(found.iou))

    told = shutil.copytree(folder, tmp_path / "told")
    content = json.loads((told / "classes.json").read_text()) | {"background": 0}
    (told / "classes.json").write_text(json.dumps(content))
    objects = segcrit.compare(tiny, told, ["ce"], out=tmp_path / "objects", metric="foreground_iou", **STEPS)
    same = objects.losses[0].seeds[0]
    assert objects.data.background == 0
    assert same.figures is not None
    assert same.figures.foreground_iou == pytest.approx(np.nanmean(same.figures.iou[1:]))
    assert same.best_validation == max(same.validation.foreground_iou)
    assert same.validation.miou == every.losses[0].seeds[0].validation.miou


def test_data_without_a_labelled_pixel_is_refused(folder: Path, tmp_path: Path) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    for name in (data / "splits" / "train.txt").read_text().split():
        Image.fromarray(np.full((40, 48), 255, dtype=np.uint8)).save(data / "masks" / f"{name}.png")
    with pytest.raises(DataError, match="the ignored label 255 everywhere"):
        segcrit.compare(tiny, data, ["ce"], out=tmp_path / "a", **STEPS)
    assert not (tmp_path / "a").exists()


def test_images_of_one_size_are_judged_together_and_counted_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    predict = module_module.Trainee.predict
    monkeypatch.setattr(
        module_module.Trainee, "predict", lambda self, image: (sizes.append(len(image)), predict(self, image))[1]
    )
    together = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", save_predictions=True, **STEPS)
    assert set(sizes) == {3}
    monkeypatch.setattr(evaluation_images, "_MOST_IMAGES", 1)
    alone = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "b", save_predictions=True, **STEPS)
    assert sizes[-1] == 1
    first, second = (run.losses[0].seeds[0].counts for run in (together, alone))
    assert first is not None
    assert second is not None
    assert first.ids == second.ids == ("09", "10", "11")
    np.testing.assert_array_equal(first.tp, second.tp)
    np.testing.assert_array_equal(first.fp, second.fp)
    for name in first.ids:
        path = Path("losses") / "01-ce" / "seed-0" / "predictions" / f"{name}.png"
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_a_run_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)
    with pytest.raises(ParameterError, match=r"--resume.*--add"):
        segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)


def test_a_network_with_the_wrong_number_of_classes_stops_before_the_training(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(segcrit.core.errors.ShapeError):
        segcrit.compare(nn.Conv2d(3, 2, 1), folder, ["ce"], out=tmp_path / "a", **STEPS)


# -------------------------------------------------------------------------------------- trouble during training


def test_a_checkpoint_that_could_not_be_written_leaves_the_old_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = torch.save, []

    def cut_off(content: Any, path: Path) -> None:
        save(content, path)
        if Path(path).suffix == ".ckpt":
            calls.append(path)
            if len(calls) == 4:  # the second epoch's: of each epoch the best one, then the last one
                Path(path).write_bytes(Path(path).read_bytes()[:100])
                raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(OSError, match="No space left"):
        segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", learning_rate=0.05, **STEPS)
    training = tmp_path / "a" / "losses" / "01-ce" / "seed-0"
    assert torch.load(training / "last.ckpt", weights_only=True)["global_step"] in (2, 4)
    assert not list(training.glob(".*"))
    (training / ".last.killed.ckpt").write_bytes(b"half")
    monkeypatch.undo()
    segcrit.compare(tiny, out=tmp_path / "a", resume=True, progress=False)
    assert [path.name for path in training.glob("*")] == [path.name for path in training.glob("[!.]*")]


def test_a_diverged_loss_is_recorded_and_the_others_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    criterion = context_module.Context.criterion

    class Broken(nn.Module):
        expression = "dice"

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, logits: Any, target: Any, weight: Any = None) -> Any:
            self.calls += 1
            loss = self.inner(logits, target, weight)
            return loss * float("nan") if self.calls > 4 else loss

    def broken(self: Any, expression: str, world: int = 1) -> Any:
        made = criterion(self, expression, world)
        return Broken(made) if expression == "dice" else made

    monkeypatch.setattr(context_module.Context, "criterion", broken)
    results = segcrit.compare(tiny, folder, ["dice", "ce"], out=tmp_path / "a", **STEPS)
    diverged, fine = (loss.seeds[0] for loss in results.losses)
    assert diverged.status == "diverged"
    assert "step 4" in diverged.message
    assert "learning rate" in diverged.message
    assert diverged.figures is None
    assert diverged.validation.steps == (2,)
    assert fine.status == "ok"
    assert read_results(tmp_path / "a").losses[0].seeds[0].status == "diverged"
    again = segcrit.compare(tiny, out=tmp_path / "a", resume=True, progress=False)
    assert again.losses[0].seeds[0].status == "diverged"


def test_a_huge_learning_rate_is_no_crash(folder: Path, tmp_path: Path) -> None:
    results = segcrit.compare(
        tiny, folder, ["ce"], out=tmp_path / "a", learning_rate=1e30, schedule="constant", **STEPS
    )
    assert results.losses[0].seeds[0].status in ("diverged", "ok")


@pytest.mark.parametrize(
    "message", ["[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory", ""]
)
def test_out_of_memory_names_a_batch_size_that_fits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    step = module_module.Trainee.training_step
    tried = []

    def hungry(self: Any, raw: Any, index: int) -> Any:
        size = len(read_batch(raw).image)
        tried.append(size)
        if size > 2 and self.criterion.expression == "dice":
            raise RuntimeError(message) if message else MemoryError
        return step(self, raw, index)

    monkeypatch.setattr(module_module.Trainee, "training_step", hungry)
    with pytest.raises(TrainingError, match=r"'dice' with 8 crops.*--batch-size 2"):
        segcrit.compare(tiny, folder, ["ce", "dice"], out=tmp_path / "a", **(STEPS | {"batch_size": 8}))
    # Found before anything was trained: one step of ce, then dice with 8, 4 and 2.
    assert sorted(set(tried)) == [2, 4, 8]
    assert not (tmp_path / "a" / "losses").exists()


def test_no_batch_size_that_fits_is_said_too(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(self: Any, raw: Any, index: int) -> Any:
        raise MemoryError

    monkeypatch.setattr(module_module.Trainee, "training_step", hungry)
    with pytest.raises(TrainingError, match="smaller --crop"):
        segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)


def test_wrong_labels_name_the_label(tmp_path: Path) -> None:
    data = loaders()
    data["train"].dataset.items[0][1][0, 0] = 7
    with pytest.raises(LabelError, match="7"):
        segcrit.compare(tiny, data, ["ce"], num_classes=3, out=tmp_path / "a", epochs=1, progress=False)


# ------------------------------------------------------------------------------------ other data and other tasks


@pytest.mark.parametrize("form", ["labels", "dictionary"])
def test_own_loaders(tmp_path: Path, form: str) -> None:
    results = segcrit.compare(
        tiny(), loaders(form), ["ce", "dice"], out=tmp_path / "a", epochs=2, learning_rate=0.03, progress=False
    )
    assert results.data.images == {"train": 12, "val": 4, "test": 5}
    assert results.run.steps == 6
    assert results.run.epochs == 2
    assert results.run.crop == ()
    assert [entry.name for entry in results.data.classes] == ["class 0", "class 1", "class 2"]
    assert len(results.examples) == 5
    assert not results.run.notes
    names = results.losses[0].seeds[0].counts.ids
    assert names[0] == ("img 0" if form == "dictionary" else "test 00000")


def test_loaders_with_global_noise_deliver_equal_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[bytes]] = {}
    step = module_module.Trainee.training_step

    def recorded(self: Any, raw: Any, index: int) -> Any:
        if self.steps > 1:
            seen.setdefault(self.criterion.expression, []).append(read_batch(raw).image.numpy().tobytes())
        return step(self, raw, index)

    monkeypatch.setattr(module_module.Trainee, "training_step", recorded)
    data = loaders(global_noise=True)
    segcrit.compare(tiny, data, ["ce", "dice"], num_classes=3, out=tmp_path / "a", epochs=2, progress=False)
    assert seen["ce"] == seen["dice"]
    assert len(set(seen["ce"])) == 6


def test_loaders_that_cannot_be_seeded_are_noted(tmp_path: Path) -> None:
    class Stubborn(Arrays):
        generator = np.random.default_rng(0)

        def __getitem__(self, index: int) -> Any:
            image, mask = super().__getitem__(index)
            return image + float(self.generator.normal()), mask

    data = loaders()
    data["train"] = torch.utils.data.DataLoader(Stubborn(8, 0), batch_size=4)
    results = segcrit.compare(tiny, data, ["ce", "dice"], num_classes=3, out=tmp_path / "a", epochs=1, progress=False)
    assert any("same batches" in note for note in results.run.notes)


def test_loaders_without_length_need_steps(tmp_path: Path) -> None:
    class Endless:
        def __iter__(self) -> Any:
            while True:
                for start in range(0, 12, 4):
                    items = [Arrays(12, 0)[index] for index in range(start, start + 4)]
                    yield tuple(torch.stack(part) for part in zip(*items, strict=True))

    data = loaders() | {"train": Endless()}
    with pytest.raises(ParameterError, match="steps="):
        segcrit.compare(tiny, data, ["ce"], num_classes=3, out=tmp_path / "a", progress=False)
    results = segcrit.compare(tiny, data, ["ce"], num_classes=3, out=tmp_path / "a", steps=5, epochs=2, progress=False)
    assert results.losses[0].seeds[0].validation.steps == (3, 5)


def test_shuffled_test_loaders_are_refused(tmp_path: Path) -> None:
    data = loaders()
    data["test"] = torch.utils.data.DataLoader(Arrays(4, 0), shuffle=True)
    with pytest.raises(DataError, match="shuffle=False"):
        segcrit.compare(tiny, data, ["ce"], num_classes=3, out=tmp_path / "a", progress=False)


def test_without_a_test_loader_the_validation_is_used_and_that_is_said(tmp_path: Path) -> None:
    data = loaders()
    results = segcrit.compare(
        tiny, (data["train"], data["val"]), ["ce"], num_classes=3, out=tmp_path / "a", epochs=1, progress=False
    )
    assert results.data.images["test"] == 4
    assert any("too good" in note for note in results.run.notes)


def test_a_data_module(tmp_path: Path) -> None:
    import lightning.pytorch as lightning

    class Module(lightning.LightningDataModule):
        def setup(self, stage: str) -> None:
            self.parts = loaders()

        def train_dataloader(self) -> Any:
            return self.parts["train"]

        def val_dataloader(self) -> Any:
            return self.parts["val"]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            image, target = batch
            return 10 * image, target

    results = segcrit.compare(tiny, Module(), ["ce"], num_classes=3, out=tmp_path / "a", epochs=1, progress=False)
    assert results.data.name == "Module"
    assert results.losses[0].seeds[0].figures is not None


def test_the_binary_task(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "two", classes=2)
    results = segcrit.compare(
        tiny, data, ['bce(pos_weight="auto")', "bce + dice"], task="binary", out=tmp_path / "a",
        **(STEPS | {"steps": 40, "learning_rate": 0.03}),
    )  # fmt: skip
    assert results.data.task == "binary"
    assert all(value > 0.5 for value in figures(results).values())
    assert "pos_weight=" in results.losses[0].criterion_expression
    assert results.losses[0].criterion_arguments == {"task": "binary"}
    assert results.losses[0].seeds[0].confusion.shape == (2, 2)


def test_the_multilabel_task(tmp_path: Path) -> None:
    results = segcrit.compare(
        tiny, loaders("multilabel"), None, task="multilabel", num_classes=2, out=tmp_path / "a", epochs=1,
        progress=False,
    )  # fmt: skip
    assert [loss.name for loss in results.losses][:3] == ["bce", "dice", "bce + dice"]
    assert results.baseline is None
    assert results.data.background is None
    assert len(figures(results)) == 6


def test_volumes(volumes: Path, tmp_path: Path) -> None:
    import nibabel

    results = segcrit.compare(
        tiny, volumes, ["ce", "dice"], out=tmp_path / "a", save_predictions=True, steps=30, epochs=2, crop=16,
        learning_rate=0.03, augment="full", progress=False,
    )  # fmt: skip
    assert results.run.crop == (16, 16, 16)
    assert results.run.batch_size == 2
    assert all(value > 0.6 for value in figures(results).values())
    (written, *_) = sorted((tmp_path / "a" / "losses" / "01-ce" / "seed-0" / "predictions").iterdir())
    prediction = nibabel.load(written)
    assert prediction.header.get_zooms() == (1.0, 1.0, 2.5)
    assert set(np.unique(np.asarray(prediction.dataobj))) <= {0, 1}
    assert all("slice" in example.view for example in results.examples)


def test_scribbles_teach_and_full_masks_judge(scribbles: Path, tmp_path: Path) -> None:
    results = segcrit.compare(
        tiny, scribbles, ["partial_ce", 'ce(unlabelled="background")'], train_labels="scribbles",
        out=tmp_path / "a", **(STEPS | {"steps": 80, "learning_rate": 0.03}),
    )  # fmt: skip
    partial, background = (loss.seeds[0].figures.miou for loss in results.losses)
    assert partial > background + 0.3
    assert results.data.train_labels == "scribbles"
    assert results.data.ignored_share["train"] > 0.9
    again = segcrit.compare(tiny, out=tmp_path / "a", resume=True, progress=False)
    assert figures(again) == figures(results)


def test_each_loss_gets_its_learning_rate(folder: Path, tmp_path: Path) -> None:
    results = segcrit.compare(
        tiny, folder, ["ce", "dice"], out=tmp_path / "a", tune_learning_rate=True, learning_rate=0.03, seeds=2,
        **(STEPS | {"steps": 20}),
    )  # fmt: skip
    for loss in results.losses:
        for seed in loss.seeds:
            rate = seed.learning_rate
            assert rate.tuned
            assert [trial.value for trial in rate.trials] == [0.03, 0.003, 0.00948, 0.0948]
            assert rate.value == max(rate.trials, key=lambda trial: trial.validation).value
            assert rate.trial_steps == 20
    stored = json.loads((tmp_path / "a" / "losses" / "02-dice" / "learning_rate.json").read_text())
    assert stored["value"] == results.losses[1].seeds[0].learning_rate.value


def test_an_interrupted_search_goes_on_with_the_next_trial(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, "ce", 45, Stop("crash"))
        with pytest.raises(Stop):
            segcrit.compare(
                tiny, folder, ["ce"], out=tmp_path / "a", tune_learning_rate=True, **(STEPS | {"steps": 20})
            )
    rates = []
    step = module_module.Trainee.training_step

    def recorded(self: Any, raw: Any, index: int) -> Any:
        if self.global_step == 0 and self.steps > 1:
            rates.append(self.learning_rate)
        return step(self, raw, index)

    monkeypatch.setattr(module_module.Trainee, "training_step", recorded)
    results = segcrit.compare(tiny, out=tmp_path / "a", resume=True, progress=False)
    assert len(rates) == 3  # the two trials that were missing, and the training
    assert len(results.losses[0].seeds[0].learning_rate.trials) == 4


def test_deep_supervision_and_low_resolution(folder: Path, tmp_path: Path) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.fine, self.coarse = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 2, 2)

        def forward(self, image: torch.Tensor) -> Any:
            features = torch.relu(self.stem(image))
            return [self.fine(features), self.coarse(features)]

    results = segcrit.compare(
        Deep, folder, ["ce + dice"], out=tmp_path / "a", **(STEPS | {"inference": "sliding", "window": 32})
    )
    assert results.run.inference.startswith("sliding window 32 × 32")
    assert results.losses[0].seeds[0].figures.miou > 0


def test_the_estimate_writes_nothing(folder: Path, tmp_path: Path) -> None:
    from segcrit.apps.compare.prepare import Request
    from segcrit.apps.compare.settings import Compute

    request = Request(
        model=tiny, data=folder, losses=["ce", "dice"], out=tmp_path / "a", resume=False, add=(),
        options={"steps": 100, "seeds": 3, "crop": 32}, compute=Compute(),
    )  # fmt: skip
    found = runner.estimate(request, progress=False)
    assert found.trainings == 6
    assert [name for name, _ in found.losses] == ["ce", "dice"]
    assert found.seconds > 300 * 2 * min(measured.step_seconds for _, measured in found.losses)
    assert all(0 < cost.loss_seconds < cost.step_seconds and cost.peak_memory > 1e6 for _, cost in found.losses)
    rests = {round(cost.step_seconds - cost.loss_seconds, 9) for _, cost in found.losses}
    assert len(rests) == 1  # the network is no price of a loss
    assert not (tmp_path / "a").exists()


def test_weak_labels_get_a_longer_training(scribbles: Path, tmp_path: Path) -> None:
    from segcrit.apps.compare.prepare import Request
    from segcrit.apps.compare.settings import Compute

    def steps(**options: Any) -> int:
        request = Request(
            model=tiny, data=scribbles, losses=["partial_ce"], out=tmp_path / "a", resume=False, add=(),
            options={"crop": 32}, compute=Compute(), **options,
        )  # fmt: skip
        return runner.estimate(request, progress=False).steps

    assert steps(train_labels="scribbles") > 2 * steps()


def test_a_pretrained_network_with_low_resolution_logits(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], decoder_hidden_size=16, num_attention_heads=[1, 1, 1, 1]
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "network")
    results = segcrit.compare(f"hf:{tmp_path / 'network'}", folder, ["ce"], out=tmp_path / "a", **STEPS)
    assert "ImageNet" in results.data.normalisation
    assert results.losses[0].seeds[0].learning_rate.value < 1e-3
    assert results.losses[0].seeds[0].confusion.sum() == 3 * (40 * 48 - 10)


def test_readers_and_precision_change_no_batch(folder: Path, tmp_path: Path) -> None:
    alone = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "a", **STEPS)
    helped = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "b", num_workers=2, **STEPS)
    assert curves(helped) == curves(alone)
    half = segcrit.compare(tiny, folder, ["ce"], out=tmp_path / "c", precision="bf16-mixed", **STEPS)
    assert half.losses[0].seeds[0].training.loss == pytest.approx(alone.losses[0].seeds[0].training.loss, rel=0.02)
    assert half.run.precision == "bf16 mixed"


def test_seeds_of_a_network_that_was_given_differ_in_batches_only_and_that_is_said(
    folder: Path, tmp_path: Path
) -> None:
    network = tiny()
    results = segcrit.compare(network, folder, ["ce"], seeds=[3, 8], out=tmp_path / "a", **STEPS)
    assert any("seeds differ in batches" in note for note in results.run.notes)
    weights = [torch.load(tmp_path / "a" / "initial" / f"seed-{seed}.pt") for seed in (3, 8)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert curves(results)["ce 3"] != curves(results)["ce 8"]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_optimisers_and_schedules(folder: Path, tmp_path: Path, optimizer: str) -> None:
    schedule = {"adam": "polynomial", "sgd": "constant"}[optimizer]
    results = segcrit.compare(
        tiny, folder, ["ce"], out=tmp_path / "a", optimizer=optimizer, schedule=schedule, gradient_clip=0.0,
        **(STEPS | {"steps": 20}),
    )  # fmt: skip
    losses = results.losses[0].seeds[0].training.loss
    assert losses[-1] < losses[0]
    assert "clipped" not in results.run.optimizer
    assert results.losses[0].seeds[0].learning_rate.value == {"adam": 1e-3, "sgd": 1e-2}[optimizer]
