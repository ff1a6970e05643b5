"""Makes ``trained_logits.npz``: logits as of a trained network, for tests of precision.

    python -m tests.native.make_trained_logits

A small U-shaped network learns, for a few hundred steps of cross-entropy, to tell discs, squares, stripes and crosses of
unequal frequency from their background in noisy pictures. What is saved are the logits of pictures it has not seen, in
float16, and their labels: confident inside the regions, torn at the borders, wrong here and there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLACE = Path(__file__).with_name("trained_logits.npz")
CLASSES, SIDE = 5, 72


def pictures(count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy pictures (N, 3, H, W) and labels (N, H, W): 0 background, 1 disc, 2 square, 3 stripe, 4 cross."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    labels = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    colours = torch.randn(CLASSES, 3, generator=torch.Generator().manual_seed(1)) * 0.6
    for n in range(count):
        for _ in range(7):
            kind = 1 + int(torch.multinomial(torch.tensor([0.5, 0.3, 0.15, 0.05]), 1, generator=random))
            a, b, r = (int(v) for v in torch.randint(4, SIDE - 4, (3,), generator=random))
            r = 3 + r % 9
            dy, dx = (y - a).abs(), (x - b).abs()
            shape = {
                1: dy**2 + dx**2 <= r**2,
                2: torch.maximum(dy, dx) <= r,
                3: (dy <= 2) & (dx <= 3 * r),
                4: (torch.minimum(dy, dx) <= 1) & (torch.maximum(dy, dx) <= r),
            }[kind]
            labels[n][shape] = kind
    clean = colours[labels].movedim(-1, 1)
    return F.avg_pool2d(clean, 3, 1, 1) + 0.5 * torch.randn(clean.shape, generator=random), labels


class Network(nn.Module):
    """Two resolutions, one skip connection."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.GroupNorm(4, outputs),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1),
                nn.ReLU(),
            )

        self.fine, self.coarse, self.last = block(3, 16), block(16, 32), block(48, 16)
        self.head = nn.Conv2d(16, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        coarse = F.interpolate(self.coarse(F.max_pool2d(fine, 2)), scale_factor=2.0, mode="nearest")
        logits: Tensor = self.head(self.last(torch.cat((fine, coarse), 1)))
        return logits


def main() -> None:
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for step in range(250):
        images, labels = pictures(4, random)
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(step, float(loss.detach()))
    images, labels = pictures(3, torch.Generator().manual_seed(99))
    with torch.no_grad():
        logits = network.eval()(images)
    print("right", float((logits.argmax(1) == labels).double().mean()), "largest", float(logits.abs().max()))
    np.savez_compressed(PLACE, logits=logits.half().numpy(), labels=labels.to(torch.uint8).numpy())
    print(PLACE.name, PLACE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
