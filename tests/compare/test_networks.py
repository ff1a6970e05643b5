"""Networks by name, from libraries, from the user."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from segcrit.apps.compare.batches.forms import main_logits, read_output
from segcrit.apps.compare.training.networks import Network, Purpose, _split, make_network
from segcrit.core.errors import MissingExtraError, ParameterError
from tests.compare.making import tiny

FLAT = Purpose(in_channels=3, num_classes=4, spatial_dims=2, crop=(32, 32))
SOLID = Purpose(in_channels=1, num_classes=2, spatial_dims=3, crop=(32, 32, 32))


def output(spec: Any, purpose: Purpose, size: tuple[int, ...]) -> torch.Tensor:
    network = make_network(spec, purpose).build(0).eval()
    with torch.no_grad():
        found = network(torch.randn(2, purpose.in_channels, *size))
    return main_logits(read_output(found, purpose.spatial_dims))


def test_the_default_network_is_small_and_takes_any_size() -> None:
    assert output("unet", FLAT, (32, 48)).shape == (2, 4, 32, 48)
    assert output("unet", FLAT, (33, 50)).shape == (2, 4, 33, 50)
    assert output("unet", SOLID, (16, 32, 16)).shape == (2, 2, 16, 32, 16)


def test_options_reach_the_network() -> None:
    wide = make_network("unet?features=(32,32,64,128,256,32)&norm=instance", FLAT)
    names = {type(module).__name__ for module in wide.build(0).modules()}
    assert "InstanceNorm2d" in names
    assert "BatchNorm2d" not in names
    assert "32, 32, 64, 128, 256" in wide.description


def test_weights_depend_on_the_seed_alone() -> None:
    network = make_network("unet", FLAT)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = network.build(3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(77)
    second, other = network.build(3).state_dict(), network.build(4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_networks_of_monai() -> None:
    assert output("monai:SegResNet?init_filters=8", FLAT, (32, 32)).shape == (2, 4, 32, 32)
    assert output("monai:UNet?channels=(8,16)&strides=(2,)", SOLID, (16, 16, 16)).shape == (2, 2, 16, 16, 16)


def test_networks_of_fixed_size_are_known() -> None:
    spec = "monai:UNETR?feature_size=4&hidden_size=24&mlp_dim=32&num_heads=2"
    assert make_network(spec, SOLID).fixed_size
    if importlib.util.find_spec("einops") is None:
        with pytest.raises(MissingExtraError, match="einops"):
            make_network(spec, SOLID).build(0)
        return
    assert output(spec, SOLID, (32, 32, 32)).shape == (2, 2, 32, 32, 32)


def test_missing_parameters_are_named() -> None:
    with pytest.raises(ParameterError, match="channels, strides"):
        make_network("monai:UNet", FLAT)


def test_a_network_of_hugging_face_from_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_labels=7,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=16,
        num_attention_heads=[1, 1, 1, 1],
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    network = make_network(f"hf:{tmp_path}", FLAT)
    assert network.intensities == "imagenet"
    # Logits at a quarter of the resolution, for the number of classes of the data.
    assert output(f"hf:{tmp_path}", FLAT, (64, 64)).shape == (2, 4, 16, 16)
    first, second = network.build(5).state_dict(), network.build(5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_dimensional_libraries_refuse_volumes() -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ParameterError, match="2-D"):
        make_network("hf:some/model", SOLID)


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MissingExtraError, match="pip install segmentation-models-pytorch"):
        make_network("smp:Unet", FLAT)


def test_networks_of_smp() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    network = make_network("smp:Unet?encoder_name=resnet18&encoder_weights=None", FLAT)
    assert network.intensities == "data"
    assert network.build(0)(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 64, 64)


def test_a_function_of_the_user_gets_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "segcrit_test_networks.py").write_text(
        "from torch import nn\n"
        "def make(num_classes, width=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, num_classes, 1))\n"
        "def broken(num_classes):\n"
        "    raise KeyError('no such block')\n"
        "def number():\n"
        "    return 3\n"
        "value = 5\n"
    )
    monkeypatch.chdir(tmp_path)
    module = "segcrit_test_networks"
    assert output(f"{module}:make", FLAT, (8, 8)).shape == (2, 4, 8, 8)
    wide = make_network(f"{module}:make?width=16", FLAT).build(0)
    assert wide[0].out_channels == 16
    with pytest.raises(ParameterError, match="KeyError"):
        make_network(f"{module}:broken", FLAT).build(0)
    with pytest.raises(ParameterError, match=r"torch\.nn\.Module"):
        make_network(f"{module}:number", FLAT).build(0)
    with pytest.raises(ParameterError, match="a function"):
        make_network(f"{module}:value", FLAT)
    with pytest.raises(ParameterError, match="Did you mean 'make'"):
        make_network(f"{module}:mak", FLAT)
    assert str(tmp_path) not in sys.path


def test_a_function_or_a_network_may_be_given_directly() -> None:
    assert output(tiny, FLAT, (8, 8)).shape == (2, 4, 8, 8)
    given = nn.Conv2d(3, 4, 1)
    network = make_network(given, FLAT)
    copy = network.build(1)
    assert copy is not given
    assert torch.equal(copy.weight, given.weight)
    with torch.no_grad():
        copy.weight.zero_()
    assert given.weight.abs().sum() > 0


@pytest.mark.parametrize(
    "wrong", ["resnet", "unet:", "", 5, "no_such_module_here:make", "monai:UNett", "unet?norm", "hf:"]
)
def test_wrong_names_are_refused(wrong: Any) -> None:
    with pytest.raises(ParameterError):
        make_network(wrong, FLAT)


def test_wrong_options_are_refused_when_built() -> None:
    with pytest.raises(ParameterError, match="no_such_option"):
        make_network("unet?no_such_option=3", FLAT).build(0)


@pytest.mark.parametrize("word", ["none", "None", "null"])
def test_no_weights_are_no_weights(word: str) -> None:
    assert _split(f"smp:Unet?encoder_weights={word}&a=true&b='none'")[1] == {
        "encoder_weights": None,
        "a": True,
        "b": "none",
    }


def test_a_missing_connection_is_no_wrong_name() -> None:
    def fail(inner: Exception) -> Any:
        def factory() -> Any:
            try:
                raise inner
            except Exception as error:
                raise OSError("We could not load the file") from error

        return Network("hf:a/b", factory, "")

    class RepositoryNotFoundError(Exception):
        pass

    for error, code in (
        (URLError("Name or service not known"), "no-connection"),
        (ConnectionRefusedError("refused"), "no-connection"),
        (RepositoryNotFoundError("404"), ParameterError.code),
        (ValueError("no such option"), ParameterError.code),
    ):
        with pytest.raises(ParameterError) as caught:
            fail(error).build(0)
        assert caught.value.code == code
