"""``segcrit explain`` on an image of a data set, with a checkpoint that ``segcrit.compare`` wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import segcrit
from segcrit.cli import _trained, main
from segcrit.core.errors import DataError, ParameterError

IDS = [f"tile{index}" for index in range(6)]


def _write_data(folder: Path, classes: int = 3) -> None:
    """Six colour images of 40×48 pixels, each class a rectangle of its own brightness, some void."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in ("images", "masks", "splits"):
        (folder / name).mkdir(parents=True)
    for index, name in enumerate(IDS):
        mask = np.zeros((40, 48), dtype=np.uint8)
        mask[5 + index : 20 + index, 4:20] = 1
        mask[25:35, 30 - index : 44 - index] = classes - 1
        image = (mask[..., None] * 70 + generator.integers(0, 40, (40, 48, 3))).astype(np.uint8)
        mask[:, 47] = 255
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    names = [{"index": index, "name": f"thing{index}", "color": [index * 90, 40, 200]} for index in range(classes)]
    entry = {"num_classes": classes, "ignore_index": 255, "classes": names}
    (folder / "classes.json").write_text(json.dumps(entry))
    for split, ids in {"train": IDS[:4], "val": IDS[4:5], "test": IDS[5:]}.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(ids))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data`` and a finished comparison ``run`` of three steps."""
    folder = tmp_path_factory.mktemp("run")
    _write_data(folder / "data")
    segcrit.compare(
        "unet", folder / "data", ["ce + dice"], out=folder / "run", steps=3, epochs=1, batch_size=2, crop=32,
        num_workers=0, progress=False,
    )  # fmt: skip
    return folder


@pytest.fixture
def checkpoint(run: Path) -> Path:
    (found,) = (run / "run" / "losses").rglob("best.ckpt")
    return found


@pytest.mark.slow
def test_page_and_numbers(run: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "maps.html"
    words = ["explain", "--image", "tile5", "--checkpoint", str(checkpoint)]
    assert main([*words, "--data", str(run / "data"), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "ce + dice on tile5: " in text
    assert "thing1" in text
    page = out.read_text(encoding="utf-8")
    assert "network unet, trained with ce + dice" in page
    assert "p(thing2)" in page
    # Without --data the run tells it, and without --out JSON writes nothing.
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["loss"]["terms"].keys() == {"ce", "dice"}
    assert found["loss"]["value"] == pytest.approx(sum(found["loss"]["terms"].values()), rel=1e-5)
    assert len(found["dominant"]) == 20
    assert [file.name for file in tmp_path.iterdir()] == ["maps.html"]


@pytest.mark.slow
def test_the_network_is_the_trained_one(run: Path, checkpoint: Path) -> None:
    """The same logits as a network built by hand from the checkpoint, on an image of odd size."""
    from segcrit.apps.compare.training.networks import Purpose, make_network
    from segcrit.data.folders.folder import load_folder
    from segcrit.data.normalise import normalisation

    trained = _trained.load_trained(checkpoint)
    data = load_folder(run / "data", progress=False)
    image = trained.normalise(data.read("tile5").image)
    assert np.allclose(image, normalisation(data, progress=False).apply(data.read("tile5").image))
    network = make_network("unet", Purpose(3, 3, 2)).build(0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    network.load_state_dict(
        {name.removeprefix("network."): v for name, v in state.items() if name.startswith("network.")}
    )
    assert any(not torch.equal(before[name], value) for name, value in network.state_dict().items())
    # The U-Net halves four times: sizes are filled up to multiples of 16.
    padded = torch.zeros(1, 3, 48, 48)
    padded[0, :, :40, :48] = torch.from_numpy(image)
    with torch.no_grad():
        expected = network.eval()(padded)[..., :40, :48]
        assert torch.allclose(trained.predict(torch.from_numpy(image)[None]), expected, atol=1e-6)


@pytest.mark.slow
def test_what_is_refused(
    run: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(*words: str) -> str:
        assert main(["explain", *words]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("segcrit: error: expected ")
        assert captured.err.count("\n") == 1
        return captured.err

    monkeypatch.chdir(tmp_path)
    data, path = str(run / "data"), str(checkpoint)
    assert "Names look like 'tile5'" in error("--image", "tile55", "--checkpoint", path)
    for name in ("one", "other"):
        (tmp_path / "several" / name).mkdir(parents=True)
        shutil.copy(checkpoint, tmp_path / "several" / name / "best.ckpt")
    assert "Choose one: " in error("--image", "tile5", "--checkpoint", "several")
    assert "Use 'ce' here" in error("bce", "--image", "tile5", "--checkpoint", path)
    assert "--out to end in .html" in error("--image", "tile5", "--checkpoint", path, "--out", "x.png")
    _write_data(tmp_path / "two", classes=2)
    assert "3 channels and 2 classes in two" in error(
        "--image", "tile5", "--checkpoint", path, "--data", str(tmp_path / "two")
    )
    (tmp_path / "broken.ckpt").write_bytes(checkpoint.read_bytes()[:1000])
    assert "cannot be read" in error("--image", "tile5", "--checkpoint", "broken.ckpt", "--data", data)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    assert "another kind of file" in error("--image", "tile5", "--checkpoint", "other.ckpt", "--data", data)
    shutil.copy(checkpoint, tmp_path / "alone.ckpt")
    assert "Add --data FOLDER" in error("--image", "tile5", "--checkpoint", "alone.ckpt")


def _checkpoint(path: Path, **passport: object) -> Path:
    known = {
        "model": "unet", "num_classes": 3, "channels": 3, "spatial_dims": 2, "task": "multiclass", "crop": [32, 32],
        "ignore_index": 255, "normalisation": {"scheme": "imagenet"}, "loss": "ce", "seed": 0,
    }  # fmt: skip
    torch.save({"segcrit": known | passport, "state_dict": {"network.weight": torch.zeros(1)}}, path)
    return path


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="weights that do not fit"):
        _trained.load_trained(_checkpoint(tmp_path / "a.ckpt"))


def test_a_network_given_as_an_object(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="Add --model SPEC"):
        _trained.load_trained(_checkpoint(tmp_path / "a.ckpt", model="MyNet"))
    with pytest.raises(ParameterError, match="name of a network"):
        _trained.load_trained(_checkpoint(tmp_path / "a.ckpt"), "nonsense")
