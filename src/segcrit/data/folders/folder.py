"""Loading a data folder: find the files, look at them, decide, and say what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from segcrit.core.atomic import open_regular
from segcrit.core.errors import DataError
from segcrit.data.audit.counting import class_pixels
from segcrit.data.audit.survey import Survey, damaged, survey_files
from segcrit.data.coding.classes import ClassesFile, ClassTable, build_table, free_void, read_classes_file
from segcrit.data.coding.inference import infer_table
from segcrit.data.coding.known_classes import known_classes
from segcrit.data.coding.values import IN_FILE, check_values
from segcrit.data.files.nodata import nodata_sentences
from segcrit.data.folders.layout import (
    Layout,
    check_root,
    find_files,
    read_valid_areas,
    train_label_files,
    with_train_labels,
)
from segcrit.data.folders.nnunet import is_nnunet, read_nnunet
from segcrit.data.folders.series import divided_series
from segcrit.data.folders.splits import make_split, read_groups, read_splits, split_summary
from segcrit.data.folders.training_labels import add_training_labels
from segcrit.data.model import SPLITS, SegmentationData, Split
from segcrit.data.problems import FolderError, named
from segcrit.data.scanning import MaskValues, Scanner

__all__ = ["load_folder"]


def load_folder(
    path: str | Path,
    *,
    train_labels: str | None = None,
    group_by: str | None = None,
    pair: str | None = None,
    valid: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> SegmentationData:
    """Read a data folder: images/, masks/, and what may lie beside them.

    - ``images/NAME.*`` and ``masks/NAME.*``: png, bmp, tif, npy, nii, nii.gz; images also jpg, webp.
    - ``classes.json``: names, colours and the ignored label. Without it the classes are inferred from the masks.
    - ``splits/train.txt, val.txt, test.txt``: one name a line. Without them the images are split 70 / 15 / 15,
      always in the same way, so that no group is divided and every class is in every split where that is possible.
    - ``groups.csv``: image, group (scene, patient).
    - ``weights/NAME.*``: weights of pixels.

    An nnU-Net raw folder (dataset.json, imagesTr, labelsTr) is read too. Only headers are read here, and masks where
    classes are to be inferred or a split is to be made; what was counted is kept in the user's cache folder.

    Args:
        path: the folder.
        train_labels: other labels for the training split, such as scribbles: a folder beside masks/, or a path.
        group_by: regular expression searched in each name; its first bracket, or the whole match, is the group.
        pair: regular expression searched in the names of images and masks; its first bracket, or the whole match, is
            what the two share; the same for what lies beside them. Without it, names are paired as
            :mod:`segcrit.data.folders.pairing` tells.
        valid: masks of the pixels that count (a field of view, the valid area of a scene): a folder beside masks/, or a
            path. Pixels that are 0 there are ignored.
        seed: of the split, where one is made.
        progress: True shows bars, False none, None in a terminal.

    Returns:
        The data; ``notes`` tells every decision in a sentence.

    Raises:
        DataError: files are missing, damaged or do not fit together; the message names the first few and their number.

    Example:
        >>> import tempfile, numpy as np
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("images", "masks"):
        ...     (root / name).mkdir()
        ...     for i in range(6):
        ...         np.save(root / name / f"{i}.npy", np.eye(8, dtype=np.uint8))
        >>> data = load_folder(root)
        >>> data.num_classes, len(data.splits["train"])
        (2, 4)
    """
    root = check_root(path)
    scanner = Scanner(root, progress=progress)
    name, description, file_classes = root.name, _description(root), None
    if is_nnunet(root):
        folder = read_nnunet(root, pair)
        layout, file_classes, name = folder.layout, folder.classes, folder.name
        description = folder.description or description
    else:
        layout = find_files(root, pair)
    ids = tuple(layout.cases)
    if not ids:
        raise FolderError(layout.problems)
    notes = layout.notes
    label_folder: Path | None = None
    if train_labels is not None:
        training, label_folder = train_label_files(root, train_labels, layout.cases, pair)
        layout.cases = with_train_labels(layout.cases, training)
    if valid is not None:
        read_valid_areas(root, valid, layout, pair)
    survey = survey_files(layout.cases, scanner)
    problems = [*layout.problems, *survey.problems]
    if problems:
        raise FolderError(problems)
    notes += survey.notes

    table, values = _classes(root, file_classes, layout, scanner, survey)
    notes += table.notes
    headers = [survey.headers[case.mask] for case in layout.cases.values() if case.mask in survey.headers]
    notes += nodata_sentences(headers, table.coding, "masks", 'write "ignore_index": {value} into classes.json')
    doubts = [*survey.doubts, *check_values(values, table.coding, IN_FILE)]
    if any(problem.severity == "error" for problem in doubts):
        raise FolderError(doubts)
    groups, sentence = read_groups(root, ids, group_by, layout.aliases)
    notes += [sentence] if sentence else []
    splits, made = _splits(root, ids, layout, table, groups, seed, scanner, notes)
    if groups is None:
        doubts += divided_series({split: [name for name in names if name in made] for split, names in splits.items()})
    data = SegmentationData(
        name=name,
        root=root,
        classes=table.classes,
        ignore_index=free_void(len(table.classes)) if valid and table.ignore_index is None else table.ignore_index,
        channels=survey.channels,
        spatial_dims=3 if survey.spatial_dims == 3 else 2,
        splits=splits,
        cases=layout.cases,
        coding=table.coding,
        groups=groups,
        description=description,
        nodata=survey.nodata,
        notes=tuple(notes),
        background=table.background,
        problems=tuple(doubts),
    )
    if label_folder is not None:
        data = add_training_labels(data, label_folder, scanner)
    return data


def _description(root: Path) -> str:
    """The first paragraphs of the folder's README, which tell origin and licence."""
    for name in ("README.md", "README.txt", "README"):
        file = root / name
        if file.is_file():
            try:
                with open_regular(file) as stream:
                    return stream.read(10_000).decode("utf-8", errors="replace").strip()[:2000]
            except OSError:
                return ""
    return ""


