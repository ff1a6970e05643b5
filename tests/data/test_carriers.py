"""One label map in every carrier: the labels come out the same, or the file is refused; never a quiet other number."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from segcrit.core.errors import DataError
from segcrit.data.files.formats import probe
from segcrit.data.reading import read_mask
from tests.data.making import blocks, write_png

Array = Any
LABELS = blocks([0, 1, 2, 5])
BINARY = blocks([0, 1])
PALETTE = [0, 0, 0, 200, 10, 10, 10, 200, 10, 7, 7, 7, 8, 9, 8, 10, 10, 200]
RAMP = np.broadcast_to(np.linspace(0, 255, LABELS.shape[1]).astype(np.uint8), LABELS.shape)


def _rgb(array: Array) -> Array:
    return np.dstack([array] * 3)


def _png_of_depth(path: Path, array: Array, depth: int) -> None:
    """A grey PNG of 2 or 4 bits, which Pillow does not write."""
    per = 8 // depth
    packed = sum(array[:, place::per].astype(int) << (8 - depth * (place + 1)) for place in range(per))
    rows = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in packed)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], depth, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def _png_of_sixteen_bits(path: Path, channels: int) -> None:
    import imagecodecs

    deep = np.dstack([LABELS.astype(np.uint16)] * channels)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(deep)))


def _pyramid(path: Path, array: Array, *, inside: bool) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(array, tile=(16, 16), subifds=1 if inside else 0, metadata=None, photometric="minisblack")
        writer.write(array[::2, ::2], tile=(16, 16), subfiletype=1, metadata=None, photometric="minisblack")


def _palette_image(array: Array, palette: list[int] = PALETTE) -> Any:
    image = Image.fromarray(array)
    image.putpalette(palette)
    return image


def _netpbm(path: Path, head: str, content: bytes) -> None:
    path.write_bytes(head.encode() + content)


def _one_hot(axis: int) -> Array:
    return np.stack([value == LABELS for value in range(6)], axis=axis).astype(np.uint8)


Write = Callable[[Path], None]
SAME: dict[str, tuple[str, Write]] = {
    "grey png": ("png", lambda p: write_png(p, LABELS)),
    "png of 16 bits": ("png", lambda p: write_png(p, LABELS.astype(np.uint16))),
    "palette png": ("png", lambda p: write_png(p, LABELS, palette=PALETTE)),
    "palette png of 4 bits": ("png", lambda p: _palette_image(LABELS).save(p, bits=4)),
    "palette png with transparency": ("png", lambda p: write_png(p, LABELS, palette=PALETTE, transparency=0)),
    "palette png with transparencies": (
        "png",
        lambda p: write_png(p, LABELS, palette=PALETTE, transparency=b"\0\7\xff"),
    ),
    "equal channels png": ("png", lambda p: write_png(p, _rgb(LABELS))),
    "grey and constant alpha": ("png", lambda p: write_png(p, np.dstack([LABELS, np.full_like(LABELS, 255)]))),
    "grey and varying alpha": ("png", lambda p: write_png(p, np.dstack([LABELS, RAMP]))),
    "colour and varying alpha": ("png", lambda p: write_png(p, np.dstack([_rgb(LABELS), RAMP]))),
    "grey bmp": ("bmp", lambda p: write_png(p, LABELS)),
    "palette bmp": ("bmp", lambda p: write_png(p, LABELS, palette=PALETTE)),
    "grey gif": ("gif", lambda p: write_png(p, LABELS)),
    "lossless webp": ("webp", lambda p: write_png(p, _rgb(LABELS), lossless=True)),
    "pgm": ("pgm", lambda p: write_png(p, LABELS)),
    "pgm of few values": ("pgm", lambda p: _netpbm(p, "P5\n16 12\n5\n", LABELS.tobytes())),
    "pgm of 300 values": ("pgm", lambda p: _netpbm(p, "P5\n16 12\n300\n", LABELS.astype(">u2").tobytes())),
    "plain pgm": ("pgm", lambda p: _netpbm(p, "P2\n16 12\n5\n", " ".join(map(str, LABELS.flat)).encode())),
    "equal channels ppm": ("ppm", lambda p: _netpbm(p, "P6\n16 12\n5\n", _rgb(LABELS).tobytes())),
    "tif": ("tif", lambda p: tifffile.imwrite(p, LABELS)),
    "tif, signed": ("tif", lambda p: tifffile.imwrite(p, LABELS.astype(np.int16))),
    "tif, floats": ("tif", lambda p: tifffile.imwrite(p, LABELS.astype(np.float32))),
    "tif, half floats": ("tif", lambda p: tifffile.imwrite(p, LABELS.astype(np.float16))),
    "tif, nearly whole": ("tif", lambda p: tifffile.imwrite(p, LABELS * np.float32(1 + 1e-7))),
    "tif, tiled": ("tif", lambda p: tifffile.imwrite(p, LABELS, tile=(16, 16), compression="zlib", predictor=True)),
    "tif, big-endian": ("tif", lambda p: tifffile.imwrite(p, LABELS.astype(">u2"), byteorder=">")),
    "tif, big": ("tif", lambda p: tifffile.imwrite(p, LABELS, bigtiff=True)),
    "tif, one page of a stack": ("tif", lambda p: tifffile.imwrite(p, LABELS[None], photometric="minisblack")),
    "tif, palette": (
        "tif",
        lambda p: tifffile.imwrite(
            p, LABELS, photometric="palette", colormap=np.resize(PALETTE, (256, 3)).T.astype(np.uint16) * 257
        ),
    ),
    "tif, equal channels": ("tif", lambda p: tifffile.imwrite(p, _rgb(LABELS), photometric="rgb")),
    "tif, equal channels of 16 bits": (
        "tif",
        lambda p: tifffile.imwrite(p, _rgb(LABELS).astype(np.uint16) * np.uint16(1), photometric="rgb"),
    ),
    "tif, equal planes": (
        "tif",
        lambda p: tifffile.imwrite(p, np.stack([LABELS] * 3), photometric="rgb", planarconfig="separate"),
    ),
    "tif, grey and alpha": (
        "tif",
        lambda p: tifffile.imwrite(
            p, np.dstack([LABELS, RAMP]), photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
        ),
    ),
    "tif, pyramid": ("tif", lambda p: _pyramid(p, LABELS, inside=True)),
    "tif, pyramid of pages": ("tif", lambda p: _pyramid(p, LABELS, inside=False)),
    "npy": ("npy", lambda p: np.save(p, LABELS.astype(np.int64))),
    "npy, equal channels": ("npy", lambda p: np.save(p, _rgb(LABELS))),
    "npy, equal channels first": ("npy", lambda p: np.save(p, np.stack([LABELS] * 3))),
    "npy, one-hot": ("npy", lambda p: np.save(p, _one_hot(-1))),
    "npy, one-hot first": ("npy", lambda p: np.save(p, _one_hot(0))),
    "npy, one-hot of 255": ("npy", lambda p: np.save(p, _one_hot(0) * np.uint8(255))),
    "npy, one channel": ("npy", lambda p: np.save(p, LABELS[None])),
    "npy, floats": ("npy", lambda p: np.save(p, LABELS.astype(np.float32))),
    "npy, nearly whole": ("npy", lambda p: np.save(p, LABELS - 1e-7)),
    "npy, columns first": ("npy", lambda p: np.save(p, np.asfortranarray(LABELS))),
    "nifti": ("nii", lambda p: nibabel.save(nibabel.Nifti1Image(LABELS, np.eye(4)), p)),
    "nifti, scaled": ("nii.gz", lambda p: _scaled_nifti(p, np.uint8)),
    "nifti, scaled, 16 bits": ("nii.gz", lambda p: _scaled_nifti(p, np.int16)),
}
REFUSED: dict[str, tuple[str, Write]] = {
    "png of 2 bits": ("png", lambda p: _png_of_depth(p, blocks([0, 1, 2, 3]), 2)),
    "png of 4 bits": ("png", lambda p: _png_of_depth(p, LABELS, 4)),
    "colour png of 16 bits": ("png", lambda p: _png_of_sixteen_bits(p, 3)),
    "grey and alpha of 16 bits": ("png", lambda p: _png_of_sixteen_bits(p, 2)),
    "colour ppm of 16 bits": ("ppm", lambda p: _netpbm(p, "P6\n16 12\n65535\n", _rgb(LABELS).astype(">u2").tobytes())),
    "colours of a gif, whose numbers its writer chose": ("gif", lambda p: write_png(p, LABELS, palette=PALETTE)),
    "labels in alpha": ("png", lambda p: write_png(p, np.dstack([_rgb(np.zeros_like(LABELS)), LABELS * 50]))),
    "tif, white is zero": ("tif", lambda p: tifffile.imwrite(p, LABELS, photometric="miniswhite")),
    "tif, inverted": ("tif", lambda p: tifffile.imwrite(p, 255 - LABELS, photometric="miniswhite")),
    "tif, two pages of two kinds": ("tif", lambda p: _two_pages(p)),
    "gif of two frames": (
        "gif",
        lambda p: Image.fromarray(LABELS).save(p, save_all=True, append_images=[Image.fromarray(LABELS[:, ::-1])]),
    ),
    "unequal 16-bit channels": (
        "tif",
        lambda p: tifffile.imwrite(
            p, np.dstack([LABELS, LABELS, LABELS[:, ::-1]]).astype(np.uint16), photometric="rgb"
        ),
    ),
    "npy, halves": ("npy", lambda p: np.save(p, LABELS / 2)),
    "npy, a little off": ("npy", lambda p: np.save(p, LABELS + 1e-3)),
    "nifti, probabilities": ("nii", lambda p: _scaled_nifti(p, np.uint8, LABELS / 10)),
}
ONE_BIT: dict[str, tuple[str, Write]] = {
    "png": ("png", lambda p: write_png(p, BINARY > 0)),
    "pbm": ("pbm", lambda p: write_png(p, BINARY > 0)),
    "bmp": ("bmp", lambda p: write_png(p, BINARY > 0)),
    "tif of tifffile": ("tif", lambda p: tifffile.imwrite(p, BINARY > 0)),
    "tif of Pillow": ("tif", lambda p: write_png(p, BINARY > 0)),
    "fax": ("tif", lambda p: write_png(p, BINARY > 0, compression="group4")),
    "white is zero": ("tif", lambda p: write_png(p, BINARY > 0, tiffinfo={262: 0})),
    "tiled tif": ("tif", lambda p: tifffile.imwrite(p, BINARY > 0, tile=(16, 16))),
    "npy": ("npy", lambda p: np.save(p, BINARY > 0)),
}


def _scaled_nifti(path: Path, kind: Any, values: Array = LABELS) -> None:
    header = nibabel.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_dtype(kind)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float64), np.eye(4), header), path)  # type: ignore[no-untyped-call]


def _two_pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(LABELS, metadata=None, photometric="minisblack")
        writer.write(LABELS[:6].astype(np.uint16), metadata=None, photometric="minisblack")


@pytest.mark.parametrize("carrier", SAME)
def test_labels_are_the_same_whatever_carries_them(tmp_path: Path, carrier: str) -> None:
    suffix, write = SAME[carrier]
    write(tmp_path / f"a.{suffix}")
    found = read_mask(tmp_path / f"a.{suffix}")
    assert found.dtype.kind in "ui"
    np.testing.assert_array_equal(found, LABELS)


@pytest.mark.parametrize("carrier", ONE_BIT)
def test_one_bit(tmp_path: Path, carrier: str) -> None:
    suffix, write = ONE_BIT[carrier]
    write(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"a.{suffix}"), BINARY)


@pytest.mark.parametrize("carrier", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, carrier: str) -> None:
    suffix, write = REFUSED[carrier]
    write(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match=r"a\."):
        read_mask(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(("head", "carriers"), [("Read", SAME), ("Refused", REFUSED)])
def test_the_page_lists_them(head: str, carriers: dict[str, tuple[str, Write]]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "odd-folders.md").read_text(encoding="utf-8")
    table = page.split(f"| Ending | {head} |\n|---|---|\n")[1].split("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()]
    listed = [(name, suffix) for suffix, names in rows for name in names.split("; ")]
    assert sorted(listed) == sorted((name, suffix) for name, (suffix, _) in carriers.items())


def test_metaimage_and_nrrd(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    image = itk.GetImageFromArray(labels.transpose(2, 1, 0))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((4.0, 5.0, 6.0))
    itk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    for suffix in ("mha", "mhd", "nrrd", "nhdr"):
        itk.WriteImage(image, str(tmp_path / f"a.{suffix}"))
        np.testing.assert_array_equal(read_mask(tmp_path / f"a.{suffix}"), labels)
        assert probe(tmp_path / f"a.{suffix}").lies_like(probe(tmp_path / "a.nii.gz"))
        assert probe(tmp_path / f"a.{suffix}").spacing == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd", "nhdr"])
def test_without_simpleitk_the_message_says_what_to_do(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    (tmp_path / f"a.{suffix}").write_bytes(b"NRRD0004")
    with pytest.raises(DataError, match=rf"\.{suffix}.*itk.*nii") as caught:
        read_mask(tmp_path / f"a.{suffix}")
    assert caught.value.code == "missing-extra"
