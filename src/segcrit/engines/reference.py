"""The reference engine: readable PyTorch, tile by tile, the oracle of every other engine.

A tile is a group of images or a run of pixels of one image, (n, C, p). Softmax and one-hot tensors exist for one tile at a
time; probabilities are recomputed in the backward pass, so that the extra memory is the gradient plus one tile's work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from segcrit.core.dtypes import compute_dtype, without_autocast
from segcrit.core.tensors import may_look
from segcrit.engines.binning import bin_index
from segcrit.engines.capabilities import Capabilities
from segcrit.engines.formulas import FIELDS, PixelFormula, operand_of, pixel_formulas
from segcrit.engines.interpolation import interpolate, transpose
from segcrit.engines.request import (
    Gradients,
    PixelRequest,
    Request,
    Shapes,
    Sweep,
    Swept,
    gradient_like,
    spatial_size,
)
from segcrit.labels.mask import read_target, read_weight, refuse_fractions

__all__ = ["CAPABILITIES", "backward", "forward", "select", "transform_logits"]


def _recomputes(classes: int, upsample: bool) -> bool:
    return True


CAPABILITIES = Capabilities(
    formulas=None,
    fields=frozenset(FIELDS),
    operand_fields=frozenset("PQT"),
    errors=frozenset({"none", "probability", "margin"}),
    logits=frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64}),
    targets=None,
    recomputes=_recomputes,
)

# Elements of a tile: 1 MiB in float32, so that the dozen temporaries of a tile stay in a core's cache; less for small
# logits, whose two dozen temporaries together shall stay below the size of the logits.
_TILE_ELEMENTS = 1 << 18
_TILES_AT_LEAST = 24
_SMALLEST_TILE = 1 << 12


@dataclass(frozen=True)
class _Tile:
    images: slice
    pixels: slice
    logits: Tensor  # (n, C, p) in the arithmetic's dtype, transformed, 0 where not valid
    target: Tensor  # (n, C, p), 0 where not valid
    valid: Tensor  # (n, 1 or C, p) bool
    weight: Tensor  # (n, 1 or C, p), 0 where not valid, NaN where the target is bad
    operands: dict[str, Tensor]  # (n, C, p), 0 where not valid


def _flat(tensor: Tensor, images: slice, keep: int) -> Tensor:
    """Images of a tensor with all spatial dimensions flattened into one."""
    part = tensor[images]
    return part.reshape(*part.shape[:keep], -1)


def _tiles(sweep: Sweep, request: Request) -> Iterator[_Tile]:
    images, classes = sweep.logits.shape[:2]
    size = spatial_size(sweep.logits, sweep.target)
    pixels = math.prod(size)
    if images == 0 or pixels == 0:
        return
    elements = min(_TILE_ELEMENTS, max(_SMALLEST_TILE, images * classes * pixels // _TILES_AT_LEAST))
    budget = max(1, elements // classes)
    group = max(1, min(images, budget // pixels))
    step = min(pixels, budget)
    if request.upsample:
        # Whole rows of the first spatial axis, so that a tile is interpolated from a few rows of logits.
        row = pixels // size[0]
        step = max(1, step // row) * row
    for first in range(0, images, group):
        rows = slice(first, min(first + group, images))
        keep = 1 if request.kind == "index" and not request.sigmoid else 2
        target = sweep.target[rows]
        if request.sigmoid and target.ndim == sweep.logits.ndim - 1:
            target = target[:, None]
        target = target.reshape(*target.shape[:keep], -1)
        weight = None if sweep.pixel_weight is None else _flat(sweep.pixel_weight, rows, 1)
        for start in range(0, pixels, step):
            columns = slice(start, min(start + step, pixels))
            yield _read_tile(
                sweep, request, rows, columns, _logits(sweep, request, rows, columns), target[..., columns],
                None if weight is None else weight[..., columns],
            )  # fmt: skip


def _first_axis(size: tuple[int, ...], pixels: slice) -> slice:
    """The rows of the first spatial axis that a run of whole rows of pixels takes up."""
    row = math.prod(size[1:])
    return slice(pixels.start // row, pixels.stop // row)


def _logits(sweep: Sweep, request: Request, images: slice, pixels: slice) -> Tensor:
    """(n, C, p), in the arithmetic's dtype where they are interpolated."""
    if not request.upsample:
        return _flat(sweep.logits, images, 2)[..., pixels]
    size = spatial_size(sweep.logits, sweep.target)
    low = sweep.logits[images].to(compute_dtype(sweep.logits.dtype))
    return interpolate(low, size, request.align_corners, _first_axis(size, pixels)).flatten(2)


