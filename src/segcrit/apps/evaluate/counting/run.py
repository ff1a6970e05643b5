"""Evaluating folders: from paths to counts, in parts that survive a kill, and the merging of parts."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from segcrit.apps.evaluate.audit.auditing import audit_names, audit_tally, look_at_headers, problems_of
from segcrit.apps.evaluate.audit.value_audit import audit_palettes, audit_values
from segcrit.apps.evaluate.counting.job import COUNTS, JOB_FILE, Job, read_job, read_job_file
from segcrit.apps.evaluate.counting.one_image import Plan
from segcrit.apps.evaluate.counting.stamps import stamp_of
from segcrit.apps.evaluate.counting.store import Row, Tally, Trouble, join, read_tally
from segcrit.apps.evaluate.counting.workers import Timer, WorkerLost, default_workers, rows_of, uninterrupted
from segcrit.apps.evaluate.reading.labels import Labels, describe, read_labels
from segcrit.apps.evaluate.reading.matching import Matched, Pair, match, name_models, read_groups, shard_of
from segcrit.apps.evaluate.reading.orientation import with_axes
from segcrit.core import atomic
from segcrit.core.atomic import user_path
from segcrit.core.errors import DataError, ParameterError, SegcritError
from segcrit.core.progress import progress_bar
from segcrit.data.problems import Problem, named

__all__ = ["AuditError", "Interrupted", "Job", "count_files", "merge_files", "read_job"]

# How often counts are written down, in seconds: what a kill costs at most.
SAVE_EVERY: Final = 20.0
# Up to so many images counting is quick, and tells everything at once; of more, names and headers are looked at first.
_QUICK: Final = 1000
_FIRST_LOOK: Final = 64
# Images with trouble after which counting stops: no slip of a few files, but a wrong option.
_MOST_TROUBLES: Final = 200


class AuditError(DataError):
    """Files that cannot be evaluated.

    Attributes:
        problems: every kind of reason; the message tells the first.
        files: every file that is concerned: kind, model (empty: truth), id.
    """

    def __init__(self, problems: Sequence[Problem], files: Sequence[Sequence[str]] = ()) -> None:
        self.problems = tuple(problems)
        self.files = tuple(tuple(entry) for entry in files)
        first = next(problem for problem in problems if problem.severity == "error")
        super().__init__(first.expected, first.got, first.advice, code=first.code)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems, self.files)

    @classmethod
    def of_tally(
        cls, problems: Sequence[Problem], troubles: Sequence[Trouble], missing: Sequence[Sequence[str]] = ()
    ) -> AuditError:
        """The error for files that could not be counted, or are missing."""
        return cls(problems, [*missing, *((entry.code, entry.role, entry.id) for entry in troubles)])


class Interrupted(SegcritError):
    """Counting was interrupted; what was counted is written down in ``folder``."""

    code = "interrupted"

    def __init__(self, folder: Path, done: int, total: int) -> None:
        self.folder, self.done, self.total = folder, done, total
        super().__init__("a finished evaluation", f"{done} of {total} images", "Go on with --resume.")


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before the first image is counted."""

    job: Job
    models: Mapping[str, Path]
    matched: Matched
    pairs: tuple[Pair, ...]
    labels: Labels
    plan: Plan
    about: dict[str, Any]
    problems: tuple[Problem, ...]


