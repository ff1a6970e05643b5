"""Images, masks and pixel weights from files, as arrays of one layout whatever the format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.data.coding.mask_coding import LabelCoding, StoredMask
from segcrit.data.files.formats import Header, Stored, load, oriented, probe
from segcrit.data.files.stored_labels import folded, require_plain, short_axis, stored_labels, two_levels, without_alpha
from segcrit.labels.palette import Palette

if TYPE_CHECKING:
    from segcrit.data.coding.class_info import ClassInfo

__all__ = [
    "header_channels",
    "image_layout",
    "mask_shape",
    "match_channels",
    "probe",
    "read_image",
    "read_mask",
    "read_stored_mask",
    "read_weight",
]

FloatArray = npt.NDArray[np.float32]

# An axis this short, beside two long ones, holds channels and not slices.
_MOST_CHANNELS = 4


def read_image(path: str | Path, *, spatial_shape: Sequence[int] | None = None) -> FloatArray:
    """An image as ``float32 (channels, *S)``, with the intensities of the file.

    Grey images have one channel; palette images become colours; alpha is dropped; bands of a TIFF are channels.
    Integers are not scaled (8-bit images range over 0 ... 255), missing values (NaN, -99999) are left as they are.

    Args:
        path: png, jpg, bmp, webp, pgm, ppm, tif, npy, nii or nii.gz.
        spatial_shape: size of the mask, if there is one. It decides which axis of an array holds the channels, and
            whether the rotation that a camera wrote into the file (EXIF) is applied: only where this makes the sizes
            match. Without it the rotation is applied, as image viewers do.

    Raises:
        DataError: the file is missing or damaged, or its size is not ``spatial_shape``.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "bands.npy"
        >>> np.save(file, np.zeros((5, 20, 30), dtype=np.uint16))
        >>> read_image(file, spatial_shape=(20, 30)).shape
        (5, 20, 30)
    """
    file = Path(path)
    stored = load(file)
    array, header = stored.array, stored.header
    if array.dtype.kind not in "buif":
        raise DataError(
            f"numbers in {file}",
            f"values of type {array.dtype}",
            "Save real numbers: complex or structured data is no image.",
        )
    if stored.palette is not None:
        array, header = _palette_colors(stored, file)
    size = None if spatial_shape is None else tuple(int(value) for value in spatial_shape)
    if header.orientation != 1:
        if upright(header, size, file):
            array = oriented(array, header.orientation)
        header = Header(array.shape, header.axes, header.dtype, header.mode)
    array = without_alpha(array, header)
    axis = image_layout(array.shape, header.axes, size, file)
    if size is not None and axis is None:
        array = array.reshape(size)  # drops axes of length one
    elif size is None and array.ndim == 3 and array.shape[-1] == 1 and axis is None:
        array = array[..., 0]
    channels_first = array[None] if axis is None else np.moveaxis(array, axis, 0)
    if size is not None:
        channels_first = channels_first.reshape(channels_first.shape[0], *size)
    with np.errstate(over="ignore"):  # float64 values beyond float32 become infinite, which the audit reports
        return np.ascontiguousarray(channels_first, dtype=np.float32)


def upright(header: Header, size: tuple[int, ...] | None, path: Path) -> bool:
    """Whether the rotation of a file's EXIF tag is to be applied, so that the image fits a mask of ``size``.

    Raises:
        DataError: it fits both ways, so that nobody can tell; or neither way.
    """
    stored = header.shape[:2]
    turned = stored[::-1] if header.orientation >= 5 else stored
    if size is None:
        return True
    if turned == size and stored == size:
        raise DataError(
            f"one way to lay {path} on its mask",
            f"an EXIF orientation ({header.orientation}) and a mask whose size fits with and without it",
            "Save the image upright without the tag (exiftool -Orientation= FILE drops the tag alone).",
            code="exif-rotation",
        )
    if size not in (turned, stored):
        raise size_error(path, stored, size)
    return turned == size


def _palette_colors(stored: Stored, path: Path) -> tuple[npt.NDArray[Any], Header]:
    if stored.palette is None or int(stored.array.max(initial=0)) >= len(stored.palette):
        raise DataError(
            f"a palette with a colour for every pixel in {path}", "indices beyond the palette", "Save the image as RGB."
        )
    array = stored.palette[stored.array]
    old = stored.header
    return array, Header(array.shape, old.axes + "S", "uint8", "colour", old.lossy, old.orientation)


def image_layout(shape: tuple[int, ...], axes: str, size: tuple[int, ...] | None, path: Path) -> int | None:
    """The axis of ``shape`` that holds the channels, or None where there is no such axis.

    With the mask's ``size`` the axis is the one whose removal leaves that size, axes of length one aside; the first if
    both ends fit, unless the file says that the last holds colour samples. Without it, samples, or a short first or
    last axis beside longer ones.

    Example:
        >>> image_layout((7, 20, 30), "???", (20, 30), Path("x.npy")), image_layout((20, 30), "YX", None, Path("x.png"))
        (0, None)

    Raises:
        DataError: no axis leaves ``size``.
    """
    if size is None:
        return _guessed_channel_axis(shape, axes)
    long = tuple(value for value in shape if value != 1)
    long_size = tuple(value for value in size if value != 1)
    if shape == size or (long == long_size and "S" not in axes):
        return None
    candidates = [
        axis
        for axis in range(len(shape))
        if tuple(v for v in shape[:axis] + shape[axis + 1 :] if v != 1) == long_size
        and (shape[:axis] + shape[axis + 1 :] == size or len(shape) != len(size) + 1)
    ]
    if not candidates:
        raise size_error(path, shape, size)
    if "S" in axes and axes.index("S") in candidates:
        return axes.index("S")
    return candidates[0]


def _guessed_channel_axis(shape: tuple[int, ...], axes: str) -> int | None:
    for letter in "SC":
        if letter in axes:
            return axes.index(letter)
    if len(shape) <= 2 or axes.startswith("XYZ") or "Z" in axes:
        return None
    if len(shape) >= 4:
        return 0 if shape[0] <= shape[-1] else len(shape) - 1
    if shape[0] <= _MOST_CHANNELS < min(shape[1:]):
        return 0
    if shape[-1] <= _MOST_CHANNELS < min(shape[:-1]):
        return len(shape) - 1
    return None


def header_channels(header: Header, size: tuple[int, ...], path: Path) -> int:
    """Number of channels that ``read_image`` gives for a file, by its header alone.

    Raises:
        DataError: the image does not have the size of its mask, or nobody can tell whether to rotate it.
    """
    shape, axes = header.shape, header.axes
    if header.orientation != 1 and upright(header, size, path) and header.orientation >= 5:
        shape = (shape[1], shape[0], *shape[2:])
    axis = image_layout(shape, axes, size, path)
    count = 1 if axis is None else shape[axis]
    if "+alpha" in header.mode and axis is not None and axes[axis] == "S" and header.mode != "palette+alpha":
        count -= 1
    return 3 if header.mode == "palette" and axis is None else count


def size_error(path: Path, found: tuple[int, ...], size: tuple[int, ...]) -> DataError:
    """The error for an image whose size is not its mask's."""
    return DataError(
        f"{path} of the size of its mask, {shown_size(size)}",
        shown_size(found),
        "Resize one of the two (masks by nearest neighbour), or check that they belong together.",
    )


