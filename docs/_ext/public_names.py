"""The build fails when a public name has no entry in the reference, or a loss no page."""

from __future__ import annotations

import inspect

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import segcrit
import segcrit.functional

logger = logging.getLogger(__name__)


def _public_names() -> set[str]:
    names = {f"segcrit.{name}" for name in segcrit.__all__ if not inspect.ismodule(getattr(segcrit, name))}
    return names | {f"segcrit.functional.{name}" for name in segcrit.functional.__all__}


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    documented = set(env.domaindata["py"]["objects"])
    for name in sorted(_public_names() - documented):
        logger.warning("%s is public and has no entry in docs/reference", name)


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
