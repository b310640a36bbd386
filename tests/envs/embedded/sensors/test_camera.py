"""Images are exact: calibration, geometry and every single pixel."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
import pytest
import torch

from sam2act.envs.base import CAMERAS, EnvConfig
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.sensors.camera import CAMERA_SPECS, RayCamera
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.geometry.cameras import unproject

SIDE = 128
# Position, x, y and z column, focal length in pixels at 128, near, far (recorded RLBench data).
TABLE = {
    "left_shoulder": (
        (-0.175, 0.200, 1.980),
        (0.173648, 0.984808, 0),
        (0.892539, -0.157379, 0.422619),
        (0.416198, -0.073387, -0.906308),
        -175.83856, 0.01, 3.2,
    ),
    "right_shoulder": (
        (-0.175, -0.200, 1.980),
        (-0.173648, 0.984808, 0),
        (0.892539, 0.157379, 0.422619),
        (0.416198, 0.073387, -0.906308),
        -175.83856, 0.01, 3.2,
    ),
    "overhead": (
        (-0.175, 0, 2.430), (0, 1, 0), (0.906308, 0, 0.422619), (0.422619, 0, -0.906308),
        -175.83856, 0.01, 3.3,
    ),
    "front": (
        (1.350, 0, 1.580), (0, -1, 0), (-0.422618, 0, 0.906308), (-0.906308, 0, -0.422618),
        -175.83856, 0.01, 4.5,
    ),
    "wrist": (
        (-0.050009, 0.002000, -0.092072), (0, 1, 0), (-0.996195, 0, 0.087155),
        (0.087155, 0, 0.996195), -110.851248, 0.01, 3.5,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def env() -> EmbeddedEnv:
    env = EmbeddedEnv(EnvConfig("put_block_back", cameras=CAMERAS, masks=True, point_clouds=True))
    env.reset(0, 0)
    return env


@pytest.mark.parametrize("name", CAMERAS)
def test_camera_table(env: EmbeddedEnv, name: str) -> None:
    position, x, y, z, focal, near, far = TABLE[name]
    observation = env.observe(())
    pose = observation.misc[f"{name}_camera_extrinsics"]
    if name == "wrist":
        pose = np.linalg.inv(observation.gripper_matrix) @ pose
    assert np.abs(pose[:3] - np.stack([x, y, z, position], axis=1)).max() < 1e-4
    intrinsics = observation.misc[f"{name}_camera_intrinsics"]
    assert np.allclose(intrinsics, [[focal, 0, 64], [0, focal, 64], [0, 0, 1]], atol=1e-4)
    assert observation.misc[f"{name}_camera_near"] == near
    assert observation.misc[f"{name}_camera_far"] == far
    assert observation.misc[f"{name}_camera_extrinsics"].dtype == np.float64


@pytest.mark.parametrize("name", [name for name in CAMERAS if name != "wrist"])
def test_back_projected_table_is_flat_and_at_its_height(env: EmbeddedEnv, name: str) -> None:
    observation = env.observe()
    cloud = unproject(
        torch.from_numpy(getattr(observation, f"{name}_depth")),
        torch.tensor(observation.misc[f"{name}_camera_intrinsics"]),
        torch.tensor(observation.misc[f"{name}_camera_extrinsics"]),
    ).numpy()
    table = getattr(observation, f"{name}_mask") == env.model.geom("table").id
    assert table.sum() > 1000
    assert np.abs(cloud[table][:, 2] - 0.750).max() < 1e-4
    assert np.abs(getattr(observation, f"{name}_point_cloud") - cloud).max() < 1e-5


# Pixels of an image in which two surfaces may lie at the same depth: a few everywhere, and more
# where the pads of the closed gripper touch.
FEW_TIES, TIES = 5, {("reopen_drawer", 5): 100}


def oracle(env: EmbeddedEnv, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Geom and depth of every pixel, one ray at a time, in the world frame."""
    spec, pose = CAMERA_SPECS[name], env.camera.extrinsics(env.data, name)
    focal = spec.intrinsics(SIDE)[0, 0]
    hand = env.model.body("hand").id if name == "wrist" else -1
    geoms, depths = np.full((SIDE, SIDE), -1), np.full((SIDE, SIDE), spec.far)
    hit = np.zeros(1, np.int32)
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    for v in range(SIDE):
        for u in range(SIDE):
            ray = pose[:3, :3] @ np.array([(u - SIDE / 2) / focal, (v - SIDE / 2) / focal, 1.0])
            distance = mujoco.mj_ray(
                env.model, env.data, pose[:3, 3].copy(), ray, groups, 1, hand, hit, None
            )
            if distance >= 0:
                geoms[v, u], depths[v, u] = hit[0], distance
    return geoms, depths


