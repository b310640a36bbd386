"""Targets, similarity, points and losses of SAM-G against stored outputs."""

from __future__ import annotations

import numpy as np
import torch

from sam2act.processing.sam_g.correspondence import (
    greatest,
    least,
    point_target,
    pooled_target,
    similarity,
)
from sam2act.processing.sam_g.mask_losses import dice_loss, focal_loss
from tests.golden_files import GoldenFile, golden

FILE = "related_samg_points.npz"
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def tensors(file: GoldenFile) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in file.arrays().items()}


@golden(FILE)
def test_targets_are_the_published_ones(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    for number in (1, 2):
        target = pooled_target(stored[f"ref{number}"], stored["mask"] > 0)
        torch.testing.assert_close(target[None], stored[f"target{number}"], **TOLERANCE)


@golden(FILE)
def test_similarity_is_the_published_one(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    expected = stored["sim_combined"]
    maps = [similarity(stored[f"target{n}"][0], stored[f"obs{n}"], expected.shape) for n in (1, 2)]
    torch.testing.assert_close((maps[0] + maps[1]) / 2, expected, **TOLERANCE)


@golden(FILE)
def test_points_are_the_published_ones(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    combined = stored["sim_combined"]
    assert greatest(combined).equal(stored["pos_xy"])
    best = stored["pos_xy_top3"]
    assert greatest(combined, len(best)).equal(best)
    assert least(combined).equal(stored["neg_xy"])
    assert least(combined, stored["box"]).equal(stored["neg_xy_box"])
    x, y = stored["box"][:2]
    assert least(combined, torch.stack([x, y, x, y])).equal(stored["neg_xy_empty_box"])


@golden(FILE)
def test_points_of_a_map_that_is_not_square(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    assert greatest(stored["rect_map"]).equal(stored["rect_pos_xy"])
    assert least(stored["rect_map"]).equal(stored["rect_neg_xy"])
    assert least(stored["rect_map"], stored["rect_box"]).equal(stored["rect_neg_xy_box"])


@golden(FILE)
def test_feature_at_a_point_is_the_published_one(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    image = stored["sim_combined"].shape  # whose pixels the point is given in
    part = point_target(stored["ref1"], stored["part_point_xy"].tolist(), image)
    torch.testing.assert_close(part, stored["part_feature"], **TOLERANCE)


@golden(FILE)
def test_losses_are_the_published_ones(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    torch.testing.assert_close(dice_loss(stored["logits"], stored["gt"]), stored["dice"])
    torch.testing.assert_close(focal_loss(stored["logits"], stored["gt"]), stored["focal"])
