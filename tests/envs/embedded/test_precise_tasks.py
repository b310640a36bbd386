"""close_jar, insert_onto_square_peg, light_bulb_in and the shape sorter: what counts as solved."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from sam2act.envs.base import BoundaryError, EnvConfig
from sam2act.envs.embedded.kit import prisms
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.placing import require_room
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.embedded.tasks.place_shape_in_shape_sorter import SHAPES

COLOR_NAMES = list(COLORS)


@functools.cache
def environment(task: str) -> EmbeddedEnv:
    """Without images; compiled once for all tests."""
    return EmbeddedEnv(EnvConfig(task, cameras=()))


def begin(task: str, variation: int, seed: int = 0) -> EmbeddedEnv:
    env = environment(task)
    env.begin_episode(variation, seed)
    return env


def put(env: EmbeddedEnv, name: str, target: str, height: float) -> None:
    """Move object `name`, upright, to `height` metres above the origin of `target`."""
    pose = env.scene.frames.pose(target)
    pose[:3, 3] += (0, 0, height)
    env.scene.frames.move(name, pose)


def color_of(env: EmbeddedEnv, name: str) -> tuple[float, ...]:
    rgb = env.model.geom_rgba[env.scene.geoms(name)[0], :3]
    return tuple(round(float(value), 3) for value in rgb)


@pytest.mark.parametrize(
    ("task", "wording"),
    [
        ("close_jar", "close the {} jar"),
        ("insert_onto_square_peg", "put the ring on the {} spoke"),
        ("light_bulb_in", "screw in the {} light bulb"),
    ],
)
def test_variations_of_colour_tasks_name_a_colour(task: str, wording: str) -> None:
    for variation in (0, 7):
        assert begin(task, variation).instructions[0] == wording.format(COLOR_NAMES[variation])


def test_a_lid_counts_above_the_asked_jar_only_and_even_when_held() -> None:
    for variation in (4, 5):
        env = begin("close_jar", variation)
        asked, other = f"jar{variation % 2}", f"jar{1 - variation % 2}"
        assert color_of(env, asked) == COLORS[COLOR_NAMES[variation]] != color_of(env, other)
        put(env, "jar_lid0", other, 0.066)
        assert not env.task.success(env.scene)
        put(env, "jar_lid0", asked, 0.09)
        assert not env.task.success(env.scene), "too high"
        put(env, "jar_lid0", asked, 0.066)
        env.robot.grasp(["jar_lid0"])
        assert env.task.success(env.scene)


def test_a_ring_counts_around_the_foot_of_the_asked_peg() -> None:
    env = begin("insert_onto_square_peg", 3)
    pegs = [f"pillar{number}" for number in range(3)]
    asked = [peg for peg in pegs if color_of(env, peg) == COLORS[COLOR_NAMES[3]]]
    assert len({color_of(env, peg) for peg in pegs}) == 3 and len(asked) == 1
    for peg in pegs:
        put(env, "square_ring", peg, -0.055)
        assert env.task.success(env.scene) is (peg in asked), peg
        put(env, "square_ring", peg, 0.065)
        assert not env.task.success(env.scene), "on top"


def test_the_ring_leaves_two_and_a_half_millimetres_on_every_side() -> None:
    env = begin("insert_onto_square_peg", 0)
    put(env, "square_ring", "pillar1", 0.0)
    for offset, touches in ((0.0023, False), (0.0027, True)):
        for axis in range(2):
            for sign in (-1, 1):
                pose = env.scene.frames.pose("pillar1")
                pose[:3, 3] += sign * offset * pose[:3, axis]
                env.scene.frames.move("square_ring", pose)
                assert env.scene.frames.touches("square_ring", "pillar1") is touches


def test_the_asked_bulb_counts_in_the_socket_once_it_is_let_go() -> None:
    for variation in (2, 9):
        env = begin("light_bulb_in", variation)
        number = variation % 2
        assert color_of(env, f"bulb_holder{number}") == COLORS[COLOR_NAMES[variation]]
        for bulb, solves in ((1 - number, False), (number, True)):
            put(env, f"bulb_phys{bulb}", "lamp_screw", 0.041)
            assert env.task.success(env.scene) is solves
        env.robot.grasps = {"bulb_phys0": None}
        assert not env.task.success(env.scene), "held"
        env.robot.grasps = {}


def test_bulbs_hang_in_their_holders_by_the_glass() -> None:
    env = begin("light_bulb_in", 0)
    heights = [env.scene.position(f"bulb_phys{number}")[2] for number in range(2)]
    np.testing.assert_allclose(heights, 0.8232, atol=0.002)


def test_the_asked_shape_counts_anywhere_in_the_sorter() -> None:
    for variation, (shape, called) in enumerate(SHAPES.items()):
        env = begin("place_shape_in_shape_sorter", variation)
        assert env.instructions[0] == f"put the {called} in the shape sorter"
        other = next(name for name in SHAPES if name != shape)
        put(env, other, "shape_sorter", 0.03)
        assert not env.task.success(env.scene), "another shape"
        put(env, shape, "shape_sorter", 0.13)
        assert not env.task.success(env.scene), "on the lid"
        put(env, shape, "shape_sorter", 0.02)
        assert env.task.success(env.scene), shape


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_fits_through_its_hole(shape: str) -> None:
    """Where the script drops it, and 2 mm beside."""
    env = begin("place_shape_in_shape_sorter", list(SHAPES).index(shape))
    frames = env.scene.frames
    grasp = np.linalg.inv(frames.pose(f"{shape}_grasp_point")) @ frames.pose(shape)
    sorter = frames.pose("shape_sorter")
    for offset in (0, 0.002, -0.002):
        pose = frames.pose(f"{shape}_drop_point") @ grasp
        pose[:3, 3] += offset * sorter[:3, 0] - 0.012 * sorter[:3, 2]
        frames.move(shape, pose)
        assert not frames.touches(shape, "shape_sorter_visual"), offset
    pose[:3, 3] += 0.03 * sorter[:3, 1]
    frames.move(shape, pose)
    assert frames.touches(shape, "shape_sorter_visual")


def test_a_heavy_cube_does_not_pull_the_arm_down() -> None:
    env = begin("place_shape_in_shape_sorter", 0)
    for waypoint, _ in zip(env.task.waypoints(env.scene), range(3), strict=False):
        env.execute(waypoint.action, stop_on_success=False)
    assert list(env.robot.grasps) == ["cube"]
    np.testing.assert_allclose(env.robot.tip_matrix()[:3, 3], waypoint.pose[:3], atol=0.001)
    env.robot.release()
    assert env.model.body_gravcomp[env.model.body("cube").id] == 0


def test_a_neighbour_under_the_open_hand_is_noticed() -> None:
    env = begin("place_shape_in_shape_sorter", 0)
    frames = env.scene.frames
    require_room(frames, "cube_grasp_point", ["star", "moon"])
    for aside, is_free in ((0.06, False), (0.15, True)):
        pose = frames.pose("cube")
        pose[:3, 3] += aside * frames.pose("cube_grasp_point")[:3, 1]  # the fingers move along it
        frames.move("cylinder", pose)
        if is_free:
            require_room(frames, "cube_grasp_point", ["cylinder"])
        else:
            with pytest.raises(BoundaryError, match="cylinder is in the way"):
                require_room(frames, "cube_grasp_point", ["cylinder"])


def area(outline: np.ndarray) -> float:
    following = np.roll(outline, -1, axis=0)
    return float(np.linalg.det(np.stack([outline, following], axis=-1)).sum() / 2)


def test_cutting_a_hole_leaves_the_rest() -> None:
    plate = prisms.regular(4, 1.0)
    hole = prisms.regular(7, 0.3, center=(0.1, 0.05))
    pieces = prisms.outside([plate], hole)
    assert sum(map(area, pieces)) == pytest.approx(area(plate) - area(hole))
    assert min(map(area, pieces)) > 0
    assert prisms.outside([plate], hole + 5) == [plate]