def _read_tile(
    sweep: Sweep,
    request: Request,
    images: slice,
    pixels: slice,
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
) -> _Tile:
    dtype = compute_dtype(sweep.logits.dtype)
    reading = read_target(
        target,
        kind=request.kind,
        sigmoid=request.sigmoid,
        num_classes=logits.shape[1],
        ignore_index=request.ignore_index,
        view=request.view,
        dtype=dtype,
        check=request.check,
    )
    valid, weight = read_weight(pixel_weight, reading, dtype, request.check)
    clean = torch.where(valid, logits.to(dtype), 0.0)
    encoded = torch.where(valid, reading.target, 0.0)
    if request.errors != "none" and request.kind == "soft" and request.check:
        refuse_fractions(encoded)
    operands = {
        name: torch.where(valid, _flat(operand, images, 2)[..., pixels].to(dtype), 0.0)
        for name, operand in zip(request.operands, sweep.operands, strict=True)
    }
    scores = transform_logits(clean, encoded, sweep.logit_bias, request)
    return _Tile(images, pixels, scores, encoded, valid, weight, operands)


def transform_logits(logits: Tensor, target: Tensor, bias: Tensor | None, request: Request) -> Tensor:
    """z′ = s z + b[label, class] of a tile (n, C, p)."""
    if request.logit_scale != 1.0:
        logits = logits * request.logit_scale
    if bias is not None:
        rows = bias.to(logits.dtype)
        if rows.shape[0] == 1:
            return logits + rows[0][None, :, None]
        # Autocast would take this product, and with it the bias, in half precision.
        with without_autocast(logits.device):
            logits = logits + torch.einsum("nlp,lc->ncp", target, rows)
    return logits


