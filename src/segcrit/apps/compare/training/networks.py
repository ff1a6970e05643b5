"""The network that every loss trains: the default U-Net, one of a well-kept library, or the user's own.

unet                                       MONAI's BasicUNet, encoder widths 16 to 128
unet?features=(32,32,64,128,256,32)        the same, wider
smp:Unet?encoder_name=resnet34             segmentation_models_pytorch
monai:SegResNet?init_filters=16            monai.networks.nets
hf:nvidia/segformer-b0-finetuned-ade-512-512   transformers.AutoModelForSemanticSegmentation
my_module:make_network                     a function (or class) of the user's own
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import re
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote

import torch
from torch import nn

from segcrit.core.errors import MissingExtraError, ParameterError, SegcritError
from segcrit.core.names import nearest
from segcrit.core.optional import import_own, require

__all__ = ["UNET_FEATURES", "Network", "Purpose", "make_network"]

# Encoder widths 16 to 128 and a last decoder width: 0.5 million parameters in 2-D, 280 steps of 8 crops of
# 128 x 128 in about a minute on two cores.
UNET_FEATURES: Final = (16, 16, 32, 64, 128, 16)

# As people write them, and as Python does.
_CONSTANTS: Final[dict[str, Any]] = {"none": None, "null": None, "true": True, "false": False}
# Libraries that fetch weights; what they raise where there is no connection, and what they raise for a wrong name.
_TRANSPORT: Final = frozenset({"requests", "urllib3", "httpx", "httpcore", "urllib", "socket", "ssl"})
_NO_CONNECTION: Final = frozenset({"LocalEntryNotFoundError", "OfflineModeIsEnabled"})
_ANSWERED: Final = frozenset(
    {"HTTPError", "HTTPStatusError", "HfHubHTTPError", "RepositoryNotFoundError", "EntryNotFoundError"}
)

_ADVICE: Final = (
    "Write 'unet', 'smp:Unet?encoder_name=resnet34', 'monai:SegResNet', "
    "'hf:nvidia/segformer-b0-finetuned-ade-512-512' or 'my_module:make_network'."
)


@dataclass(frozen=True)
class Purpose:
    """What the data asks of a network."""

    in_channels: int
    num_classes: int  # channels that the network must put out: 1 for the binary task
    spatial_dims: int
    crop: tuple[int, ...] = ()  # size of the training crops, for networks of fixed input size


@dataclass(frozen=True)
class Network:
    """How to make a network, and what is known about it.

    Attributes:
        spec: what the user asked for.
        factory: makes a new network with fresh (or pretrained) weights.
        description: one line for people.
        learning_rate: a peak learning rate that suits it with AdamW.
        intensities: ``"data"``: inputs are normalised by the training split; ``"imagenet"``: 8-bit colour images
            are normalised as for ImageNet, because the pretrained weights expect it.
        fixed_size: its input must have the size of the training crop.
        channels_last: whether that memory layout is known to suit it.
        multiple: images are filled up to multiples of this size; the encoder halves them so often.
    """

    spec: str
    factory: Callable[[], nn.Module]
    description: str
    learning_rate: float = 1e-3
    intensities: Literal["data", "imagenet"] = "data"
    fixed_size: bool = False
    channels_last: bool = False
    multiple: int = 32

    def build(self, seed: int) -> nn.Module:
        """A new network; its random weights depend on the seed alone, and no global generator is disturbed.

        Raises:
            ParameterError: the library refuses the options, or what came is no network.
            MissingExtraError: the network needs a package that is not installed.
        """
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            try:
                network = self.factory()
            except (SegcritError, MemoryError):
                raise
            except ImportError as error:
                raise MissingExtraError(
                    f"the packages that {self.spec!r} needs",
                    _first_line(error).rstrip("."),
                    "Install what is missing with pip.",
                ) from error
            except Exception as error:
                if (trouble := _no_connection(error)) is not None:
                    raise ParameterError(
                        f"the pretrained weights of {self.spec!r}, from the network or from an earlier download",
                        f"no connection ({type(trouble).__name__}: {_first_line(trouble)})",
                        "Run it once on a machine with a connection and copy its cache, give the path of a folder with "
                        "the weights (hf:PATH), or take random weights (smp: encoder_weights=none).",
                        code="no-connection",
                    ) from error
                raise ParameterError(
                    f"a network from {self.spec!r}",
                    f"{type(error).__name__}: {_first_line(error)}",
                    "Correct the name or the options after '?'.",
                ) from error
        if not isinstance(network, nn.Module):
            raise ParameterError(
                f"a torch.nn.Module from {self.spec!r}", f"{type(network).__name__}", "Return the network."
            )
        return network


def make_network(
    model: str | nn.Module | Callable[..., nn.Module], purpose: Purpose, *, named_in: Path | None = None
) -> Network:
    """Understand what the user gave as the network.

    Args:
        model: a text (see the head of this module), a network, or a function that makes one; the function is
            called with those of ``in_channels``, ``num_classes``, ``spatial_dims`` and ``img_size`` that it takes.
        purpose: channels, classes and dimensions of the data.
        named_in: the file that the text comes from, None where the user gave it. A file is data: it may choose
            among the networks of the libraries, and names no code that would be imported or called.

    Raises:
        ParameterError: the text names nothing that exists, or a file names code (``"code-from-data"``).
        MissingExtraError: the library is not installed.

    Example:
        >>> network = make_network("unet", Purpose(in_channels=3, num_classes=7, spatial_dims=2))
        >>> sum(parameter.numel() for parameter in network.build(seed=0).parameters())
        496295
    """
    if isinstance(model, nn.Module):
        # The very weights that were given (perhaps pretrained) are the initial weights of every training.
        return Network(_name_of(model), lambda: copy.deepcopy(model), f"{_name_of(model)} as given, with its weights")
    if callable(model):
        name = _name_of(model)
        return Network(name, _own(model, name, purpose, {}), f"made by {name}")
    if not isinstance(model, str):
        raise ParameterError("a network, a function or a text as model", type(model).__name__, _ADVICE)
    name, options = _split(model)
    prefix, colon, rest = name.partition(":")
    if named_in is not None:
        _require_harmless(model, prefix, rest, options, named_in)
    if prefix == "unet" and not colon:
        return _unet(model, options, purpose)
    if prefix in ("smp", "monai", "hf") and rest:
        return {"smp": _smp, "monai": _monai, "hf": _hugging_face}[prefix](model, rest, options, purpose)
    if colon and rest:
        function = _find_function(model, prefix, rest)
        return Network(model, _own(function, model, purpose, options), f"made by {name}")
    raise ParameterError("the name of a network", repr(model), _ADVICE)


def _require_harmless(spec: str, prefix: str, rest: str, options: dict[str, Any], file: Path) -> None:
    """Refuse the text of a file unless it is a class of smp or MONAI or a repository's name, with plain options."""
    plain = all(_is_plain(value) for value in options.values())
    if prefix in ("smp", "monai") and rest:
        home = "segmentation_models_pytorch" if prefix == "smp" else "monai.networks.nets"
        found = getattr(require(home, package=home.split(".")[0].replace("_", "-")), rest, None)
        is_class = isinstance(found, type) and issubclass(found, nn.Module)
        harmless = plain and (found is None or (is_class and found.__module__.startswith(home)))
    elif prefix == "hf" and rest:
        # Options of from_pretrained may load code of the repository; a folder may hold anything.
        harmless = (
            not options and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", rest) is not None and not Path(rest).exists()
        )
    else:
        harmless = plain and not rest  # unet, or the name of an object, which nothing can be made of
    if not harmless:
        raise ParameterError(
            "the network on the command line (--model) or in the call (model=), because making it may run code",
            f"its name in the file {file} alone: {reprlib.repr(spec)}",
            "If you know and trust it, repeat the command with the --model that the training was started with.",
            code="code-from-data",
        )


