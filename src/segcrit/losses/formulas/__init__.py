"""The mathematics: pure, short functions; importing this package fills the table of losses."""

from __future__ import annotations

from segcrit.losses.formulas import pixel, ranking, region

__all__ = ["pixel", "ranking", "region"]