def shown_size(shape: Sequence[int]) -> str:
    """A shape as people write sizes: ``360×480``."""
    return "×".join(str(value) for value in shape)


def match_channels(image: FloatArray, channels: int, path: Path) -> FloatArray:
    """An image with the data set's number of channels: a grey image among colour ones is repeated.

    Raises:
        DataError: the numbers of channels differ in another way.
    """
    if image.shape[0] == channels:
        return image
    if image.shape[0] == 1 and channels == 3:
        return np.repeat(image, 3, axis=0)
    raise DataError(
        f"{channels} channels in {path}", f"{image.shape[0]}", "Save all images with the same number of channels."
    )


def mask_shape(header: Header, spatial_dims: int | None = None) -> tuple[int, ...]:
    """Size in pixels of a mask by its header: colour samples left out, and slices of length one in 2-D data.

    Example:
        >>> mask_shape(Header((30, 20, 3), "YXS", "uint8", "colour"))
        (30, 20)
    """
    shape = header.shape
    if header.axes == "???" and spatial_dims == 2 and 1 not in shape:
        axis = short_axis(shape)  # channels, see read_stored_mask
        return shape[:axis] + shape[axis + 1 :]
    if "S" in header.axes:
        axis = header.axes.index("S")
        shape = shape[:axis] + shape[axis + 1 :]
    if len(shape) > 3 or (len(shape) == 3 and spatial_dims != 3):
        long = tuple(value for value in shape if value != 1)
        shape = long if len(long) >= 2 else shape[:2]
    return shape