def prepare(job: Job) -> Prepared:
    """Match the files, decide about the labels, look at some files.

    Raises:
        AuditError: files are missing, or do not fit together.
        DataError, ParameterError: the job cannot be done.
    """
    models = name_models(job.predictions)
    target = user_path(job.target)
    only = None if job.options.only is None else user_path(job.options.only)
    matched = match(models, target, only, pair=job.options.pair, valid=job.options.valid_area)
    if matched.preferred and job.options.map is not None:
        raise ParameterError(
            "--pair beside --map, to tell which label maps it is for",
            "labelIds and labelTrainIds of each image",
            "Pass --pair '(.+)_gtFine_labelIds', or labelTrainIds; its bracket is what predictions are called, too.",
        )
    problems = audit_names(matched, allow_unmatched=job.options.allow_unmatched)
    quick = 0 < len(matched.pairs) <= _QUICK
    if not quick and has_errors(problems):
        raise AuditError(problems, _missing(matched))
    # Hours of counting must not end at a table of groups that does not fit.
    read_groups([pair.id for pair in matched.pairs], job.options.groups, job.options.group_by)
    names = list(models)
    labels = read_labels(job.options, target, matched.pairs, names, sharded=job.shard is not None)
    plan = Plan(labels.settings, labels.target, tuple(names), labels.predictions, job.options.floats, job.options.tile)
    pairs = matched.pairs if job.shard is None else shard_of(matched.pairs, *job.shard)
    plan, axes_notes = with_axes(plan, matched.pairs, job.options.axes)
    labels = replace(labels, notes=(*labels.notes, *axes_notes))
    about = describe(labels) | {"values": job.options.floats}
    if job.options.valid is not None:
        about["valid"] = True  # shards with it and without it are no parts of one evaluation
    if plan.turned:
        about["turned"] = list(plan.turned)
    problems += audit_palettes(pairs, names, labels.target, labels.predictions)
    problems += audit_values(pairs, names, labels.target, labels.predictions, declared=labels.declared)
    step = max(1, len(pairs) // _FIRST_LOOK)
    if not quick and job.options.upsample is None and look_at_headers(pairs[::step], names):
        # Something does not fit: then all files are looked at, to name every one.
        troubles = look_at_headers(pairs, names)
        unseen = Problem.note("values-unseen", "What the files hold has not been looked at yet", "Correct this first.")
        found = problems_of(troubles, Tally.of_rows(about, names, ()))
        raise AuditError.of_tally([*found, *problems, unseen], troubles)
    return Prepared(job, models, matched, pairs, labels, plan, about, tuple(problems))


def has_errors(problems: Sequence[Problem]) -> bool:
    """Whether figures would be wrong."""
    return any(problem.severity == "error" for problem in problems)


def _missing(matched: Matched) -> list[tuple[str, str, str]]:
    """Kind, model and id of truths without a prediction."""
    return [("no-prediction", model, name) for model, ids in matched.without_prediction.items() for name in ids]


def count_files(
    job: Job,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool | None = None,
    save_every: float = SAVE_EVERY,
) -> tuple[Tally, list[Problem]]:
    """Count all images of a job, or of its shard, and write the counts to ``folder``.

    Args:
        job: what is to be evaluated.
        folder: where ``counts.npz`` or ``shard-I-of-N.npz`` is written; parts lie in a hidden folder until then.
        resume: go on with parts that are there; images whose files were written since are counted again.
        overwrite: give up parts that are there, once the job has turned out to be one that can be done.
        workers: threads (processes for measures of boundaries and objects); default: the processors.
        progress: True shows a bar, False none, None in a terminal.
        save_every: seconds after which a part is written.

    Returns:
        The counts, and what is worth knowing about the files.

    Raises:
        AuditError: figures would be wrong.
        Interrupted: by Ctrl-C; the parts are written.
        DataError, ParameterError: the job cannot be done.
    """
    prepared = prepare(job)
    with atomic.locked(folder / f".{job.name}.lock", "evaluating into it"):
        return _count_prepared(prepared, folder, resume, overwrite, workers, progress, save_every)


def _count_prepared(
    prepared: Prepared,
    folder: Path,
    resume: bool,
    overwrite: bool,
    workers: int | None,
    progress: bool | None,
    save_every: float,
) -> tuple[Tally, list[Problem]]:
    job = prepared.job
    parts = Parts(folder / f".{job.name}", prepared)
    finished = folder / f"{job.name}.npz"
    if overwrite:
        parts.remove()
    if resume and finished.is_file():
        there = read_tally(finished)
        same = there.sources.get("digest") == parts.digest
        if not same and not parts.exist:  # else these counts are being replaced
            raise _others(finished)
        if same and not parts.outdated(there):
            problems = [*prepared.problems, *audit_tally(there)]
            if has_errors(problems):
                # Files came or went since: no figures, as where the counts are made.
                missing = () if job.options.allow_unmatched else _missing(prepared.matched)
                raise AuditError.of_tally(problems, there.troubles, missing)
            if parts.own:
                parts.remove()  # a kill between the two last steps leaves them
            return there, problems
    done = parts.begin(resume=resume)
    left = [pair for pair in prepared.pairs if pair.id not in done]
    total = len(prepared.pairs)
    number = default_workers() if workers is None else workers
    timer = Timer(save_every)
    fresh: list[Row] = []
    troubled = 0
    bar: AbstractContextManager[Callable[[], None]] = progress_bar("Evaluating", len(left), progress)
    try:
        with bar as advance:
            for row in rows_of(left, prepared.plan, number):
                fresh.append(row)
                advance()
                troubled += bool(row.troubles)
                if troubled >= _MOST_TROUBLES:
                    break
                if timer.due():
                    with uninterrupted():
                        parts.add(fresh)
                        fresh = []
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt), uninterrupted():
            parts.add(fresh)
        raise Interrupted(folder, parts.count, total) from None
    except WorkerLost as error:
        parts.add(fresh)
        raise DataError(
            f"enough memory for {number} images at a time",
            f"a worker that was killed after {parts.count} of {total} images",
            "Go on with --resume and fewer --workers, such as 1.",
        ) from error
    tally = parts.joined(fresh)
    problems = [*prepared.problems, *audit_tally(tally)]
    if troubled >= _MOST_TROUBLES and parts.count < total:
        problems.append(
            Problem.note(
                "stopped",
                f"Counting stopped after {parts.count} of {total} images with this much trouble",
                "Correct it first.",
            )
        )
    if has_errors(problems):
        # The files or the options must change: counts of the others are of no use to go on from.
        parts.remove()
        missing = () if job.options.allow_unmatched else _missing(prepared.matched)
        raise AuditError.of_tally(problems, tally.troubles, missing)
    with uninterrupted():
        tally.save(finished)
        parts.remove()  # only now: until the whole is written, a kill must find the parts
    return tally, problems


