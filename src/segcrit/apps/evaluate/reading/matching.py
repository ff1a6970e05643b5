"""Which prediction belongs to which truth: files of several folders, paired by name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segcrit.core.atomic import user_path
from segcrit.core.errors import DataError, ParameterError
from segcrit.data.files.formats import stem
from segcrit.data.folders.pairing import pair_beside, pair_names
from segcrit.data.folders.splits import groups_by_pattern, name_index, read_groups_file, read_names
from segcrit.data.folders.walking import find_images, is_array, require_text
from segcrit.data.problems import named, several

__all__ = ["Matched", "Pair", "list_files", "match", "name_models", "read_groups", "shard_of"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One image: its truth, the prediction of each model, in the order of the models, and which pixels count."""

    id: str
    target: Path
    predictions: tuple[Path, ...]
    valid: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.target, *self.predictions, *([] if self.valid is None else [self.valid]))


@dataclass(frozen=True)
class Matched:
    """All pairs, sorted by id, and what fits nothing.

    Attributes:
        pairs: the images that have a truth and a prediction of every model.
        without_prediction: for each model the ids of truths that it did not predict.
        without_target: for each model the ids of predictions that have no truth.
        notes: what was decided about names.
        preferred: whether one of two numberings of the label maps was chosen.
    """

    pairs: tuple[Pair, ...]
    without_prediction: Mapping[str, tuple[str, ...]]
    without_target: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    preferred: bool = False

    def listing(self) -> str:
        """How many pairs there are, and a digest of their ids: shards of one evaluation have seen the same list."""
        state = hashlib.blake2b("\n".join(pair.id for pair in self.pairs).encode(), digest_size=8)
        return f"{len(self.pairs)} images ({state.hexdigest()})"


def name_models(predictions: Sequence[str]) -> dict[str, Path]:
    """Names for the predictions: given as ``NAME=PATH``, or the shortest end of the path that tells them apart.

    Raises:
        ParameterError: two have one name, or one path is given twice.

    Example:
        >>> {name: path.as_posix() for name, path in name_models(["runs/a/pred", "runs/b/pred", "x=old"]).items()}
        {'a/pred': 'runs/a/pred', 'b/pred': 'runs/b/pred', 'x': 'old'}
    """
    given: list[tuple[str | None, Path]] = []
    for text in predictions:
        name, sign, rest = text.partition("=")
        # A folder whose own name holds the sign is no pair of name and path.
        if sign and name and "/" not in name and not os.path.exists(text):
            given.append((name, user_path(rest)))
        else:
            given.append((None, user_path(text)))
    places = [os.path.realpath(path) for _, path in given]  # a link is no other folder
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise ParameterError("different predictions", f"{twice} twice", "Name each folder once.")
    free = [path for name, path in given if name is None]
    names: dict[str, Path] = {}
    for label, path in given:
        chosen = _short_name(path, free) if label is None else label
        if chosen in names:
            raise ParameterError("different names of the models", f"{chosen!r} twice", "Write NAME=FOLDER.")
        names[chosen] = path
    return names


def _short_name(path: Path, all_paths: Sequence[Path]) -> str:
    own = path.absolute().parts
    others = [other.absolute().parts for other in all_paths if other.absolute() != path.absolute()]
    length = next((n for n in range(1, len(own)) if all(part[-n:] != own[-n:] for part in others)), len(own))
    return "/".join(own[-length:])


def list_files(root: Path, role: str) -> dict[str, Path]:
    """The files of a folder and its folders by their path without ending; of a file, the file alone.

    Raises:
        DataError: there is no such folder, it holds no image, or two files have one name.
    """
    if root.is_file():
        if not is_array(root):
            raise DataError(
                f"a {role} in a format that can be read", str(root), "Give png, tif, npy, npz or nii files."
            )
        require_text(stem(root), root.parent)
        return {stem(root): root}
    if not root.is_dir():
        raise DataError(f"a folder with the {role}s", f"{root}, which does not exist", "Check the path.")
    found = find_images(root, role, arrays=True)
    twice: list[str] = []
    for name, paths in found.twice.items():
        # nnU-Net writes labels and probabilities of a case: the labels are the prediction.
        labels = [path for path in paths if path.suffix.lower() != ".npz"]
        if len(labels) == 1:
            found.files[name] = labels[0]
        else:
            twice.append(name)
    if twice:
        raise DataError(
            f"one file a name in {root}",
            f"{several(twice, 'name')} twice: {named(twice)}",
            "Remove one of the two, or move it elsewhere.",
        )
    if not found.files:
        endings = sorted({Path(name).suffix.lower() for name in found.skipped} - {""})
        raise DataError(
            f"{role}s in {root}",
            f"no file in a format that can be read{f', but {named(endings)}' if endings else ''}",
            "Put png, tif, npy, npz or nii files there.",
        )
    return found.files


