"""Random places are those that RLBench's rules accept."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.fidelity.documents import Document, read_documents
from sam2act.envs.embedded.kit.placing import Boundary, place_base
from tests.envs.embedded.kit.scenes import TASKS, loaded

MOVING = [read_documents()[task] for task in TASKS if not read_documents()[task].is_static]
DRAWS = 150
ROUNDING = 0.003  # metres and radians


@pytest.mark.parametrize("document", MOVING, ids=lambda document: document.task)
def test_bases_stand_in_the_computed_ranges(document: Document) -> None:
    frames, _, _ = loaded(document.task)
    random, places, yaws = np.random.default_rng(0), [], []
    for _ in range(DRAWS):
        with contextlib.suppress(BoundaryError):
            place_base(frames, random)
            pose = frames.pose(document.root)
            places.append(pose[:2, 3])
            yaws.append(float(np.arctan2(pose[1, 0], pose[0, 0])))
    ranges = np.array([document.sampling["x_range"], document.sampling["y_range"]])
    assert (np.min(places, axis=0) > ranges[:, 0] - ROUNDING).all()
    assert (np.max(places, axis=0) < ranges[:, 1] + ROUNDING).all()
    assert (np.ptp(places, axis=0) > 0.6 * np.ptp(ranges, axis=1)).all()
    for low, high in document.sampling["accepted_yaw"]:
        inside = [yaw for yaw in yaws if low - 0.01 <= yaw <= high + 0.01]
        assert inside, (low, high)
        yaws = [yaw for yaw in yaws if yaw not in inside]
    assert yaws == []


def test_a_static_base_stays() -> None:
    frames, _, _ = loaded("put_block_back")
    before = frames.pose("put_block_back")
    place_base(frames, np.random.default_rng(0))
    assert np.array_equal(before, frames.pose("put_block_back"))


def test_things_in_a_boundary_keep_inside_and_apart() -> None:
    frames, _, _ = loaded("push_buttons")
    names = [f"push_buttons_target{number}" for number in range(3)]
    shape = frames.facts.objects["push_buttons_boundary"].shape
    assert shape is not None
    half = np.array(shape.size[:2]) / 2
    random, drawn, heights = np.random.default_rng(0), [], [frames.pose(n)[2, 3] for n in names]
    for _ in range(60):
        boundary = Boundary(frames, ["push_buttons_boundary"], random)
        for name in names:
            boundary.sample(name, min_distance=0.1)
        inverse = np.linalg.inv(frames.pose("push_buttons_boundary"))
        spots = np.array([(inverse @ frames.pose(name))[:3, 3] for name in names])
        assert (np.abs(spots[:, :2]) < half).all()
        apart = [np.linalg.norm(spots[i] - spots[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert min(apart) >= 0.1
        drawn.append(spots[:, :2])
    assert [frames.pose(name)[2, 3] for name in names] == pytest.approx(heights)
    assert (np.ptp(np.concatenate(drawn), axis=0) > 1.4 * half).all()


def test_what_does_not_fit_is_refused() -> None:
    frames, _, _ = loaded("push_buttons")
    boundary = Boundary(frames, ["push_buttons_boundary"], np.random.default_rng(0))
    boundary.sample("push_buttons_target0")
    with pytest.raises(BoundaryError, match="push_buttons_target1: no free place within"):
        boundary.sample("push_buttons_target1", min_distance=2.0)


def test_a_turn_can_be_bounded() -> None:
    frames, _, _ = loaded("stack_cups")
    boundary = Boundary(frames, ["boundary"], np.random.default_rng(0))
    before = frames.pose("cup1")[:3, :3]
    boundary.sample("cup1", yaw=(0.0, 0.0))
    assert np.allclose(frames.pose("cup1")[:3, :3], before, atol=1e-9)
