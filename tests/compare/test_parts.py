"""Settings, batches, network outputs, inference, words, folder names: the small parts of the engine."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segcrit.apps.compare.batches.folder_source import default_crop
from segcrit.apps.compare.batches.forms import main_logits, read_batch, read_output, resize_logits
from segcrit.apps.compare.batches.loader_source import LoaderSource
from segcrit.apps.compare.batches.source import SourceInfo
from segcrit.apps.compare.batches.words import default_losses, resolve_words
from segcrit.apps.compare.examples import choose_images
from segcrit.apps.compare.records import ClassEntry, ImageCounts
from segcrit.apps.compare.run_directory import RunDirectory, folder_name
from segcrit.apps.compare.settings import Settings, require_same
from segcrit.apps.compare.training.inference import Predictor, describe_inference, make_predictor
from segcrit.apps.compare.training.memory import is_out_of_memory
from segcrit.core.errors import DataError, ParameterError, SegcritError, ShapeError
from segcrit.core.numbers import duration
from segcrit.labels.weights.frequencies import ClassFrequencies
from segcrit.losses.expression.syntax import parse

# ------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(("steps", "epochs"), [(440, 10), (7, 3), (5, 9), (1, 1), (11, 11)])
def test_epochs_divide_the_steps_evenly(steps: int, epochs: int) -> None:
    lengths = Settings(steps=steps, epochs=epochs).epoch_lengths()
    assert sum(lengths) == steps
    assert max(lengths) - min(lengths) <= 1
    assert list(lengths) == sorted(lengths, reverse=True)


def test_settings_survive_json() -> None:
    settings = Settings(seeds=(3, 4), crop=(64, 32), metric="image_dice", schedule="polynomial")
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_settings_of_another_version_are_refused() -> None:
    content = Settings().to_dict()
    del content["schedule"]
    with pytest.raises(DataError, match="schedule"):
        Settings.from_dict(content)


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "binry"},
        {"optimizer": "adan"},
        {"schedule": "cosine"},
        {"augment": True},
        {"metric": "iou"},
        {"inference": "tiles"},
        {"steps": 0},
        {"epochs": -1},
        {"batch_size": 2.5},
        {"crop": (0, 8)},
        {"seeds": ()},
        {"seeds": (1, 1)},
        {"seeds": (-1,)},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -0.1},
        {"gradient_clip": float("inf")},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong)).split("_")[0].rstrip("s")):
        Settings(**wrong)


def test_a_change_of_settings_is_named() -> None:
    stored = Settings().to_dict()
    require_same(stored, {"steps": 280, "crop": []}, "runs/x")
    with pytest.raises(ParameterError, match=r"batch size 8, learning rate 0\.003.*got 16, 0\.1"):
        require_same(stored, {"batch_size": 16, "learning_rate": 0.1, "steps": 280}, "runs/x")


# -------------------------------------------------------------------------------------------------- batches


def test_batches_of_every_usual_form_are_read() -> None:
    image, target = torch.zeros(2, 3, 4, 4), torch.ones(2, 4, 4)
    weight = torch.full((2, 4, 4), 0.5)
    for batch in (
        (image, target),
        [image, target, weight],
        {"image": image, "label": target, "id": ["a", "b"]},
        {"pixel_values": image, "labels": target},
        {"img": image, "mask": target, "pixel_weight": weight},
    ):
        found = read_batch(batch)
        assert found.image is image
        assert found.target is target
    assert read_batch([image, target, weight]).weight is weight
    assert read_batch({"image": image, "label": target, "name": ("a", "b")}).ids == ("a", "b")


@pytest.mark.parametrize("batch", [torch.zeros(2), (torch.zeros(2),), {"image": torch.zeros(2)}, "text", [1, 2]])
def test_other_batches_are_refused(batch: Any) -> None:
    with pytest.raises(DataError, match="batches"):
        read_batch(batch)


def test_numbers_of_images_and_targets_must_agree() -> None:
    with pytest.raises(ShapeError, match="as many targets"):
        read_batch((torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4)))


def test_outputs_of_every_usual_form_are_read() -> None:
    logits = torch.zeros(2, 3, 8, 8)
    half = torch.zeros(2, 3, 4, 4)
    assert read_output(logits, 2) is logits
    assert read_output({"out": logits, "aux": half}, 2) is logits
    assert read_output(SimpleNamespace(logits=half), 2) is half
    assert read_output([logits], 2) is logits
    levels = read_output((logits, half), 2)
    assert isinstance(levels, list)
    assert len(levels) == 2
    heads = read_output(torch.zeros(2, 4, 3, 8, 8), 2)
    assert [tuple(level.shape) for level in heads] == [(2, 3, 8, 8)] * 4
    assert main_logits([half, logits]) is logits


@pytest.mark.parametrize("output", [torch.zeros(2, 3), "text", [torch.zeros(2), 3], SimpleNamespace(loss=1)])
def test_other_outputs_are_refused(output: Any) -> None:
    with pytest.raises(ShapeError, match="from the network"):
        read_output(output, 2)


# ------------------------------------------------------------------------------------------------ inference


class Pointwise(nn.Module):
    """Logits of a pixel depend on the pixel alone, at full or at a quarter of the resolution."""

    def __init__(self, reduction: int = 1) -> None:
        super().__init__()
        self.reduction = reduction
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape[2:]))
        pooled = nn.functional.avg_pool2d(image, self.reduction) if self.reduction > 1 else image
        return torch.cat([pooled, -2 * pooled], dim=1)


def test_whole_images_are_padded_to_what_encoders_can_halve_and_cut_back() -> None:
    network, image = Pointwise(), torch.randn(1, 1, 45, 70)
    logits = make_predictor("auto", (), (32, 32), 2, False, False)(network, image)
    assert network.seen == [(64, 96)]
    assert torch.equal(logits, torch.cat([image, -2 * image], dim=1))


def test_windows_give_what_the_whole_gives_for_a_pointwise_network() -> None:
    image = torch.randn(1, 1, 70, 45)
    predictor = make_predictor("sliding", (32, 32), (32, 32), 2, False, False)
    network = Pointwise()
    logits = predictor(network, image)
    assert set(network.seen) == {(32, 32)}
    torch.testing.assert_close(logits, torch.cat([image, -2 * image], dim=1))


def test_large_images_are_predicted_in_windows() -> None:
    network = Pointwise()
    make_predictor("auto", (), (32, 32), 2, False, False)(network, torch.zeros(1, 1, 1500, 1500))
    assert set(network.seen) == {(512, 512)}


def test_networks_of_fixed_size_get_windows_of_the_crop() -> None:
    predictor = make_predictor("auto", (), (48, 32), 2, True, False)
    assert (predictor.mode, predictor.window) == ("sliding", (48, 32))


def test_images_of_own_loaders_are_not_padded() -> None:
    network = Pointwise()
    make_predictor("auto", (), (), 2, False, True)(network, torch.zeros(1, 1, 45, 33))
    assert network.seen == [(45, 33)]


def test_low_resolution_logits_are_interpolated() -> None:
    sizes = []
    for multiple in (32, 16):
        predictor = make_predictor("auto", (), (32, 32, 32), 3, False, False, multiple)
        logits = predictor(lambda part: sizes.append(tuple(part.shape[2:])) or part, torch.ones(1, 1, 35, 51, 36))
        assert logits.shape == (1, 1, 35, 51, 36)
    assert sizes == [(64, 64, 64), (48, 64, 48)]
    logits = Predictor("whole", (), True)(Pointwise(4), torch.ones(1, 1, 40, 41))
    assert logits.shape == (1, 2, 40, 41)
    assert resize_logits(torch.zeros(1, 2, 4, 4, 4), (8, 9, 10)).shape == (1, 2, 8, 9, 10)


def test_inference_in_words() -> None:
    assert describe_inference(Predictor("whole", (), True)) == "whole images"
    assert "64 × 64" in describe_inference(Predictor("sliding", (64, 64), True))
    assert "whole images;" in describe_inference(Predictor("auto", (512, 512), True))


# ---------------------------------------------------------------------------------------------------- words


def info(classes: int) -> SourceInfo:
    entries = tuple(ClassEntry(index, f"c{index}", "#000000") for index in range(classes))
    return SourceInfo("data", entries, 3, 2, None, {"train": 7, "val": 1, "test": 1})


def test_words_become_numbers_and_say_where_from() -> None:
    frequencies = ClassFrequencies.from_counts([900, 90, 10])
    expression, words = resolve_words(
        parse('ce(class_weight="median") + 0.5*dice'), "multiclass", info(3), lambda: frequencies
    )
    assert str(expression) == "ce(class_weight=[0.1, 1, 9]) + 0.5*dice"
    assert words[0].word == 'class_weight="median"'
    assert words[0].values == (0.1, 1.0, 9.0)
    assert "7 training images" in words[0].explanation


def test_auto_is_negatives_over_positives() -> None:
    expression, _ = resolve_words(
        parse('bce(pos_weight="auto")'), "binary", info(2), lambda: ClassFrequencies.from_counts([30, 10])
    )
    assert str(expression) == "bce(pos_weight=3)"


def test_expressions_without_words_ask_for_no_counts() -> None:
    def never() -> ClassFrequencies:
        raise AssertionError("labels were counted for nothing")

    expression, words = resolve_words(parse("ce(class_weight=[1, 2])"), "multiclass", info(2), never)
    assert (str(expression), words) == ("ce(class_weight=[1, 2])", ())


def test_class_weights_of_a_binary_task_name_the_right_word() -> None:
    with pytest.raises(ParameterError, match="pos_weight"):
        resolve_words(
            parse('dice(class_weight="median")'), "binary", info(2), lambda: ClassFrequencies.from_counts([1, 1])
        )


def test_default_losses_fit_the_task() -> None:
    losses = ("ce", "dice", "ce + dice", "focal")
    assert default_losses("multiclass", losses) == losses
    assert default_losses("multilabel", losses) == ("bce", "dice", "bce + dice", "focal")


# ------------------------------------------------------------------------------------------------- the rest


def test_folders_of_losses_are_short_and_different() -> None:
    assert folder_name(1, "ce") == "01-ce"
    assert folder_name(2, 'ce(class_weight="median")') == "02-ce-class_weight-median"
    assert len(folder_name(12, "ce + " * 30 + "ce")) <= 43


def test_a_folder_in_use_is_refused_with_what_can_be_done(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "new").require_new()
    (tmp_path / "other").mkdir()
    RunDirectory(tmp_path / "other").require_new()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(ParameterError, match="other files"):
        RunDirectory(tmp_path / "other").require_new()
    (tmp_path / "other" / "run.json").write_text("{}")
    with pytest.raises(ParameterError, match=r"--resume.*--add"):
        RunDirectory(tmp_path / "other").require_new()
    with pytest.raises(ParameterError, match="a file"):
        RunDirectory(tmp_path / "other" / "thesis.tex").require_new()


@pytest.mark.parametrize("content", ["", "{", '{"version": 99}', "[]", '{"version": 1}'])
def test_damaged_runs_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError):
        RunDirectory(tmp_path).read()


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        RunDirectory(tmp_path / "nowhere").read()


def test_lack_of_memory_is_recognised() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.float32)
    assert is_out_of_memory(caught.value)


def test_crops_fit_the_network() -> None:
    assert default_crop((20, 20)) == (32, 32)
    assert default_crop((2000, 3000)) == (128, 128)
    assert all(size % 16 == 0 for size in default_crop((35, 50, 36)))


def test_durations_for_people() -> None:
    assert duration(float("nan")) == "–"
    assert duration(59.7) == "60 s"


# ------------------------------------------------------------------------------------------------- the pictures


def test_pictures_come_from_as_many_groups_as_there_are() -> None:
    names = ("a1", "a2", "a3", "b1", "c1")
    truth = np.array([[10, 10]] * 5)
    missed = np.array([[9, 0], [8, 0], [7, 0], [2, 0], [1, 0]])  # how much the second loss gets wrong
    counts = [
        ImageCounts(names, truth - wrong, np.zeros_like(truth), wrong) for wrong in (np.zeros_like(truth), missed)
    ]
    losses: Any = [SimpleNamespace(seeds=[SimpleNamespace(counts=entry)]) for entry in counts]
    assert choose_images(losses, number=3) == ["a1", "a2", "a3"]
    assert choose_images(losses, {name: name[0] for name in names}, number=4) == ["a1", "b1", "c1", "a2"]


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_one_hot_loaders_are_index_loaders(dtype: torch.dtype) -> None:
    labels = torch.randint(0, 4, (6, 8, 8), generator=torch.Generator().manual_seed(0))
    labels[:, 0] = -100
    hot = torch.stack([labels == index for index in range(4)], dim=1).to(dtype)
    images = torch.rand(6, 3, 8, 8)

    def source(targets: torch.Tensor) -> LoaderSource:
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, targets), 2)
        made = LoaderSource({"train": loader, "val": loader, "test": loader}, 4)
        made.configure(Settings(), "data", 0, lambda *_: None)
        return made

    ours, theirs = source(hot), source(labels)
    assert torch.equal(ours.frequencies("multiclass").counts, theirs.frequencies("multiclass").counts)
    names = [f"test {number:05d}" for number in (1, 4)]
    for one, other in zip(ours.test_images(names), theirs.test_images(names), strict=True):
        assert one.id == other.id
        assert np.array_equal(one.label, other.label)


@pytest.mark.parametrize("split", ["val", "test"])
def test_targets_that_cannot_be_judged_are_refused_at_the_first_batch(split: str) -> None:
    def loader(targets: torch.Tensor) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(2, 3, 4, 4), targets), 2)

    good = loader(torch.zeros(2, 4, 4, dtype=torch.long))
    for bad in (torch.full((2, 4, 4, 4), 0.25), torch.full((2, 4, 4), 9), torch.zeros(2, 5, 4, 4, dtype=torch.long)):
        with pytest.raises(SegcritError):
            LoaderSource({"train": good, "val": good, "test": good, split: loader(bad)}, 4)
