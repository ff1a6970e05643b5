"""Makes data folders, networks and loaders for the tests of the comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

COLORS = np.array([[60, 60, 200], [60, 180, 60], [200, 80, 60]])
SPLITS = {"train": range(6), "val": range(6, 9), "test": range(9, 12)}


def make_mask(generator: np.random.Generator, height: int = 40, width: int = 48) -> np.ndarray:
    """Background with a rectangle and a disc."""
    mask = np.zeros((height, width), dtype=np.uint8)
    top, left = generator.integers(2, 12, 2)
    mask[top : top + 14, left : left + 18] = 1
    rows, columns = np.mgrid[:height, :width]
    center = generator.integers(24, 34, 2)
    mask[(rows - center[0]) ** 2 + (columns - center[1]) ** 2 < 49] = 2
    return mask


def write_folder(root: Path, number: int = 12, classes: int = 3) -> Path:
    """A data folder with splits and classes.json."""
    generator = np.random.default_rng(3)
    for name in ("images", "masks", "splits"):
        (root / name).mkdir(parents=True)
    for index in range(number):
        mask = np.minimum(make_mask(generator), classes - 1)
        image = np.clip(COLORS[mask] + generator.normal(0, 25, (*mask.shape, 3)), 0, 255).astype(np.uint8)
        if classes > 2:
            mask[:2, :5] = 255
        Image.fromarray(image).save(root / "images" / f"{index:02d}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index:02d}.png")
    for split, numbers in SPLITS.items():
        (root / "splits" / f"{split}.txt").write_text("".join(f"{index:02d}\n" for index in numbers))
    names = ["ground", "house", "tree"][:classes]
    entries = [{"index": index, "name": name} for index, name in enumerate(names)]
    ignore = 255 if classes > 2 else None
    (root / "classes.json").write_text(json.dumps({"num_classes": classes, "ignore_index": ignore, "classes": entries}))
    return root


def tiny(in_channels: int = 3, num_classes: int = 3, spatial_dims: int = 2) -> nn.Module:
    """A network of two layers, with dropout, so that random numbers inside the network matter."""
    convolution, dropout = (nn.Conv2d, nn.Dropout2d) if spatial_dims == 2 else (nn.Conv3d, nn.Dropout3d)
    return nn.Sequential(
        convolution(in_channels, 8, 3, padding=1), nn.ReLU(), dropout(0.1), convolution(8, num_classes, 1)
    )


class Arrays(torch.utils.data.Dataset[Any]):
    """Images of the test folder's kind as tensors, in any target form."""

    def __init__(self, number: int, seed: int, form: str = "labels", global_noise: bool = False) -> None:
        generator = np.random.default_rng(seed)
        self.items = []
        self.form = form
        self.global_noise = global_noise
        for _ in range(number):
            mask = make_mask(generator)
            image = (COLORS[mask].transpose(2, 0, 1) / 128 - 1 + generator.normal(0, 0.1, (3, *mask.shape))).astype(
                np.float32
            )
            self.items.append((torch.from_numpy(image), torch.from_numpy(mask.astype(np.int64))))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        image, mask = self.items[index]
        if self.global_noise:
            image = image + 0.1 * torch.randn_like(image)
        if self.form == "dictionary":
            return {"image": image, "mask": mask, "id": f"img {index}"}
        if self.form == "multilabel":
            return image, torch.stack([mask == 1, mask == 2]).float()
        if self.form == "binary":
            return image, (mask > 0).long()
        return image, mask


def loaders(form: str = "labels", **options: Any) -> dict[str, Any]:
    """Training, validation and test loaders."""
    loader = torch.utils.data.DataLoader
    return {
        "train": loader(Arrays(12, 0, form, **options), batch_size=4, shuffle=True),
        "val": loader(Arrays(4, 1, form), batch_size=2),
        "test": loader(Arrays(5, 2, form), batch_size=2),
    }
