"""Commands of SAM-G: references from the simulator, masks of demonstrations before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mujoco", reason="the embedded simulator needs MuJoCo (extra sim)")

from sam2act.cli import mask_demos, mask_reference, mask_report  # noqa: E402
from sam2act.core.specs import PolicySpec, square_cameras  # noqa: E402
from sam2act.envs.base import EnvConfig  # noqa: E402
from sam2act.envs.policy_inputs import policy_observation  # noqa: E402
from sam2act.envs.registry import make_env  # noqa: E402
from sam2act.geometry.cameras import unproject  # noqa: E402
from sam2act.processing.sam_g.reference_files import read_references  # noqa: E402
from sam2act.processing.transforms import Transforms  # noqa: E402

SIDE, CAMERA = 48, "front"
SIMULATOR = "segmenter='simulator'"


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("references")
    flags = ["--task", "open_drawer", "--output", str(folder), "--cameras", CAMERA]
    assert mask_reference.main([*flags, "--image-size", str(SIDE)]) == 0
    return folder


def spec() -> PolicySpec:
    return PolicySpec(square_cameras([CAMERA], SIDE, depth=True), language=None, state=())


def test_references_from_the_simulator_mask_what_the_task_is_about(references: Path) -> None:
    (reference,) = read_references(references, CAMERA)
    assert reference.view.side == (SIDE, SIDE) and 0.01 < reference.mask.float().mean() < 0.5
    objects = reference.view.objects
    assert objects is not None and reference.view.depth is not None
    inside, outside = objects[reference.mask].unique(), objects[~reference.mask].unique()
    assert not set(inside.tolist()) & set(outside.tolist())


def test_unknown_objects_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["--task", "open_drawer", "--output", str(tmp_path)]
    assert mask_reference.main([*flags, "--objects", "tower"]) == 2
    assert "--objects: tower is none of" in capsys.readouterr().err
    assert mask_reference.main([*flags, "--list"]) == 0
    assert "drawer_frame" in capsys.readouterr().out


def test_in_the_simulator_the_cloud_is_that_of_the_objects_alone(references: Path) -> None:
    """Another scene: the transform's cloud equals the one of the objects' pixels."""
    text = f"sam_g('{references}',{SIMULATOR},mode='drop_points')"
    transforms = Transforms([text], spec())
    transforms.fit_all(lambda: [])
    wanted = transforms.spec
    env = make_env(EnvConfig("open_drawer", cameras=(CAMERA,), image_size=SIDE, masks=True))
    _, observation = env.reset(0, seed=3)
    seen = policy_observation([observation], wanted, [0])
    assert seen.mask is not None
    truth = torch.from_numpy(np.isin(seen.mask.numpy(), mask_reference.geoms_of(env)))
    masked = transforms.observation(seen)
    cloud, whole = unproject(*masked.geometry), unproject(*seen.geometry)
    measured = masked.geometry.depth > 0
    assert measured.equal(truth) and truth.any()
    assert cloud[measured].equal(whole[truth])


def test_masks_of_demonstrations_are_made_before_training(
    references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames whose mask images are the reference's get the reference's mask."""
    (reference,) = read_references(references, CAMERA)
    episode = tmp_path / "data/train/open_drawer/all_variations/episodes/episode0"
    numbers = reference.view.objects
    assert numbers is not None
    code = torch.stack([numbers % 256, numbers // 256, 0 * numbers], -1).to(torch.uint8)
    for kind, pixels in {"rgb": reference.view.rgb, "mask": code}.items():
        (episode / f"{CAMERA}_{kind}").mkdir(parents=True)
        Image.fromarray(pixels.numpy()).save(episode / f"{CAMERA}_{kind}/0.png")
    store = tmp_path / "masks"
    flags = ["--data", str(tmp_path / "data"), "--tasks", "open_drawer", "--cameras", CAMERA]
    text = f"sam_g('{references}',{SIMULATOR},masks='{store}')"
    assert mask_demos.main([*flags, "--transform", text]) == 0
    assert "open_drawer: 1 masks of 1 demos" in capsys.readouterr().out
    stored = f"sam_g('{references}',{SIMULATOR},masks='stored:{store}')"
    transforms = Transforms([stored], spec())
    transforms.fit_all(lambda: [])
    step = transforms.steps[0]
    kept = step.training_mask(CAMERA, reference.view)  # type: ignore[attr-defined]
    assert kept.equal(reference.mask)
    assert mask_demos.main([*flags, "--transform", "resize(32)"]) == 2


def test_a_page_shows_masks_under_perturbations(references: Path, tmp_path: Path) -> None:
    texts = [f"sam_g('{references}',{SIMULATOR})"]
    texts.append(f"sam_g('{references}',features='color',segmenter='random_walk',steps=1)")
    flags = ["--task", "open_drawer", "--cameras", CAMERA, "--image-size", str(SIDE)]
    flags += ["--output", str(tmp_path / "masks.html"), "--transforms", *texts]
    assert mask_report.main([*flags, "--factors", "table_color"]) == 0
    page = (tmp_path / "masks.html").read_text()
    assert page.count("<img") == 2 and page.count("<td>table_color</td>") == 2
    assert page.count('<td class="n">1.00</td>') >= 2, "the simulator's masks are exact"
