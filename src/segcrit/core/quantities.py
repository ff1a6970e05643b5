"""What data are called in sentences: images have pixels, volumes have voxels."""

from __future__ import annotations

import re

__all__ = ["worded"]

_VOLUMES = {"image": "volume", "images": "volumes", "pixel": "voxel", "pixels": "voxels"}
# What stands in quotation marks or backticks is a name or code. A word that is part of a path, a file's name, an
# identifier or a keyword argument is a name, too; "per-image" is no such.
_QUOTED = r"`[^`]*`|“[^”]*”|\"[^\"]*\""
_WORD = r"(?<![\w./\\-])(?P<article>[Aa]n )?(?P<per>[Pp]er-)?(?P<word>[Ii]mages?|[Pp]ixels?)(?![\w/\\=-]|\.\w)"
_PATTERN = re.compile(f"{_QUOTED}|{_WORD}")


def worded(text: str, spatial_dims: int) -> str:
    """The sentence in the words for data of this many spatial dimensions; sentences are written for images.

    Example:
        >>> worded("An image of 3 pixels in images/, per-image Dice, `dice(per_image=True)`", 3)
        'A volume of 3 voxels in images/, per-volume Dice, `dice(per_image=True)`'
        >>> worded("2 images", 2)
        '2 images'
    """
    return _PATTERN.sub(_volume, text) if spatial_dims == 3 else text


def _volume(match: re.Match[str]) -> str:
    word = match["word"]
    if word is None:
        return match[0]
    noun = _VOLUMES[word.lower()]
    noun = noun.capitalize() if word[0].isupper() else noun
    article = (match["article"] or "").replace("n ", " ")
    return f"{article}{match['per'] or ''}{noun}"