def _is_plain(value: Any) -> bool:
    """Whether an option is a number, a word, or a few of them: no path and no address."""
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return re.fullmatch(r"[\w.-]*", value) is not None
    return value is None or isinstance(value, (bool, int, float))


def _unet(spec: str, options: dict[str, Any], purpose: Purpose) -> Network:
    nets = require("monai.networks.nets", extra="compare")
    features = options.pop("features", UNET_FEATURES)
    # Batch norm keeps the absolute intensities that land cover or staining are told by (instance norm removes
    # them), and is the fastest on a CPU.
    arguments = {"norm": "batch", **options}
    widths = ", ".join(map(str, features[:-1])) if isinstance(features, tuple) else features

    def factory() -> nn.Module:
        network: nn.Module = nets.BasicUNet(
            spatial_dims=purpose.spatial_dims,
            in_channels=purpose.in_channels,
            out_channels=purpose.num_classes,
            features=features,
            **arguments,
        )
        return network

    more = "".join(f", {name} {value}" for name, value in options.items())
    return Network(
        spec,
        factory,
        f"U-Net (MONAI BasicUNet), encoder widths {widths}{more}",
        learning_rate=3e-3,
        channels_last=purpose.spatial_dims == 2,
        multiple=16,  # four halvings; to fill 35 x 51 x 36 voxels up to 64 x 64 x 64 would quadruple the work
    )


def _smp(spec: str, name: str, options: dict[str, Any], purpose: Purpose) -> Network:
    library = require("segmentation_models_pytorch", package="segmentation-models-pytorch")
    if purpose.spatial_dims != 2:
        raise ParameterError("2-D images for a network of smp", "volumes", "Choose 'unet' or a network of monai.")
    maker = _attribute(library, name, spec)
    pretrained = options.get("encoder_weights", "imagenet") is not None
    return Network(
        spec,
        lambda: maker(in_channels=purpose.in_channels, classes=purpose.num_classes, **options),
        f"{name} (segmentation_models_pytorch), encoder {options.get('encoder_name', 'resnet34')}"
        + (", pretrained" if pretrained else ""),
        intensities="imagenet" if pretrained and purpose.in_channels == 3 else "data",
    )


