"""Geometry against stored values of the published data path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2act.geometry import rotations
from sam2act.geometry.augmentation import AugmentationNoise, apply_se3
from sam2act.geometry.scene_bounds import CubeFrame, SceneBounds
from tests.golden_files import GoldenFile, golden

TRANSLATION_RANGE = (0.125,) * 3  # the ranges that belong to this form of file
ROTATION_RANGE = (0.0, 0.0, 45.0)


@golden("data_open_drawer.json")
def test_rotation_codec(golden_file: GoldenFile) -> None:
    stored = golden_file.json()
    num_bins = 360 // stored["constants"]["rotation_resolution"]
    cases = stored["rotation_codec"]
    quaternion, canonical, decoded, bins, bins_plain, angle = (
        torch.tensor([case[key] for case in cases], dtype=torch.float64)
        for key in (
            "quat_xyzw",
            "canonical",
            "decoded_quat_xyzw",
            "bins_gimbal_fix",
            "bins_no_fix",
            "angle_error_deg",
        )
    )
    torch.testing.assert_close(
        rotations.canonical_quaternion(quaternion), canonical, rtol=0, atol=1e-12
    )
    found = rotations.bins_from_quaternion(canonical, num_bins)
    assert torch.equal(found, bins.long())
    plain = rotations.bins_from_quaternion(canonical, num_bins, gimbal=False)
    assert torch.equal(plain, bins_plain.long())
    own = rotations.quaternion_from_bins(found, num_bins)
    aligned = decoded * (decoded * own).sum(-1, keepdim=True).sign()
    torch.testing.assert_close(own, aligned, rtol=0, atol=1e-12)
    torch.testing.assert_close(rotations.geodesic_angle(own, quaternion), angle, rtol=0, atol=1e-6)


@golden("data_open_drawer.json")
def test_se3_augmentation(golden_file: GoldenFile) -> None:
    stored = golden_file.json()
    arrays = golden_file.sibling(golden_file.path.stem + ".npz").arrays()
    bounds = SceneBounds.from_sequence(stored["constants"]["scene_bounds"])
    assert stored["se3_aug"]
    for case in stored["se3_aug"]:
        data = {
            name.removeprefix(f"aug_{case}_"): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith(f"aug_{case}_")
        }
        angles = [data[f"draw_{axis}_u"] for axis in ("roll", "pitch", "yaw")]
        draws = AugmentationNoise(data["draw_trans_u"], torch.cat(angles, dim=1))
        points, pose = apply_se3(
            data["in_pcd"],
            data["in_gripper_pose"],
            draws,
            bounds,
            TRANSLATION_RANGE,
            ROTATION_RANGE,
        )
        torch.testing.assert_close(points, data["out_pcd"], rtol=0, atol=1e-5)
        torch.testing.assert_close(pose[:, :3], data["out_trans"], rtol=0, atol=1e-5)
        quaternion = data["out_quat_xyzw"]
        sign = (quaternion * pose[:, 3:]).sum(-1, keepdim=True).sign()
        torch.testing.assert_close(pose[:, 3:], quaternion * sign, rtol=0, atol=1e-5)


@golden("data_open_drawer.json")
@pytest.mark.parametrize("mode", ["bounds", "mean"])
def test_place_in_cube(golden_file: GoldenFile, mode: str) -> None:
    stored = golden_file.json()
    arrays = golden_file.sibling(golden_file.path.stem + ".npz").arrays()
    expected = stored["place_pc_in_cube"]["modes"][mode]
    points = torch.from_numpy(arrays["cube_in_points"])[None]
    if mode == "bounds":
        bounds = SceneBounds.from_sequence(stored["constants"]["scene_bounds"])
        assert bounds.contains(points).all()
        frame = bounds.cube_frame(1, points)
    else:  # the stored points are a part of the cloud that fixed this frame
        center = torch.tensor([expected["origin_maps_to"]])
        way_point = torch.tensor(expected["wpt_in"]), torch.tensor(expected["wpt_local"])
        scale = (way_point[1] / (way_point[0] - center[0]))[:1]
        frame = CubeFrame(center, scale)
    waypoint = torch.tensor([expected["wpt_in"]])
    local = frame.to_cube(waypoint)
    torch.testing.assert_close(
        frame.to_cube(points)[0], torch.from_numpy(arrays[f"cube_{mode}_out"]), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(local[0], expected["wpt_local"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        frame.to_world(local)[0], expected["rev_of_local"], rtol=0, atol=1e-6
    )
