"""``segcrit merge``: join the shards of an evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segcrit.cli.evaluate import add_output_options, check_output, finish, report_unusable
from segcrit.core.atomic import user_path
from segcrit.core.errors import ParameterError

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Joins what segcrit evaluate --shard I/N counted, and writes the same report and tables as one evaluation of everything:
the figures do not depend on the number of shards or the order of the files. A shard that is missing is an error."""

EPILOG = """\
examples:
  segcrit merge runs/eval --out runs/eval                 all shard-*.npz of a folder
  segcrit merge a/counts.npz b/counts.npz --out runs/all  two evaluations of different images"""


def add_parser(subparsers: Any) -> None:
    """Add the command ``merge``."""
    parser = subparsers.add_parser(
        "merge", help="join the shards of an evaluation", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="npz files of segcrit evaluate, or folders of them")
    parser.add_argument("--allow-missing", action="store_true", help="merge although shards are missing")
    add_output_options(parser.add_argument_group("figures"), parser.add_argument_group("output"))


def run(arguments: argparse.Namespace) -> int:
    """Merge, print the table, and end with the path of the report."""
    from segcrit.apps.evaluate.counting.run import AuditError, merge_files
    from segcrit.apps.evaluate.output_folder import AUDIT, COUNTS, new_folder, require_own

    paths = [user_path(name) for name in arguments.files]
    folder = Path(arguments.out) if arguments.out is not None else new_folder()
    check_output(arguments, folder)
    try:
        tally, problems = merge_files(paths, allow_missing=arguments.allow_missing)
    except AuditError as error:
        return report_unusable(error, folder / AUDIT)
    counts = folder / f"{COUNTS}.npz"
    if len(paths) > 1 and counts.exists() and any(path.exists() and path.samefile(counts) for path in paths):
        raise ParameterError("an --out beside the files to merge", f"{counts}, which is one", "Choose another --out.")
    require_own(folder)
    (folder / AUDIT).unlink(missing_ok=True)  # what an earlier attempt found
    tally.save(counts)
    options = tally.sources.get("options", {})
    given = arguments.groups is not None or arguments.group_by is not None
    groups = arguments.groups if given else options.get("groups")
    group_by = arguments.group_by if given else options.get("group_by")
    arguments.images = arguments.images or tally.sources.get("images")
    return finish(tally, problems, folder, arguments, groups, group_by)
