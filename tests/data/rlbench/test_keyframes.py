"""The keyframe heuristic, against a literal transcription of its definition."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.data.rlbench.keyframes import find_keyframes


def _by_definition(velocities, gripper_open) -> list[int]:
    """The rules written out frame by frame, with Python's negative indexing."""
    last = len(gripper_open) - 1
    buffer, found = 0, []
    for i in range(len(gripper_open)):
        stopped = False
        if buffer <= 0 and np.allclose(velocities[i], 0, atol=0.1) and i < last - 1:
            stopped = (
                gripper_open[i] == gripper_open[i + 1]
                and gripper_open[i] == gripper_open[i - 1]
                and gripper_open[i - 2] == gripper_open[i - 1]
            )
        buffer = 4 if stopped else buffer - 1
        if i and (stopped or i == last or gripper_open[i] != gripper_open[i - 1]):
            found.append(i)
    if len(found) > 1 and found[-2] == found[-1] - 1:
        found.pop(-2)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_equals_definition_on_random_demos(seed: int) -> None:
    random = np.random.default_rng(seed)
    num_frames = int(random.integers(2, 60))
    velocities = random.choice(
        [0.0, 0.1, 0.1001, -0.1, 1.0], (num_frames, 7), p=[0.5, 0.2, 0, 0.2, 0.1]
    )
    velocities[random.random(num_frames) < 0.4] = 1.0
    gripper_open = (np.cumsum(random.random(num_frames) < 0.1) % 2).astype(float).tolist()
    assert find_keyframes(velocities, gripper_open) == _by_definition(velocities, gripper_open)


def test_speed_limit_is_inclusive() -> None:
    velocities = np.ones((20, 7))
    velocities[8] = 0.1
    assert find_keyframes(velocities, [1.0] * 20) == [8, 19]
    velocities[8, 3] = 0.1000001
    assert find_keyframes(velocities, [1.0] * 20) == [19]


def test_pause_after_a_stop_also_counts_frame_zero() -> None:
    velocities = np.ones((20, 7))
    velocities[:5] = 0.0  # frame 0 stops silently, so the next stop can be at frame 5
    assert find_keyframes(velocities, [1.0] * 20) == [19]
    velocities[5] = 0.0
    assert find_keyframes(velocities, [1.0] * 20) == [5, 19]


def test_keyframe_next_to_the_last_is_removed() -> None:
    velocities = np.ones((10, 7))
    gripper_open = [1.0] * 8 + [0.0] * 2
    assert find_keyframes(velocities, gripper_open) == [9]


def test_lookback_wraps_to_the_end() -> None:
    velocities = np.ones((12, 7))
    velocities[1] = 0.0
    assert find_keyframes(velocities, [1.0] * 12) == [1, 11]
    # The last frame has another gripper state: frame 1 looks back to it and is no stop.
    assert 1 not in find_keyframes(velocities, [1.0] * 11 + [0.0])


@pytest.mark.parametrize("num_frames", [0, 1])
def test_no_keyframes_in_a_demo_without_motion(num_frames: int) -> None:
    assert find_keyframes(np.zeros((num_frames, 7)), [1.0] * num_frames) == []
