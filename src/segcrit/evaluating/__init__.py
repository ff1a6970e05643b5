"""Evaluation of files: folders of predictions and label maps, in parallel, in shards, with a report."""

from __future__ import annotations

from segcrit.evaluating.folders import evaluate
from segcrit.evaluating.options import Options
from segcrit.evaluating.results import Outcome
from segcrit.evaluating.run import AuditError, Interrupted, Job, count_files, merge_files
from segcrit.evaluating.store import Tally, read_tally

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