def _coefficients(sweep: Sweep, index: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    pair = sweep.coefficients[index].to(dtype)
    return pair[0][None, :, None], pair[1][None, :, None]


def _smoothed(tile: _Tile, item: PixelRequest, sigmoid: bool) -> Tensor:
    if item.label_smoothing == 0.0:
        return tile.target
    share = item.label_smoothing
    spread = share / (2 if sigmoid else tile.target.shape[1])
    return torch.where(tile.valid, tile.target * (1.0 - share) + spread, 0.0)


def _formula(item: PixelRequest) -> tuple[PixelFormula, dict[str, float]]:
    return pixel_formulas()[item.key], dict(item.scalars)


def select(factor: Tensor, value: Tensor) -> Tensor:
    """factor · value, and 0 where the factor is 0 even if the value is infinite (a class masked by −∞ logits)."""
    return torch.where(factor == 0, 0.0, factor * value)


def _pixel_values(sweep: Sweep, request: Request, tile: _Tile, index: int, log_p: Tensor, log_q: Tensor) -> Tensor:
    """u ℓ of one pixel loss: (n, p), or (n, C, p) in sigmoid tasks."""
    item = request.pixel[index]
    formula, scalars = _formula(item)
    positive, negative = _coefficients(sweep, index, log_p.dtype)
    target = _smoothed(tile, item, request.sigmoid)
    values = select(positive * target, formula.value(log_p, **scalars))
    if request.sigmoid:
        values = values + select(negative * (1.0 - target), formula.value(log_q, **scalars))
        return torch.where(tile.valid, tile.weight * values, 0.0)
    return torch.where(tile.valid, tile.weight * values.sum(1, keepdim=True), 0.0)[:, 0]


def _log_probabilities(tile: _Tile, request: Request) -> tuple[Tensor, Tensor]:
    """log p and, in sigmoid tasks, log(1 − p)."""
    if request.sigmoid:
        return F.logsigmoid(tile.logits), F.logsigmoid(-tile.logits)
    log_p = torch.log_softmax(tile.logits, 1)
    return log_p, log_p


def _errors(tile: _Tile, request: Request, log_p: Tensor) -> Tensor:
    if request.errors == "margin":
        return torch.relu(1.0 - tile.logits * (2.0 * tile.target - 1.0))
    # 1 − p = −expm1(log p) keeps the small errors of confident pixels.
    return torch.where(tile.target > 0, -torch.expm1(log_p), torch.exp(log_p)).clamp(0.0, 1.0)


def _histogram_index(tile: _Tile, request: Request, errors: Tensor, classes: int) -> Tensor:
    """Flat index into (rows, C, 2, K) for each element."""
    count = errors.shape[0]
    row = torch.zeros(count, dtype=torch.int64, device=errors.device)
    if request.bins_per_image:
        row = torch.arange(tile.images.start, tile.images.stop, device=errors.device)
    channel = torch.arange(classes, device=errors.device)
    cell = (row[:, None] * classes + channel[None])[:, :, None] * 2 + (tile.target > 0).to(torch.int64)
    return cell * request.bins + bin_index(errors, request.errors, request.bins)


def _class_sum(values: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    return (weight * values).sum(-1, dtype=dtype)


def _fields(tile: _Tile, request: Request, probability: Tensor, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    target, weight = tile.target, tile.weight
    for name in request.fields:
        field, operand = name.partition("_")[0], operand_of(name)
        if field == "V":
            full = weight.expand_as(target) if request.sigmoid else weight.expand(-1, target.shape[1], -1)
            yield name, full.sum(-1, dtype=dtype)
            continue
        values = {
            "I": lambda: probability * target,
            "P": lambda: probability,
            "Q": lambda: probability * probability,
            "T": lambda: target,
            "U": lambda: target * target,
            "D": lambda: (probability - target).abs(),
        }[field]()
        yield name, _class_sum(values * tile.operands[operand] if operand else values, weight, dtype)


def forward(sweep: Sweep, request: Request) -> Swept:
    """One pass over the pixels.

    What float32 cannot hold is computed once more in float64: logits of 1e38, whose differences overflow, weights of 1e38.
    """
    looks = _may_look(sweep)
    swept = _forward(sweep, request) if not looks or _are_moderate(sweep.coefficients) else None
    sums = () if swept is None else (swept.pixel, swept.tables, swept.counts, swept.moments)
    if swept is None or (looks and not all(bool(torch.isfinite(item).all()) for item in sums)):
        compute = compute_dtype(sweep.logits.dtype)
        swept = _forward(_in_float64(sweep), request)
        # The maxima of another engine's logits differ by a rounding, which is 1e31 where they are 1e38: it computes again.
        unknown = torch.full_like(swept.normalizers, float("nan"), dtype=compute)
        swept = swept._replace(maps=swept.maps.to(compute), normalizers=unknown)
    elif looks and request.upsample and bool((swept.normalizers.abs() > 1e5).any()):
        swept = swept._replace(normalizers=torch.full_like(swept.normalizers, float("nan")))
    return swept


def _may_look(sweep: Sweep) -> bool:
    """Whether numbers are there to look at, at no price, and more digits are left to try."""
    return sweep.logits.dtype != torch.float64 and may_look(sweep.logits)


def _in_float64(sweep: Sweep) -> Sweep:
    weight = None if sweep.pixel_weight is None else sweep.pixel_weight.double()
    return replace(sweep, logits=sweep.logits.double(), pixel_weight=weight)


def _forward(sweep: Sweep, request: Request) -> Swept:
    """One pass over the pixels in the arithmetic of the logits' dtype."""
    logits = sweep.logits
    shapes = Shapes.of(logits, sweep.target, request)
    classes = logits.shape[1]
    device = logits.device
    swept = Swept(
        pixel=torch.zeros(shapes.pixel, dtype=shapes.table, device=device),
        tables=torch.zeros(shapes.tables, dtype=shapes.table, device=device),
        counts=torch.zeros(shapes.histogram, dtype=shapes.table, device=device),
        moments=torch.zeros(shapes.histogram, dtype=shapes.table, device=device),
        confusion=torch.zeros(shapes.confusion, dtype=torch.int64, device=device),
        maps=torch.zeros(shapes.maps, dtype=shapes.compute, device=device),
        normalizers=torch.zeros(shapes.normalizers, dtype=shapes.compute, device=device),
    )
    rows_of = dict(zip(request.rows, swept.tables, strict=True))
    for tile in _tiles(sweep, request):
        log_p, log_q = _log_probabilities(tile, request)
        if swept.normalizers.numel():
            largest = tile.logits.amax(1)
            flat = swept.normalizers.view(2, len(logits), -1)[:, tile.images, tile.pixels]
            flat[0] = largest
            flat[1] = torch.exp(tile.logits - largest[:, None]).sum(1)
        for index in range(len(request.pixel)):
            values = _pixel_values(sweep, request, tile, index, log_p, log_q)
            swept.pixel[index] += values.sum(dtype=shapes.table)
            if request.maps:
                flat = swept.maps[index][tile.images]
                flat.view(*values.shape[:-1], -1)[..., tile.pixels] = values
        if request.fields:
            rows = tile.images if request.per_image else slice(0, 1)
            for name, sums in _fields(tile, request, torch.exp(log_p), shapes.table):
                rows_of[name][rows] += sums if request.per_image else sums.sum(0, keepdim=True)
        if request.errors != "none":
            errors = _errors(tile, request, log_p)
            index_of = _histogram_index(tile, request, errors, classes).reshape(-1)
            weight = tile.weight.expand_as(errors).reshape(-1).to(shapes.table)
            swept.counts.view(-1).scatter_add_(0, index_of, weight)
            swept.moments.view(-1).scatter_add_(0, index_of, weight * errors.reshape(-1).to(shapes.table))
        if request.confusion:
            swept.confusion.add_(_confusion(tile, request, classes))
    return swept


def _confusion(tile: _Tile, request: Request, classes: int) -> Tensor:
    """Counts with rows truth and columns prediction; the lowest index wins a tie."""
    if request.sigmoid:
        truth = (tile.target > 0.5).to(torch.int64)
        predicted = (tile.logits > 0).to(torch.int64)
        channel = torch.arange(classes, device=truth.device)[None, :, None]
        cell = (channel * 4 + truth * 2 + predicted)[tile.valid.expand_as(truth)]
        counts = torch.bincount(cell, minlength=4 * classes).view(classes, 2, 2)
        return counts[0] if request.task == "binary" else counts
    truth = tile.target.argmax(1)
    predicted = tile.logits.argmax(1)
    valid = tile.valid[:, 0] & ~torch.isnan(tile.weight[:, 0])
    return torch.bincount((truth * classes + predicted)[valid], minlength=classes * classes).view(classes, classes)


def backward(sweep: Sweep, request: Request, normalizers: Tensor, gradients: Gradients) -> Tensor:
    """One pass that writes the gradient; see ``_backward``. In float64 where a factor is no moderate number of float32."""
    factors = (sweep.coefficients, gradients.pixel, gradients.tables, gradients.moments)
    if _may_look(sweep) and not all(map(_are_moderate, factors)):
        return _backward(_in_float64(sweep), request, normalizers, gradients).to(sweep.logits.dtype)
    return _backward(sweep, request, normalizers, gradients)


def _are_moderate(factors: Tensor) -> bool:
    """Whether products with the weights and probabilities of a pixel stay numbers of float32; NaN is as good as another."""
    size = factors.abs()
    return not bool(((size > 1e30) | ((size < 1e-30) & (size != 0))).any())


def _backward(sweep: Sweep, request: Request, normalizers: Tensor, gradients: Gradients) -> Tensor:
    """One pass that recomputes the probabilities and writes the gradient of the logits.

    Args:
        sweep: the tensors of the forward pass.
        request: its request.
        normalizers: of the forward pass; not used here, where a tile's softmax is cheap beside the rest.
        gradients: dL/d of what the forward pass has delivered.

    Returns:
        dL/d(logits), in the logits' dtype and shape, 0 where ignored.
    """
    logits = sweep.logits
    size = spatial_size(logits, sweep.target)
    low = tuple(logits.shape[2:])
    gradient = gradient_like(logits).zero_()
    # Many tiles add to one sample of upsampled logits: not in half precision.
    samples = gradient.to(compute_dtype(logits.dtype)) if request.upsample else gradient
    for tile in _tiles(sweep, request):
        log_p, log_q = _log_probabilities(tile, request)
        probability = torch.exp(log_p)
        slope = _probability_gradient(tile, request, probability, log_p, gradients)
        if request.sigmoid:
            result = probability * torch.exp(log_q) * slope
        else:
            result = probability * (slope - (probability * slope).sum(1, keepdim=True))
        if request.errors == "margin":
            result = result + _margin_gradient(tile, request, log_p, gradients.moments)
        for index in range(len(request.pixel)):
            upstream = gradients.pixel[index].to(log_p.dtype)
            if gradients.maps is not None:
                part = _flat(gradients.maps[index], tile.images, 2 if request.sigmoid else 1)[..., tile.pixels]
                upstream = upstream + (part if request.sigmoid else part[:, None])
            result = result + upstream * tile.weight * _pixel_gradient(sweep, request, tile, index, log_p, log_q)
        result = torch.where(tile.valid, result * request.logit_scale, 0.0)
        part = samples[tile.images]
        if request.upsample:
            rows = _first_axis(size, tile.pixels)
            dense = result.reshape(*result.shape[:2], rows.stop - rows.start, *size[1:])
            part += transpose(dense, low, size, request.align_corners, rows)
        else:
            part.view(*part.shape[:2], -1)[..., tile.pixels] = result.to(logits.dtype)
    return gradient.copy_(samples) if request.upsample else gradient


def _probability_gradient(
    tile: _Tile, request: Request, probability: Tensor, log_p: Tensor, gradients: Gradients
) -> Tensor:
    """dL/dp = u (F_I t + F_P + 2 p F_Q + F_D sign(p − t) ± w[class, label, bin]), each F with φ where its sum has it."""
    dtype = probability.dtype
    slope = torch.zeros_like(probability)
    rows = tile.images if request.per_image else slice(0, 1)
    table = dict(zip(request.rows, gradients.tables, strict=True))
    for name in request.fields:
        field, operand = name.partition("_")[0], operand_of(name)
        if field not in ("I", "P", "Q", "D"):
            continue
        factor = table[name][rows].to(dtype)[:, :, None]
        if operand:
            factor = factor * tile.operands[operand]
        if field == "I":
            slope = slope + factor * tile.target
        elif field == "P":
            slope = slope + factor
        elif field == "Q":
            slope = slope + 2.0 * factor * probability
        else:
            slope = slope + factor * torch.sign(probability - tile.target)
    if request.errors == "probability":
        weights = _bin_gradient(tile, request, log_p, gradients.moments)
        slope = slope + torch.where(tile.target > 0, -weights, weights)
    return slope * tile.weight


def _bin_gradient(tile: _Tile, request: Request, log_p: Tensor, moment_gradient: Tensor) -> Tensor:
    errors = _errors(tile, request, log_p)
    index = _histogram_index(tile, request, errors, errors.shape[1])
    return moment_gradient.reshape(-1)[index].to(errors.dtype)


def _margin_gradient(tile: _Tile, request: Request, log_p: Tensor, moment_gradient: Tensor) -> Tensor:
    sign = 2.0 * tile.target - 1.0
    active = 1.0 - tile.logits * sign > 0
    return torch.where(active, -sign * tile.weight * _bin_gradient(tile, request, log_p, moment_gradient), 0.0)


def _pixel_gradient(sweep: Sweep, request: Request, tile: _Tile, index: int, log_p: Tensor, log_q: Tensor) -> Tensor:
    """dℓ/dz of one pixel loss, without the pixel weight: (n, C, p)."""
    item = request.pixel[index]
    formula, scalars = _formula(item)
    positive, negative = _coefficients(sweep, index, log_p.dtype)
    target = _smoothed(tile, item, request.sigmoid)
    slope = select(positive * target, formula.derivative(log_p, **scalars))
    if request.sigmoid:
        other = select(negative * (1.0 - target), formula.derivative(log_q, **scalars))
        return slope * torch.exp(log_q) - other * torch.exp(log_p)
    return slope - torch.exp(log_p) * slope.sum(1, keepdim=True)
