"""What a loss does: every step with a few numbers, maps of an image, curves.

``explain_numbers`` computes the steps as data; ``explain_image`` the maps of one image under a network; ``curves`` the lines
of losses against probability. Drawing and pages (extra ``compare``) are in ``segcrit.explain.draw`` and ``.page``.
"""

from __future__ import annotations

from segcrit.explain.build import explain_numbers, explain_problem
from segcrit.explain.curves import curves
from segcrit.explain.maps import explain_image

__all__ = ["curves", "explain_image", "explain_numbers", "explain_problem"]
