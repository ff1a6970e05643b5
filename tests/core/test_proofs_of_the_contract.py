"""Poly-1, generalised Dice, keep and ohem, boundary: against float64 loops over pixels, on every engine; and their twins."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import segcrit
from segcrit import engines
from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.losses.formulas import pixel as pixel_formulas
from segcrit.losses.formulas import reducers
from tests.laws.cases import criterion
from tests.laws.problems import fractions, mask_of, one_hot, positive_weights, problem
from tests.oracles import numeric, pixel, region, scene

TASKS = ("multiclass", "multilabel", "binary")
W = [0.5, 2.0, 1.25]


def _batch(task: str, form: str, seed: int = 300) -> tuple[Tensor, Tensor, Tensor]:
    p = problem(task, classes=3, shape=(3, 4), seed=seed)
    weight = positive_weights(p, zeros=True)
    if form == "soft":
        return p.logits, fractions(task, p.logits), weight
    target = torch.where(p.target == 2, 0, p.target) if form == "absent" else p.target
    target = torch.where(mask_of(p, 3) if task != "multilabel" else mask_of(p, 3)[:, None], -100, target)
    return p.logits, one_hot(target, 3) if form == "one-hot" and task == "multiclass" else target, weight


def _scene(logits: Tensor, target: Tensor, weight: Tensor | None, task: str) -> scene.Scene:
    return scene.read(
        logits.numpy(), target.numpy(), task=task, pixel_weight=None if weight is None else weight.numpy()
    )


def _distances(logits: Tensor, target: Tensor, task: str) -> np.ndarray[Any, Any]:
    """Of labels, those of weight 0 included."""
    s = _scene(logits, target, None, task)
    shape = logits.shape[2:]
    maps = np.zeros(logits.shape)
    for n, c in itertools.product(s.images, s.classes):
        inside, known = (s.truth[n, c] > 0).reshape(shape), s.counted[n, c].reshape(shape)
        maps[n, c] = region.signed_distance(inside, known, (1.0,) * len(shape))
    # The package keeps them in float32.
    return maps.reshape(*logits.shape[:2], -1).astype(np.float32)


def _check(
    text: str, wanted: Any, logits: Tensor, target: Tensor, weight: Tensor | None, task: str, **options: Any
) -> None:
    """Value and gradient of an expression against a function of a scene."""
    s = _scene(logits, target, weight, task)
    z = logits.clone().requires_grad_()
    loss = criterion(text, task=task)(z, target, weight)
    (gradient,) = torch.autograd.grad(loss, z)
    assert float(loss.detach()) == pytest.approx(float(wanted(s)), rel=1e-9, abs=1e-12)
    slope = torch.from_numpy(numeric.central_difference(wanted, s)).reshape(z.shape)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-8)


def _check_poly1(task: str = "multiclass", form: str = "index", epsilon: float = 2.0, **options: Any) -> None:
    inner = "".join(f", {name}={value}" for name, value in options.items())
    _check(
        f"poly1(epsilon={epsilon}{inner})",
        lambda s: pixel.poly1(s, epsilon=epsilon, **options),
        *_batch(task, form),
        task,
    )


def _check_generalised_dice(task: str = "multiclass", form: str = "absent", **options: Any) -> None:
    inner = ", ".join(f"{name}={value}" for name, value in options.items())
    _check(f"generalised_dice({inner})", lambda s: region.generalised_dice(s, **options), *_batch(task, form), task)


def _check_kept(name: str, task: str, form: str = "index", weighted: bool = True, **options: Any) -> None:
    loss = {"ce": pixel.cross_entropy, "bce": pixel.binary_cross_entropy, "focal": pixel.focal, "poly1": pixel.poly1}[
        name
    ]
    own = {"class_weight": options["class_weight"]} if "class_weight" in options else {}
    inner = ", ".join(
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}" for key, value in options.items()
    )
    logits, target, weight = _batch(task, form)

    def wanted(s: scene.Scene) -> float:
        return pixel.kept(s, loss(s, reduction="none", **own), **options)

    _check(f"{name}({inner})", wanted, logits, target, weight if weighted else None, task)


def _check_boundary(task: str = "multiclass", form: str = "index", **options: Any) -> None:
    inner = ", ".join(f"{name}={value}" for name, value in options.items())
    logits, target, weight = _batch(task, form)
    maps = _distances(logits, target, task)
    _check(f"boundary({inner})", lambda s: region.boundary(s, maps, **options), logits, target, weight, task)


@pytest.mark.parametrize("form", ["index", "one-hot", "soft"])
@pytest.mark.parametrize("task", TASKS)
def test_poly1(task: str, form: str) -> None:
    _check_poly1(task, form)
    _check_poly1(task, form, label_smoothing=0.1, **({} if task == "binary" else {"class_weight": W}))


@pytest.mark.parametrize("form", ["index", "one-hot", "soft", "absent"])
@pytest.mark.parametrize("task", TASKS)
def test_generalised_dice(task: str, form: str) -> None:
    _check_generalised_dice(task, form)
    _check_generalised_dice(task, form, per_image=True, **({} if task == "binary" else {"classes": [1, 2]}))


@pytest.mark.parametrize("form", ["index", "one-hot", "soft"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "options", [{"keep": 0.3}, {"keep": 0.0}, {"ohem": 0.4, "min_kept": 2}, {"ohem": 0.1, "min_kept": 5}]
)
def test_reducers(task: str, form: str, options: dict[str, Any]) -> None:
    _check_kept("ce" if task == "multiclass" else "bce", task, form, weighted=False, **options)
    _check_kept("focal", task, form, **options)
    if task == "multiclass":
        _check_kept("poly1", task, form, class_weight=W, reduction="sum" if form == "soft" else "mean", **options)


@pytest.mark.parametrize("form", ["index", "one-hot", "absent"])
@pytest.mark.parametrize("task", TASKS)
def test_boundary(task: str, form: str) -> None:
    _check_boundary(task, form)
    _check_boundary(task, form, per_image=True, **({} if task == "binary" else {"classes": [0, 1], "class_weight": W}))


def test_a_sabotaged_twin_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    largest, distances = reducers._largest, segcrit.losses.derived.signed_distances
    with monkeypatch.context() as patch:
        patch.setattr(reducers, "_largest", lambda score, valid, number: largest(score, valid, number + 1))
        with pytest.raises(AssertionError):
            _check_kept("focal", "multiclass", keep=0.3)
    with monkeypatch.context() as patch:
        patch.setattr(segcrit.losses.derived, "signed_distances", lambda *given: abs(distances(*given)))
        with pytest.raises(AssertionError):
            _check_boundary()
    with segcrit.use_backend("reference"), monkeypatch.context() as patch:
        wrong = copy.copy(pixel_formulas._POLY1)
        object.__setattr__(wrong, "value", lambda log_p, *, epsilon: -log_p + epsilon * torch.exp(log_p))
        patch.setattr("segcrit.engines.reference.pixel_formulas", lambda: {"poly1": wrong})
        with pytest.raises(AssertionError):
            _check_poly1()
    with pytest.raises(AssertionError):
        _check("generalised_dice", lambda s: region.dice(s), *_batch("multiclass", "index"), "multiclass")


def test_maps_and_parts() -> None:
    p = problem(seed=301)
    p = p.ignoring(mask_of(p, 5))
    module = segcrit.Criterion("ce(keep=0.2) + 0.5*poly1 + boundary + generalised_dice")
    values = module.pixel_map(p.logits, p.target)
    wanted = module(p.logits, p.target) - module.last_terms["boundary"] - module.last_terms["generalised_dice"]
    torch.testing.assert_close(values.sum(), wanted)
    alone = segcrit.Criterion("ce(keep=0.2)").pixel_map(p.logits, p.target)
    assert int((alone > 0).sum()) == math.floor(0.2 * int((p.target != -100).sum()))
    whole = segcrit.Criterion("poly1 + boundary + generalised_dice")
    total = sum(whole.sums(p.logits[n : n + 1], p.target[n : n + 1]) for n in range(2))
    torch.testing.assert_close(whole(p.logits[:1], p.target[:1], sums=total), whole(p.logits, p.target))
    for text in ("ce(keep=0.2)", "ce + focal(ohem=0.5)"):
        with pytest.raises(ParameterError, match=r"keep=0\.2|ohem=0\.5"):
            segcrit.Criterion(text).sums(p.logits, p.target)


def test_reducers_of_users_formulas_and_their_limits() -> None:
    p = problem(seed=302)
    p = p.ignoring(mask_of(p, 5))
    weight = positive_weights(p, zeros=True)
    for options in ("keep=0.3", "ohem=0.4, min_kept=3"):
        results = []
        for text in (f"ce({options}, class_weight=[1, 2, 3, 4])", f"kept_ce({options}, class_weight=[1, 2, 3, 4])"):
            if text.startswith("kept"):
                segcrit.pixel_loss(kept_ce)
            z = p.logits.clone().requires_grad_()
            loss = segcrit.Criterion(text)(z, p.target, weight)
            results.append((loss.detach(), torch.autograd.grad(loss, z)[0]))
        torch.testing.assert_close(results[0], results[1])
    with pytest.raises(ParameterError, match="keep"):
        segcrit.Criterion("ce(keep=0.2, ohem=0.7)")
    torch.testing.assert_close(
        segcrit.Criterion("ce(keep=1)")(p.logits, p.target), segcrit.Criterion("ce")(p.logits, p.target)
    )
    unreduced = segcrit.functional.cross_entropy(p.logits, p.target, keep=0.2, reduction="none")
    assert int((unreduced > 0).sum()) == math.floor(0.2 * int((p.target != -100).sum()))
    bad = torch.full_like(p.target, 9)
    assert torch.isnan(segcrit.Criterion("ce(keep=0.2)", validate="never")(p.logits, bad))


def kept_ce(logp, label):
    """−log p."""
    return -logp


def test_maps_beside_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(seed=303)
    p = p.ignoring(mask_of(p, 5))
    module = segcrit.Criterion("ce + boundary", num_classes=4)
    assert module.needs == ("distance",)
    assert segcrit.Criterion("ce").needs == ()
    maps = segcrit.derive(module, p.target)
    wanted = module(p.logits, p.target)
    for target in (p.target[:, None], one_hot(p.target, 4)):
        torch.testing.assert_close(segcrit.derive(module, target), maps)
    torch.testing.assert_close(module(p.logits, p.target, maps=maps), wanted)
    torch.testing.assert_close(
        segcrit.functional.boundary(p.logits, p.target, maps=maps), module.last_terms["boundary"].to(wanted)
    )
    twice = segcrit.derive(module, p.target, spacing=2.0)
    torch.testing.assert_close(twice["distance"], 2 * maps["distance"])
    doubled = segcrit.Criterion("boundary")(p.logits, p.target, maps=twice)
    torch.testing.assert_close(doubled, 2 * segcrit.Criterion("boundary")(p.logits, p.target))
    # Kept for the same labels, and made again when these change.
    asked = []
    derive = segcrit.losses.derived._maps_of
    monkeypatch.setattr(segcrit.losses.derived, "_maps_of", lambda *given: asked.append(1) or derive(*given))
    target = p.target.clone()
    module(p.logits, target)
    module(p.logits, target)
    assert len(asked) == 1
    target[0, 0, 0] = (target[0, 0, 0] + 1) % 4
    module([p.logits, p.logits[:, :, ::2, ::2].contiguous()], target)
    assert len(asked) == 2
    pickle.loads(pickle.dumps(module))(p.logits, target)


def test_mistakes_with_maps_are_named() -> None:
    p = problem(seed=304)
    module = segcrit.Criterion("boundary")
    with pytest.raises(ParameterError, match="num_classes"):
        segcrit.derive(module, p.target)
    with pytest.raises(ParameterError, match="'distance'"):
        module(p.logits, p.target, maps={"distances": p.logits})
    with pytest.raises(ShapeError, match="distance"):
        module(p.logits, p.target, maps={"distance": p.logits[:, :2]})
    with pytest.raises(LabelError, match="soft"):
        module(p.logits, fractions("multiclass", p.logits))
    with pytest.raises(ParameterError, match="spacing"):
        segcrit.derive(segcrit.Criterion("boundary", num_classes=4), p.target, spacing=(1.0, -1.0))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_engines_agree_and_nothing_pushes_a_mixture_off(
    task: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not next(item for item in segcrit.backends() if item.name == "cpu").available:
        pytest.skip("the native engine cannot run here")
    first = "ce" if task == "multiclass" else "bce"
    text = f"{first} + poly1 + focal(keep=0.2) + {first}(ohem=0.6, min_kept=7) + boundary + generalised_dice + dice + lovasz"
    p = problem(task, shape=(19, 33), seed=305)
    p = p.ignoring(mask_of(p, 40))
    module = criterion(text, task=task, upsample="linear")
    logits = p.logits[:, :, ::2, ::3].contiguous().to(dtype)
    results = []
    for backend in ("reference", "cpu"):
        z = logits.clone().requires_grad_()
        with segcrit.use_backend(backend):
            loss = module(z, p.target, positive_weights(p).float())
            results.append((loss.detach(), torch.autograd.grad(loss, z)[0].float()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=0)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-2, atol=1e-5 if dtype == torch.float32 else 1e-4)
    with segcrit.use_backend("cpu"):
        monkeypatch.setattr(engines.reference, "forward", lambda *_: pytest.fail("the reference engine was asked"))
        module(logits, p.target)
