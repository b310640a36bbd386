"""What a perfect network would predict: true poses through the policy's own decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sam2act.config.experiment import ExperimentConfig
from sam2act.geometry.rotations import (
    bins_from_quaternion,
    canonical_quaternion,
    quaternion_from_bins,
)
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.policies.multiview.targets import position_heatmaps
from sam2act.policies.multiview.two_stage import from_zoom, to_zoom
from sam2act.rendering.grid_argmax import grid_argmax


class QuantisedDecoder:
    """Turns true poses into the actions that perfect heat maps and scores would give.

    Every branch gets its target heat map as prediction: the arg-max over the coarse grid centres
    the zoom, the arg-max over the fine grid is the position; without a zoom, that over the coarse
    grid is. Rotations go to their bins and back.
    """

    def __init__(self, experiment: ExperimentConfig, network: MultiviewConfig) -> None:
        self._bounds = SceneBounds.from_sequence(experiment.scene_bounds)
        self._sigma = experiment.rvt.gt_hm_sigma
        self._size, self._zoom = network.img_size, network.zoom
        self._bins = network.num_rot
        self._views, self._shift = network.views, network.pixel_shift
        # What its results depend on, for people.
        self.identity: dict[str, Any] = {"img_size": network.img_size}
        self.identity |= {} if network.zoom is None else {"st_sca": network.zoom}
        self.identity |= {"num_rot": network.num_rot}

    @torch.no_grad()
    def actions(
        self, poses: np.ndarray, gripper_open: np.ndarray, ignore_collisions: np.ndarray
    ) -> np.ndarray:
        """Decoded actions (K, 9) of K keyframes.

        Args:
            poses: (K, 7) metres and xyzw, world frame.
            gripper_open: (K,) 1 = open.
            ignore_collisions: (K,) 1 = ignore.
        """
        pose = torch.from_numpy(np.asarray(poses)).float()
        frame = self._bounds.cube_frame(len(pose), pose[:, None, :3])
        position = frame.to_cube(pose[:, :3])
        peak = self._peak(position)
        if self._zoom is not None:
            in_zoom = self._peak(to_zoom(position, peak, self._zoom))
            peak = from_zoom(in_zoom, peak, self._zoom)
        decoded = frame.to_world(peak)
        bins = bins_from_quaternion(canonical_quaternion(pose[:, 3:]), self._bins)
        quaternion = quaternion_from_bins(bins, self._bins)
        parts = (decoded.numpy(), quaternion.numpy(), gripper_open, ignore_collisions)
        return np.column_stack([np.asarray(part, np.float64) for part in parts])

    def _peak(self, position: torch.Tensor) -> torch.Tensor:
        maps = position_heatmaps(
            *(position, self._views, self._size, self._sigma),
            half_projection=False,
            shift=self._shift,
        )
        return grid_argmax(maps, self._views, shift=self._shift).point
