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


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_laws(subject: Subject):
    # One test for all laws: thousands of tests of milliseconds take longer than what they test.
    broken = []
    for name, law in checks.ALL.items():
        try:
            law(subject)
        except AssertionError as error:
            broken.append(f"{name}: {error}")
    assert not broken, "\n\n".join(broken)
