"""The same numbers as PyTorch, MONAI and kornia where they are right, and documented differences where they are not."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch
from torch.nn import functional as F

import segcrit
from tests.laws.problems import fractions, mask_of, one_hot, problem

P = problem(classes=4, shape=(6, 7), seed=40)
HOT = one_hot(P.target, 4).double()
WEIGHT = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def monai():
    return pytest.importorskip("monai.losses", reason="MONAI is not installed")


@pytest.fixture(scope="module")
def kornia():
    return pytest.importorskip("kornia.losses", reason="kornia is not installed")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
@pytest.mark.parametrize("ignore", [False, True], ids=["", "ignore"])
@pytest.mark.parametrize("shape", [(), (7,), (6, 7), (2, 3, 4)], ids=str)
def test_torch_cross_entropy_in_every_option(reduction, smoothing, weight, ignore, shape):
    p = problem(classes=4, images=5, shape=shape, seed=41)
    target = p.target.clone()
    if ignore:
        target[1] = 255
    ours, theirs = p.logits.clone().requires_grad_(), p.logits.clone().requires_grad_()
    got = segcrit.functional.cross_entropy(
        ours, target, ignore_index=255, class_weight=weight, label_smoothing=smoothing, reduction=reduction
    )
    wanted = F.cross_entropy(theirs, target, weight, ignore_index=255, label_smoothing=smoothing, reduction=reduction)
    torch.testing.assert_close(got, wanted)
    upstream = torch.linspace(0.5, 2, got.numel(), dtype=torch.float64).reshape(got.shape)
    (a,) = torch.autograd.grad(got, ours, upstream)
    (b,) = torch.autograd.grad(wanted, theirs, upstream)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_torch_cross_entropy_with_probabilities(smoothing):
    soft = fractions("multiclass", P.logits)
    got = segcrit.functional.cross_entropy(P.logits, soft, label_smoothing=smoothing)
    torch.testing.assert_close(got, F.cross_entropy(P.logits, soft, label_smoothing=smoothing))
    # With class weights torch divides by the number of pixels; here the mean stays a mean: Σ w t below.
    got = segcrit.functional.cross_entropy(P.logits, soft, class_weight=WEIGHT)
    theirs = F.cross_entropy(P.logits, soft, WEIGHT)
    pixels = soft[:, 0].numel()
    below = (soft * WEIGHT[:, None, None]).sum()
    torch.testing.assert_close(got, theirs * pixels / below)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("pos_weight", [None, [0.5, 3.0, 1.0, 2.0]], ids=["", "pos_weight"])
def test_torch_binary_cross_entropy(reduction, soft, pos_weight):
    p = problem("multilabel", classes=4, shape=(3, 5), seed=42)
    target = fractions("multilabel", p.logits) if soft else p.target.double()
    got = segcrit.functional.binary_cross_entropy(
        p.logits, target, task="multilabel", pos_weight=pos_weight, reduction=reduction
    )
    theirs = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float64)[:, None, None]
    wanted = F.binary_cross_entropy_with_logits(p.logits, target, pos_weight=theirs, reduction=reduction)
    torch.testing.assert_close(got, wanted)


def test_binary_task_with_a_channel_or_without():
    p = problem("binary", shape=(3, 5), seed=43)
    wanted = F.binary_cross_entropy_with_logits(p.logits[:, 0], p.target.double())
    for target in (p.target, p.target[:, None], p.target.bool(), p.target[:, None].float()):
        got = segcrit.functional.binary_cross_entropy(p.logits, target, task="binary")
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("jaccard", [False, True])
@pytest.mark.parametrize("smooth", [1e-5, 1.0])
def test_monai_dice(monai, squared, jaccard, smooth):
    """MONAI adds half the smoothing term to the Jaccard form and averages over images and classes."""
    theirs = monai.DiceLoss(
        softmax=True, squared_pred=squared, jaccard=jaccard, smooth_nr=smooth, smooth_dr=smooth, batch=True
    )(P.logits, HOT)
    if jaccard:
        ours = segcrit.functional.jaccard(P.logits, P.target, squared=squared, smooth=smooth / 2)
    else:
        ours = segcrit.functional.dice(P.logits, P.target, squared=squared, smooth=smooth)
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-7, atol=1e-9)


def test_monai_dice_per_image_and_without_background(monai):
    theirs = monai.DiceLoss(softmax=True, include_background=False, smooth_nr=0, smooth_dr=1e-12)
    wanted = theirs(P.logits, HOT)
    ours = segcrit.functional.dice(P.logits, P.target, per_image=True, classes=[1, 2, 3])
    torch.testing.assert_close(ours, wanted.double(), rtol=1e-7, atol=1e-9)


def test_monai_tversky_and_dice_ce(monai):
    theirs = monai.TverskyLoss(softmax=True, alpha=0.3, beta=0.7, smooth_nr=1, smooth_dr=1, batch=True)
    ours = segcrit.functional.tversky(P.logits, P.target, alpha=0.3, beta=0.7, smooth=1)
    torch.testing.assert_close(ours, theirs(P.logits, HOT).double(), rtol=1e-7, atol=1e-9)
    theirs = monai.DiceCELoss(softmax=True, to_onehot_y=True, batch=True, lambda_dice=0.5, smooth_nr=1, smooth_dr=1)
    ours = segcrit.Criterion("ce + 0.5*dice(smooth=1)")(P.logits, P.target)
    torch.testing.assert_close(ours, theirs(P.logits, P.target[:, None]).double(), rtol=1e-6, atol=1e-8)


def test_monai_softmax_focal_divides_by_classes_too(monai):
    theirs = monai.FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0)(P.logits, P.target[:, None])
    ours = segcrit.functional.focal(P.logits, P.target)
    torch.testing.assert_close(ours, 4 * theirs.double(), rtol=1e-6, atol=1e-8)


def test_monai_sigmoid_focal(monai):
    p = problem("multilabel", classes=3, shape=(4, 5), seed=44)
    theirs = monai.FocalLoss(gamma=1.5, alpha=0.25)(p.logits, p.target.double())
    ours = segcrit.functional.focal(p.logits, p.target, task="multilabel", gamma=1.5, alpha=0.25)
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-6, atol=1e-8)


def test_monai_keeps_absent_classes_in_the_mean_and_ours_can_too(monai):
    """With a smoothing term MONAI's mean includes classes without a pixel; that is absent='penalize' here."""
    target = torch.where(P.target == 3, 0, P.target)
    theirs = monai.DiceLoss(softmax=True, smooth_nr=1, smooth_dr=1, batch=True)(P.logits, one_hot(target, 4))
    penalized = segcrit.functional.dice(P.logits, target, smooth=1, absent="penalize")
    skipped = segcrit.functional.dice(P.logits, target, smooth=1)
    torch.testing.assert_close(penalized, theirs.double(), rtol=1e-7, atol=1e-9)
    assert float(skipped) < float(penalized) - 0.01


