"""What the ray caster leaves out is never seen."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sam2act.envs.embedded.sensors.casting import RayCaster

SIDE = 48
PIXELS = (np.arange(SIDE) - SIDE / 2) / (SIDE / 2) * np.tan(np.deg2rad(30))
DOWN, RIGHT = np.meshgrid(PIXELS, PIXELS, indexing="ij")
RAYS = np.stack([np.ones_like(RIGHT), -RIGHT, -DOWN], axis=-1).reshape(-1, 3)
SHAPES = 12


def scene(random: np.random.Generator) -> tuple[RayCaster, mujoco.MjModel]:
    """Shapes all around a camera, some within millimetres of it or across its plane."""
    geoms = []
    for number in range(SHAPES):
        kind = random.choice(["box", "capsule", "cylinder", "sphere"])
        size = " ".join(str(value) for value in random.uniform(0.005, 0.15, 3))
        distance = random.choice([0.03, 0.1, 0.5])
        place = " ".join(str(value) for value in random.normal(scale=distance, size=3))
        turn = " ".join(str(value) for value in random.normal(size=4))
        group = 3 if number == 0 else 0
        geoms.append(
            f'<body pos="{place}" quat="{turn}">'
            f'<geom type="{kind}" size="{size}" group="{group}"/></body>'
        )
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody>{''.join(geoms)}</worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    caster = RayCaster(model)
    pose = np.eye(4)
    pose[:3, :3] = np.linalg.qr(random.normal(size=(3, 3)))[0]
    pose[:3, 0] *= np.linalg.det(pose[:3, :3])
    caster.enter_view(data, pose)
    return caster, model


@pytest.mark.parametrize("seed", range(40))
def test_shapes_appear_in_their_windows_only(seed: int) -> None:
    caster, _ = scene(np.random.default_rng(seed))
    visible = np.flatnonzero(caster.visible)
    shapes = caster.windows(visible, PIXELS)
    everything, shown = caster.cast(RAYS, visible), caster.cast(RAYS, shapes.geoms)
    assert np.array_equal(everything.geom, shown.geom)
    assert np.array_equal(everything.depth, shown.depth)
    for geom in visible:
        alone = caster.cast(RAYS, np.array([geom]))
        v, u = np.divmod(np.flatnonzero(alone.geom == geom), SIDE)
        index = np.flatnonzero(shapes.geoms == geom)
        if not len(index):
            assert not len(v)
            continue
        left, top, right, bottom = shapes.bounds[index[0]]
        assert ((left <= u) & (u < right) & (top <= v) & (v < bottom)).all()
        assert (
            not len(v) or alone.depth[alone.geom == geom].min() >= shapes.nearest[index[0]] - 1e-9
        )


def test_windows_leave_out_what_is_beside_or_behind_the_camera() -> None:
    left_out = 0
    for seed in range(10):
        caster, _ = scene(np.random.default_rng(seed))
        visible = np.flatnonzero(caster.visible)
        left_out += len(visible) - len(caster.windows(visible, PIXELS).geoms)
    assert left_out > 20


def test_hidden_groups_are_not_visible() -> None:
    caster, model = scene(np.random.default_rng(0))
    assert caster.visible.tolist() == [False] + [True] * (model.ngeom - 1)
