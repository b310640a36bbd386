"""Heat-map targets and losses against stored values."""

from __future__ import annotations

import pytest
import torch

from sam2act.policies.multiview.heads import ActionLogits
from sam2act.policies.multiview.losses import action_losses, heatmap_cross_entropy
from sam2act.rendering.heatmaps import gaussian_heatmaps
from tests.golden_files import GoldenFile, golden

TOLERANCE = 1e-5
SIGMA = 1.5  # published gt_hm_sigma, of which the arrays were made


@golden("data_open_drawer.json")
def test_losses_equal_the_published_ones(golden_file: GoldenFile) -> None:
    stored = golden_file.json()["loss"]
    arrays = golden_file.sibling(golden_file.path.stem + ".npz").arrays()
    logits = torch.as_tensor(arrays["loss_trans_logits"])
    batch, views, size = logits.shape[:3]
    pixels = torch.as_tensor(arrays["loss_pts_xy"]).view(batch, views, 2)
    target = gaussian_heatmaps(pixels, size, SIGMA)
    terms = action_losses(
        ActionLogits(
            torch.as_tensor(arrays["loss_rot_logits"]).unflatten(1, (3, -1)),
            torch.as_tensor(arrays["loss_grip_logits"]),
            torch.as_tensor(arrays["loss_coll_logits"]),
        ),
        torch.as_tensor(stored["rot_targets"]),
        torch.as_tensor(stored["grip_targets"]),
        torch.as_tensor(stored["collision_targets"]),
    )
    terms["trans_loss"] = heatmap_cross_entropy(logits, target).mean()
    terms["total_loss"] = sum(terms.values())
    assert terms.keys() == stored["values"].keys()
    for name, value in stored["values"].items():
        assert float(terms[name]) == pytest.approx(value, abs=TOLERANCE), name


@golden("data_open_drawer.json")
def test_loss_of_single_images_equals_the_published_one(golden_file: GoldenFile) -> None:
    stored = golden_file.json()["loss"]["per_image_trans_ce"]
    arrays = golden_file.sibling(golden_file.path.stem + ".npz").arrays()
    logits = torch.as_tensor(arrays["loss_trans_logits"])
    pixels = torch.as_tensor(arrays["loss_pts_xy"]).view(*logits.shape[:2], 2)
    target = gaussian_heatmaps(pixels, logits.shape[2], SIGMA)
    for values, expected in zip(heatmap_cross_entropy(logits, target), stored, strict=True):
        assert values.tolist() == pytest.approx(expected, abs=TOLERANCE)
