"""What a loss does: every step with a few numbers, maps of an image, curves.

``explain_numbers`` computes the steps as data; ``explain_image`` the maps of one image under a network; ``curves`` the lines
of losses against probability. Drawing and pages (extra ``compare``) are in ``segcrit.apps.explain.draw`` and ``.page``.
"""

from __future__ import annotations

from segcrit.apps.explain.build import explain_numbers, explain_problem
from segcrit.apps.explain.curves import curves
from segcrit.apps.explain.maps import explain_image

__all__ = ["curves", "explain_image", "explain_numbers", "explain_problem"]
