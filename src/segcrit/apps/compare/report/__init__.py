"""The report of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

from segcrit.apps.compare.report.page import REPORT_FILE, from_run, render_report

__all__ = ["REPORT_FILE", "from_run", "render_report"]
