"""A result is written and read back; tables, picture, targets and the README are made from it alone."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from segcrit.apps.bench import session, suite
from segcrit.apps.bench.plot import draw
from segcrit.apps.bench.records import SCHEMA_VERSION, Panel, Result
from segcrit.apps.bench.table import (
    HEAD,
    about_machine,
    about_panel,
    fit_rows,
    fit_sentence,
    not_run,
    panel_rows,
    precision_rows,
    target_rows,
)
from segcrit.apps.bench.targets import TARGETS, Quantity, Target, judge
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.progress import StageReporter
from tests.rules.source import REPOSITORY


def script(name: str) -> ModuleType:
    """A program of benchmarks/, as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", REPOSITORY / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_round_trip(result: Result, tmp_path: Path) -> None:
    judged = replace(result, verdicts=judge(result))
    judged.save(tmp_path / "a.json")
    assert Result.load(tmp_path / "a.json") == judged
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert next(iter(content)) == "schema_version"
    assert content["schema_version"] == SCHEMA_VERSION


def test_what_is_no_measurement_is_refused(result: Result, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="schema version"):
        Result.from_dict({**result.to_dict(), "schema_version": 1})
    broken = result.to_dict()
    del broken["panels"][0]["rows"][0]["problem"]
    with pytest.raises(DataError) as caught:
        Result.from_dict(broken)
    assert caught.value.code == "damaged-file"
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError) as caught:
        Result.load(tmp_path / "a.json")
    assert caught.value.code == "damaged-file"


def test_the_table(result: Result) -> None:
    rows = panel_rows(result.panels[0])
    assert all(len(cells) == len(HEAD) for cells in rows)
    cells = dict(zip(HEAD, rows[3], strict=True))
    assert cells["library"] == "segcrit"
    assert (cells["ms"], cells["× copy"], cells["vs eager"], cells["vs compiled"]) == ("4", "2", "20", "7.5")
    assert (cells["MiB"], cells["× logits"]) == ("42", "1.00")
    assert rows[2][1] == "smp: CE (not installed)"
    # Logits of another dtype are not compared with float32.
    assert rows[6][0] == "ce, bfloat16"
    assert rows[6][5:8] == ["", "", ""]
    assert not_run(result.panels[0]) == ["not installed: smp CE (ce)"]
    assert [cells[2] for cells in precision_rows(result.panels[0])] == ["1.0e-03", "1.0e-06"]
    assert "a copy of them takes 2.0 ms, a read 1.5 ms (sum)" in about_panel(result.panels[0])
    assert "Some Processor, 2 threads" in about_machine(result)


def test_does_it_fit(result: Result) -> None:
    panel = result.panels[0]
    size, target = panel.problem.logits_bytes, panel.problem.target_bytes
    poor = replace(panel, free=int(1.2 * (4 * size + target)))
    rows = fit_rows(poor)
    assert rows[0] == ["ce", "torch: F.cross_entropy", "126 MiB", "yes", "2"]
    assert rows[2][2:4] == ["42 MiB", "yes"]
    assert "are free" in fit_sentence(poor)
    tight = fit_rows(replace(panel, free=int(3.2 * size)))
    assert [line[3] for line in tight[:3]] == ["no", "no", "yes"]
    guessed = replace(panel, rows=(replace(panel.rows[0], memory=None, estimated=5 << 30),))
    assert fit_rows(guessed)[0][2] == "about 5.0 GiB"
    unknown = replace(panel, free=None)
    assert "unknown" in fit_sentence(unknown)
    assert fit_rows(unknown)[0][3:] == ["", ""]


def target(top: Quantity, bottom: Quantity | None, bound: float, at_least: bool, **more: float) -> Target:
    return Target("a target", top, bottom, bound, at_least, **more)


EAGER = Quantity(suite.FIRST, "time", "ce", "torch")
OURS = Quantity(suite.FIRST, "time", "ce")
COPY = Quantity(suite.FIRST, "copy")