@pytest.mark.parametrize("task", ["reopen_drawer", "put_block_back", "rearrange_block"])
@pytest.mark.parametrize("steps", [0, 5])
def test_every_pixel_equals_the_per_ray_oracle(task: str, steps: int) -> None:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    env.reset(1, 3)
    for _, waypoint in zip(range(steps), env.task.waypoints(env.scene), strict=False):
        env.execute(waypoint.action, stop_on_success=False)
    mujoco.mj_kinematics(env.model, env.data)
    for name in CAMERAS:
        image = env.camera.render(env.data, name)
        geoms, depths = oracle(env, name)
        assert (image.geom != geoms).sum() <= TIES.get((task, steps), FEW_TIES), name
        assert np.abs(image.depth - depths).max() < 1e-5, name


def test_nothing_is_black_and_far(env: EmbeddedEnv) -> None:
    upwards = env.camera.extrinsics(env.data, "front").copy()
    upwards[:3, :3] = np.eye(3)
    env.camera.specs["front"] = env.camera.specs["front"].__class__(
        "front", upwards, 40.0, 0.01, 4.5
    )
    image = env.camera.render(env.data, "front")
    env.camera.reset()
    assert (image.geom == -1).all() and (image.rgb == 0).all() and (image.depth == 4.5).all()


def test_moved_furniture_is_seen_at_its_new_place() -> None:
    """Fixed things are remembered by the camera; moving one must make it look again."""
    env = EmbeddedEnv(EnvConfig("put_block_back", cameras=("front", "overhead")))
    before = env.reset(0, 0)[1]
    pose = env.scene.frames.pose("push_buttons_target1")
    pose[:3, 3] += (0.05, 0.1, 0)
    env.scene.frames.move("push_buttons_target1", pose)
    after = env.observe()
    fresh = RayCamera(env.model, SIDE)
    for name in ("front", "overhead"):
        image = fresh.render(env.data, name)
        assert np.array_equal(getattr(after, f"{name}_rgb"), image.rgb)
        assert np.array_equal(getattr(after, f"{name}_depth"), image.depth)
        assert not np.array_equal(getattr(before, f"{name}_rgb"), image.rgb)


def disturb(env: EmbeddedEnv, random: np.random.Generator) -> None:
    """Change at random what an image depends on: colours, joints, light, textures."""
    env.model.geom_rgba[random.integers(env.model.ngeom, size=8), :3] = random.random((8, 3))
    slides = np.flatnonzero(env.model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE)
    low, high = env.model.jnt_range[slides].T
    env.data.qpos[env.model.jnt_qposadr[slides]] = random.uniform(low, high)
    mujoco.mj_forward(env.model, env.data)
    if random.random() < 0.5:
        env.camera.shader.lamp_color = random.uniform(0.5, 1, 3)
        env.camera.shader.textures[int(random.integers(env.model.ngeom))] = "checker"


@pytest.mark.parametrize(
    ("task", "factors"),
    [("open_drawer", ()), ("put_block_back", ("all",)), ("place_cups", ("all",))],
)
def test_what_cameras_remember_never_shows(task: str, factors: tuple[str, ...]) -> None:
    """A camera that has seen an episode draws what a new one draws, whatever was changed."""
    env = EmbeddedEnv(EnvConfig(task, cameras=CAMERAS, options=Options(perturbations=factors)))
    random = np.random.default_rng(0)
    env.reset(0, 0)
    for waypoint in itertools.islice(env.task.waypoints(env.scene), 2):
        env.execute(waypoint.action, stop_on_success=False)
        disturb(env, random)
        fresh = RayCamera(env.model, SIDE)
        fresh.specs, fresh.shader = env.camera.specs, env.camera.shader
        for name in CAMERAS:
            seen, image = (camera.render(env.data, name) for camera in (env.camera, fresh))
            assert all(map(np.array_equal, seen, image)), name


def test_image_size_changes_resolution_only() -> None:
    small = EmbeddedEnv(EnvConfig("put_block_back", cameras=("front",), image_size=64))
    large = EmbeddedEnv(EnvConfig("put_block_back", cameras=("front",)))
    images = [env.reset(2, 5)[1] for env in (small, large)]
    assert images[0].front_rgb.shape == (64, 64, 3)
    assert np.array_equal(images[0].front_rgb, images[1].front_rgb[::2, ::2])
    assert np.array_equal(images[0].front_depth, images[1].front_depth[::2, ::2])
