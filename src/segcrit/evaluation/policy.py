"""What an evaluator does where a figure is 0/0: the rule on absent classes, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segcrit.errors import ParameterError

__all__ = ["POLICIES", "Policy", "get_policy"]

Undefined = Literal["nan", "zero", "one"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The value of a class figure that the counts leave undefined.

    The same confusion matrix has several "mIoUs" in today's tools, because they disagree on these cases only.

    Attributes:
        name: the word that selects this policy.
        absent: value of a class that is neither in the truth nor in the prediction (``"nan"``: skipped in
            means).
        truth_absent: value of a class that was predicted but is not in the truth.
        note: one line that says what is special about it.
    """

    name: str
    absent: Undefined
    truth_absent: Undefined
    note: str


POLICIES: dict[str, Policy] = {
    "segcrit": Policy(
        name="segcrit",
        absent="nan",
        truth_absent="zero",
        note="A class neither in the truth nor in the prediction is NaN and skipped in means; "
        "one that was only predicted counts 0, so that a false alarm never raises a mean.",
    ),
}


def get_policy(name: str) -> Policy:
    """Return the policy called ``name``.

    Raises:
        ParameterError: no policy has this name.

    Example:
        >>> get_policy("segcrit").absent
        'nan'
    """
    try:
        return POLICIES[name]
    except (KeyError, TypeError):
        known = ", ".join(repr(known) for known in POLICIES)
        raise ParameterError(f"policy to be one of {known}", repr(name), "Choose a known policy.") from None