def _monai(spec: str, name: str, options: dict[str, Any], purpose: Purpose) -> Network:
    nets = require("monai.networks.nets", extra="compare")
    maker = _attribute(nets, name, spec)
    known = {
        "spatial_dims": purpose.spatial_dims,
        "dimensions": purpose.spatial_dims,
        "in_channels": purpose.in_channels,
        "out_channels": purpose.num_classes,
        "num_classes": purpose.num_classes,
        "img_size": purpose.crop,
    }
    takes = inspect.signature(maker).parameters
    arguments = {key: value for key, value in known.items() if key in takes} | options
    missing = [
        key
        for key, parameter in takes.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and key not in arguments
    ]
    if missing:
        raise ParameterError(
            f"all parameters of monai's {name}",
            f"none for {', '.join(missing)}",
            f"Write them after '?', as in 'monai:{name}?{'&'.join(key + '=...' for key in missing)}'.",
        )
    return Network(spec, lambda: maker(**arguments), f"{name} (MONAI)", fixed_size="img_size" in takes)


def _hugging_face(spec: str, name: str, options: dict[str, Any], purpose: Purpose) -> Network:
    library = require("transformers", package="transformers")
    if purpose.spatial_dims != 2:
        raise ParameterError(
            "2-D images for a network of Hugging Face", "volumes", "Choose 'unet' or a network of monai."
        )
    # Without a word about it, the library would ask on the terminal whether to run the repository's code.
    arguments = {
        "num_labels": purpose.num_classes,
        "ignore_mismatched_sizes": True,
        "trust_remote_code": False,
    } | options
    if purpose.in_channels != 3:
        arguments["num_channels"] = purpose.in_channels

    def factory() -> nn.Module:
        with _silent_transformers():
            network: nn.Module = library.AutoModelForSemanticSegmentation.from_pretrained(name, **arguments)
        return network

    return Network(
        spec,
        factory,
        f"{name} (Hugging Face), pretrained",
        learning_rate=2e-4,
        intensities="imagenet" if purpose.in_channels == 3 else "data",
    )


@contextmanager
def _silent_transformers() -> Iterator[None]:
    """Keeps the library's report of newly made head weights, which is meant here, off the terminal."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _own(function: Callable[..., Any], name: str, purpose: Purpose, options: dict[str, Any]) -> Callable[[], nn.Module]:
    offered = {
        "in_channels": purpose.in_channels,
        "num_classes": purpose.num_classes,
        "out_channels": purpose.num_classes,
        "spatial_dims": purpose.spatial_dims,
        "img_size": purpose.crop,
    }
    try:
        takes = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return lambda: function(**options)
    arguments = {key: value for key, value in offered.items() if key in takes} | options
    return lambda: function(**arguments)


def _find_function(spec: str, module_name: str, attribute: str) -> Callable[..., Any]:
    module = import_own(module_name)
    found = _attribute(module, attribute, spec)
    if not callable(found):
        raise ParameterError(f"a function {attribute!r} in {module_name}", f"a {type(found).__name__}", _ADVICE)
    return found


def _attribute(module: Any, name: str, spec: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if found is None:
        hint = nearest(name, dir(module)) or _ADVICE
        raise ParameterError(f"a network that {module.__name__} has", f"{name!r} in {spec!r}", hint)
    function: Callable[..., Any] = found
    return function


def _split(spec: str) -> tuple[str, dict[str, Any]]:
    """'smp:Unet?encoder_name=resnet34' -> ('smp:Unet', {'encoder_name': 'resnet34'})."""
    name, _, query = spec.partition("?")
    options: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key.isidentifier():
            raise ParameterError("options as name=value, joined by '&'", repr(part), "Write 'unet?norm=instance'.")
        word = unquote(value).strip()
        if word.lower() in _CONSTANTS:
            options[key] = _CONSTANTS[word.lower()]
            continue
        try:
            options[key] = ast.literal_eval(word)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            options[key] = unquote(value)
    return name.strip(), options


def _no_connection(error: BaseException) -> BaseException | None:
    """The error in a chain that says that a server could not be reached; None where one answered."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or found.__context__
    names = {type(entry).__name__ for entry in chain}
    if names & _ANSWERED:
        return None
    for entry in reversed(chain):
        kind = type(entry)
        transport = kind.__module__.split(".")[0] in _TRANSPORT
        if transport or kind.__name__ in _NO_CONNECTION or isinstance(entry, (ConnectionError, TimeoutError)):
            return entry
    return None


def _name_of(thing: Any) -> str:
    if isinstance(thing, nn.Module):
        return type(thing).__qualname__
    return getattr(thing, "__qualname__", type(thing).__qualname__)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"
