"""Nothing that a file names is imported or called."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import segcrit
from segcrit.apps.compare.training.checkpoints import WholeCheckpoints
from segcrit.apps.compare.training.networks import Purpose, make_network
from segcrit.cli import _trained, main
from segcrit.core.errors import DataError, ParameterError, SegcritError
from segcrit.losses import table

PURPOSE = Purpose(3, 3, 2, (16, 16))

# What a file may not name: functions, functions of a library, code and weights of a folder or an address.
CODE = (
    "subprocess:getoutput?cmd={command}",
    "os:system?command={command}",
    "builtins:eval?source=1",
    "monai:get_efficientnet_image_size?model_name=efficientnet-b0",
    "monai:UNet?channels=(4,8)&strides={{'a':1}}",
    "monai:TransCheX?drop_out=/tmp/weights",
    "unet?act=/etc/passwd",
    "hf:./folder",
    "hf:owner/name?trust_remote_code=True",
    "hf:owner/name?attn_implementation=owner/kernel",
)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("spec", CODE)
def test_a_file_names_no_code(spec: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(ParameterError) as caught:
        make_network(spec.format(command=f"touch {mark}"), PURPOSE, named_in=tmp_path / "a.ckpt")
    assert caught.value.code == "code-from-data"
    assert "--model" in str(caught.value)
    assert not mark.exists()


def test_a_file_names_networks_of_libraries() -> None:
    for spec in ("unet", "unet?norm=instance", "monai:SegResNet?init_filters=4", "hf:nvidia/segformer-b0"):
        try:
            assert make_network(spec, PURPOSE, named_in=Path("run.json")).spec == spec
        except ParameterError as error:
            raise AssertionError(spec) from error
        except ImportError:  # a library that is not installed here
            continue


def test_a_checkpoint_that_names_code_is_explained_with_model_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "ran"
    passport = {
        "model": f"subprocess:getoutput?cmd=touch {mark}", "num_classes": 3, "channels": 3, "spatial_dims": 2,
        "task": "multiclass", "crop": [16, 16], "normalisation": {"scheme": "imagenet"}, "loss": "ce",
    }  # fmt: skip
    file = tmp_path / "best.ckpt"
    torch.save({"segcrit": passport, "state_dict": {}}, file)
    assert main(["explain", "--checkpoint", str(file), "--image", "a"]) == 2
    assert "--model" in capsys.readouterr().err
    assert not mark.exists()
    # What the user names is the user's own: it is called, and tells what came of it.
    with pytest.raises(SegcritError):
        _trained.load_trained(file, "math:sqrt")


@pytest.mark.parametrize("words", [["--resume"], ["--add", "focal"]])
def test_a_run_that_names_code_goes_on_with_model_only(words: list[str], run: Path, finished: Path) -> None:
    mark = run.parent / "ran"
    state = json.loads((run / "run.json").read_text())
    spec = state["model"]["spec"]
    state["model"]["spec"] = f"subprocess:getoutput?cmd=touch {mark}"
    (run / "run.json").write_text(json.dumps(state))
    assert main(["compare", "--out", str(run), *words, "--quiet"]) == 2
    assert not mark.exists()
    if words == ["--resume"]:
        results = segcrit.compare(spec, out=run, resume=True, progress=False, num_workers=0)
        assert results.run.status == "complete"


def test_objects_in_checkpoints_are_not_made(run: Path) -> None:
    mark = run.parent / "ran"
    training = run / "losses" / "01-ce" / "seed-0"
    content = torch.load(training / "best.ckpt", weights_only=True) | {"hyper_parameters": Touch(mark)}
    torch.save(content, training / "best.ckpt")
    with pytest.raises(DataError) as caught:
        WholeCheckpoints().load_checkpoint(training / "best.ckpt", weights_only=False)
    assert caught.value.code == "damaged-checkpoint"
    for path in (training / "last.ckpt", run / "initial" / "seed-0.pt"):
        path.write_bytes(pickle.dumps(Touch(mark)))
    (training / "result.json").unlink()
    assert main(["compare", "--out", str(run), "--resume", "--quiet"]) == 2
    assert not mark.exists()


def test_a_loss_of_ones_own_is_imported_where_the_command_line_names_it(
    run: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "@segcrit.region_loss\ndef a_half_overlap(s, *, smooth=1.0):\n    return 1 - s.I / (s.T + smooth)\n"
    (tmp_path / "losses_of_my_own.py").write_text("import segcrit\n\n" + code)
    monkeypatch.chdir(tmp_path)
    for name in ("_TABLE", "_NAMES"):
        monkeypatch.setattr(table, name, dict(getattr(table, name)))
    file = run / "losses" / "01-ce" / "seed-0" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    content["segcrit"]["loss"] = "ce + a_half_overlap"
    torch.save(content, file)
    words = ["explain", "--checkpoint", str(file), "--image", "00", "--data", str(finished / "data"), "--json"]
    assert main(words) == 2
    assert "--import" in capsys.readouterr().err
    assert main([*words, "--import", "losses_of_my_own"]) == 0
    assert "a_half_overlap" in json.loads(capsys.readouterr().out)["loss"]["terms"]
    assert main(["losses", "a_half_overlap", "--import", "losses_of_my_own"]) == 0
