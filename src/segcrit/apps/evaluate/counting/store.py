"""What was counted, as a file: the counts of each image, exact, ready to be merged with others."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.apps.evaluate.counting.head import check_head
from segcrit.core import atomic
from segcrit.core.errors import DataError, SegcritError
from segcrit.core.json_files import damaged, parse_json
from segcrit.data.problems import named
from segcrit.metrics.checks import make_settings
from segcrit.metrics.measure_table import MeasureTable, Values
from segcrit.metrics.ratios import Floats, Integers
from segcrit.metrics.settings import Settings
from segcrit.metrics.tables import CountTable

__all__ = ["Counted", "Row", "Tally", "Trouble", "join", "read_tally"]

FORMAT: Final = "segcrit counts"
VERSION: Final = 1


@dataclass(frozen=True)
class Trouble:
    """Why one file could not be counted, or what is doubtful about it.

    Attributes:
        code: a short stable name of the kind of trouble.
        role: the model whose prediction it is, or "" for the truth.
        id: of the image.
        file: its name.
        expected, got, advice: the message.
        values: stored values that are no class, and their pixels.
    """

    code: str
    role: str
    id: str
    file: str
    expected: str
    got: str
    advice: str
    values: tuple[tuple[int, int], ...] = ()

    def to_list(self) -> list[Any]:
        """Plain values."""
        return [self.code, self.role, self.id, self.file, self.expected, self.got, self.advice, list(self.values)]

    @classmethod
    def from_list(cls, content: Sequence[Any]) -> Trouble:
        """What :meth:`to_list` gave."""
        values = tuple((int(value), int(pixels)) for value, pixels in content[-1])
        code, role, name, file, expected, got, advice = (str(text) for text in content[:-1])
        return cls(code, role, name, file, expected, got, advice, values)


@dataclass(frozen=True)
class Counted:
    """One image of one model: entries of its confusion counts (2, entries), and what was measured."""

    entries: Integers
    measures: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One image: the counts of every model, or what is the matter with its files.

    Attributes:
        id: of the image.
        pixels: of the image, ignored ones included.
        models: one entry a model; empty where there is trouble.
        modes: how the files store their values, the truth first.
        troubles: what is the matter.
        doubts: what is odd about files that were counted.
        voxel: volume of a voxel in the unit of the file (mm³), NaN where the file does not tell.
        stamp: of the files before they were read; see :func:`segcrit.apps.evaluate.counting.stamps.stamp_of`.
        spatial_dims: 3 for a volume.
    """

    id: str
    pixels: int
    models: tuple[Counted, ...]
    modes: tuple[str, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    doubts: tuple[Trouble, ...] = ()
    voxel: float = float("nan")
    stamp: str = ""
    spatial_dims: int = 2


@dataclass(frozen=True)
class Tally:
    """Counts of many images; the images are sorted by id.

    Attributes:
        about: what decides about the figures (options, classes, codings); equal in tallies that are merged.
        models: their names.
        ids: of the images that were counted.
        pixels: int64 (images,), ignored ones included.
        tables: the counts of each model.
        measures: for each model kind -> table.
        troubles: of images that were not counted.
        doubts: about images that were counted.
        modes: how often the files store their values in which way, truth (``""``) and models.
        sources: folders and files it was made from.
        shards: pairs (part, parts) that are in it; empty where the whole was evaluated at once.
        notes: what was decided, in sentences.
        voxels: (images,), volume of a voxel of each image in the unit of its file; NaN where it is not known.
        stamps: of the files of each image; "" where it is not known.
        spatial_dims: 3 where all images are volumes, else 2.
    """

    about: dict[str, Any]
    models: tuple[str, ...]
    ids: tuple[str, ...]
    pixels: Integers
    tables: tuple[CountTable, ...]
    measures: tuple[dict[str, MeasureTable], ...]
    troubles: tuple[Trouble, ...] = ()
    doubts: tuple[Trouble, ...] = ()
    modes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)
    shards: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    voxels: Floats = field(default_factory=lambda: np.zeros(0))
    stamps: tuple[str, ...] = ()
    spatial_dims: int = 2

    def __post_init__(self) -> None:
        # Counts of an older version lack them.
        if len(self.voxels) != len(self.ids):
            object.__setattr__(self, "voxels", np.full(len(self.ids), np.nan))
        if len(self.stamps) != len(self.ids):
            object.__setattr__(self, "stamps", ("",) * len(self.ids))

    @property
    def settings(self) -> Settings:
        """Of the counting."""
        content = dict(self.about["settings"])
        return make_settings(content.pop("classes"), **content)

    @classmethod
    def of_rows(cls, about: dict[str, Any], models: Sequence[str], rows: Iterable[Row], **others: Any) -> Tally:
        """Collect rows."""
        listed = sorted(rows, key=lambda row: row.id)
        counted = [row for row in listed if not row.troubles]
        content = dict(about["settings"])
        settings = make_settings(content.pop("classes"), **content)
        modes: dict[str, dict[str, int]] = {}
        for row in listed:
            for role, mode in zip(("", *models), row.modes, strict=False):
                own = modes.setdefault(role, {})
                own[mode] = own.get(mode, 0) + 1
        tables, measures = [], []
        for place in range(len(models)):
            own_rows = [row.models[place] for row in counted]
            tables.append(CountTable.from_rows([row.entries for row in own_rows], settings.matrix))
            measures.append(
                {
                    measure.kind: MeasureTable.collect(
                        measure, settings.classes, [row.measures[measure.kind] for row in own_rows]
                    )
                    for measure in settings.measures
                }
            )
        return cls(
            about,
            tuple(models),
            tuple(row.id for row in counted),
            np.array([row.pixels for row in counted], dtype=np.int64),
            tuple(tables),
            tuple(measures),
            tuple(trouble for row in listed for trouble in row.troubles),
            tuple(doubt for row in counted for doubt in row.doubts),
            modes,
            voxels=np.array([row.voxel for row in counted], dtype=np.float64),
            stamps=tuple(row.stamp for row in counted),
            spatial_dims=min((row.spatial_dims for row in counted), default=2),
            **others,
        )

    def save(self, path: Path) -> None:
        """Write the tally, atomically."""
        head = {
            "format": FORMAT,
            "version": VERSION,
            "about": self.about,
            "models": list(self.models),
            "troubles": [trouble.to_list() for trouble in self.troubles],
            "doubts": [doubt.to_list() for doubt in self.doubts],
            "modes": self.modes,
            "sources": self.sources,
            "shards": [list(pair) for pair in self.shards],
            "notes": list(self.notes),
            "spatial_dims": self.spatial_dims,
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            "head": _as_bytes(json.dumps(head)),
            "ids": _as_bytes("\n".join(self.ids)),
            "stamps": _as_bytes("\n".join(self.stamps)),
            "pixels": self.pixels,
            "voxels": self.voxels,
        }
        for place, (table, measured) in enumerate(zip(self.tables, self.measures, strict=True)):
            arrays |= {f"{place}/{name}": getattr(table, name) for name in ("starts", "cells", "counts")}
            for kind, found in measured.items():
                arrays |= {f"{place}/{kind}/{name}": values for name, values in found.arrays.items()}
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        atomic.atomic_write_bytes(path, stream.getvalue())


