"""Transforms: sizes of images, scales of numbers, what they ask of cameras, their statistics."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.config.load import load_experiment
from sam2act.core.errors import ConfigError
from sam2act.core.specs import CameraSpec, EnvSpec, PolicySpec, SpecError, mismatches
from sam2act.core.types import ActionChunk, ContractError, Observation, WindowBatch
from sam2act.geometry.cameras import unproject
from sam2act.processing.transforms import Transforms
from tests.policies.noise import batch as keyframes
from tests.processing.samples import SPEC, windows


def build(*texts: str, spec: PolicySpec = SPEC, fitted: bool = True) -> Transforms:
    transforms = Transforms(texts, spec)
    if fitted:
        transforms.fit_all(lambda: [windows(seed=1), windows(count=3, seed=2)])
    return transforms


def applied(transforms: Transforms, batch: WindowBatch, seeds: object = None) -> WindowBatch:
    changed = transforms.batch(batch, seeds)
    assert isinstance(changed, WindowBatch)
    return changed


def with_size(side: int) -> PolicySpec:
    cameras = tuple(CameraSpec(c.name, side, side) for c in SPEC.camera_specs)
    return dataclasses.replace(SPEC, camera_specs=cameras)


# ---------------------------------------------------------------------------------- no transform
def test_no_transforms_change_nothing() -> None:
    nothing, batch = build(), windows()
    assert not nothing and not nothing.needs_fit
    assert nothing.batch(batch) is batch
    assert nothing.observation(batch.observed) is batch.observed
    assert nothing.spec == SPEC


# ---------------------------------------------------------------------------------------- images
@pytest.mark.parametrize(("side", "target"), [(32, 20), (128, 84), (16, 24), (33, 11)])
def test_resized_colours_are_those_of_pillow(side: int, target: int) -> None:
    observed = windows(side=side).observed
    rgb = build(f"resize({target})", spec=with_size(target)).observation(observed).rgb
    assert rgb.dtype == torch.uint8
    for sample in range(2):
        image = Image.fromarray(observed.rgb[sample, 1].numpy())
        reference = np.asarray(image.resize((target, target), Image.Resampling.BILINEAR), int)
        difference = np.abs(rgb[sample, 1].numpy().astype(int) - reference)
        assert difference.max() <= 1  # levels of 255: Pillow rounds between rows and columns


def test_images_of_the_right_size_stay_as_they_are() -> None:
    observed = windows(side=20).observed
    assert build("resize(20)").observation(observed).rgb is observed.rgb


@pytest.mark.parametrize("frames", [0, 3])
@pytest.mark.parametrize(("name", "side"), [("resize", 16), ("resize", 8), ("crop", 7)])
def test_points_of_the_kept_pixels_stay_where_they_are(name: str, side: int, frames: int) -> None:
    """The mask names every pixel by its number, so it says which one was kept."""
    before = windows(frames=frames).observed
    after = build(f"{name}({side})", spec=with_size(side)).observation(before)
    points, kept = (unproject(*o.geometry).flatten(-3, -2) for o in (before, after))
    assert after.mask is not None
    wanted = points.gather(-2, after.mask.flatten(-2)[..., None].expand_as(kept))
    torch.testing.assert_close(kept, wanted, atol=1e-6, rtol=0)


def test_cameras_of_several_sizes_become_one_image_tensor() -> None:
    small, large = windows(side=16).observed, windows(side=40).observed
    one = {
        name: getattr(large, name)[:, 1:]
        for name in ("rgb", "depth", "intrinsics", "extrinsics", "mask")
    }
    other = Observation(**one, cameras=("right",))
    left = {name: getattr(small, name)[:, :1] for name in one}
    mixed = Observation(
        **left,
        proprioception=small.proprioception,
        cameras=("left",),
        others={"right": other},
    )
    joined = build("resize(20)").observation(mixed)
    assert joined.cameras == ("left", "right") and not joined.others
    assert joined.rgb.shape == (6, 2, 20, 20, 3) and joined.geometry.depth.shape == (6, 2, 20, 20)
    alone = build("resize(20)").observation(large)
    assert torch.equal(joined.rgb[:, 1], alone.rgb[:, 1])
    assert torch.equal(joined.geometry.intrinsics[:, 1], alone.geometry.intrinsics[:, 1])
    with pytest.raises(ContractError, match="several sizes; put resize before it"):
        build("crop(8)", spec=with_size(8)).observation(mixed)


def test_crops_depend_on_the_seed_of_their_sample_alone() -> None:
    crop, batch = build("crop(20)"), windows()
    seeds = torch.randint(2**62, (6,), generator=torch.Generator().manual_seed(3))
    first = applied(crop, batch, seeds)
    assert torch.equal(first.observed.rgb, applied(crop, batch, seeds).observed.rgb)
    rows = torch.tensor([4, 1])
    part = dataclasses.replace(
        batch,
        observed=batch.observed.select(rows),
        action=batch.action[rows],
        valid=batch.valid[rows],
        identities=tuple(batch.identities[row] for row in rows),
    )
    torch.testing.assert_close(
        applied(crop, part, seeds[rows]).observed.rgb, first.observed.rgb[rows], rtol=0, atol=0
    )
    corners = first.observed.mask[:, :, 0, 0]
    assert torch.equal(corners[:, 0], corners[:, 1])  # one place for all cameras
    assert len(corners.unique()) >= 5


def test_crops_reach_every_place_and_act_in_the_middle() -> None:
    crop, batch = build("crop(30)", spec=with_size(30)), windows(count=300)
    seeds = torch.randint(2**62, (300,), generator=torch.Generator().manual_seed(4))
    corners = applied(crop, batch, seeds).observed.mask[:, 0, 0, 0]
    assert set(corners.tolist()) == {32 * row + column for row in range(3) for column in range(3)}
    middle = crop.observation(batch.observed)
    assert torch.equal(middle.rgb, batch.observed.rgb[:, :, 1:31, 1:31])
    assert torch.equal(applied(crop, batch).observed.rgb, middle.rgb)  # held-out samples


def test_samples_of_keyframes_are_resized_with_their_depth() -> None:
    before = keyframes()
    after = build("resize(8)", spec=with_size(8)).batch(before)
    assert after.observation().rgb.shape == (3, 2, 8, 8, 3)
    assert torch.equal(after.depth_code, before.depth_code[:, :, ::2, ::2])
    pair = before.observation(), after.observation()
    points, kept = (unproject(*observation.geometry) for observation in pair)
    torch.testing.assert_close(kept, points[:, :, ::2, ::2], equal_nan=True)


def test_crop_refuses_images_that_are_smaller() -> None:
    with pytest.raises(ContractError, match="crop: images of 32 x 32 .* smaller than 40 x 40"):
        build("crop(40)", spec=with_size(40)).observation(windows().observed)


# --------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize("mode", ["min_max", "mean_std"])
def test_actions_come_back(mode: str) -> None:
    transforms, batch = build(f"normalise_actions({mode!r})"), windows(seed=9)
    learnt = applied(transforms, batch)
    back = transforms.action(ActionChunk(learnt.action, learnt.valid, "ee_pose"))
    torch.testing.assert_close(
        back.values[batch.valid], batch.action[batch.valid], atol=2e-6, rtol=1e-6
    )
    assert torch.equal(learnt.action[..., 3:7], batch.action[..., 3:7])  # quaternions


def test_statistics_are_those_of_all_valid_actions() -> None:
    batches = [windows(seed=1), windows(count=3, seed=2)]
    taken = torch.cat([batch.action[batch.valid] for batch in batches])
    scaled = torch.cat(
        [applied(build("normalise_actions"), batch).action[batch.valid] for batch in batches]
    )
    numbers = [0, 1, 2, 7]
    scaled_numbers = scaled[:, numbers]
    torch.testing.assert_close(scaled_numbers.amin(0)[:3], torch.full((3,), -1.0))
    torch.testing.assert_close(scaled_numbers.amax(0)[:3], torch.full((3,), 1.0))
    assert (scaled[:, 7] == 0).all()  # it never changes: shifted only
    state = build("normalise_actions(mode='mean_std')").state_dict()["statistics"][0]
    torch.testing.assert_close(state["shift"][:3], taken[:, :3].double().mean(0))
    torch.testing.assert_close(state["scale"][:3], taken[:, :3].double().std(0, correction=0))


def test_quantiles_leave_out_the_extremes() -> None:
    batches = [windows(seed=1), windows(count=3, seed=2)]
    taken = torch.cat([batch.action[batch.valid] for batch in batches]).double()
    low, high = (np.quantile(taken, share, axis=0) for share in (0.01, 0.99))
    transforms, batch = build("normalise_actions('quantile')"), batches[0]
    scaled = applied(transforms, batch).action
    expected = 2 * (batch.action.numpy() - low) / (high - low + 1e-12) - 1
    np.testing.assert_allclose(scaled[..., :3].numpy(), expected[..., :3].clip(-1, 1), atol=1e-5)
    assert float(expected[..., :3].max()) > 1  # so something was clipped
    assert torch.equal(scaled[batch.valid][:, 3:7], batch.action[batch.valid][:, 3:7])
    beyond = ActionChunk(torch.full_like(scaled, 3.0), batch.valid, "ee_pose")
    np.testing.assert_allclose(
        transforms.action(beyond).values[0, 0, :3].numpy(), high[:3], rtol=1e-5
    )


def test_states_are_scaled_alike_in_training_and_acting() -> None:
    transforms, batch = build("normalise_state"), windows(seed=1)
    learnt = applied(transforms, batch).observed.proprioception
    assert torch.equal(transforms.observation(batch.observed).proprioception, learnt)
    numbers = [0, 1, 2, 7]
    assert learnt[:, numbers].abs().max() <= 1 + 1e-6
    assert torch.equal(learnt[:, 3:7], batch.observed.proprioception[:, 3:7])


def test_smoothing_is_for_acting() -> None:
    transforms, batch = build("smooth_actions(3)"), windows()
    assert transforms.batch(batch) is batch
    chunk = transforms.action(ActionChunk(batch.action, batch.valid, "ee_pose"))
    torch.testing.assert_close(chunk.values[:, 1, :3], batch.action[:, :3, :3].mean(1))
    norms = torch.linalg.vector_norm(chunk.values[..., 3:7], dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


# ----------------------------------------------------------------------- statistics in checkpoints
def test_statistics_survive_a_file() -> None:
    texts = ("resize(24)", "crop(20)", "normalise_actions('mean_std')", "normalise_state")
    before, file = build(*texts), io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after = build(*texts, fitted=False)
    after.load_state_dict(torch.load(file, weights_only=True))
    batch, seeds = windows(seed=5), torch.arange(6) * 2**40
    one, two = applied(before, batch, seeds), applied(after, batch, seeds)
    assert torch.equal(one.action, two.action)
    assert torch.equal(one.observed.rgb, two.observed.rgb)
    assert torch.equal(one.observed.proprioception, two.observed.proprioception)


def test_statistics_of_others_are_refused() -> None:
    state = build("normalise_actions").state_dict()
    with pytest.raises(ConfigError, match=r"\[normalise_state\] differ from \[normalise_actions\]"):
        build("normalise_state", fitted=False).load_state_dict(state)
    state["statistics"][0]["shift"] = torch.zeros(3)
    with pytest.raises(ConfigError, match="shift and scale of 8 numbers"):
        build("normalise_actions", fitted=False).load_state_dict(state)
    with pytest.raises(ConfigError, match="normalise_actions has no statistics"):
        build("normalise_actions", fitted=False).batch(windows())
    with pytest.raises(ConfigError, match="hold nothing to fit"):
        Transforms(["normalise_state"], SPEC).fit_all(lambda: [])


# ----------------------------------------------------------------------------- what they ask for
def test_resized_cameras_may_have_any_size() -> None:
    wanted = build("resize(24)", "crop(20)").spec
    assert {(camera.height, camera.width) for camera in wanted.camera_specs} == {(0, 0)}
    assert wanted.image_size == 0

    def given(side: int) -> EnvSpec:
        cameras = tuple(CameraSpec(c.name, side, side) for c in SPEC.camera_specs)
        return EnvSpec(cameras, SPEC.state, (SPEC.action,))

    assert list(mismatches(wanted, given(128))) == []
    assert len(list(mismatches(SPEC, given(128)))) == 2  # without transforms, one per camera


@pytest.mark.parametrize("texts", [("resize(24)",), ("resize(22)", "crop(20)", "resize(24)")])
def test_a_size_that_is_not_wanted_is_refused_with_both_sides(texts: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match="resize gives 24 x 24 pixels of left, but 20 x 20 are"):
        build(*texts, fitted=False)


# ------------------------------------------------------------------------------------- as a text
def test_configuration_takes_transforms() -> None:
    opts = "transforms [resize(height=96,width=128),normalise_actions('mean_std')]"
    chosen = load_experiment("configs/tiny.yaml", opts).transforms
    assert chosen == ("resize(height=96,width=128)", "normalise_actions('mean_std')")
    assert load_experiment("configs/tiny.yaml", "transforms crop(84)").transforms == ("crop(84)",)
    assert load_experiment("configs/tiny.yaml").transforms == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rezise(96)", "transforms: 'rezise' is not one of resize.*did you mean resize"),
        ("resize(96", "transforms: 'resize\\(96' is no name with parameters; write it like"),
        ("[crop(8),crop(9)]", "transforms: crop stands there twice"),
    ],
)
def test_configuration_refuses_what_is_no_transform(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_experiment("configs/tiny.yaml", f"transforms {text}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("resize", "missing a required argument: 'height'; parameters: height, width=None"),
        ("resize(0)", "transforms: resize: height=0 must be a whole number, at least 1"),
        ("smooth_actions(2)", "smooth_actions: width=2 must be odd"),
        ("normalise_state('max')", "normalise_state: mode: 'max' is not one of 'min_max'"),
    ],
)
def test_impossible_parameters_are_named(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build(text, fitted=False)


def test_keyframe_policies_keep_their_units() -> None:
    with pytest.raises(ConfigError, match="learns keyframes, whose poses stay in metres"):
        build("normalise_actions").batch(keyframes())