def test_kornia_focal(kornia):
    if tuple(map(int, version("kornia").split(".")[:2])) < (0, 9):
        pytest.skip("this version adds 1e-6 to every zero of its one-hot tensor")
    theirs = kornia.focal_loss(P.logits, P.target, alpha=None, gamma=2.0, reduction="none")
    ours = segcrit.functional.focal(P.logits, P.target, reduction="none")
    torch.testing.assert_close(ours, theirs.sum(1), rtol=1e-5, atol=1e-6)


def test_kornia_lovasz_softmax(kornia):
    """kornia averages over images and counts absent classes; before 0.9 it sorted class indices, not foregrounds."""
    if tuple(map(int, version("kornia").split(".")[:2])) < (0, 9):
        pytest.skip("this version sorts class indices; see the wrong losses that the laws reject")
    target = torch.where(P.target == 3, 0, P.target)
    theirs = kornia.lovasz_softmax_loss(P.logits, target)
    ours = segcrit.functional.lovasz_softmax(P.logits, target, per_image=True, absent="penalize", exact=True)
    torch.testing.assert_close(ours, theirs)
    skipped = segcrit.functional.lovasz_softmax(P.logits, target, per_image=True, exact=True)
    assert abs(float(skipped) - float(theirs)) > 0.03


def test_kornia_dice_by_default_pools_the_classes(kornia):
    """kornia's default adds all classes before dividing, so that its Dice is 1 − mean p_true."""
    theirs = kornia.dice_loss(P.logits, P.target)
    p_true = torch.softmax(P.logits, 1).gather(1, P.target[:, None]).mean()
    assert float(theirs) == pytest.approx(1 - float(p_true), abs=1e-5)
    assert abs(float(theirs) - float(segcrit.functional.dice(P.logits, P.target))) > 1e-4
    macro = kornia.dice_loss(P.logits, P.target, average="macro")
    ours = segcrit.functional.dice(P.logits, P.target, per_image=True)
    assert float(ours) == pytest.approx(float(macro), abs=1e-4)


def test_torch_returns_nan_where_everything_is_ignored_and_ours_zero():
    ignored = P.ignoring(torch.ones_like(P.target, dtype=torch.bool))
    assert torch.isnan(F.cross_entropy(P.logits, ignored.target))
    assert float(segcrit.functional.cross_entropy(P.logits, ignored.target)) == 0


def test_soft_dice_is_smallest_at_the_target_where_the_product_form_is_not(monai):
    """Products p·t reward p beyond t; MONAI needs soft_label=True for what is the only form here."""
    soft = fractions("multiclass", P.logits)
    at_target = torch.log(soft)
    sharper = 3 * at_target
    ours = [float(segcrit.functional.dice(z, soft)) for z in (at_target, sharper)]
    theirs = [float(monai.DiceLoss(softmax=True, batch=True)(z, soft)) for z in (at_target, sharper)]
    assert ours[0] == pytest.approx(0, abs=1e-9)
    assert ours[0] < ours[1]
    assert theirs[1] < theirs[0]
    right = monai.DiceLoss(softmax=True, batch=True, soft_label=True, smooth_nr=0, smooth_dr=1e-12)
    assert float(segcrit.functional.dice(P.logits, soft)) == pytest.approx(float(right(P.logits, soft)), rel=1e-6)


def test_monai_masked_dice_since_it_masks_after_the_softmax(monai):
    if tuple(map(int, version("monai").split(".")[:2])) < (1, 6):
        pytest.skip("this version multiplies logits by the mask, which makes p = 1/C there")
    mask = mask_of(P, 12)
    masked = monai.MaskedDiceLoss(softmax=True, smooth_nr=0, smooth_dr=1e-12, batch=True)
    theirs = masked(P.logits, HOT, (~mask)[:, None].double())
    ours = segcrit.functional.dice(P.logits, P.ignoring(mask).target)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