def read_tally(path: Path) -> Tally:
    """Read what :meth:`Tally.save` wrote.

    Raises:
        DataError: another file, a damaged one, or one of another version.
    """
    try:
        with atomic.open_regular(path) as stream, np.load(stream, allow_pickle=False) as content:
            head = parse_json(content["head"].tobytes().decode("utf-8"), str(path)) if "head" in content.files else {}
            if head.get("format") != FORMAT:
                raise DataError("a file that segcrit evaluate wrote", f"{path}, another npz", "Give its .npz files.")
            if head.get("version") != VERSION:
                raise DataError(
                    f"counts of version {VERSION}", f"{path} of version {head.get('version')}", "Evaluate anew."
                )
            return _tally(head, {name: content[name] for name in content.files}, path)
    except FileNotFoundError as error:
        raise DataError(f"the file {path}", "no such file", "Check the path.") from error
    except (SegcritError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib, numpy and json raise nearly anything for damaged files
        raise DataError(
            "a whole file that segcrit evaluate wrote",
            f"{path}, which is damaged ({type(error).__name__}: {error})",
            "Evaluate that part anew.",
            code="damaged-file",
        ) from error


def _tally(head: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], file: Path) -> Tally:
    check_head(head, file)
    ids, stamps = (tuple(_texts(arrays[name])) if name in arrays else () for name in ("ids", "stamps"))
    for name in ids:
        atomic.inside(Path("images"), name)  # photographs are looked for by these names
    voxels = arrays.get("voxels", np.zeros(0))
    bare = Tally(head["about"], tuple(head["models"]), ids, arrays["pixels"], (), (), voxels=voxels, stamps=stamps)
    settings = bare.settings
    _require(bare.pixels.shape == (len(ids),) and len(set(ids)) == len(ids), "images", file)
    tables = []
    measures = []
    for place in range(len(bare.models)):
        parts = [arrays[f"{place}/{name}"] for name in ("starts", "cells", "counts")]
        table = CountTable(settings.matrix, *parts)
        _check_table(table, len(ids), file)
        tables.append(table)
        layouts = {measure.kind: measure.layout(settings.classes) for measure in settings.measures}
        for kind, layout in layouts.items():
            for name, (shape, _) in layout.items():
                _require(arrays[f"{place}/{kind}/{name}"].shape == (len(ids), *shape), f"{kind}/{name}", file)
        found = {kind: {name: arrays[f"{place}/{kind}/{name}"] for name in layout} for kind, layout in layouts.items()}
        measures.append({own.kind: MeasureTable(own, found[own.kind]) for own in settings.measures})
    return replace(
        bare,
        tables=tuple(tables),
        measures=tuple(measures),
        troubles=tuple(Trouble.from_list(entry) for entry in head["troubles"]),
        doubts=tuple(Trouble.from_list(entry) for entry in head.get("doubts", ())),
        modes=head["modes"],
        sources=head["sources"],
        shards=tuple((int(part), int(parts)) for part, parts in head["shards"]),
        notes=tuple(head["notes"]),
        spatial_dims=int(head.get("spatial_dims", 2)),
    )


