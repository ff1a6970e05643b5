"""Files that claim too much, that are no files, whose ending lies, or that shrink: one error that names the file."""

from __future__ import annotations

import gzip
import io
import logging
import os
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, PngImagePlugin

from segcrit.apps.evaluate.reading.arrays import load_array
from segcrit.apps.evaluate.reading.windows import open_source
from segcrit.cli import main
from segcrit.core.errors import DataError, ParameterError
from segcrit.data.files.budget import BUDGET, memory_budget
from segcrit.data.files.formats import SUFFIXES, load, probe
from segcrit.data.reading import read_image
from tests.data.making import blocks, photo, write_png

SIDE = 60000


def _png_claiming(path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def _jpeg_claiming(path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(photo()).save(stream, format="JPEG")
    content = bytearray(stream.getvalue())
    place = content.index(b"\xff\xc0") + 5  # height and width of the start of frame
    content[place : place + 4] = struct.pack(">HH", SIDE, SIDE)
    path.write_bytes(content)


def _npy_claiming(stream: io.BufferedIOBase) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (SIDE, SIDE)})
    stream.write(bytes(64))


def _claiming(folder: Path) -> list[Path]:
    _png_claiming(folder / "a.png")
    _jpeg_claiming(folder / "b.jpg")
    tifffile.imwrite(folder / "c.tif", photo(channels=1), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(folder / "c.tif", mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[name].overwrite(SIDE)
    with (folder / "d.npy").open("wb") as stream:
        _npy_claiming(stream)
    header = nibabel.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_shape((3000, 3000, 3000))  # type: ignore[no-untyped-call]
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (folder / "e.nii").write_bytes(header.binaryblock + bytes(100))
    (folder / "f.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1 << 20)))
    return sorted(folder.iterdir())


def test_a_header_that_claims_more_than_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _claiming(tmp_path)
    monkeypatch.setenv(BUDGET, "1")
    assert memory_budget() == 1 << 30
    for path in files:
        with pytest.raises(DataError, match=path.name) as caught:
            load(path)
        assert caught.value.code == "too-large", path
    import zipfile

    with zipfile.ZipFile(tmp_path / "g.npz", "w") as archive, archive.open("labels.npy", "w") as stream:
        _npy_claiming(stream)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"g\.npz") as caught:
        load_array(tmp_path / "g.npz")
    assert caught.value.code == "too-large"


@pytest.mark.parametrize("given", ["0", "-1", "much", "nan"])
def test_budgets_that_are_no_number(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(BUDGET, given)
    with pytest.raises(ParameterError):
        memory_budget()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_with_the_name_of_an_image(tmp_path: Path) -> None:
    for suffix in (*SUFFIXES, ".npz"):
        path = tmp_path / f"pipe{suffix}"
        os.mkfifo(path)
        for read in (probe, load, load_array):
            with pytest.raises(DataError, match="pipe"):
                read(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50)])
def test_an_array_that_shrinks_while_it_is_read(tmp_path: Path, order: str, shape: tuple[int, ...]) -> None:
    values = np.asarray(np.random.default_rng(0).integers(0, 99, shape), dtype=np.float32, order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", values)
    with open_source(tmp_path / "a.npy") as source:
        assert source is not None
        for rows, columns in ((slice(3, 9), slice(5, 50)), (slice(0, 40), slice(0, 50)), (slice(1, 2), slice(0, 50))):
            np.testing.assert_array_equal(source.read(rows, columns), values[..., rows, columns])
        os.truncate(tmp_path / "a.npy", 200)
        with pytest.raises(DataError, match=r"a\.npy"):
            source.read(slice(0, 40), slice(0, 50))


def test_content_decides_where_the_ending_lies(tmp_path: Path) -> None:
    labels = blocks([0, 1, 2])
    write_png(tmp_path / "x.png", labels)
    tifffile.imwrite(tmp_path / "x.tif", labels)
    np.save(tmp_path / "x.npy", labels)
    for source in ("x.png", "x.tif", "x.npy"):
        for name in ("y.tif", "y.png", "y.npy", "y.jpg"):
            (tmp_path / name).write_bytes((tmp_path / source).read_bytes())
            assert probe(tmp_path / name).shape == labels.shape
            np.testing.assert_array_equal(load(tmp_path / name).array, labels)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    volume = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))  # type: ignore[no-untyped-call]
    packed = gzip.compress(volume.to_bytes())
    cases = {
        "lfs.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "page.tif": (b"<!DOCTYPE html><html>", "Download"),
        "packed.nii": (packed, "packed.nii.gz"),
        "plain.nii.gz": (volume.to_bytes(), r"plain\.nii"),
    }
    for name, (content, advice) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=advice):
            load(tmp_path / name)


def test_no_program_is_started_for_postscript(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n")
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [3_000_000, 70_000_000])
def test_png_with_much_text(tmp_path: Path, packed: bool, size: int) -> None:
    if size > 10**7 and not packed:
        pytest.skip("slow to write, and the same path")
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", "<x>" + " " * size + "</x>", zip=packed)
    values = photo()
    Image.fromarray(values).save(tmp_path / "a.png", pnginfo=texts)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values.transpose(2, 0, 1))
    assert probe(tmp_path / "a.png").shape == values.shape


def test_libraries_are_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for value in ("-9999", " nan ", "65535", "0.5", "none", "1e400"):
        tag = [(42113, "s", 0, value, True)]
        tifffile.imwrite(tmp_path / "a.tif", photo(channels=1), tile=(16, 16), extratags=tag)
        load(tmp_path / "a.tif")
        with open_source(tmp_path / "a.tif") as source:
            assert source is not None
            source.read(slice(0, 12), slice(0, 16))
    assert not caplog.records
    logging.getLogger("tifffile").warning("others are heard")
    assert len(caplog.records) == 1


def test_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(3):
        write_png(tmp_path / "images" / f"{index}.png", photo())
        write_png(tmp_path / "masks" / f"{index}.png", blocks([0, 1]))
    monkeypatch.setenv(BUDGET, "1")  # restored after the test, whatever the option sets
    assert main(["inspect", str(tmp_path), "--file-memory", "1e-9"]) == 2
    assert main(["inspect", str(tmp_path), "--file-memory", "2", "--json"]) == 0
    assert main(["inspect", str(tmp_path), "--file-memory", "-2"]) == 2
    _png_claiming(tmp_path / "masks" / "1.png")
    monkeypatch.setenv(BUDGET, "1")
    arguments = [str(tmp_path / "masks"), str(tmp_path / "masks"), "--classes", "2", "--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--quiet"]) == 2
    told = capsys.readouterr()
    assert "1.png" in told.out + told.err
    assert "0.png" not in told.out + told.err


@pytest.mark.parametrize("name", ["a.pgm", "a.bmp", "a.png"])
def test_a_header_that_claims_more_than_the_file_can_hold(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the budget would allow it, no memory is taken."""
    monkeypatch.setenv(BUDGET, "1000")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    path = tmp_path / name
    if name == "a.png":
        _png_claiming(path)
    elif name == "a.pgm":
        path.write_bytes(b"P5\n%d %d\n255\n" % (SIDE, SIDE))
    else:
        path.write_bytes(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0))
    with pytest.raises(DataError):
        load(path)
