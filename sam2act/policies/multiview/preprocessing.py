"""Camera images -> coloured cloud in the unit cube, the same in training and at inference.

Legend: B batch, K camera, N = K * H * W points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.core.types import Observation
from sam2act.geometry.cameras import unproject
from sam2act.geometry.scene_bounds import CubeFrame, SceneBounds, cube_frame_of_cloud
from sam2act.geometry.subsampling import stratified_subset
from sam2act.policies.multiview.network import Cloud


@dataclass(frozen=True)
class WorldCloud:
    """Coloured points of all cameras, in the order camera, row, column."""

    points: Tensor  # (B, N, 3) metres, world frame, float32
    rgb: Tensor  # (B, N, 3) in [0, 1]


def world_cloud(observation: Observation) -> WorldCloud:
    """Unproject all cameras of an observation."""
    points = unproject(*observation.geometry)
    # Two roundings, as the published code maps to [-1, 1] and back.
    rgb = ((observation.rgb.float() / 255 * 2 - 1) + 1) / 2
    return WorldCloud(points.flatten(1, 3), rgb.flatten(1, 3))


def place_in_cube(
    cloud: WorldCloud,
    bounds: SceneBounds,
    *,
    crop: bool,
    center_on_cloud: bool,
    subset: int = 0,
    subset_seed: Tensor | None = None,
) -> tuple[Cloud, CubeFrame]:
    """Crop to the bounds and map to the unit cube.

    Args:
        cloud: points in the world frame.
        bounds: the workspace.
        crop: mark points outside the bounds invalid (`rvt.move_pc_in_bound`).
        center_on_cloud: centre and scale from the cloud's own extent (`rvt.place_with_mean`)
            instead of the bounds.
        subset: points to keep per sample; 0 = all.
        subset_seed: (B,) int64 seeds of the subset; zeros if omitted.

    Returns:
        the cloud and the frame that maps positions between world and cube.
    """
    points, rgb = cloud.points, cloud.rgb
    valid = bounds.contains(points) if crop else points.isfinite().all(-1)
    if center_on_cloud:
        frame = cube_frame_of_cloud(points, valid)
    else:
        frame = bounds.cube_frame(len(points), points)
    if subset:
        if subset_seed is None:
            subset_seed = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        index = stratified_subset(valid, subset, subset_seed)
        valid = valid.gather(1, index)
        index = index[..., None].expand(-1, -1, 3)
        points, rgb = points.gather(1, index), rgb.gather(1, index)
    return Cloud(frame.to_cube(points), rgb, valid), frame
