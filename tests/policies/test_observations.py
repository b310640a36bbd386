"""Random observations are valid; every broken rule is named with field, expectation and value."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from sam2act.core.actions import Component
from sam2act.core.specs import CameraSpec, LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import (
    ContractError,
    KeyframeBatch,
    Observation,
    SampleIdentity,
    environment_ids,
    proprioception,
)
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.multiview.preprocessing import world_cloud
from sam2act.policies.observations import (
    random_observation,
    validate_batch,
    validate_language,
    validate_observation,
)

SPEC = PolicySpec(
    square_cameras(("front", "wrist"), 8, depth=True),
    LanguageSpec("hashed", 4, 8),
    bounds=SceneBounds.from_sequence((-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)),
)


def observation(seed: int = 0, batch: int = 3) -> Observation:
    return random_observation(SPEC, batch, torch.Generator().manual_seed(seed))


def batch(count: int = 2) -> KeyframeBatch:
    shown = observation(batch=count)
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(256, (*shown.rgb.shape,), dtype=torch.uint8, generator=generator)
    pose = torch.tensor([0.2, 0.1, 0.9, 0.0, 0.6, 0.0, 0.8])
    return KeyframeBatch(
        rgb=shown.rgb,
        depth_code=codes,
        depth_range=torch.tensor([0.1, 3.5], dtype=torch.float64).repeat(count, 2, 1),
        intrinsics=shown.intrinsics,
        extrinsics=shown.extrinsics,
        proprioception=shown.proprioception,
        instruction=torch.zeros(count, dtype=torch.int64),
        target_pose=pose.repeat(count, 1),
        gripper_open=torch.arange(count) % 2,
        ignore_collisions=torch.arange(count) % 2,
        identities=tuple(SampleIdentity("noise", i, 0, 1) for i in range(count)),
    )


def changed(data, field: str, place: tuple, value: float):
    """A copy of `data` with one entry of a field replaced."""
    tensor = getattr(data, field).clone()
    tensor[place] = value
    return dataclasses.replace(data, **{field: tensor})


# ------------------------------------------------------------------------- random observations
def test_random_observations_are_valid_and_differ_by_generator_only() -> None:
    for seed in range(20):
        validate_observation(observation(seed), SPEC)
    same, again, other = observation(0), observation(0), observation(1)
    for name in ("rgb", "depth", "extrinsics", "proprioception"):
        assert torch.equal(getattr(same, name), getattr(again, name))
        assert not torch.equal(getattr(same, name), getattr(other, name))
    assert not torch.equal(same.rgb[0], same.rgb[1])


def test_random_observations_show_the_workspace() -> None:
    inside = SPEC.bounds.contains(world_cloud(observation(batch=20)).points)
    assert (inside.float().mean(1) > 0.5).all()


# ---------------------------------------------------------------------------------- values
NAN, INF = float("nan"), float("inf")
BROKEN_VALUES = {
    "gripper is a fraction": ("proprioception", (1, 0), 0.97, "compare with a threshold"),
    "one focal length is negative": ("intrinsics", (0, 1, 0, 0), -9.6, "of one sign"),
    "principal point at the edge": ("intrinsics", (0, 1, 0, 2), 8.0, "scaled and shifted"),
    "principal point beside": ("intrinsics", (0, 1, 1, 2), -2.0, "middle of the picture of 8"),
    "depth is NaN": ("depth", (1, 1, 2, 3), NAN, "environment 1, camera wrist"),
    "depth is infinite": ("depth", (0, 0, 0, 0), INF, "environment 0, camera front"),
    "depth is negative": ("depth", (2, 0, 0, 0), -0.5, "got -0.5"),
    "depth in millimetres": ("depth", (0,), 1200.0, "convert millimetres"),
    "intrinsics last row": ("intrinsics", (0, 1, 2, 2), 2.0, "last row 0 0 1"),
    "intrinsics NaN": ("intrinsics", (0, 1, 0, 1), NAN, "finite"),
    "no focal length": ("intrinsics", (2, 1, 1, 1), 0.0, "focal lengths"),
    "extrinsics last row": ("extrinsics", (0, 1, 3, 0), 1.0, "last row 0 0 0 1"),
    "extrinsics scaled": ("extrinsics", (0, 1, 0, 0), 2.0, "rigid"),
    "extrinsics NaN": ("extrinsics", (0, 1, 0, 3), NAN, "finite"),
    "gripper": ("proprioception", (1, 0), 1.5, "gripper open as 0 or 1"),
    "fingers in millimetres": ("proprioception", (1, 2), 40.0, "finger joints in 0..0.04 m"),
    "time as a step": ("proprioception", (1, 3), 7.0, "time feature"),
    "time NaN": ("proprioception", (1, 3), NAN, "time feature"),
}


@pytest.mark.parametrize("case", BROKEN_VALUES)
def test_broken_value_is_named(case: str) -> None:
    field, place, value, words = BROKEN_VALUES[case]
    with pytest.raises(ContractError, match=rf"^{field}: expected .*got .*environment") as caught:
        validate_observation(changed(observation(), field, place, value), SPEC)
    assert words in str(caught.value)


def test_mirrored_cameras_are_refused_and_slightly_inexact_ones_are_not() -> None:
    mirrored = observation().extrinsics.clone()
    mirrored[..., :3, 0] *= -1
    with pytest.raises(ContractError, match="mirroring"):
        validate_observation(dataclasses.replace(observation(), extrinsics=mirrored), SPEC)
    nearly = observation().extrinsics.clone()
    nearly[..., :3, :3] *= 1 + 4e-4
    validate_observation(dataclasses.replace(observation(), extrinsics=nearly), SPEC)
    nearly[..., :3, :3] *= 1 + 4e-4
    with pytest.raises(ContractError, match="orthogonal within"):
        validate_observation(dataclasses.replace(observation(), extrinsics=nearly), SPEC)


def test_both_focal_lengths_may_be_negative() -> None:
    intrinsics = observation().intrinsics.clone()
    intrinsics[..., 0, 0] *= -1
    intrinsics[..., 1, 1] *= -1
    turned = dataclasses.replace(observation(), intrinsics=intrinsics)
    validate_observation(turned, dataclasses.replace(SPEC, bounds=EVERYWHERE))


EVERYWHERE = SceneBounds((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))


def test_a_camera_that_measured_nothing_is_named() -> None:
    depth = observation().depth.clone()
    depth[1, 1] = 0.0
    dead = dataclasses.replace(observation(), depth=depth)
    where = f"environment 1, camera {SPEC.cameras[1]}"
    with pytest.raises(ContractError, match=f"^depth: expected .* measured pixel .*{where}"):
        validate_observation(dead, SPEC)
    depth[1, 1, 0, 0] = 0.5
    validate_observation(dead, SPEC)


UNSEEN = {
    "hardly anything was measured": 0.0,
    "all beyond the workspace": 50.0,
}


@pytest.mark.parametrize("case", UNSEEN)
def test_environments_without_a_point_are_refused(case: str) -> None:
    seen = observation()
    depth = seen.depth.clone()
    depth[1] = UNSEEN[case]
    depth[1, :, 0, 0] = 50.0  # beyond the workspace
    pose = seen.extrinsics.clone()
    pose[1, 1, :3, 3] = SPEC.bounds.center(pose)  # a camera inside the workspace
    empty = dataclasses.replace(seen, depth=depth, extrinsics=pose)
    with pytest.raises(ContractError, match="^points: expected a point .* workspace.*nvironment 1"):
        validate_observation(empty, SPEC)
    depth[1, 0] = seen.depth[1, 0]  # one camera suffices
    validate_observation(dataclasses.replace(empty, depth=depth), SPEC)


def test_points_outside_count_where_nothing_is_cropped() -> None:
    far = dataclasses.replace(observation(), depth=torch.full_like(observation().depth, 50.0))
    validate_observation(far, dataclasses.replace(SPEC, crop=False))


def test_episodes_longer_than_the_trained_ones_are_valid() -> None:
    row = torch.from_numpy(proprioception(1.0, [0.05, -0.01], 200))
    assert row.tolist() == pytest.approx([1.0, 0.04, 0.0, 1 - 200 / 12])
    shown = dataclasses.replace(observation(), proprioception=row.repeat(3, 1))
    validate_observation(shown, SPEC)


# ----------------------------------------------------------------------------------- forms
FORMS = {
    "one camera": ("rgb", lambda t: t[:, :1], "front, wrist in this order"),
    "image size": ("depth", lambda t: t[..., :4, :4], "image_size is 8"),
    "too few environments": ("intrinsics", lambda t: t[:2], r"= \(3, 2, 3, 3\)"),
    "channels first": ("rgb", lambda t: t.movedim(-1, 2), r"\(B, K, S, S, 3\)"),
    "no batch": ("rgb", lambda t: t[0], "B >= 1"),
    "float colours": ("rgb", lambda t: t / 255, "torch.uint8, got torch.float32"),
    "depth in half precision": ("depth", lambda t: t.half(), "float64, got torch.float16"),
    "proprioception in double": ("proprioception", lambda t: t.double(), "got torch.float64"),
    "proprioception too short": ("proprioception", lambda t: t[:, :3], r"\(3, 4\), got \(3, 3\)"),
    "matrix too small": ("extrinsics", lambda t: t[..., :3, :], r"\(3, 2, 4, 4\)"),
    "numpy": ("depth", lambda t: t.numpy(), "a tensor, got ndarray"),
    "other device": ("depth", lambda t: t.to("meta"), "on cpu like rgb, got meta"),
}


@pytest.mark.parametrize("case", FORMS)
def test_broken_form_is_named(case: str) -> None:
    field, change, words = FORMS[case]
    broken = dataclasses.replace(observation(), **{field: change(getattr(observation(), field))})
    with pytest.raises(ContractError, match=rf"^{field}: expected .*{words}|^{field}.*{words}"):
        validate_observation(broken, SPEC)


def test_order_of_cameras_is_checked_where_names_are_given() -> None:
    turned = dataclasses.replace(observation(), cameras=("wrist", "front"))
    with pytest.raises(ContractError, match="^cameras: expected front, wrist .* got wrist, front"):
        validate_observation(turned, SPEC)
    validate_observation(dataclasses.replace(observation(), cameras=None), SPEC)


# ------------------------------------------------------------------------- other policies' needs
ARM = Component("joints", 3, "rad", "", -2.0, 2.0)
OTHERS = {
    "rgb only": PolicySpec((CameraSpec("top", 6, 9, depth=False),), None, (ARM,)),
    "a history": dataclasses.replace(SPEC, offsets=(-2, -1, 0)),
    "images of any size": dataclasses.replace(
        SPEC, camera_specs=tuple(CameraSpec(name, 0, 0, depth=False) for name in ("front", "wrist"))
    ),
    "cameras of two sizes": dataclasses.replace(
        SPEC,
        camera_specs=(*SPEC.camera_specs, CameraSpec("top", 6, 9), CameraSpec("side", 4, 4, False)),
    ),
    "no state": dataclasses.replace(SPEC, state=()),
}


@pytest.mark.parametrize("case", OTHERS)
def test_observations_of_other_policies_are_checked(case: str) -> None:
    spec = OTHERS[case]
    seen = random_observation(spec, 2, torch.Generator().manual_seed(5))
    validate_observation(seen, spec)
    assert (seen.depth is None) == (not spec.camera_specs[0].depth)
    assert seen.rgb.shape[:-4] == ((2, 3) if case == "a history" else (2,))
    with pytest.raises(ContractError, match="^rgb: expected"):
        validate_observation(dataclasses.replace(seen, rgb=seen.rgb[..., :2]), spec)
    if case in ("rgb only", "a history"):
        broken = seen.proprioception.clone()
        broken[1, ..., 0] = NAN
        with pytest.raises(ContractError, match="^proprioception: .*environment 1"):
            validate_observation(dataclasses.replace(seen, proprioception=broken), spec)


def test_a_broken_frame_of_a_history_is_named() -> None:
    spec = OTHERS["a history"]
    seen = random_observation(spec, 2, torch.Generator().manual_seed(5))
    with pytest.raises(ContractError, match="environment 1, frame 2, camera wrist"):
        validate_observation(changed(seen, "depth", (1, 2, 1, 0, 0), -1.0), spec)
    with pytest.raises(ContractError, match=r"rgb: expected a tensor \(B, T, K, S, S, 3\)"):
        validate_observation(observation(), spec)


def test_cameras_of_other_sizes_are_checked_by_name() -> None:
    spec = OTHERS["cameras of two sizes"]
    seen = random_observation(spec, 2, torch.Generator().manual_seed(5))
    assert set(seen.others) == {"top", "side"} and seen.others["side"].depth is None
    broken = dict(seen.others) | {"top": changed(seen.others["top"], "depth", (1, 0, 3, 3), NAN)}
    with pytest.raises(ContractError, match="depth: .*environment 1, camera top"):
        validate_observation(dataclasses.replace(seen, others=broken), spec)
    with pytest.raises(ContractError, match="cameras: expected front, wrist, top in this order"):
        validate_observation(dataclasses.replace(seen, others={"side": seen.others["side"]}), spec)


# --------------------------------------------------------------------------------- language
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("open the drawer", "a list of texts"),
        ([1, 2, 3], "a list of texts"),
        (5, "a list of texts"),
        (b"open", "a list of texts"),
        (["a", "b"], "3 texts"),
        (["a", "b", " "], "none empty"),
        (torch.zeros(3, 8, 4), r"\(3, 4, 8\), got \(3, 8, 4\)"),
        (torch.zeros(3, 4, 8, dtype=torch.int64), "got .* torch.int64"),
        (torch.full((3, 4, 8), NAN), "finite"),
    ],
)
def test_broken_language_is_named(language, words: str) -> None:
    for check in (
        lambda: validate_language(language, SPEC, 3),
        lambda: validate_observation(observation(), SPEC, language),
    ):
        with pytest.raises(ContractError, match=f"^language: expected .*{words}"):
            check()


def test_valid_language_passes() -> None:
    validate_language(["a", "b", "a"], SPEC, 3)
    validate_language(torch.zeros(3, 4, 8), SPEC, 3)


# ---------------------------------------------------------------------------------- batches
BROKEN_BATCHES = {
    "quaternion norm": ("target_pose", (1, 3), 0.5, "norm 1"),
    "position": ("target_pose", (1, 0), NAN, "finite position"),
    "planes swapped": ("depth_range", (0, 1, 1), 0.05, "behind the near plane"),
    "gripper label": ("gripper_open", (0,), 2, "0 or 1"),
    "unknown collision": ("ignore_collisions", (1,), -1, "0 or 1"),
    "instruction": ("instruction", (1,), -1, "row number"),
    "extrinsics": ("extrinsics", (0, 0, 1, 1), 5.0, "rigid"),
}


def test_valid_batch_passes() -> None:
    validate_batch(batch(), SPEC)


@pytest.mark.parametrize("case", BROKEN_BATCHES)
def test_broken_batch_is_named(case: str) -> None:
    field, place, value, words = BROKEN_BATCHES[case]
    with pytest.raises(ContractError, match=f"^{field}: expected .*{words}.*\\(sample "):
        validate_batch(changed(batch(), field, place, value), SPEC)


def test_broken_forms_of_batches_are_named() -> None:
    with pytest.raises(ContractError, match="^identities: expected 2 of them, got 1"):
        validate_batch(dataclasses.replace(batch(), identities=batch().identities[:1]), SPEC)
    with pytest.raises(ContractError, match="^gripper_open: expected torch.int64"):
        validate_batch(dataclasses.replace(batch(), gripper_open=torch.ones(2)), SPEC)


# -------------------------------------------------------------------------------- contracts
def test_observations_can_be_joined_and_selected() -> None:
    first, second = observation(0, 2), observation(1, 1)
    joined = Observation.join([first, second])
    assert len(joined) == 3 and joined.cameras == SPEC.cameras
    back = joined.select(torch.tensor([2]))
    for name in ("rgb", "depth", "intrinsics", "extrinsics", "proprioception"):
        assert torch.equal(getattr(back, name), getattr(second, name))
    assert back.mask is None and back.others == {}
    with pytest.raises(ContractError, match="no observations"):
        Observation.join([])
    with pytest.raises(ContractError, match="cameras"):
        Observation.join([first, dataclasses.replace(second, cameras=None)])


@pytest.mark.parametrize("ids", [[0, 1], [0, 1, 1], ["a", "b", "c"], [0.5, 1, 2]])
def test_bad_environment_ids_are_named(ids: list) -> None:
    with pytest.raises(ContractError, match="^env_ids: expected .*" + re.escape(str(ids))):
        environment_ids(ids, 3)


def test_environment_ids_default_to_the_rows() -> None:
    assert environment_ids(None, 3) == [0, 1, 2]
    assert environment_ids((7, 2, 5), 3) == [7, 2, 5]
