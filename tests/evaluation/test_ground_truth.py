"""Keyframes of demos through the decoding of a policy, found by the name of the policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2act.config.load import load_experiment, load_network
from sam2act.evaluation.options import EvaluationOptions, OptionError
from sam2act.evaluation.run import find_targets
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from sam2act.runtime.distributed import distributed_context


def test_the_policy_decodes_and_is_identified_by_its_grids(tmp_path: Path) -> None:
    options = EvaluationOptions(tmp_path, ground_truth=True, mvt_cfg_path="configs/mvt/tiny.yaml")
    with distributed_context("cpu") as world:
        (target,) = find_targets(options, world)
    actor, identity = target.load()
    assert identity["name"] == target.stem == "ground_truth"
    assert set(identity) == {"name", "img_size", "st_sca", "num_rot", "config"}
    assert actor.spec.camera_specs == () and actor.spec.action.mode == "keyframe_pose"
    decoder = SAM2ActPolicy.ground_truth(load_experiment(), load_network("configs/mvt/tiny.yaml"))
    pose = np.array([[0.2, 0.1, 1.0, 0.0, 1.0, 0.0, 0.0]])
    (action,) = decoder.actions(pose, np.ones(1), np.zeros(1))
    assert np.abs(action[:3] - pose[0, :3]).max() < 0.02 and action[7:].tolist() == [1.0, 0.0]


def test_a_policy_that_offers_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAM2ActPolicy, "ground_truth", classmethod(lambda *_: None))
    options = EvaluationOptions(tmp_path, ground_truth=True, mvt_cfg_path="configs/mvt/tiny.yaml")
    with (
        distributed_context("cpu") as world,
        pytest.raises(OptionError, match="--ground-truth: policy sam2act has no decoding"),
    ):
        find_targets(options, world)