def _check_table(table: CountTable, images: int, file: Path) -> None:
    starts, cells, counts = table.starts, table.cells, table.counts
    _require(
        all(array.dtype == np.int64 and array.ndim == 1 for array in (starts, cells, counts)), "types of counts", file
    )
    _require(starts.shape == (images + 1,) and starts[0] == 0 and bool((np.diff(starts) >= 0).all()), "starts", file)
    _require(cells.shape == counts.shape == (int(starts[-1]),), "lengths of counts", file)
    _require(not len(cells) or (cells.min() >= 0 and cells.max() < np.prod(table.shape)), "places of counts", file)
    _require(not len(counts) or counts.min() > 0, "counts below 1", file)


def _require(condition: bool, what: str, file: Path) -> None:
    if not condition:
        raise damaged(
            f"a whole file that segcrit evaluate wrote at {file}", f"other {what}", "Evaluate that part anew."
        )


def join(tallies: Sequence[Tally]) -> Tally:
    """Join tallies of different images, in any order; an image that several hold must have the same counts.

    Raises:
        DataError: they were counted with other settings, or one image has different counts.
    """
    first = tallies[0]
    for other in tallies[1:]:
        _require_alike(first, other)
    ids = [name for tally in tallies for name in tally.ids]
    stamps = [stamp for tally in tallies for stamp in tally.stamps]
    places: dict[str, int] = {}
    repeated: list[tuple[int, int]] = []
    for place, name in enumerate(ids):
        if name in places:
            repeated.append((places[name], place))
        else:
            places[name] = place
    order = np.array([places[name] for name in sorted(places)], dtype=np.int64)
    pixels = np.concatenate([tally.pixels for tally in tallies])
    tables = [_joined([tally.tables[model] for tally in tallies]) for model in range(len(first.models))]
    measures = [_joined_measures([tally.measures[model] for tally in tallies]) for model in range(len(first.models))]
    different = [ids[one] for one, two in repeated if not _same_figures(tables, measures, one, two)]
    if different:
        raise DataError(
            "the same counts of an image in every file",
            f"different ones of {len(different)} images: {named(different)}",
            "Evaluate each image once, or from the same files.",
        )
    listings = _joined_listings(tallies)
    modes: dict[str, dict[str, int]] = {}
    for tally in tallies:
        for role, found in tally.modes.items():
            own = modes.setdefault(role, {})
            for mode, number in found.items():
                own[mode] = own.get(mode, 0) + number
    return replace(
        first,
        ids=tuple(ids[place] for place in order.tolist()),
        stamps=tuple(stamps[place] for place in order.tolist()),
        pixels=pixels[order],
        voxels=np.concatenate([tally.voxels for tally in tallies])[order],
        spatial_dims=min((tally.spatial_dims for tally in tallies if tally.ids), default=2),
        tables=tuple(_selected(table, order) for table in tables),
        measures=tuple({kind: table.select(order) for kind, table in found.items()} for found in measures),
        troubles=_once(entry for tally in tallies for entry in tally.troubles),
        doubts=_once(entry for tally in tallies for entry in tally.doubts),
        modes=modes,
        sources={**first.sources, "listings": listings} if listings else first.sources,
        shards=tuple(sorted({pair for tally in tallies for pair in tally.shards})),
        notes=tuple(dict.fromkeys(note for tally in tallies for note in tally.notes)),
    )


