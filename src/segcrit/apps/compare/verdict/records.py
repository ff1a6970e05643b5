"""The records of a verdict: what may be said about which loss is best, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segcrit.core.json_files import Record

__all__ = ["ClassChange", "PairComparison", "Standing", "Verdict"]


@dataclass(frozen=True, eq=False)
class Standing(Record):
    """One loss in the ranking by the run's metric."""

    loss: str
    value: float  # mean over the seeds that were tested
    low: float  # 95 % interval of the value for new images (and new seeds, where there are several)
    high: float
    seed_values: tuple[float, ...]  # one figure a tested seed


@dataclass(frozen=True, eq=False)
class PairComparison(Record):
    """Two losses on the same test images."""

    first: str
    second: str
    difference: float  # first minus second, of the run's metric
    low: float  # interval that holds for all pairs of the run together (corrected for their number)
    high: float
    p_value: float  # corrected for the number of pairs
    # The corrected interval leaves out zero, and with one seed a permutation test agrees (p_value of at most 0.05).
    distinguishable: bool

    @property
    def unconfirmed(self) -> bool:
        """The interval alone would tell the two apart, the permutation test does not."""
        return not self.distinguishable and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, eq=False)
class ClassChange(Record):
    """Change of the IoU of each class, from the reference loss to another one."""

    loss: str
    change: tuple[float, ...]  # per class, NaN where the class does not exist
    # 95 % intervals, each for itself (not corrected for the number of classes and losses); NaN where unknown.
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Verdict(Record):
    """What this run can say.

    ``kind`` is "leader" (one loss is better than every other), "tie" (the best ones cannot be told apart, but
    they are practically equal or others are behind them), "unclear" (no loss can be told from the best),
    "single" (only one loss could be judged) or "nothing" (no loss was tested).
    """

    kind: Literal["leader", "tie", "unclear", "single", "nothing"]
    headline: str  # one sentence
    sentences: tuple[str, ...]  # what else must be known to read it rightly, most important first
    best: str  # the loss with the highest figure, "" for "nothing"
    top: tuple[str, ...]  # the losses that cannot be told from it, itself first
    standings: tuple[Standing, ...]  # best first
    pairs: tuple[PairComparison, ...]  # every pair, in the order of the standings
    reference: str  # the loss that class changes are counted from
    changes: tuple[ClassChange, ...]
    resolution: float  # smallest difference that this run could have told apart, NaN if unknown or out of reach
    images: int  # test images
    groups: int  # groups that were resampled as wholes, 0 where images were
    seeds: int  # smallest number of tested seeds of a loss that was tested
    method: str  # how intervals were made, one sentence
