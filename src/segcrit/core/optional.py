"""Import of optional packages, with one message when they are missing or do not import."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import metadata
from types import ModuleType, TracebackType
from typing import Any

from segcrit.core.errors import MissingExtraError, ParameterError

__all__ = ["culprit", "import_own", "repair", "require"]

# Packages that hold compiled code for one release of torch. Each 2.N of torch has its torchvision 0.(N + 15).
_COMPANIONS = ("torchvision", "torchaudio")
# Packages that use a companion of torch where there is one, and work without it.
_LOOK_IN_PASSING = ("lightning", "monai", "torchmetrics")


def require(module: str, *, extra: str | None = None, package: str | None = None) -> ModuleType:
    """Import ``module`` and return it, or say which command installs or repairs it.

    Args:
        module: dotted name, for example ``"scipy.ndimage"``.
        extra: the extra of segcrit that brings it, for example ``"data"``.
        package: the package that brings it, where no extra does; default: the name of the module.

    Raises:
        MissingExtraError: the package is not installed, or it fails while it is imported.

    Example:
        >>> require("math", extra="data").sqrt(4.0)
        2.0
    """
    top = module.split(".")[0]
    try:
        with _hidden_companions() if top in _LOOK_IN_PASSING else nullcontext():
            return importlib.import_module(module)
    except Exception as error:
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == top
        if absent:
            name = package or top
            raise MissingExtraError(
                f"the package {name!r}, which this feature needs",
                "an environment without it",
                "Install it with: pip install " + (f"'segcrit[{extra}]'" if extra else name),
            ) from error
        broken = culprit(error, top)
        needed = "this feature needs" if broken == top else f"{top} imports"
        raise MissingExtraError(
            f"the package {broken!r}, which {needed}, to import",
            f"{type(error).__name__}: {_first_line(error)}",
            f"Repair it with: {repair(broken)}"
            + (f" (or remove it: pip uninstall {broken}; segcrit does not use it)." if broken in _COMPANIONS else ""),
        ) from error


@contextmanager
def _hidden_companions() -> Iterator[None]:
    """What is left of a companion of torch that was removed counts as not installed.

    One that is installed and does not import cannot be hidden: these packages ask its metadata, too.
    """
    broken = [name for name in _COMPANIONS if not _is_installed(name) and not _is_sound(name)]
    hidden = {word: sys.modules.pop(word) for word in list(sys.modules) if word.split(".")[0] in broken}
    blocked: dict[str, Any] = dict.fromkeys(broken)
    sys.modules.update(blocked)
    try:
        yield
    finally:
        for name in broken:
            del sys.modules[name]
        sys.modules.update(hidden)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _is_sound(name: str) -> bool:
    """Whether there is no package of this name, or it imports."""
    try:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    except Exception:  # compiled for another torch, it may raise anything
        return False
    return True


def import_own(name: str) -> ModuleType:
    """Import a module that the user names on the command line or in a call, from the current folder too.

    Raises:
        ParameterError: there is none, or it fails while it is imported.
    """
    # A console script does not look for modules in the current folder, where the user's file lies.
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:  # it is the user's code, which may raise anything
        raise ParameterError(
            "a module that can be imported",
            f"{name!r}, with {type(error).__name__}: {_first_line(error)}",
            f"Put {name}.py into {here}, correct it, or install the package.",
        ) from error
    finally:
        if here in sys.path:
            sys.path.remove(here)


def culprit(error: BaseException, asked: str) -> str:
    """The top-level package whose import failed.

    That is the missing package of a ModuleNotFoundError, else the package of the innermost frame. The frames of torch are
    not looked at: a package that does not fit torch fails inside torch.

    Args:
        error: what the import raised.
        asked: the top-level package that was imported.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] != asked:
        return error.name.split(".")[0]
    found = asked
    frame: TracebackType | None = error.__traceback__
    while frame is not None:
        name = str(frame.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        if name not in ("", "__main__", "importlib", "torch", "segcrit", *sys.stdlib_module_names):
            found = name
        frame = frame.tb_next
    return found


def repair(name: str) -> str:
    """The command that repairs a package that is installed and does not import.

    Args:
        name: of the package, or of its distribution.

    Example:
        >>> repair("scipy")
        'pip install --force-reinstall scipy'
    """
    if name not in _COMPANIONS:
        return f"pip install --force-reinstall {name}"
    try:
        release, _, build = metadata.version("torch").partition("+")
    except metadata.PackageNotFoundError:
        return f"pip install --force-reinstall torch {name}"
    major, minor = release.split(".")[:2]
    if major != "2":
        return f"pip install --force-reinstall torch {name}"
    version = f"0.{int(minor) + 15}.*" if name == "torchvision" else f"{major}.{minor}.*"
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f"pip install --force-reinstall --no-deps '{name}=={version}'{index}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
