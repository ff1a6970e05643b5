"""Evaluation of files: folders of predictions and label maps, in parallel, in shards, with a report."""

from __future__ import annotations

from segcrit.apps.evaluate.counting.run import AuditError, Interrupted, Job, count_files, merge_files
from segcrit.apps.evaluate.counting.store import Tally, read_tally
from segcrit.apps.evaluate.folders import evaluate
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome

__all__ = [
    "AuditError",
    "Interrupted",
    "Job",
    "Options",
    "Outcome",
    "Tally",
    "count_files",
    "evaluate",
    "merge_files",
    "read_tally",
]