@pytest.mark.parametrize(
    ("asked", "measured", "status"),
    [
        (target(EAGER, OURS, 20, True), 20, "met"),
        (target(EAGER, OURS, 20.1, True), 20, "not met"),
        (target(OURS, COPY, 2, False), 2, "met"),
        (target(OURS, COPY, 1.9, False), 2, "not met"),
        # The worst of several rows counts: lovasz takes twice the logits.
        (target(Quantity(suite.FIRST, "memory"), Quantity(suite.FIRST, "logits"), 1.15, False), 2, "not met"),
        (target(Quantity(suite.FIRST, "value error", "lovasz"), None, 1e-4, False), 1e-6, "met"),
        (target(Quantity(suite.FIRST, "gradient cosine", "lovasz"), None, 0.9999, True), 0.99999, "met"),
        (target(Quantity(suite.FIRST, "time", "ce", dtype="bfloat16"), OURS, 1, False), 0.75, "met"),
        (
            target(Quantity(suite.LOGITS, "time", "evaluate logits"), Quantity(suite.LOGITS, "read"), 2, False),
            8 / 3,
            "not met",
        ),
        (target(Quantity(suite.FIRST, "time", "dice", "torch"), OURS, 2, True), None, "not measured"),
        (target(Quantity(suite.MANY, "time", "ce", "torch"), OURS, 2, True), None, "not measured"),
        (target(OURS, COPY, 4, False, caches=2.0), 2, "met"),
        (target(OURS, COPY, 4, False, caches=200.0), None, "does not apply"),
    ],
    ids=str,
)
def test_targets(result: Result, asked: Target, measured: float | None, status: str) -> None:
    (verdict,) = judge(result, [asked])
    assert verdict.status == status
    assert verdict.measured == (None if measured is None else pytest.approx(measured))


def test_a_target_beyond_the_speed_of_memory_is_told_as_that(result: Result) -> None:
    # Eager takes 80 ms; two reads and a write of the logits, a read and a copy here, take 1.5 + 2 ms.
    asked = [target(EAGER, OURS, bound, True) for bound in (20, 22, 25)]
    verdicts = judge(result, asked)
    assert [verdict.reachable for verdict in verdicts] == [None, None, pytest.approx(80 / 3.5)]
    status = [cells[3] for cells in target_rows(replace(result, verdicts=verdicts))]
    assert status == ["met", "not met", "not met; the speed of memory allows 22.9"]


def test_a_missing_row_says_why(result: Result) -> None:
    (verdict,) = judge(result, [target(Quantity(suite.FIRST, "time", "ce", "smp"), OURS, 2, True)])
    assert verdict.status == "not measured"
    assert "not installed" in verdict.detail


def test_every_target_is_about_something_that_the_suite_measures() -> None:
    """A name that is misspelt would be 'not measured' for ever."""
    plans = {plan.key: plan for plan in suite.plans()}
    for asked in TARGETS:
        for quantity in (asked.top, asked.bottom):
            if quantity is None:
                continue
            plan = plans[quantity.panel]
            if quantity.what in ("time", "memory", "value error", "gradient cosine"):
                assert any(
                    entry.contender.library == quantity.library
                    and quantity.kind in ("", entry.contender.kind)
                    and quantity.name in ("", entry.contender.name)
                    and entry.problem.dtype == quantity.dtype
                    for entry in plan.entries
                ), f"{asked.name}: {quantity}"
    assert len({asked.name for asked in TARGETS}) == len(TARGETS)
    shown = {(plan.key, entry.contender.kind) for plan in plans.values() for entry in plan.entries}
    assert set(suite.SHOWN) | set(script("readme").ROWS) <= shown