def _same_figures(
    tables: Sequence[CountTable], measures: Sequence[Mapping[str, MeasureTable]], one: int, two: int
) -> bool:
    """Whether two rows hold the same counts, and the same measures to the rounding of sums in another order."""
    if not all(np.array_equal(table.row(one), table.row(two)) for table in tables):
        return False
    arrays = [array for found in measures for table in found.values() for array in table.arrays.values()]
    return all(np.allclose(array[one], array[two], rtol=1e-12, atol=0, equal_nan=True) for array in arrays)


def _once(entries: Iterable[Trouble]) -> tuple[Trouble, ...]:
    """Sorted, and once where several tallies hold the same image."""
    found = {(entry.role, entry.id, entry.code): entry for entry in entries}
    return tuple(found[key] for key in sorted(found))


def _joined_listings(tallies: Sequence[Tally]) -> dict[str, str]:
    """Number of shards -> the list of images that each of them was cut from.

    Raises:
        DataError: shards of one number were cut from different lists: images would be lost, or counted twice.
    """
    found: dict[str, str] = {}
    for tally in tallies:
        for parts, listing in tally.sources.get("listings", {}).items():
            if found.setdefault(parts, listing) != listing:
                raise DataError(
                    f"{parts} shards of the same images",
                    f"{found[parts]} and {listing}",
                    "The folders changed between the shards: evaluate all of them anew.",
                )
    return found


def _require_alike(first: Tally, other: Tally) -> None:
    if first.models != other.models:
        raise DataError(
            "files of the same models", f"{', '.join(first.models)} and {', '.join(other.models)}", "Merge one kind."
        )
    if first.about != other.about:
        for group in ("settings", "target", "predictions", "colors", "values", "turned"):
            one, two = first.about.get(group), other.about.get(group)
            if one != two:
                if isinstance(one, dict) and isinstance(two, dict):
                    name = next(key for key in one if one[key] != two.get(key))
                    group, one, two = f"{group} ({name})", one[name], two.get(name)
                raise DataError(f"files with the same {group}", f"{one} and {two}", "Evaluate all parts alike.")
        raise DataError("files with the same settings", "different ones", "Evaluate all parts alike.")


def _joined(tables: Sequence[CountTable]) -> CountTable:
    starts = [np.zeros(1, dtype=np.int64)]
    offset = 0
    for table in tables:
        starts.append(table.starts[1:] + offset)
        offset += len(table.cells)
    cells = np.concatenate([table.cells for table in tables])
    counts = np.concatenate([table.counts for table in tables])
    return CountTable(tables[0].shape, np.concatenate(starts), cells, counts)


def _joined_measures(found: Sequence[dict[str, MeasureTable]]) -> dict[str, MeasureTable]:
    return {
        kind: MeasureTable(
            table.measure,
            {name: np.concatenate([other[kind].arrays[name] for other in found]) for name in table.arrays},
        )
        for kind, table in found[0].items()
    }


def _selected(table: CountTable, order: Integers) -> CountTable:
    """``table.select`` without a loop over the images."""
    lengths = np.diff(table.starts)[order]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(table.starts[:-1][order] - starts[:-1], lengths) + np.arange(starts[-1])
    return CountTable(table.shape, starts, table.cells[places], table.counts[places])


def _texts(array: npt.NDArray[Any]) -> list[str]:
    text = array.tobytes().decode("utf-8")
    return text.split("\n") if text else []


def _as_bytes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