def read_stored_mask(path: str | Path, spatial_dims: int | None = None) -> StoredMask:
    """A mask as its file holds it: integers, or colours.

    Args:
        path: of any format of :mod:`segcrit.data.files.formats`. JPEG changes values: only masks of 0 and 255 are read,
            with a threshold.
        spatial_dims: 3 keeps axes of length one of a volume, and takes three axes for a volume; otherwise axes of length
            one are dropped, and equal or one-hot channels of an array file become labels.

    Raises:
        DataError: the file is missing or damaged, compressed with loss, holds fractions or NaN, or could be read in two
            ways.
    """
    file = Path(path)
    stored = load(file)
    header = stored.header
    require_plain(header, file)
    array = without_alpha(stored.array, header, file)
    if header.lossy:
        return two_levels(array, header, file)
    array, nodata = stored_labels(array, header, file, stored.valid)
    if "S" in header.axes:
        colors = np.moveaxis(array, header.axes.index("S"), -1)
        if colors.shape[-1] == 1 or header.mode == "grey+alpha":
            return StoredMask(colors[..., 0], False, None, "grey", nodata=nodata)
        if colors.shape[-1] == 3 and colors.dtype == np.uint8:
            return StoredMask(np.ascontiguousarray(colors), True, None, header.mode, nodata=nodata)
        labels = folded(colors, -1)
        if labels is not None:
            return StoredMask(labels, False, None, "equal channels", nodata=nodata)
        raise DataError(
            f"a mask with one value or one RGB colour a pixel in {file}",
            f"{colors.shape[-1]} channels of type {colors.dtype}",
            "Save one class number a pixel.",
        )
    if header.axes == "???" and spatial_dims != 3:
        axis = short_axis(array.shape)
        labels = folded(array, axis)
        # Equal slices, such as those of an empty volume, are no channels; a slice of ones alone is none either.
        is_volume = (
            array.shape[axis] > _MOST_CHANNELS and spatial_dims is None and (np.ptp(array, axis=axis) == 0).all()
        )
        if labels is not None and not is_volume:
            return StoredMask(labels, False, None, f"{array.shape[axis]} channels", nodata=nodata)
        if spatial_dims == 2 and 1 not in array.shape:
            raise DataError(
                f"one class number a pixel in {file}",
                f"{array.shape[axis]} channels that are neither equal nor one-hot",
                "Save class numbers (H, W), or one-hot channels.",
            )
    return StoredMask(
        array.reshape(mask_shape(header, spatial_dims)), False, stored.palette, header.mode, nodata=nodata
    )


def read_mask(
    path: str | Path, classes: Sequence[ClassInfo] | None = None, *, ignore_index: int | None = 255
) -> npt.NDArray[Any]:
    """A mask as an integer array ``(*S)``.

    Args:
        path: index png, palette png, colour png (with ``classes``), tif, npy, nii or nii.gz.
        classes: the classes with their colours; then every pixel must be one of them or ``ignore_index``. Without,
            the numbers of the file are returned as they are.
        ignore_index: the value of pixels that do not count, None where there are none.

    Raises:
        DataError: the file is damaged, a JPEG, or holds something else than these classes.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mask.npy"
        >>> np.save(file, np.array([[0, 1], [300, 2]], dtype=np.uint16))
        >>> read_mask(file).tolist()
        [[0, 1], [300, 2]]
    """
    mask = read_stored_mask(path)
    if classes is not None:
        ignored = () if ignore_index is None else (ignore_index,)
        palette = Palette.from_classes(classes, ignore_index=ignore_index)
        numbers = {entry.index: entry.index for entry in classes}
        return LabelCoding(numbers, ignored, ignore_index, palette).decode(mask, Path(path))
    if mask.is_color:
        colors = mask.array
        if (colors == colors[..., :1]).all():
            return np.ascontiguousarray(colors[..., 0])
        raise DataError(
            f"class numbers in {path}", "colours", "Pass the classes with their colours (classes.json) to read them."
        )
    return mask.array


def read_weight(path: str | Path, spatial_shape: Sequence[int]) -> FloatArray:
    """Pixel weights as ``float32 (*S)``, as stored.

    Raises:
        DataError: the file is damaged, of another size, or holds negative, NaN or infinite weights.
    """
    file = Path(path)
    size = tuple(int(value) for value in spatial_shape)
    image = read_image(file, spatial_shape=size)
    if image.shape[0] != 1:
        raise DataError(f"one weight a pixel in {file}", f"{image.shape[0]} channels", "Save weights as one channel.")
    if not np.isfinite(image).all() or (image < 0).any():
        raise DataError(
            f"finite weights of at least 0 in {file}",
            "NaN or infinite values" if not np.isfinite(image).all() else f"{float(image.min()):g}",
            "Correct them; weight 0 leaves a pixel out.",
        )
    weight: FloatArray = image[0]
    return weight