def _classes(
    root: Path, given: ClassesFile | None, layout: Layout, scanner: Scanner, survey: Survey
) -> tuple[ClassTable, Mapping[str, MaskValues]]:
    """The classes, and what the mask of each image holds, where this decides about its meaning."""
    file = root / "classes.json"
    table = None
    if given is not None:
        table = build_table(given, root / "dataset.json")
    elif file.is_file():
        table = build_table(read_classes_file(file), file)
    elif known := known_classes(layout.around, [case.mask for case in layout.cases.values()]):
        table = build_table(*known)
        told = (
            f"The classes are those of {known[1].name}" if known[1].is_file() else "The classes are known by the names"
        )
        layout.notes.append(f"{told}: {named([entry.name for entry in table.classes], 4)}.")
    if table is not None and not table.coding.assumed and table.coding.unknown == "error" and not survey.is_lossy:
        return table, {}
    cases = layout.cases
    scan = scanner.mask_values([case.mask for case in cases.values()])
    # With classes.json, masks that are damaged are told by the audit.
    if scan.errors and (table is None or any(error.code == "lossy" for error in scan.errors.values())):
        raise FolderError([damaged(scan.errors)])
    found = {name: scan.found[case.mask] for name, case in cases.items() if case.mask in scan.found}
    return table or infer_table(scan.found, root), found


def _splits(
    root: Path,
    ids: Sequence[str],
    layout: Layout,
    table: ClassTable,
    groups: Mapping[str, str] | None,
    seed: int,
    scanner: Scanner,
    notes: list[str],
) -> tuple[dict[Split, tuple[str, ...]], set[str]]:
    """The splits of the folder, completed where a file is missing, and the images that were divided for that."""
    made: set[str] = set()
    given = read_splits(root / "splits", ids, layout.aliases) if (root / "splits").is_dir() else dict(layout.splits)

    def divided(names: Sequence[str], shares: Mapping[Split, float]) -> dict[Split, tuple[str, ...]]:
        content = class_pixels(table.coding, len(table.classes), [layout.cases[name].mask for name in names], scanner)
        made.update(names)
        own = None if groups is None else {name: groups[name] for name in names}
        return make_split(names, content, groups=own, shares=shares, seed=seed)

    used = {name for names in given.values() for name in names}
    rest = [name for name in ids if name not in used]
    if not given:
        splits = divided(ids, {"train": 0.70, "val": 0.15, "test": 0.15})
        notes.append(f"There are no split files: split by segcrit, seed {seed}: {split_summary(splits, groups)}.")
        return splits, made
    if "train" not in given:
        if not rest:
            raise DataError(f"a training split in {root / 'splits'}", f"only {' and '.join(given)}", "Add train.txt.")
        given["train"] = tuple(rest)
        notes.append(f"There is no splits/train.txt: the {len(rest)} images in no other split train.")
        rest = []
    if "val" not in given and "test" not in given:
        held_out, kind = (rest, "images in no split file") if len(rest) >= 2 else ([], "")
        if not held_out:
            raise DataError(
                f"val.txt and test.txt beside train.txt in {root / 'splits'}",
                "train.txt alone, which lists every image",
                "Add them, or remove the folder splits/ to have the images split.",
            )
        given |= divided(held_out, {"val": 0.5, "test": 0.5})
        notes.append(f"There are no val.txt and test.txt: the {len(held_out)} {kind} are halved for them, seed {seed}.")
        rest = []
    elif "test" not in given:
        given |= divided(given["val"], {"val": 0.5, "test": 0.5})
        notes.append(f"There is no test.txt: the validation images are halved into val and test, seed {seed}.")
    elif "val" not in given:
        given |= divided(given["train"], {"train": 0.85, "val": 0.15})
        notes.append(f"There is no val.txt: 15 % of the training images are held out for it, seed {seed}.")
    if rest:
        notes.append(f"{len(rest)} images are in no split file and are not used: {named(rest, 3)}.")
    if groups is not None:
        by_group: dict[str, set[str]] = {}
        for split, names in given.items():
            for entry in names:
                by_group.setdefault(groups[entry], set()).add(split)
        divided_groups = sorted(group for group, places in by_group.items() if len(places) > 1)
        if divided_groups:
            notes.append(f"The split files divide {len(divided_groups)} groups: {named(divided_groups, 3)}.")
    return {split: given[split] for split in SPLITS}, made
