"""Explanations as text: every step as a table, the figures of an image's maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segcrit.cli import _console as console

if TYPE_CHECKING:
    from segcrit.apps.explain.maps import ImageMaps
    from segcrit.apps.explain.steps import Block, Explanation, Layout, Step

__all__ = ["print_explanation", "print_maps"]


def print_explanation(explanation: Explanation, title: str | None) -> None:
    """All steps as tables."""
    from segcrit.apps.explain.steps import format_number

    console.text(title or f"{explanation.expression}, step by step")
    for note in explanation.notes:
        console.text(f"Note: {note}")
    number = 0
    for step in explanation.opening:
        number += 1
        _print_step(step, number, explanation.layout)
    several = len(explanation.terms) > 1
    for term in explanation.terms:
        for step in term.steps:
            number += 1
            _print_step(step, number, explanation.layout, f" [{term.text}]" if several else "")
    for step in explanation.closing:
        number += 1
        _print_step(step, number, explanation.layout)
    console.heading(f"loss = {format_number(explanation.value)}")
    for check in explanation.checks:
        outcome = "agrees" if check.agrees else f"DIFFERS by {check.difference:.1e}: please report this"
        remark = f" ({check.remark})" if check.remark else ""
        console.text(f"{check.name}: {format_number(check.value)}, {outcome}{remark}", indent=2)


def _print_step(step: Step, number: int, layout: Layout, where: str = "") -> None:
    from segcrit.apps.explain.steps import format_number

    console.heading(f"{number}. {step.title}{where}")
    console.text(step.formula, indent=2)
    console.text(step.caption, indent=2)
    for block in step.blocks:
        console.text()
        _print_block(block, layout)
    for name, value in step.results:
        console.text(f"{name} = {format_number(value)}", indent=2)


def _print_block(block: Block, layout: Layout) -> None:
    from segcrit.apps.explain.steps import ClassTable, PixelTable, format_number

    if isinstance(block, PixelTable):
        rows = [
            [layout.name(pixel), *(column.text(pixel) for column in block.columns)] for pixel in range(layout.pixels)
        ]
        console.table(["pixel", *(column.name for column in block.columns)], rows)
    elif isinstance(block, ClassTable):
        rows = [
            [f"{name} (skipped)" if row in block.skipped else name]
            + [format_number(values[row]) for _, values in block.columns]
            for row, name in enumerate(block.rows)
        ]
        console.table([block.corner, *(name for name, _ in block.columns)], rows)
    else:
        console.text(f"{block.name}: {block.total_positives:g} of its pixels", indent=2)
        rows = [
            [
                rank.pixel,
                "yes" if rank.positive else "no",
                format_number(rank.error),
                f"{rank.positives:g}",
                f"{rank.negatives:g}",
                format_number(rank.jaccard),
                format_number(rank.increment),
                format_number(rank.product),
            ]
            for rank in block.ranks
        ]
        console.table(["pixel", "class?", "error", "F", "B", "J", "ΔJ", "error·ΔJ"], rows)
        console.text(f"sum = {format_number(block.value)}", indent=2)


def print_maps(maps: ImageMaps) -> None:
    """The figures of an image's maps."""
    from segcrit.apps.explain.steps import format_number
    from segcrit.core.numbers import percent

    console.heading(f"{maps.expression} on {maps.name}: {format_number(maps.loss)}")
    if len(maps.terms) > 1:
        console.table(["term", "value"], [[name, format_number(value)] for name, value in maps.terms.items()])
    for item in maps.concentrations:
        parts = " and ".join(
            f"the top {100 * pixels:g} % of the pixels hold {percent(share)}" for pixels, share in item.top
        )
        console.text(f"{item.name}: {parts}", indent=2)
    console.heading("Classes")
    rows = [
        [
            row["name"],
            percent(row["pixels"], 1),
            "" if row["loss"] is None else percent(row["loss"], 1),
            percent(row["gradient"], 1),
            f"{row['probability']:.3f}",
        ]
        for row in maps.class_shares()
    ]
    console.table(["true class", "pixels", "loss", "gradient", "p of truth"], rows)
    console.heading("The pixels that dominate")
    axes = ["row", "column", "slice"][: maps.valid.ndim] if maps.valid.ndim > 1 else ["pixel"]
    rows = [
        [
            *map(str, pixel.place),
            maps.class_names[pixel.truth],
            maps.class_names[pixel.prediction],
            f"{pixel.probability:#.2g}",
            f"{pixel.times_average:.1f}",
        ]
        for pixel in maps.dominant[:10]
    ]
    console.table([*axes, "truth", "prediction", "p of truth", f"{maps.concentrations[0].name}, × average"], rows)
