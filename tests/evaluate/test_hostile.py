"""Files, names, folders and machines that are out to break an evaluation: an explanation, and no lost or wrong counts."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from segcrit.apps.evaluate.counting import run
from segcrit.apps.evaluate.counting.job import read_job
from segcrit.apps.evaluate.counting.run import Job, count_files, merge_files
from segcrit.apps.evaluate.counting.store import Tally, read_tally
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from segcrit.cli import main
from segcrit.core.errors import DataError, ParameterError
from tests.evaluate.making import Array, folders, maps, save_png, slow_confusion, stopped_after


def _npz(array: Array) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, labels=array)
    return stream.getvalue()


def _spoilt(array: Array) -> bytes:
    """A whole archive, whose compressed bytes are none."""
    content = bytearray(_npz(np.arange(200, dtype=np.uint8)))
    start = content.index(b"labels.npy") + 40
    content[start : start + 40] = b"\xff" * 40
    return bytes(content)


def _garbage(array: Array) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("labels.npy", b"no array at all")
    return stream.getvalue()


def _unknown_compression(array: Array) -> bytes:
    content = bytearray(_npz(array))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.index(signature) + offset
        content[place : place + 2] = (99).to_bytes(2, "little")
    return bytes(content)


def _locked(array: Array) -> bytes:
    content = bytearray(_npz(array))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def _pickled(array: Array) -> bytes:
    return _npz(np.array([[{}]], dtype=object))


NPZ = [
    _spoilt, _garbage, _unknown_compression, _locked, _pickled,
    lambda array: b"", lambda array: _npz(array)[:-30],
]  # fmt: skip


@pytest.mark.parametrize("folder", ["truth", "guess"])
@pytest.mark.parametrize("make", NPZ)
def test_damaged_archives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Array], bytes], folder: str
) -> None:
    content = maps(3)
    predictions, target = folders(tmp_path, content)
    (tmp_path / folder / "image00.png").unlink()
    (tmp_path / folder / "image00.npz").write_bytes(make(content["image00"][0]))
    assert main(["evaluate", predictions, target, "--classes", "3", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    shown = capsys.readouterr()
    assert "image00.npz" in shown.out + shown.err
    assert "damaged" in shown.err
    assert not list(tmp_path.glob("out/**/*.npz"))


@pytest.mark.parametrize("folder", ["truth", "guess"])
@pytest.mark.parametrize("kind", ["datetime64[s]", "complex64", "U3", "S2", "i4,f4"])
def test_arrays_of_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, folder: str) -> None:
    content = maps(3)
    predictions, target = folders(tmp_path, content)
    (tmp_path / folder / "image00.png").unlink()
    np.save(tmp_path / folder / "image00.npy", np.zeros((12, 17), dtype=kind))
    assert main(["evaluate", predictions, target, "--classes", "3", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "whole numbers" in capsys.readouterr().err


@pytest.mark.parametrize("make", [_spoilt, _garbage, _unknown_compression, _locked])
def test_damaged_counts_do_not_merge(tmp_path: Path, make: Callable[[Array], bytes]) -> None:
    path = tmp_path / "shard-1-of-1.npz"
    path.write_bytes(make(np.zeros((3, 3), np.uint8)).replace(b"labels.npy", b"head.npy12"))
    with pytest.raises(DataError):
        read_tally(path)
    head = np.frombuffer(b"[1, 2]", dtype=np.uint8)
    np.savez(path, head=head)
    with pytest.raises(DataError, match="damaged"):
        read_tally(path)


# Names and folders


@pytest.mark.parametrize("name", [b"two\nlines.png", b"not \xff text.png"])
def test_names_that_are_no_text_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes) -> None:
    predictions, target = folders(tmp_path, maps(2))
    for folder in (predictions, target):
        os.rename(Path(folder) / "image00.png", os.path.join(os.fsencode(folder), name))
    assert main(["evaluate", predictions, target, "--classes", "3", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "text on one line" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a b ü 日本", "a\\b", "<i>&amp;", "%s%d {0}", "x\"';", "a,b", "-x", "C:\\x"])
def test_names_that_are_text(tmp_path: Path, name: str) -> None:
    content = maps(2)
    predictions, target = folders(tmp_path, content)
    for folder in (predictions, target):
        (Path(folder) / "image00.png").rename(Path(folder) / f"{name}.png")
    words = ["evaluate", predictions, target, "--classes", "3", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 0
    assert name in read_tally(tmp_path / "out" / "counts.npz").ids
    assert "<i>&amp;" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("folder", ["truth", "guess"])
def test_links_to_folders_are_followed(tmp_path: Path, folder: str) -> None:
    content = maps(4)
    for name, (truth, guess) in content.items():
        save_png(tmp_path / "truth" / "val" / f"{name}.png", truth)
        save_png(tmp_path / "guess" / "val" / f"{name}.png", guess)
    (tmp_path / folder / "val").rename(tmp_path / "elsewhere")
    (tmp_path / folder / "val").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / folder)
    (tmp_path / "elsewhere" / "here").symlink_to(".")
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("3"))
    tally, _ = count_files(job, tmp_path / "out", workers=1)
    assert tally.ids == tuple(f"val/{name}" for name in sorted(content))
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))


def test_a_folder_without_rights_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = maps(3)
    predictions, target = folders(tmp_path, content)
    for root in (predictions, target):
        save_png(Path(root) / "night" / "x.png", content["image00"][0])
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("night"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="night: Permission denied"):
        count_files(Job((predictions,), target, Options("3")), tmp_path / "out", workers=1)


@pytest.mark.parametrize("role", ["truth", "guess"])
def test_a_volume_of_one_slice_among_pictures(tmp_path: Path, role: str) -> None:
    content = maps(3)
    predictions, target = folders(tmp_path, content)
    (tmp_path / role / "image00.png").unlink()
    volume = content["image00"][role == "guess"][..., None]
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.5, 2.0, 3.0, 1])), tmp_path / role / "image00.nii.gz")
    options = Options("3", measures=("boundary",))
    tally, _ = count_files(Job((predictions,), target, options), tmp_path / "out", workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))


# Kills, lost workers, folders that change


def _job(root: Path, number: int = 9) -> tuple[Job, dict[str, tuple[Array, Array]]]:
    content = maps(number)
    predictions, target = folders(root, content)
    return Job((predictions,), target, Options("3")), content


class Kill(BaseException):
    """The end of the process, here and now."""


def test_a_kill_while_the_whole_is_written_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, content = _job(tmp_path)
    out = tmp_path / "out"
    save = Tally.save

    def killed(tally: Tally, path: Path) -> None:
        if path.name == "counts.npz":
            raise Kill
        save(tally, path)

    monkeypatch.setattr(Tally, "save", killed)
    with pytest.raises(Kill):
        count_files(job, out, workers=1, save_every=0.0)
    monkeypatch.undo()
    counted: list[str] = []
    original = run.rows_of

    def watched(pairs: Any, plan: Any, workers: int) -> Any:
        counted.extend(pair.id for pair in pairs)
        return original(pairs, plan, workers)

    monkeypatch.setattr(run, "rows_of", watched)
    tally, _ = count_files(job, out, resume=True, workers=1)
    assert counted == []
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))


def test_a_kill_after_the_whole_is_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, content = _job(tmp_path)
    out = tmp_path / "out"

    def killed(parts: run.Parts) -> None:
        raise Kill

    monkeypatch.setattr(run.Parts, "remove", killed)
    with pytest.raises(Kill):
        count_files(job, out, workers=1, save_every=0.0)
    monkeypatch.undo()
    assert (out / "counts.npz").is_file()
    tally, _ = count_files(job, out, resume=True, workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))
    assert [path.name for path in out.iterdir()] == ["counts.npz"]


def test_a_worker_that_is_killed_is_explained_and_costs_no_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, content = _job(tmp_path)
    original = run.rows_of

    def breaking(pairs: Any, plan: Any, workers: int) -> Any:
        for place, row in enumerate(original(pairs, plan, 1)):
            if place == 5:
                raise BrokenProcessPool("A process in the process pool was terminated abruptly")
            yield row

    monkeypatch.setattr(run, "rows_of", breaking)
    with pytest.raises(DataError, match=r"killed after 5 of 9 images.*--resume.*--workers"):
        count_files(job, tmp_path / "out", workers=4)
    monkeypatch.undo()
    tally, _ = count_files(job, tmp_path / "out", resume=True, workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))


def test_shards_of_a_folder_that_changed_do_not_merge(tmp_path: Path) -> None:
    """Every n-th image of another list: some images in two shards, others in none."""
    job, content = _job(tmp_path)
    out = tmp_path / "out"
    for part in (1, 2):
        count_files(Job(job.predictions, job.target, job.options, (part, 3)), out, workers=1)
    extra = {"a": content["image00"]}
    folders(tmp_path, extra)
    count_files(Job(job.predictions, job.target, job.options, (3, 3)), out, workers=1)
    shards = sorted(out.glob("shard-*.npz"))
    for order in (shards, shards[::-1]):
        with pytest.raises(DataError, match=r"3 shards of the same images.*9 images.*10 images"):
            merge_files(order)
    first, _ = merge_files(shards[:2], allow_missing=True)
    first.save(tmp_path / "first.npz")
    with pytest.raises(DataError, match="changed between the shards"):
        merge_files([tmp_path / "first.npz", shards[2]])


def test_files_that_were_written_since_are_counted_again(tmp_path: Path) -> None:
    job, content = _job(tmp_path)
    out = tmp_path / "out"
    count_files(job, out, workers=1)
    changed = dict(content)
    truth, guess = content["image04"]
    changed["image04"] = truth, (guess + 1) % 3
    path = tmp_path / "guess" / "image04.png"
    later = (out / "counts.npz").stat().st_mtime + 10
    save_png(path, changed["image04"][1])
    os.utime(path, (later, later))
    tally, _ = count_files(job, out, resume=True, workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(changed))


def test_parts_of_files_that_were_written_since_are_counted_again(tmp_path: Path) -> None:
    job, content = _job(tmp_path)
    out = tmp_path / "out"
    _interrupt_after(5, job, out)
    path = tmp_path / "truth" / "image01.png"
    content["image01"] = content["image02"][0], content["image01"][1]
    save_png(path, content["image01"][0])
    later = max(part.stat().st_mtime for part in out.glob(".counts/*")) + 10
    os.utime(path, (later, later))
    tally, _ = count_files(job, out, resume=True, workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--classes", "70000"], "num_classes of at most 10,000"),
        (["--classes", "99999999999"], "num_classes of at most 10,000"),
        (["--map", "0:0,1:99999999999"], "num_classes of at most 10,000"),
        (["--classes", "3", "--resamples", "5"], "at least 100"),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
def test_what_cannot_end_well_does_not_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], wanted: str
) -> None:
    job, _ = _job(tmp_path, 2)
    assert main(["evaluate", *job.predictions, job.target, *words, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert wanted in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _interrupt_after(images: int, job: Job, out: Path) -> None:
    with stopped_after(images), pytest.raises(run.Interrupted):
        count_files(job, out, save_every=0.0)


def test_parts_that_a_kill_left_of_another_count_are_not_taken(tmp_path: Path) -> None:
    """A kill while parts were removed, job.json first; then the same folders and options with other content."""
    out = tmp_path / "out"
    job, _ = _job(tmp_path)
    _interrupt_after(5, job, out)
    (out / ".counts" / "job.json").unlink()
    content = maps(9, seed=8)
    folders(tmp_path, content)
    for path in tmp_path.rglob("*.png"):
        os.utime(path, (1, 1))  # copied with their old times
    _interrupt_after(2, job, out)
    tally, _ = count_files(job, out, resume=True, workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))


def test_an_interrupted_count_goes_on_beside_a_finished_one(tmp_path: Path) -> None:
    """As the message of the interruption says, which names --resume."""
    out = tmp_path / "out"
    first, _ = _job(tmp_path / "one")
    count_files(first, out, workers=1)
    content = maps(9, seed=8)
    predictions, target = folders(tmp_path / "two", content)
    _interrupt_after(2, Job((predictions,), target, first.options), out)
    tally, _ = count_files(read_job(out), out, resume=True, workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, slow_confusion(content))
    with pytest.raises(ParameterError, match="pass another --out"):
        count_files(first, out, resume=True, workers=1)
