"""Pictures of a coloured square on a grey ground, and a segmenter that grows discs."""

from __future__ import annotations

import torch
from torch import Tensor

from sam2act.processing.sam_g.interfaces import Prompt, Proposals, View
from sam2act.processing.sam_g.target import ReferenceImage

SIDE = 48
RED, GREEN = (200, 40, 30), (40, 180, 60)


def square_scene(
    x: int, y: int, size: int = 12, *, ground: int = 120, other: tuple[int, int] | None = None
) -> tuple[View, Tensor]:
    """A red square with its corner at (x, y), perhaps a green one, on a slanted table; its mask."""
    rgb = torch.full((SIDE, SIDE, 3), ground, dtype=torch.uint8)
    rows = torch.arange(SIDE)[:, None].expand(SIDE, SIDE)
    depth = 1.5 / (1 + 0.004 * rows.float())
    objects = torch.ones(SIDE, SIDE, dtype=torch.int64)
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[y : y + size, x : x + size] = True
    placed = [(mask, RED, 7)]
    if other is not None:
        place = torch.zeros_like(mask)
        place[other[1] : other[1] + size, other[0] : other[0] + size] = True
        placed.append((place, GREEN, 8))
    for where, color, number in placed:
        rgb[where] = torch.tensor(color, dtype=torch.uint8)
        depth[where] *= 0.96
        objects[where] = number
    return View(rgb, depth, objects), mask


def reference(points: tuple[tuple[float, float], ...] = ()) -> ReferenceImage:
    view, mask = square_scene(8, 10)
    return ReferenceImage(view, mask, points=points)


class Discs:
    """Three discs around the first point, cut to the box; remembers its prompts.

    The second disc is the best. With earlier logits it adds what these show.
    """

    radii = (4.0, 7.0, 30.0)

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def look(self, view: View) -> None:
        self._side = view.side

    def propose(self, prompt: Prompt) -> Proposals:
        self.prompts.append(prompt)
        rows, columns = torch.meshgrid(*map(torch.arange, self._side), indexing="ij")
        x, y = prompt.points[0]
        distance = ((rows - y) ** 2 + (columns - x) ** 2).float().sqrt()
        logits = torch.stack([radius - distance for radius in self.radii])
        return Proposals(logits, torch.tensor([0.2, 0.9, 0.4]), logits[:, ::2, ::2])

    def describe(self, view: View, mask: Tensor) -> Tensor:
        return torch.zeros(0)


def overlap(one: Tensor, other: Tensor) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())
