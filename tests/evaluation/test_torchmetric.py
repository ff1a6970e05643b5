"""An evaluator as a metric of torchmetrics: alone, in a collection, in Lightning, in processes."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

import segcrit
from segcrit.core.errors import MissingExtraError, ParameterError

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")


def _batch(rows: list[int]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, 8, 8, generator=generator)
    target = torch.randint(0, 3, (6, 8, 8), generator=generator)
    return logits[rows], target[rows], [f"i{row}" for row in rows]


def _whole() -> segcrit.Report:
    return segcrit.Evaluator(3).update(*_batch([0, 1, 2, 3, 4, 5])).compute()


def test_the_life_of_a_metric() -> None:
    metric = segcrit.as_torchmetric(segcrit.Evaluator(3))
    assert isinstance(metric, torchmetrics.Metric)
    metric.update(*_batch([0, 1, 2]))
    metric.update(*_batch([2, 3, 4, 5]))  # one image again
    value = metric.compute()
    assert value.ndim == 0
    assert float(value) == pytest.approx(_whole().miou, rel=1e-6)
    assert metric.report().num_images == 6
    assert metric.higher_is_better is True
    metric.reset()
    assert metric.report().num_images == 0
    logits, target, _ = _batch([1])
    metric.update(logits, target)
    assert float(metric.compute()) != float(value)


def test_forward_gives_the_batch_and_keeps_the_whole() -> None:
    metric = segcrit.as_torchmetric(segcrit.Evaluator(3), ["miou", "recall[2]"])
    for rows in ([0, 1], [2, 3], [4, 5]):
        alone = segcrit.Evaluator(3).update(*_batch(rows)).compute()
        values = metric(*_batch(rows))
        assert float(values["miou"]) == pytest.approx(alone.miou, rel=1e-6)
        assert float(values["recall[2]"]) == pytest.approx(alone.recall[2], rel=1e-6)
    assert float(metric.compute()["miou"]) == pytest.approx(_whole().miou, rel=1e-6)


def test_in_a_collection() -> None:
    evaluator = segcrit.Evaluator(3, measures=["calibration"])
    collection = torchmetrics.MetricCollection(
        {
            "segcrit": segcrit.as_torchmetric(evaluator, ["miou", "nll"]),
            "jaccard": torchmetrics.classification.MulticlassJaccardIndex(3),
            "ece": segcrit.as_torchmetric(evaluator, "ece"),
        },
        prefix="val_",
    )
    for rows in ([0, 1], [2, 3], [4, 5]):
        logits, target, _ = _batch(rows)
        collection.update(logits, target)
    values = collection.compute()
    assert float(values["val_miou"]) == pytest.approx(float(values["val_jaccard"]), abs=1e-6)
    assert float(values["val_ece"]) > 0
    collection.reset()
    assert collection["segcrit"].report().num_images == 0
    assert collection["ece"].higher_is_better is False
    assert collection["segcrit"].higher_is_better is None


def test_copies_pickles_and_state_dictionaries(tmp_path: Path) -> None:
    metric = segcrit.as_torchmetric(segcrit.Evaluator(3))
    metric.update(*_batch([0, 1, 2]))
    other = segcrit.as_torchmetric(segcrit.Evaluator(3))
    torch.save(metric.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for duplicate in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone(), other):
        assert float(duplicate.compute()) == float(metric.compute())
        duplicate.update(*_batch([3, 4, 5]))
        assert float(duplicate.compute()) == pytest.approx(_whole().miou, rel=1e-6)
        assert metric.report().num_images == 3
    rest = segcrit.as_torchmetric(segcrit.Evaluator(3))
    rest.update(*_batch([2, 3, 4, 5]))
    metric.merge_state(rest)
    assert float(metric.compute()) == pytest.approx(_whole().miou, rel=1e-6)


def test_the_evaluator_that_was_given_stays_as_it_was() -> None:
    evaluator = segcrit.Evaluator(3).update(*_batch([0]))
    metric = segcrit.as_torchmetric(evaluator)
    metric.update(*_batch([1]))
    assert (evaluator.num_images, metric.report().num_images) == (1, 2)


def test_wrong_arguments_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match="'miou'"):
        segcrit.as_torchmetric(segcrit.Evaluator(3), "miuo")
    with pytest.raises(ParameterError, match="Evaluator"):
        segcrit.as_torchmetric(torch.nn.Identity())
    monkeypatch.setitem(__import__("sys").modules, "torchmetrics", None)
    with pytest.raises(MissingExtraError, match="torchmetrics"):
        segcrit.as_torchmetric(segcrit.Evaluator(3))


@pytest.mark.filterwarnings("ignore")  # Lightning's own remarks on workers and loggers
def test_lightning_logs_it() -> None:
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.metric = segcrit.as_torchmetric(segcrit.Evaluator(3))
            self.more = torchmetrics.MetricCollection({"kappa": segcrit.as_torchmetric(segcrit.Evaluator(3), "kappa")})

        def validation_step(self, rows: Any, _: int) -> None:
            logits, target, ids = _batch([int(row) for row in rows])
            self.metric.update(logits, target, ids)
            self.more.update(logits, target, ids=ids)
            self.log("miou", self.metric)
            self.log_dict(self.more)

    loader = torch.utils.data.DataLoader(torch.arange(6), batch_size=2)
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    for _ in range(2):  # the second validation starts anew
        (found,) = trainer.validate(Module(), loader, verbose=False)
        assert found["miou"] == pytest.approx(_whole().miou, rel=1e-6)
        assert found["kappa"] == pytest.approx(_whole().kappa, rel=1e-6)


def _worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=world)
    # As a sampler spreads them: padded with repetitions; the last process has none at all.
    rows = [[0, 2, 4, 0], [1, 3, 5, 1], []][rank]
    evaluator = segcrit.Evaluator(3, measures=["calibration", "boundary", "objects"])
    metric = segcrit.as_torchmetric(evaluator, ["miou", "nll", "hd95", "objects_miou_1"])
    if rows:
        metric.update(*_batch(rows))
    else:
        metric._update_count = 1  # torchmetrics warns about a metric that was never fed
    values = metric.compute()
    assert metric.report().num_images == len(set(rows))  # its own again
    torch.save(values, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.distributed
def test_processes_with_repeated_images_and_an_empty_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_worker, args=(rank, 3, str(tmp_path))) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    evaluator = segcrit.Evaluator(3, measures=["calibration", "boundary", "objects"])
    expected = evaluator.update(*_batch([0, 1, 2, 3, 4, 5])).compute()
    for rank in range(3):
        for name, value in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            assert float(value) == pytest.approx(expected.figures[name], rel=1e-6), name
            assert not math.isnan(value)


def test_running_is_refused() -> None:
    from torchmetrics.wrappers import Running

    metric = segcrit.as_torchmetric(segcrit.Evaluator(2))
    with pytest.raises(ValueError, match="full_state_update"):
        Running(metric, window=2)
