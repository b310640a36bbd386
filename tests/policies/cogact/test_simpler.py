"""CogACT in SIMPLER's loop: ensemble, units and gripper of the robots, with a stand-in model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2act.core.errors import ConfigError
from sam2act.policies.cogact import AdaptiveEnsembler, CogACTInference
from tests.golden_files import GoldenFile, golden

PICTURE = np.full((48, 64, 3), 7, np.uint8)


class StandIn:
    """Gives chunks whose openings were written down, and keeps what it was asked."""

    def __init__(self, openings: list[float]) -> None:
        self.openings, self.asked = openings, []  # type: ignore[var-annotated]

    def __call__(self, path: str, **options: Any) -> StandIn:
        self.options = {"path": path, **options}
        return self

    def to(self, device: str) -> StandIn:
        return self

    def eval(self) -> StandIn:
        return self

    def predict_action(self, image: Image.Image, text: str, **keys: Any) -> Any:
        self.asked.append((image.size, text, keys))
        number = len(self.asked) - 1
        action = [0.1 * number, 0, 1, 0.3, -0.2, 0.1 + number, self.openings[number]]
        chunk = np.tile(np.array(action), (16, 1))
        return chunk, np.sign(chunk)


def robot(openings: list[float], **keys: Any) -> tuple[CogACTInference, StandIn]:
    model = StandIn(openings)
    return CogACTInference("run.pt", loader=model, device="cpu", **keys), model


def grips(openings: list[float], setup: str) -> list[float]:
    policy, _ = robot(openings, policy_setup=setup, action_ensemble=False)
    return [float(policy.step(PICTURE, "a")[1]["gripper"][0]) for _ in openings]


@golden("related_dit_action.npz")
@pytest.mark.parametrize("horizon", [7, 2])
def test_the_ensemble_is_the_published_one(golden_file: GoldenFile, horizon: int) -> None:
    arrays = golden_file.arrays()
    ensembler = AdaptiveEnsembler(horizon, 0.1)
    for _ in range(2):  # the second time after a reset
        actions = [ensembler.ensemble_action(chunk) for chunk in arrays["ensemble_preds"]]
        np.testing.assert_allclose(actions, arrays[f"ensemble_h{horizon}_a0.1"], atol=1e-12)
        ensembler.reset()


@golden("related_dit_action.npz")
def test_single_actions_count_as_they_are(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    ensembler = AdaptiveEnsembler(7, 0.1)
    actions = [ensembler.ensemble_action(action) for action in arrays["ensemble_preds"][:, 0]]
    np.testing.assert_allclose(actions, arrays["ensemble_1d_h7_a0.1"], atol=1e-12)


def test_similarity_may_be_measured_elsewhere() -> None:
    ensembler = AdaptiveEnsembler(2, adaptive_ensemble_alpha=50.0)
    first, second = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    ensembler.ensemble_action(first, np.ones((2, 2)))
    np.testing.assert_allclose(ensembler.ensemble_action(second, np.ones((2, 2))), [0.5, 0.5])
    ensembler.reset()
    ensembler.ensemble_action(first)
    np.testing.assert_allclose(ensembler.ensemble_action(second), [1, 0], atol=1e-12)


def test_the_model_is_asked_with_published_settings() -> None:
    policy, model = robot([1.0, 1.0], policy_setup="google_robot", cfg_scale=2.0)
    policy.step(PICTURE, "open the drawer")
    policy.step(PICTURE)
    assert model.options["path"] == "run.pt" and model.options["action_model_type"] == "DiT-B"
    size, text, keys = model.asked[1]
    assert (size, text) == ((224, 224), "open the drawer")
    assert keys == {
        "unnorm_key": "fractal20220817_data",
        "cfg_scale": 2.0,
        "use_ddim": True,
        "num_ddim_steps": 10,
    }
    assert policy.ensembler is not None and policy.ensembler.pred_action_horizon == 2
    other, _ = robot([])
    assert other.unnorm_key == "bridge_orig" and other.ensembler is not None
    assert other.ensembler.pred_action_horizon == 7


def test_rotations_become_axis_and_angle_and_are_scaled() -> None:
    policy, _ = robot([1.0], action_scale=0.5)
    raw, action = policy.step(PICTURE, "a")
    np.testing.assert_allclose(raw["rotation_delta"], [0.3, -0.2, 0.1])
    np.testing.assert_allclose(action["world_vector"], raw["world_vector"] * 0.5)
    roll, pitch, yaw = (_turn(axis, angle) for axis, angle in enumerate((0.3, -0.2, 0.1)))
    whole = yaw @ pitch @ roll  # about fixed axes
    angle = np.arccos((np.trace(whole) - 1) / 2)
    axis = np.array(
        [whole[2, 1] - whole[1, 2], whole[0, 2] - whole[2, 0], whole[1, 0] - whole[0, 1]]
    )
    expected = axis / (2 * np.sin(angle)) * angle * 0.5
    np.testing.assert_allclose(action["rot_axangle"], expected, atol=1e-12)
    assert action["terminate_episode"].tolist() == [0]


def _turn(axis: int, angle: float) -> np.ndarray:
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def test_the_gripper_of_widowx_is_open_or_closed() -> None:
    assert grips([0.4, 0.5, 0.51, 1.0], "widowx_bridge") == [-1, -1, 1, 1]


def test_a_change_of_the_google_gripper_is_repeated_for_ten_steps() -> None:
    openings = [1.0, 0.8, 0.0, *[1.0] * 9, 1.0, *[1.0] * 10]
    found = grips(openings, "google_robot")
    assert found[0] == 0 and found[1] == pytest.approx(0.2)
    assert found[2:12] == [1.0] * 10  # the change at step 2, whatever comes meanwhile
    assert found[12:22] == [-1.0] * 10  # compared with the opening that step 2 left
    assert found[22] == 0


def test_another_instruction_starts_anew() -> None:
    policy, model = robot([1.0, 0.0, 0.0], policy_setup="google_robot")
    policy.step(PICTURE, "a")
    raw, action = policy.step(PICTURE, "b")
    assert action["gripper"].tolist() == [0] and raw["open_gripper"].tolist() == [0]
    assert raw["world_vector"][0] == pytest.approx(0.1), "nothing of the first chunk"
    _, action = policy.step(PICTURE, "b")
    assert [text for _, text, _ in model.asked] == ["a", "b", "b"]


def test_the_space_of_the_ensemble_changes_its_weights() -> None:
    moves = {}
    for space in ("raw", "normalised"):
        policy, _ = robot([0.0, 1.0], ensemble_space=space, adaptive_ensemble_alpha=2.0)
        policy.step(PICTURE, "a")
        moves[space] = policy.step(PICTURE)[0]["world_vector"][0]
    assert 0 < moves["raw"] < 0.1 and 0 < moves["normalised"] < 0.1
    assert moves["raw"] != moves["normalised"]


def test_bad_settings_and_pictures() -> None:
    with pytest.raises(ConfigError, match="policy_setup: 'panda' is not one of 'widowx_bridge'"):
        robot([], policy_setup="panda")
    with pytest.raises(ConfigError, match="ensemble_space: 'metres'"):
        robot([], ensemble_space="metres")
    with pytest.raises(ConfigError, match="pred_action_horizon: 0"):
        AdaptiveEnsembler(0)
    policy, _ = robot([1.0])
    with pytest.raises(ConfigError, match=r"expected \(height, width, 3\) uint8, got \(48, 64\)"):
        policy.step(PICTURE[..., 0], "a")