def _others(place: Path) -> ParameterError:
    return ParameterError(
        "the options and files of the evaluation to resume",
        "others",
        f"Repeat its command, pass another --out, or --overwrite instead of --resume to give up {place}.",
    )


class Parts:
    """The parts of an unfinished count: files of rows in a hidden folder, each written atomically.

    Args:
        folder: of the parts.
        prepared: what is counted.
    """

    def __init__(self, folder: Path, prepared: Prepared) -> None:
        self._folder, self._prepared = folder, prepared
        self._parts: list[Tally] = []
        self._number = 0
        self.count = 0
        self.digest = self._digest()

    @property
    def own(self) -> bool:
        """Whether they are of this job, and not of one that is to replace it."""
        return self.exist and read_job_file(self._folder / JOB_FILE).digest == self.digest

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return (self._folder / JOB_FILE).is_file()

    def begin(self, *, resume: bool) -> set[str]:
        """Make the folder, or read what is there; returns the ids that are counted already.

        Raises:
            ParameterError: parts are there that are not to be resumed, or of another job.
        """
        file = self._folder / JOB_FILE
        if file.is_file():
            if not resume:
                raise ParameterError(
                    f"a folder without an unfinished evaluation, or --resume, beside {self._folder.parent}",
                    "one that was interrupted",
                    "Pass --resume to go on with it, --overwrite to begin anew, or another --out.",
                )
            if read_job_file(file).digest != self.digest:
                raise _others(self._folder)
            for path in sorted(self._folder.glob("part-*.npz")):
                number = path.stem.removeprefix("part-")
                if not number.isdecimal():
                    continue  # somebody's copy
                self._number = max(self._number, int(number))
                part = read_tally(path)
                if self.outdated(part):
                    path.unlink()  # written again since: these images are counted again
                    continue
                if part.troubles:
                    path.unlink()  # files that failed are tried again
                    part = replace(part, troubles=())
                    part.save(path)
                self._parts.append(part)
        else:
            for stale in self._folder.glob("part-*.npz"):
                stale.unlink()  # parts without a job: a kill while those of another one were removed
            content = {"digest": self.digest, "job": self._prepared.job.to_dict()}
            atomic.atomic_write_text(file, json.dumps(content, indent=1))
        done = {name for part in self._parts for name in part.ids}
        self.count = len(done)
        return done

    def outdated(self, tally: Tally) -> bool:
        """Whether a file of these images is another one than was counted."""
        pairs = {pair.id: pair for pair in self._prepared.pairs}
        soft = self._prepared.plan.needs_probabilities
        return any(
            name in pairs and stamp_of(pairs[name], needs_probabilities=soft) != stamp
            for name, stamp in zip(tally.ids, tally.stamps, strict=True)
        )

    def _digest(self) -> str:
        """Of everything that decides about the counts: the classes, codings, files."""
        prepared = self._prepared
        state = hashlib.blake2b(digest_size=16)
        state.update(json.dumps(prepared.about, sort_keys=True).encode())
        state.update(json.dumps(prepared.job.shard).encode())
        for pair in prepared.pairs:
            state.update(repr((pair.id, str(pair.target), [str(path) for path in pair.predictions])).encode())
            if pair.valid is not None:
                state.update(str(pair.valid).encode())
        return state.hexdigest()

    def add(self, rows: Sequence[Row]) -> None:
        """Write down some rows."""
        if not rows:
            return
        self._number += 1
        part = Tally.of_rows(self._prepared.about, list(self._prepared.models), rows)
        part.save(self._folder / f"part-{self._number:06d}.npz")
        self._parts.append(part)
        self.count += len(part.ids)

    def joined(self, last: Sequence[Row] = ()) -> Tally:
        """All parts and the last rows, which need no file any more, as one, with what is known about their origin."""
        prepared = self._prepared
        rest = Tally.of_rows(prepared.about, list(prepared.models), last)
        self.count += len(rest.ids)
        job = prepared.job
        sources = {
            "digest": self.digest,
            "target": str(user_path(job.target).absolute()),
            "predictions": {name: str(path.absolute()) for name, path in prepared.models.items()},
            "images": None if job.images is None else str(user_path(job.images).absolute()),
            "options": job.options.to_dict(),
            "assumed": list(prepared.labels.target.assumed),
            "declared": prepared.labels.declared,
            "job": job.to_dict(),
            "listings": {} if job.shard is None else {str(job.shard[1]): prepared.matched.listing()},
            "unmatched": {
                "without_prediction": {name: list(ids) for name, ids in prepared.matched.without_prediction.items()},
                "without_target": {name: list(ids) for name, ids in prepared.matched.without_target.items()},
            },
        }
        notes = (*prepared.matched.notes, *prepared.labels.notes)
        shards = () if job.shard is None else (job.shard,)
        return replace(join([rest, *self._parts]), sources=sources, shards=shards, notes=notes)

    def remove(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self._folder, ignore_errors=True)


