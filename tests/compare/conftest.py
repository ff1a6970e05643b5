"""Small data that a network of a few weights learns in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.compare.making import write_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve colour images of 40 x 48 with three classes that differ in colour, and some ignored pixels."""
    return write_folder(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def scribbles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a folder of scribbles, in which one pixel in twenty is labelled."""
    root = write_folder(tmp_path_factory.mktemp("data") / "scribbled")
    generator = np.random.default_rng(5)
    (root / "scribbles").mkdir()
    for path in sorted((root / "masks").iterdir()):
        mask = np.array(Image.open(path))
        mask[generator.random(mask.shape) > 0.05] = 255
        Image.fromarray(mask).save(root / "scribbles" / path.name)
    return root


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six volumes of 20 x 36 x 34 in NIfTI, two classes."""
    nibabel = pytest.importorskip("nibabel")
    root = tmp_path_factory.mktemp("data") / "volumes"
    generator = np.random.default_rng(9)
    affine = np.diag([1.0, 1.0, 2.5, 1.0])
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((20, 36, 34), dtype=np.uint8)
        mask[4:14, 8 : 20 + number, 6:24] = 1
        image = generator.normal(100 * mask, 20).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, affine), root / "images" / f"case{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, affine), root / "masks" / f"case{number}.nii.gz")
    (root / "classes.json").write_text(
        json.dumps(
            {
                "num_classes": 2,
                "ignore_index": None,
                "classes": [{"index": 0, "name": "air"}, {"index": 1, "name": "box"}],
            }
        )
    )
    return root
