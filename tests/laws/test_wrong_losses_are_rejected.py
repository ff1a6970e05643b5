"""The laws can fail: honest losses pass all of them, and each wrong loss is caught by a law that speaks of its mistake."""

from __future__ import annotations

import pytest

from . import checks, wrong
from .subject import Subject

CE = wrong.honest("ce", "multiclass", "pixel", facts={"proper": True})
BCE = wrong.honest("bce", "multilabel", "pixel", facts={"proper": True})
FOCAL = wrong.honest("focal", "binary", "pixel")
DICE = wrong.honest("dice", "multiclass", "region", facts={"metric": "dice", "proper": True})
DICE_IMAGES = wrong.honest("dice", "multiclass", "region", per_image=True)
TVERSKY = wrong.honest(
    "tversky", "multilabel", "region", facts={"metric": "tversky", "proper": True}, alpha=0.2, beta=0.8
)
SWAPPED = wrong.honest("tversky", "multilabel", "region", alpha=0.8, beta=0.2)
LOVASZ = wrong.honest("lovasz", "multiclass", "ranking", facts={"metric": "jaccard"})
HINGE = wrong.honest("lovasz", "binary", "ranking", facts={"metric": "hinge", "absent": "penalize"})
HONEST = [CE, BCE, FOCAL, DICE, DICE_IMAGES, TVERSKY, LOVASZ, HINGE]

WRONG = [
    (wrong.sign_flipped(CE), "the_right_prediction_is_best"),
    (wrong.sign_flipped(LOVASZ), "the_right_prediction_is_best"),
    (wrong.ignored_as_background(CE), "ignored_equals_filtered_out"),
    (wrong.ignored_as_background(DICE), "ignored_nan_contributes_nothing"),
    (wrong.ignored_in_the_denominator(CE), "ignored_equals_filtered_out"),
    (wrong.ignored_multiplied(DICE), "ignored_nan_contributes_nothing"),
    (wrong.weight_not_normalised(CE), "only_the_ratio_of_pixel_weights_matters"),
    (wrong.weight_not_normalised(LOVASZ), "whole_number_weights_equal_repeated_pixels"),
    (wrong.class_weight_not_normalised(DICE), "class_weights_times_a_number_change_nothing"),
    (wrong.class_weight_not_normalised(CE), "class_weights_times_a_number_change_nothing"),
    (wrong.gradient_scaled(CE), "the_gradient_is_that_of_the_value"),
    (wrong.gradient_scaled(DICE), "the_gradient_is_that_of_the_value"),
    (wrong.upstream_dropped(BCE), "an_upstream_gradient_is_passed_on"),
    (wrong.target_written(CE), "inputs_are_left_alone"),
    (wrong.absent_counted(DICE), "an_absent_class_changes_nothing"),
    (wrong.images_swapped(DICE, DICE_IMAGES), "images_are_pooled_or_averaged"),
    (wrong.images_swapped(DICE_IMAGES, DICE), "images_are_pooled_or_averaged"),
    (wrong.images_swapped(TVERSKY, SWAPPED), "hard_predictions_give_one_minus_the_metric"),
    (wrong.raw_labels_sorted(LOVASZ), "hard_predictions_give_one_minus_the_metric"),
]


@pytest.mark.parametrize("name", list(checks.ALL))
@pytest.mark.parametrize("subject", HONEST, ids=str)
def test_honest_loss_passes(subject: Subject, name: str):
    checks.ALL[name](subject)


@pytest.mark.parametrize(("subject", "name"), WRONG, ids=lambda x: str(x))
def test_wrong_loss_is_rejected(subject: Subject, name: str):
    with pytest.raises(AssertionError):
        checks.ALL[name](subject)
