"""The transform `sam_g`: images, clouds, batches, its state, stored masks, references on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.specs import CameraSpec, EnvSpec, mismatches
from sam2act.core.types import ContractError, KeyframeBatch, Observation, SampleIdentity
from sam2act.geometry.cameras import unproject
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.reference_files import read_references, write_reference
from sam2act.processing.sam_g.target import ReferenceImage
from sam2act.processing.sam_g.transform import SamG
from sam2act.processing.transforms import Transforms
from tests.processing.sam_g.scenes import SIDE, overlap, reference, square_scene
from tests.processing.samples import SPEC, windows

CAMERAS = ("left", "right")
PLACES = ((26, 20), (5, 30))  # of the square in what each camera sees
COLOR = "features='color',segmenter='random_walk',match='nearest',steps=5"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for camera in CAMERAS:
        write_reference(tmp_path / "references", camera, 0, reference())
    return tmp_path / "references"


def observation() -> tuple[Observation, Tensor]:
    """One environment, two cameras; where the square is (K, H, W)."""
    scenes = [square_scene(*place, other=(8, 4)) for place in PLACES]
    matrix = torch.tensor([[-50.0, 0, 24], [0, -50, 24], [0, 0, 1]]).double()
    views = [view for view, _ in scenes]
    seen = Observation(
        rgb=torch.stack([view.rgb for view in views])[None],
        depth=torch.stack([view.depth for view in views])[None],  # type: ignore[misc]
        intrinsics=matrix.expand(1, 2, 3, 3),
        extrinsics=torch.eye(4).double().expand(1, 2, 4, 4),
        proprioception=torch.zeros(1, 8),
        cameras=CAMERAS,
        mask=torch.stack([view.objects for view in views])[None],  # type: ignore[misc]
    )
    return seen, torch.stack([mask for _, mask in scenes])


def built(folder: Path, options: str = COLOR, *, fitted: bool = True) -> Transforms:
    cameras = tuple(CameraSpec(name, SIDE, SIDE) for name in CAMERAS)
    spec = dataclasses.replace(SPEC, camera_specs=cameras)
    transforms = Transforms([f"sam_g('{folder}',{options})"], spec)
    if fitted:
        transforms.fit_all(lambda: [])
    return transforms


def test_everything_but_the_objects_is_black(folder: Path) -> None:
    seen, truth = observation()
    masked = built(folder).observation(seen)
    kept = masked.rgb[0].bool().any(-1)
    assert all(overlap(one, other) > 0.8 for one, other in zip(kept, truth, strict=True))
    assert masked.rgb[0][kept].equal(seen.rgb[0][kept])
    assert masked.depth is not None and masked.depth.equal(seen.depth)


def test_with_true_masks_the_cloud_is_the_analytically_masked_one(folder: Path) -> None:
    """Every point of the masked cloud is one of the object, and none of these is missing."""
    seen, truth = observation()
    transforms = built(folder, "segmenter='simulator',mode='drop_points'")
    masked = transforms.observation(seen)
    whole, part = unproject(*seen.geometry), unproject(*masked.geometry)
    measured = masked.geometry.depth > 0
    assert measured[0].equal(truth)
    assert part[measured].equal(whole[0][truth])
    assert masked.rgb[0][~truth].sum() == 0 and masked.rgb[0][truth].equal(seen.rgb[0][truth])


def test_simulator_masks_are_asked_of_environments_and_not_of_data(folder: Path) -> None:
    wanted = built(folder, "segmenter='simulator'").spec
    assert all(camera.mask for camera in wanted.camera_specs)
    given = tuple(dataclasses.replace(camera, mask=False) for camera in wanted.camera_specs)
    there = EnvSpec(given, wanted.state, (wanted.action,))
    told = list(mismatches(wanted, there))
    assert told[0] == "policy wants masks of objects in left, environment gives none"
    assert list(mismatches(wanted, there, "data")) == []
    assert not built(folder).spec.camera_specs[0].mask


def test_training_samples_are_masked_as_observations_are(folder: Path) -> None:
    transforms = built(folder, f"{COLOR},mode='drop_points'")
    seen, _ = observation()
    masked = transforms.observation(seen)
    window = dataclasses.replace(windows(count=1), observed=seen)
    assert transforms.batch(window).observation().rgb.equal(masked.rgb)
    code = torch.full((1, 2, SIDE, SIDE, 3), 77, dtype=torch.uint8)
    batch = KeyframeBatch(
        instruction=torch.zeros(1, dtype=torch.int64),
        identities=(SampleIdentity("task", 0, 0, 1),),
        rgb=seen.rgb,
        depth_code=code,
        depth_range=torch.tensor([0.01, 3.0]).double().expand(1, 2, 2),
        intrinsics=seen.geometry.intrinsics,
        extrinsics=seen.geometry.extrinsics,
        proprioception=torch.zeros(1, 4),
        target_pose=torch.zeros(1, 7),
        gripper_open=torch.zeros(1, dtype=torch.int64),
        ignore_collisions=torch.zeros(1, dtype=torch.int64),
    )
    changed = transforms.batch(batch)
    assert isinstance(changed, KeyframeBatch)
    assert changed.depth_code.any(-1).equal(changed.rgb.any(-1))
    assert changed.depth_code.any(-1).any() and not changed.depth_code.all()


def test_windows_with_a_time_axis_and_cameras_of_other_sizes(folder: Path) -> None:
    transforms = built(folder)
    seen, _ = observation()
    twice = dataclasses.replace(
        seen,
        rgb=torch.stack([seen.rgb, seen.rgb.flip(3)], 1),
        **dict.fromkeys(("depth", "intrinsics", "extrinsics", "mask")),
    )
    masked = transforms.observation(twice)
    assert masked.rgb.shape == (1, 2, 2, SIDE, SIDE, 3) and masked.rgb[:, 0].any()
    right = Observation(rgb=seen.rgb[:, 1:])
    left = Observation(rgb=seen.rgb[:, :1], cameras=("left",), others={"right": right})
    apart = transforms.observation(left)
    assert apart.rgb.any() and not apart.rgb.all()
    assert apart.others["right"].rgb.any() and apart.others["right"].cameras is None


def test_what_it_knows_travels_in_its_state(folder: Path) -> None:
    transforms = built(folder)
    seen, _ = observation()
    again = built(Path("/nowhere"), fitted=False)
    with pytest.raises(ContractError, match="knows no object"):
        again.observation(seen)
    state = transforms.state_dict()
    again.steps[0].load_state_dict(state["statistics"][0])
    assert not again.needs_fit
    assert again.observation(seen).rgb.equal(transforms.observation(seen).rgb)
    other = {key.replace("left", "top"): value for key, value in state["statistics"][0].items()}
    with pytest.raises(ConfigError, match="knows objects of the cameras top, right"):
        again.steps[0].load_state_dict(other)


def test_masks_of_training_images_are_kept_on_disk(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "masks"
    seen, _ = observation()
    sample = dataclasses.replace(windows(count=1), observed=seen)
    keeping = built(folder, f"{COLOR},masks='{store}'")
    assert not store.exists()  # nothing is written before there is a mask
    first = keeping.batch(sample).observation().rgb
    assert len(list(store.glob("left-*.png"))) == 1
    stored = built(folder, f"{COLOR},masks='stored:{store}'")
    assert stored.batch(sample).observation().rgb.equal(first)
    unknown = dataclasses.replace(sample, observed=dataclasses.replace(seen, rgb=seen.rgb // 2))
    with pytest.raises(ConfigError, match="no stored mask"):
        stored.batch(unknown)
    with pytest.raises(ConfigError, match="made with"):
        built(folder, f"segmenter='simulator',masks='{store}'")


def test_several_references_of_a_camera_are_masked_together(folder: Path) -> None:
    view, _ = square_scene(8, 10, other=(30, 30))
    assert view.objects is not None
    for camera in CAMERAS:
        write_reference(folder, camera, 1, ReferenceImage(view, view.objects == 8))
    seen, truth = observation()
    masked = built(folder, "segmenter='simulator'").observation(seen)
    assert seen.mask is not None
    assert masked.rgb[0].any(-1).equal(truth | (seen.mask[0] == 8))


# -------------------------------------------------------------------------------------- files
def test_references_come_back_from_their_files(tmp_path: Path) -> None:
    view, mask = square_scene(8, 10, other=(30, 30))
    assert view.objects is not None and view.depth is not None
    known = ReferenceImage(view, mask, (view.objects == 8,), ((10.0, 12.5),))
    write_reference(tmp_path, "left", 0, known)
    (read,) = read_references(tmp_path, "left")
    assert read.view.rgb.equal(view.rgb) and read.mask.equal(mask)
    assert read.parts[0].equal(known.parts[0]) and read.points == known.points
    assert read.view.depth is not None and read.view.objects is not None
    torch.testing.assert_close(read.view.depth, view.depth, atol=1e-4, rtol=0)
    assert read.view.objects.equal(view.objects)


def test_masked_pictures_in_the_published_form_are_read(tmp_path: Path) -> None:
    """The picture with everything else black, as a JPEG with its noise."""
    view, mask = square_scene(8, 10)
    Image.fromarray(view.rgb.numpy()).save(tmp_path / "left_0.png")
    black = (view.rgb * mask[..., None]).numpy()
    Image.fromarray(black).save(tmp_path / "left_masked_0.jpg", quality=95)
    (read,) = read_references(tmp_path, "left")
    assert overlap(read.mask, mask) > 0.95 and read.view.depth is None


def test_wrong_references_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no reference left_0.png"):
        read_references(tmp_path, "left")
    view, mask = square_scene(8, 10)
    write_reference(tmp_path, "left", 0, ReferenceImage(View(view.rgb), mask))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "left_masked_0.png")
    with pytest.raises(ConfigError, match="has 9 x 9 pixels, its image 48 x 48"):
        read_references(tmp_path, "left")
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(tmp_path / "left_masked_0.png")
    with pytest.raises(ConfigError, match="masks nothing"):
        read_references(tmp_path, "left")
    (tmp_path / "left_masked_0.png").unlink()
    with pytest.raises(ConfigError, match="has no mask"):
        read_references(tmp_path, "left")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("mode='white'", "sam_g: mode"),
        ("match='mean'", "sam_g: match"),
        ("features='vgg'", "'vgg' is not one of"),
    ],
)
def test_impossible_options_are_refused(options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SamG(SPEC, "x", **{"features": "color", **_option(options)})


def _option(text: str) -> dict[str, Any]:
    name, _, value = text.partition("=")
    return {name: value.strip("'")}
