"""Every law on every loss of the table."""

from __future__ import annotations

import pytest

import segcrit

from . import checks
from .cases import CASES, subjects
from .subject import Subject

SUBJECTS = subjects()


def test_every_loss_of_the_table_has_a_case_for_every_task():
    covered = {(case.loss, task) for case in CASES for task in case.tasks}
    # Formulas that other tests register have no module.
    rows = [row for row in segcrit.list_losses() if row.module is not None]
    missing = [(row.name, task) for row in rows for task in row.tasks if (row.name, task) not in covered]
    assert not missing


@pytest.mark.parametrize("name", list(checks.ALL))
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_law(subject: Subject, name: str):
    checks.ALL[name](subject)
