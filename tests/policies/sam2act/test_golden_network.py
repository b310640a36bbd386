"""The published network against stored outputs, part by part.

Tolerances: 2e-4 absolute in float32 (measured spread of the published network between thread
counts: 2e-5). Heat maps are stored before their rounding to float16.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.policies.multiview.network import Cloud
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.rendering.heatmaps import sample_inverse_distance
from sam2act.rendering.views import project
from tests.golden_files import GoldenFile, find_part, golden
from tests.nn.dropout import set_attention_dropout
from tests.policies.sam2act import golden_network
from tests.policies.sam2act.golden_network import load_golden_weights, tensors

TOLERANCE = 2e-4
assert_close = functools.partial(golden_network.assert_close, tolerance=TOLERANCE)
assert_stored = functools.partial(golden_network.assert_stored, tolerance=TOLERANCE)
CLEAR_MARGIN = 1e-3  # relative gap of the two best scores above which the arg-max is certain


@functools.lru_cache(maxsize=1)
def published_network(salt: str) -> TwoStageNetwork:
    """The published network with the weights that golden files assume."""
    config = load_network("configs/mvt/sam2act.yaml", "sam2_ckpt '' heatmap_half False xops False")
    network = TwoStageNetwork(config)
    load_golden_weights(network, salt)
    return network


@pytest.fixture
def network(golden_file: GoldenFile):
    """The network in evaluation mode; float16 rounding off, as the files are stored."""
    network = published_network(golden_file.salt)
    yield network.eval()
    network.eval()


def assert_same_peak(
    network: TwoStageNetwork, heatmaps: Tensor, actual: Tensor, expected: Tensor, margin: float
) -> None:
    """Arg-max positions are equal where the stored margin is clear, else equal in score."""
    if margin > CLEAR_MARGIN:
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)
        return
    probability = heatmaps.flatten(2).softmax(-1).view_as(heatmaps)[0][:, None]
    scores = []
    for point in (actual, expected):
        pixels = project(point, network.views, heatmaps.shape[-1])[0][:, None]
        scores.append(sample_inverse_distance(pixels, probability).mean())
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=0)


@golden("net_encoder.npz")
@torch.no_grad()
def test_encoder_gives_the_published_pyramid(network: TwoStageNetwork, golden_file) -> None:
    stored = tensors(golden_file)
    encoder = network.encoders[0]
    stages = encoder.trunk(stored["rgb"])
    levels = encoder.neck(stages)
    pyramid = encoder(stored["rgb"])
    assert_stored(stored, "trunk3_every2ch", stages[3][:, ::2])
    assert_stored(stored, "fpn0_raw_every8ch", levels[0][:, ::8])
    assert_stored(stored, "fpn1_raw_every8ch", levels[1][:, ::8])
    assert_stored(stored, "s0", pyramid.fine)
    assert_stored(stored, "s1", pyramid.middle)
    assert_stored(stored, "s2", pyramid.coarse)


@golden("net_coarse.npz")
@torch.no_grad()
def test_coarse_branch_gives_the_published_heatmaps(network: TwoStageNetwork, golden_file) -> None:
    stored = tensors(golden_file)
    branch, images = network.coarse, stored["img"]
    pyramid = network.encode(images, network.coarse_encoder)
    tokenizer = branch.tokenizer
    image_tokens = tokenizer.image_tokens(images, pyramid.coarse, stored["proprio"])
    language_tokens = tokenizer.language_tokens(stored["lang_emb"])
    tokens = branch.tokens(images, pyramid, stored["proprio"], stored["lang_emb"])
    heatmaps = branch.heatmaps(tokens, pyramid)
    assert_stored(stored, "fusion_out", tokenizer.embed_features(pyramid.coarse))
    assert_stored(stored, "patchify_out", tokenizer.embed_patches(images.flatten(0, 1)))
    assert_stored(stored, "tokens_in", torch.cat([language_tokens, image_tokens], dim=1))
    views = images.shape[1]
    published_order = tokens.unflatten(0, (-1, views)).flatten(3).movedim(2, 3).flatten(1, 2)
    assert_stored(stored, "tokens_out", published_order)
    assert_stored(stored, "trans", heatmaps[:, :, None])
    peak, margin = network.peak(heatmaps), float(stored["wpt_rel_margin"])
    assert_same_peak(network, heatmaps, peak, stored["wpt"], margin)


@golden("net_fine.npz")
@torch.no_grad()
def test_fine_branch_gives_the_published_action(network: TwoStageNetwork, golden_file) -> None:
    stored = tensors(golden_file)
    output, waypoint = network.run_fine(stored["img"], stored["proprio"], stored["lang_emb"])
    assert_stored(stored, "trans", output.heatmaps[:, :, None])
    margin = float(stored["wpt_rel_margin"])
    assert_same_peak(network, output.heatmaps, waypoint, stored["wpt"], margin)
    pixels = project(waypoint, network.views, network.config.img_size)
    torch.testing.assert_close(pixels[:, None], stored["wpt_img"], atol=2e-5, rtol=0)
    for axis, name in enumerate("xyz"):
        assert_close(output.action.rotation[:, axis, :], stored[f"feat_{name}"][:, 0])
    gripper_collision = torch.cat([output.action.gripper, output.action.collision], dim=1)
    assert_close(gripper_collision, stored["feat_ex_rot"][:, 0])


@golden("net_fine.npz")
@torch.no_grad()
def test_head_reads_the_published_features(network: TwoStageNetwork, golden_file) -> None:
    stored = tensors(golden_file)
    images = stored["img"]
    pyramid = network.encode(images, network.fine_encoder)
    tokens = network.fine.tokens(images, pyramid, stored["proprio"], stored["lang_emb"])
    features = network.fine.head.features(tokens, stored["wpt_img"][:, 0])
    assert_stored(stored, "feat", features)
    assert_stored(stored, "feat_bn", network.fine.head.norm(features))


@golden("net_fine_train.npz")
@torch.no_grad()
def test_fine_branch_trains_with_published_statistics(
    network: TwoStageNetwork, golden_file: GoldenFile
) -> None:
    stored = tensors(golden_file)
    norm = network.fine.head.norm
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    dropout = network.config.attn_dropout
    set_attention_dropout(network, 0.0)
    try:
        network.train()
        pixels = network._target_pixels(stored["wpt_local"], half_projection=False)
        output, _ = network.run_fine(
            stored["img"],
            stored["proprio"],
            stored["lang_emb"],
            waypoint_px=pixels,
            teacher_bins=stored["rot_x_y"],
        )
        count = len(find_part(stored, "trans")[1])
        assert_stored(stored, "trans", output.heatmaps[:count, :, None])
        for axis, name in enumerate("xyz"):
            assert_close(output.action.rotation[:, axis], stored[f"feat_{name}"][:, 0])
        both = torch.cat([output.action.gripper, output.action.collision], dim=1)
        assert_close(both, stored["feat_ex_rot"][:, 0])
        assert_stored(stored, "bn_running_mean", norm.running_mean)
        assert_stored(stored, "bn_running_var", norm.running_var)
    finally:
        norm.load_state_dict(before)
        set_attention_dropout(network, dropout)


@golden("net_upsample.npz")
@torch.no_grad()
def test_upsampler_gives_the_published_maps(network: TwoStageNetwork, golden_file) -> None:
    stored = tensors(golden_file)
    upsampler = network.coarse.upsampler
    pyramid = FeaturePyramid(stored["s0"], stored["s1"], stored["x"])
    after_first = upsampler.first(stored["x"])
    joined = upsampler.join(after_first, pyramid.middle, upsampler.first_norm)
    after_second = upsampler.second(joined)
    joined_again = upsampler.join(after_second, pyramid.fine, upsampler.second_norm)
    assert_stored(stored, "after_up1", after_first)
    assert_stored(stored, "after_ln1", joined)
    assert_stored(stored, "after_up2", after_second)
    assert_stored(stored, "after_ln2", joined_again)
    assert_stored(stored, "after_bilinear", upsampler.stretch(joined_again))
    assert_stored(stored, "out", upsampler(stored["x"], pyramid)[:, None])


def two_stage_input(file: GoldenFile, stored: dict[str, Tensor]) -> Cloud:
    """The cloud of the file itself, or that of the scene file beside it."""
    if "pc" in stored:
        points, rgb = stored["pc"], stored["rgb"]
    else:
        scene = file.sibling("renderer_scene.npz").arrays()
        bounds = SceneBounds.from_sequence(scene["scene_bounds"].tolist())
        world = torch.as_tensor(scene["pc_world"])[None]
        points = bounds.cube_frame(1, world).to_cube(world)[0]
        rgb = (torch.as_tensor(scene["rgb_u8"]).float() / 255 * 2 - 1 + 1) / 2
    points, rgb = points.reshape(1, -1, 3).float(), rgb.reshape(1, -1, 3).float()
    return Cloud(points, rgb, torch.ones(points.shape[:2], dtype=torch.bool))


@golden("net_two_stage.npz")
@torch.no_grad()
def test_two_stage_forward_gives_the_published_pose(
    network: TwoStageNetwork, golden_file: GoldenFile
) -> None:
    stored = tensors(golden_file)
    cloud = two_stage_input(golden_file, stored)
    for branch in (network.coarse, network.fine):
        branch.heatmap_half = True
    try:
        output = network(cloud, stored["proprio"], stored["lang_emb"])
    finally:
        for branch in (network.coarse, network.fine):
            branch.heatmap_half = False
    largest = find_part(stored, "trans_coarse_half")[1].abs().max()
    half_step = float(np.spacing(np.float16(largest)))
    coarse_margin, fine_margin = stored["rel_margins"][0], stored["rel_margins"][1:].min()
    assert_stored(
        stored, "trans_coarse_half", output.coarse.heatmaps[:, :, None], tolerance=half_step
    )
    maps = output.coarse.heatmaps
    assert_same_peak(network, maps, output.zoom_center, stored["wpt_coarse"], float(coarse_margin))
    assert_stored(stored, "trans_fine_half", output.fine.heatmaps[:, :, None], tolerance=half_step)
    in_zoom, expected = (
        network.to_zoom(point, stored["wpt_coarse"])
        for point in (output.waypoint, stored["wpt_final_cube"])
    )
    assert_same_peak(network, output.fine.heatmaps, in_zoom, expected, float(fine_margin))
    for axis, name in enumerate("xyz"):
        assert_close(output.fine.action.rotation[:, axis], stored[f"feat_{name}"][:, 0])