def match(
    models: Mapping[str, Path],
    target: Path,
    only: Path | None = None,
    *,
    pair: str | None = None,
    valid: Path | None = None,
) -> Matched:
    """Pair the files of each model with the truth, by the rule of :mod:`segcrit.data.folders.pairing`.

    Args:
        models: name -> folder or file of its predictions.
        target: folder or file of the label maps.
        only: a text file that lists the images to take; everything else is passed over in silence.
        pair: an expression that finds in each name what predictions and label maps share.
        valid: folder of masks of the pixels that count, or one file for all images.

    Raises:
        DataError: a folder is missing or empty, no name of a model is that of a truth, or ``only`` names an image that
            has no truth.
    """
    truths = list_files(target, "label map")
    if target.is_file() and all(path.is_file() for path in models.values()):
        # Two files that were named belong together whatever they are called.
        files = tuple(next(iter(list_files(path, "prediction").values())) for path in models.values())
        return Matched(_with_valid([Pair(stem(target), target, files)], valid, pair, {}), {}, {}, _told(valid))
    notes: list[str] = []
    ids: dict[str, str] = {}  # name of a label map -> id
    found: dict[str, dict[str, Path]] = {}
    aliases: dict[str, str] = {}  # name of a prediction -> id
    preferred = False
    for model, path in models.items():
        own = list_files(path, "prediction")
        pairing = pair_names(own, truths, pair, (f"predictions of {model!r}", "label maps"))
        if not pairing.common:
            raise DataError(
                f"predictions of {model!r} with the names of the label maps",
                f"{several(list(own), 'file')} such as {named(sorted(own), 2)} beside {named(sorted(truths), 2)}",
                f"Give a prediction the name of its label map. {pairing.listing()}",
            )
        ids = ids or {name: key for key, name in pairing.second.items()}
        found[model] = {ids.get(pairing.second.get(key, ""), key): own[name] for key, name in pairing.first.items()}
        aliases |= {name: ids.get(pairing.second.get(key, ""), key) for key, name in pairing.first.items()}
        preferred |= pairing.preferred
        notes += [pairing.how] if pairing.how else []
    keyed = {key: truths[name] for name, key in ids.items()}
    if only is not None:
        wanted = set(read_names(only, name_index(keyed, aliases | ids)))
        keyed = {key: path for key, path in keyed.items() if key in wanted}
        found = {name: {key: path for key, path in own.items() if key in wanted} for name, own in found.items()}
    common = set(keyed).intersection(*found.values())
    plain = [Pair(key, keyed[key], tuple(own[key] for own in found.values())) for key in sorted(common)]
    pairs = _with_valid(plain, valid, pair, ids)
    notes += _told(valid)
    missing = {name: tuple(sorted(set(keyed) - set(own))) for name, own in found.items()}
    extra = {name: tuple(sorted(set(own) - set(keyed))) for name, own in found.items()}
    return Matched(
        pairs,
        {name: names for name, names in missing.items() if names},
        {name: names for name, names in extra.items() if names},
        tuple(dict.fromkeys(notes)),
        preferred,
    )


def _with_valid(
    pairs: Sequence[Pair], valid: Path | None, pattern: str | None, ids: Mapping[str, str]
) -> tuple[Pair, ...]:
    """The pairs with the masks of the pixels that count, paired by the ids or by the names of the label maps.

    Raises:
        DataError: an image has none.
    """
    if valid is None:
        return tuple(pairs)
    files = list_files(valid, "mask of valid pixels")
    if valid.is_file():
        return tuple(replace(pair, valid=valid) for pair in pairs)
    wanted = {pair.id for pair in pairs}
    names = [{key: key for key in wanted}, {name: key for name, key in ids.items() if key in wanted}]
    names += [{path.stem: pair.id for pair in pairs for path in pair.predictions[:1]}]
    unique = [own for own in names if len(own) == len(wanted)]
    found = pair_beside(unique, files, pattern, "masks of valid pixels")
    without = sorted(wanted - set(found))
    if without:
        raise DataError(
            f"a mask of valid pixels in {valid} for every image",
            f"{several(without, 'image')} without one: {named(without)}",
            f"Bring them, or leave out --valid. Names there look like {named(sorted(files), 2)}.",
            code="no-valid-area",
        )
    return tuple(replace(pair, valid=files[found[pair.id]]) for pair in pairs)


def _told(valid: Path | None) -> tuple[str, ...]:
    return () if valid is None else (f"Pixels that are 0 in {valid.name} do not count: they are ignored pixels.",)


def shard_of(pairs: Sequence[Pair], part: int, parts: int) -> tuple[Pair, ...]:
    """Part ``part`` (from 1) of ``parts``: every parts-th image, so that all have about the same work.

    Example:
        >>> [pair.id for pair in shard_of([Pair(name, Path(), ()) for name in "abcde"], 2, 2)]
        ['b', 'd']
    """
    return tuple(pairs[part - 1 :: parts])


def read_groups(ids: Sequence[str], groups: str | None, group_by: str | None) -> dict[str, str] | None:
    """The group of each image, from a table or an expression; None without either.

    Raises:
        DataError, ParameterError: they do not fit the images.
    """
    if group_by is not None:
        return groups_by_pattern(ids, group_by)
    if groups is not None:
        return read_groups_file(user_path(groups), name_index(ids))
    return None
