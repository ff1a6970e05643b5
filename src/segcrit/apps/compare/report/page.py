"""Results to ``report.html``."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Any, Final

from segcrit.apps.compare.records import METRICS, Results
from segcrit.apps.compare.report.criterion_line import criterion_line
from segcrit.apps.compare.report.curves import training_charts, validation_charts
from segcrit.apps.compare.report.details import details
from segcrit.apps.compare.report.examples import gallery
from segcrit.apps.compare.report.views import class_rows, cost_bars, forest, loss_rows, ranked_losses
from segcrit.apps.compare.results import read_results
from segcrit.apps.compare.verdict.records import Verdict
from segcrit.apps.compare.verdict.summary import shown_figures
from segcrit.apps.compare.verdict.text import judge
from segcrit.core import atomic, numbers, optional
from segcrit.core import quantities as wording_of_data
from segcrit.reports.error_colors import legend_style
from segcrit.reports.evaluation import scroll_style

__all__ = ["REPORT_FILE", "from_run", "render_report"]

REPORT_FILE: Final = "report.html"
_TEMPLATES: Final = Path(__file__).parent / "templates"


def render_report(results: Results, run_dir: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` into the run's folder.

    The page is one file: pictures and plots are inside it, nothing is loaded from elsewhere.

    Args:
        results: the comparison; an unfinished one gives the report of what is there.
        run_dir: the run's folder, where the pictures that ``results`` names lie.

    Returns:
        The path of the page.

    Raises:
        MissingExtraError: jinja2, matplotlib or Pillow is missing.
    """
    folder = Path(run_dir)
    path = folder / REPORT_FILE
    atomic.atomic_write_text(path, _page(results, folder))
    return path


def from_run(run_dir: str | os.PathLike[str]) -> Path:
    """Make the report of a finished run anew from its ``results.json`` and pictures; no network is run.

    Raises:
        DataError: there is no ``results.json``, or it is damaged.
    """
    folder = Path(run_dir)
    return render_report(read_results(folder), folder)


def _page(results: Results, run_dir: Path) -> str:
    verdict = judge(results)
    worded = partial(wording_of_data.worded, spatial_dims=results.data.spatial_dims)
    losses = ranked_losses(results, verdict)
    lines = [(loss, criterion_line(loss)) for name in verdict.top for loss in losses if loss.name == name]
    return str(
        _environment(results)
        .get_template("report.html.j2")
        .render(
            results=results,
            shared_style=scroll_style() + legend_style(),
            run=results.run,
            data=results.data,
            verdict=verdict,
            metric=worded(METRICS[results.run.metric]),
            # The names of things, for the templates: volumes have voxels.
            image=worded("image"),
            pixel=worded("pixel"),
            is_volume=results.data.spatial_dims == 3,
            run_notes=[worded(note) for note in results.run.notes],
            figures=shown_figures(results),
            rows=loss_rows(results, verdict),
            forest=forest(results, verdict),
            tested=losses,
            changed=[loss for loss in losses if loss.name != verdict.reference],
            class_rows=class_rows(results, verdict),
            class_sentence=_class_sentence(results, verdict),
            validation=validation_charts(results),
            most_seeds=max((len(loss.seeds) for loss in results.losses), default=0),
            diverged=any(seed.status == "diverged" for loss in results.losses for seed in loss.seeds),
            costs=cost_bars(results),
            gallery=gallery(results, run_dir),
            training=training_charts(results),
            details=details(results, verdict),
            lines=lines,
        )
    )


def _environment(results: Results) -> Any:
    jinja2 = optional.require("jinja2", extra="compare")
    markup = optional.require("markupsafe", extra="compare")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colors = {loss.name: loss.color for loss in results.losses}

    def names(text: str) -> Any:
        """Set apart what stands in backticks: losses in their colour, options as code."""
        parts = []
        # A number and its percent sign stay on one line.
        for place, part in enumerate(text.replace(" %", "\u00a0%").split("`")):
            if place % 2 == 0:
                parts.append(markup.escape(part))
            elif part in colors:
                parts.append(markup.Markup('<code class="loss c{}">{}</code>').format(colors[part] % 12, part))
            else:
                parts.append(markup.Markup("<code>{}</code>").format(part))
        return markup.Markup("").join(parts)

    def breaks(text: str) -> Any:
        """Let a long expression break where a reader would: after commas, brackets and signs."""
        return markup.Markup("<wbr>").join(markup.escape(part) for part in re.split(r"(?<=[,(+])", text))

    environment.filters |= {
        "breaks": breaks,
        "names": names,
        "number": numbers.number,
        "signed": numbers.signed,
        "percent": numbers.percent,
        "duration": numbers.duration,
        "listed": numbers.listed,
    }
    environment.globals |= {"counted": numbers.counted}
    return environment


def _class_sentence(results: Results, verdict: Verdict) -> str:
    """The largest gain and the largest loss of one class, if they are more than chance for themselves."""
    moves = [
        (change.change[k], change.loss, entry.name)
        for change in verdict.changes
        for k, entry in enumerate(results.data.classes)
        if change.low[k] > 0 or change.high[k] < 0
    ]
    if not moves:
        return ""
    gain, fall = max(moves), min(moves)
    parts = []
    if gain[0] > 0:
        parts.append(f"the largest gain is `{gain[1]}` on “{gain[2]}” ({numbers.signed(gain[0])})")
    if fall[0] < 0:
        parts.append(f"the largest drop is `{fall[1]}` on “{fall[2]}” ({numbers.signed(fall[0])})")
    text = numbers.listed(parts)
    return text[0].upper() + text[1:] + "."
