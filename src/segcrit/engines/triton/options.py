"""What a request means for the kernels: the constants that they are compiled with."""

from __future__ import annotations

from typing import Any

from segcrit.engines.request import PixelRequest, Request
from segcrit.engines.triton.places import Places, target_form

__all__ = ["ERRORS", "gamma_of", "is_general", "is_regional", "of_backward", "of_forward", "of_logits"]

ERRORS = {"none": 0, "probability": 1, "margin": 2}
_OF_PROBABILITIES = ("I", "P", "Q", "D")


def gamma_of(item: PixelRequest) -> float:
    """The exponent of a pixel loss; cross-entropy is the focal pair with exponent 0."""
    return dict(item.scalars)["gamma"] if item.key == "focal" else 0.0


def is_general(request: Request) -> bool:
    """Whether a softmax pixel loss looks at every class and not at the label alone."""
    return bool(request.pixel) and (request.kind == "soft" or any(item.label_smoothing for item in request.pixel))


def is_regional(request: Request) -> bool:
    """Whether sums of probabilities or errors are wanted."""
    return request.errors != "none" or any(name in request.fields for name in _OF_PROBABILITIES)


def of_logits(places: Places, request: Request) -> dict[str, Any]:
    """Constants that say how logits and target are read."""
    return {
        "CLASSES": places.classes,
        "IGNORE": request.ignore_index,
        "BACKGROUND": request.view.background,
        "FOREGROUND": request.view.foreground_only,
        "SCALE": float(request.logit_scale),
        "BIAS_ROWS": 0 if places.bias is None else places.bias.shape[0],
    }


def _of_losses(request: Request) -> dict[str, Any]:
    return {
        "LOSSES": len(request.pixel),
        "GAMMAS": tuple(gamma_of(item) for item in request.pixel),
        "SMOOTHINGS": tuple(float(item.label_smoothing) for item in request.pixel),
        "KIND": ERRORS[request.errors],
        "BINS": max(1, request.bins),
        "BINS_PER_IMAGE": request.bins_per_image,
    }


def of_forward(places: Places, request: Request) -> tuple[dict[str, Any], dict[str, int]]:
    """Constants of a forward kernel, and the row of each sum behind the pixel losses."""
    wanted: list[str] = [name for name in ("I", "P", "Q", "T", "U", "D") if name in request.fields]
    if request.errors != "none" and "T" not in wanted:
        wanted.append("T")
    rows: dict[str, int] = {name: row for row, name in enumerate(wanted)}
    end = len(rows)
    if request.errors != "none":
        rows["low"] = end
        end += 5 if request.sigmoid else 2
    if request.confusion:
        rows["truth"] = end
        end += 4 if request.sigmoid else 1
    constants = of_logits(places, request) | _of_losses(request)
    constants |= {
        "AXES": places.upsampling.axes,
        "ALIGN": request.align_corners,
        "SLOTS": 2 + len(request.pixel) + end * (1 if request.sigmoid else places.classes),
        "ROW_LOW": rows.get("low", -1),
        "ROW_TRUTH": rows.get("truth", -1),
    }
    constants |= {f"ROW_{name}": rows.get(name, -1) for name in ("I", "P", "Q", "T", "U", "D")}
    if not request.sigmoid:
        constants |= {
            "FORM": target_form(request),
            "GENERAL": is_general(request),
            "SECOND": request.kind == "soft" or is_regional(request),
        }
    return constants, rows


def of_backward(places: Places, request: Request) -> dict[str, Any]:
    """Constants of a backward kernel."""
    constants = of_logits(places, request) | _of_losses(request)
    constants |= {"PER_IMAGE": request.per_image}
    constants |= {f"HAS_{name}": name in request.fields for name in _OF_PROBABILITIES}
    if not request.sigmoid:
        constants["GENERAL"] = is_general(request)
    return constants