def test_the_whole_suite_on_small_problems() -> None:
    """Every row of the project's measurement runs, and whatever is its subject agrees: the targets can be judged."""
    small = []
    for plan in suite.plans():
        entries = [replace(e, problem=e.problem.smaller(1 << 15)) for e in plan.entries if not e.contender.is_compiled]
        small.append(replace(plan, problem=plan.problem.smaller(1 << 15), entries=tuple(entries)))
    options = session.Options(seconds=1e-3, memory=False)
    measured = session.measure(small, options, StageReporter(show=False), session.new_result(options))
    assert [panel.key for panel in measured.panels] == [plan.key for plan in suite.plans()]
    for panel in measured.panels:
        for row in panel.rows:
            assert row.time is not None or row.not_run == "not installed", f"{panel.key}, {row.name}: {row.not_run}"
    verdicts = {verdict.name: verdict for verdict in judge(measured)}
    for verdict in verdicts.values():
        unmeasured = "memory" in verdict.name or "compiled" in verdict.name or "copies" in verdict.name
        assert verdict.measured is not None or unmeasured, verdict
    assert verdicts["lovasz, 21 classes, error of the value"].status == "met"
    assert verdicts["lovasz, 150 classes, cosine of the gradient"].status == "met"


def test_the_rows_of_targets(result: Result) -> None:
    judged = replace(result, verdicts=judge(result))
    rows = {cells[0]: cells[1:] for cells in target_rows(judged)}
    assert len(rows) == len(TARGETS)
    assert rows["ce, 21 classes, against eager"] == ["≥ 8", "20", "met"]
    assert rows["lovasz, 21 classes, against the published sort"] == ["≥ 100", "80", "not met"]
    assert rows["ce, 150 classes, against eager"][2].startswith("not measured: no panel")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture(result: Result, suffix: str, tmp_path: Path) -> None:
    draw(result, tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").stat().st_size > 10_000
    draw(result, tmp_path / f"b{suffix}", chosen=suite.SHOWN)  # what was not measured is left out


def test_pictures_that_cannot_be_drawn(result: Result, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="suffixes"):
        draw(result, tmp_path / "a.bmp")
    with pytest.raises(ParameterError, match="at least one time"):
        draw(replace(result, panels=()), tmp_path / "a.png")


def test_the_readme(result: Result, tmp_path: Path) -> None:
    readme = script("readme")
    with pytest.raises(DataError, match="make bench"):
        readme.newest(tmp_path)
    (tmp_path / "old.json").write_text('{"schema_version": 1}')
    replace(result, verdicts=judge(result)).save(tmp_path / "new.json")
    path, found = readme.newest(tmp_path)
    assert path.name == "new.json"
    block = readme.render(found, "benchmarks/results/new.json")
    line = next(line for line in block.splitlines() if line.startswith("| ce, "))
    assert line == "| ce, 2×21×512×512 | 80 ms | 30 ms | – | **4.0 ms** | 20× | 126 MiB | **42 MiB** |"
    assert "![Time and peak memory of losses and of evaluation](benchmarks/results/new.png)" in block
    met = sum(verdict.status == "met" for verdict in found.verdicts)
    assert f"{met} were reached" in block
    text = readme.replace_block((REPOSITORY / "README.md").read_text(encoding="utf-8"), block)
    assert block in text
    assert text.count(readme.START) == text.count(readme.END) == 1
    with pytest.raises(DataError, match="Put them back"):
        readme.replace_block("no markers", block)


def test_judging_and_drawing_again(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = script("run")
    result.save(tmp_path / "a.json")
    monkeypatch.setattr(sys, "argv", ["run.py", "--from", str(tmp_path / "a.json")])
    assert run.main() == 0
    assert (tmp_path / "a.png").exists()
    assert len(Result.load(tmp_path / "a.json").verdicts) == len(TARGETS)
    assert "not met" in capsys.readouterr().out
    (tmp_path / "a.json").write_text('{"schema_version": 1}')
    assert run.main() == 2
    assert capsys.readouterr().err.startswith("benchmarks/run.py: error: expected a measurement of schema version")


def test_a_panel_without_measurements_is_shown_as_such(result: Result) -> None:
    empty = Panel("empty", result.panels[0].problem)
    assert empty.read is None
    assert about_panel(empty).startswith("Logits 42 MiB")
    assert panel_rows(empty) == fit_rows(empty) == []