def merge_files(paths: Sequence[Path], *, allow_missing: bool = False) -> tuple[Tally, list[Problem]]:
    """Merge what several evaluations counted, in any order.

    Args:
        paths: npz files, or folders with ``shard-*.npz``.
        allow_missing: merge although shards are missing.

    Raises:
        DataError: nothing there, a damaged file, other settings, or a shard that is missing.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob("shard-*.npz")) or sorted(path.glob(f"{COUNTS}.npz"))
            if not found:
                raise DataError(f"shard-*.npz in {path}", "none", "Run segcrit evaluate --shard I/N --out there first.")
            files += found
        else:
            files.append(path)
    if not files:
        raise DataError("files to merge", "none", "Give the npz files that segcrit evaluate wrote.")
    tally = join([read_tally(path) for path in sorted(set(files))])
    problems = []
    splits = sorted({parts for _, parts in tally.shards})
    several = (
        f" The files are of {len(splits)} splits, into {named([str(parts) for parts in splits])}."
        if len(splits) > 1
        else ""
    )
    for parts in splits:
        there = {part for part, number in tally.shards if number == parts}
        missing = [f"{part}/{parts}" for part in range(1, parts + 1) if part not in there]
        if missing and not allow_missing:
            raise DataError(
                f"all {parts} shards",
                f"{len(there)}; {named(missing, 8)} missing",
                f"Evaluate the missing ones, or pass --allow-missing to merge without them.{several}",
            )
        if missing:
            problems.append(
                Problem.warning(
                    "shards-missing", f"Shards are missing: {named(missing, 8)}", "The figures are those of a part."
                )
            )
    problems += audit_tally(tally)
    if has_errors(problems):
        raise AuditError.of_tally(problems, tally.troubles)
    return tally, problems
