"""From the network's scores to the action that is executed, against stored values."""

from __future__ import annotations

import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.multiview.branch import BranchOutput
from sam2act.policies.multiview.heads import ActionLogits
from sam2act.policies.multiview.network import Cloud
from sam2act.policies.multiview.prediction import decoded
from sam2act.policies.multiview.two_stage import TwoStageOutput
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from tests.golden_files import GoldenFile, golden


@pytest.fixture(scope="module")
def policy() -> SAM2ActPolicy:
    network = load_network("configs/mvt/tiny.yaml", "depth 2")
    return build_policy(load_experiment("configs/tiny.yaml"), network).policy


def scores(best: torch.Tensor, count: int) -> torch.Tensor:
    """(..., count) random scores whose highest is that of `best`."""
    random = torch.rand(*best.shape, count, generator=torch.Generator().manual_seed(0))
    return random.scatter(-1, best[..., None], 2.0)


@golden("data_open_drawer.json")
def test_scores_become_the_published_action(golden_file: GoldenFile, policy: SAM2ActPolicy) -> None:
    """Arg-max bins x, y, z -> quaternion xyzw, then gripper and collision flag, in this order."""
    stored = golden_file.json()
    cases, cube = stored["rotation_codec"], stored["place_pc_in_cube"]["modes"]["bounds"]
    count = len(cases)
    bins = torch.tensor([case["bins_gimbal_fix"] for case in cases])
    gripper, ignore = torch.arange(count) % 2, torch.arange(count) // 2 % 2
    action = ActionLogits(scores(bins, policy.settings.bins), scores(gripper, 2), scores(ignore, 2))
    waypoint = torch.tensor([cube["wpt_local"]]).expand(count, 3)
    empty = torch.empty(0)
    coarse, fine = BranchOutput(empty, None), BranchOutput(empty, action)
    output = TwoStageOutput(coarse, fine, empty, waypoint, empty, empty)
    bounds = SceneBounds.from_sequence(stored["constants"]["scene_bounds"])
    frame = bounds.cube_frame(count, torch.zeros(count, 1, 3))
    cloud = Cloud(
        torch.zeros(count, 1, 3), torch.zeros(count, 1, 3), torch.arange(count)[:, None] > 0
    )
    chunk = decoded(output, frame, cloud, policy.settings)
    assert chunk.valid[:, 0].tolist() == [row > 0 for row in range(count)]
    values = chunk.values[:, 0].double()
    assert values.shape == (count, 9)
    expected = torch.tensor([cube["rev_of_local"]], dtype=torch.float64).expand(count, 3)
    torch.testing.assert_close(values[:, :3], expected, rtol=0, atol=1e-6)
    rotation = torch.tensor([c["decoded_quat_xyzw"] for c in cases], dtype=torch.float64)
    aligned = rotation * (rotation * values[:, 3:7]).sum(-1, keepdim=True).sign()
    torch.testing.assert_close(values[:, 3:7], aligned, rtol=0, atol=1e-6)
    assert torch.equal(values[:, 7].long(), gripper) and torch.equal(values[:, 8].long(), ignore)
