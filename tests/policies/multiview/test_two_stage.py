"""The two-stage network: shapes, modes, determinism, compilation."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sam2act.config.load import load_network
from sam2act.nn import linear
from sam2act.nn.multiview_transformer import MultiViewTransformer
from sam2act.policies.multiview.branch import round_to_half
from sam2act.policies.multiview.network import Cloud
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.rendering.views import project
from tests.policies.inputs import random_cloud, random_teacher
from tests.small_encoder import SMALL_ENCODER

TINY = load_network("configs/mvt/tiny.yaml")
PUBLISHED_STRUCTURE = load_network(
    "configs/mvt/sam2act.yaml",
    "sam2_ckpt '' depth 2 attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16 "
    f"{SMALL_ENCODER}",
)


@pytest.fixture(scope="module", params=[TINY, PUBLISHED_STRUCTURE], ids=["tiny", "published"])
def network(request) -> TwoStageNetwork:
    torch.manual_seed(0)
    return TwoStageNetwork(request.param).eval()


def inputs(network: TwoStageNetwork, batch: int) -> tuple[Cloud, torch.Tensor, torch.Tensor]:
    config, generator = network.config, torch.Generator().manual_seed(1)
    language = torch.randn(batch, config.lang_len, config.lang_dim, generator=generator)
    proprio = torch.rand(batch, config.proprio_dim, generator=generator)
    return random_cloud(batch, 500, generator), proprio, language


@torch.no_grad()
def test_evaluation_predicts_inside_the_zoomed_cube(network: TwoStageNetwork) -> None:
    output = network(*inputs(network, 2))
    size, views = network.config.img_size, len(network.views)
    assert output.coarse.heatmaps.shape == output.fine.heatmaps.shape == (2, views, size, size)
    assert output.coarse.action is None
    assert output.fine.action.rotation.shape == (2, 3, network.config.num_rot)
    assert output.fine.action.gripper.shape == output.fine.action.collision.shape == (2, 2)
    reach = 1 / network.config.st_sca
    assert ((output.waypoint - output.zoom_center).abs() <= reach).all()


@torch.no_grad()
def test_samples_of_a_batch_do_not_influence_each_other(network: TwoStageNetwork) -> None:
    cloud, proprio, language = inputs(network, 2)
    together = network(cloud, proprio, language)
    one = Cloud(cloud.points[1:], cloud.rgb[1:], cloud.valid[1:])
    alone = network(one, proprio[1:], language[1:])
    expected = together.coarse.heatmaps[1:]
    tolerance = torch.finfo(torch.half).eps * float(expected.abs().max())  # parts round to half
    torch.testing.assert_close(alone.coarse.heatmaps, expected, atol=tolerance, rtol=0)
    assert torch.equal(alone.zoom_center, together.zoom_center[1:])


def test_training_zooms_about_the_noisy_waypoint(network: TwoStageNetwork) -> None:
    cloud, proprio, language = inputs(network, 2)
    teacher = random_teacher(network.config, 2)
    network.train()
    output = network(cloud, proprio, language, teacher)
    network.eval()
    expected = teacher.waypoint + 0.1 * teacher.zoom_noise  # 2 * st_wpt_loc_aug
    torch.testing.assert_close(output.zoom_center, expected)
    assert torch.equal(output.waypoint, teacher.waypoint)


def test_every_trainable_parameter_gets_a_gradient(network: TwoStageNetwork) -> None:
    cloud, proprio, language = inputs(network, 2)
    network.train()
    output = network(cloud, proprio, language, random_teacher(network.config, 2))
    network.eval()
    action = output.fine.action
    loss = sum(
        x.float().pow(2).sum() for x in (output.coarse.heatmaps, output.fine.heatmaps, *action)
    )
    loss.backward()
    without = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    frozen = [
        n for n, p in network.named_parameters() if not p.requires_grad and p.grad is not None
    ]
    network.zero_grad()
    assert without == [] and frozen == []


def test_published_defaults_train_lora_only() -> None:
    network = TwoStageNetwork(PUBLISHED_STRUCTURE)
    trained = {n for n, p in network.encoders.named_parameters() if p.requires_grad}
    assert trained and all(".linear_" in name for name in trained)


@pytest.mark.parametrize(("choice", "expected"), [("full", True), ("none", False)])
def test_encoder_trainable_choices(choice: str, expected: bool) -> None:
    config = dataclasses.replace(
        PUBLISHED_STRUCTURE, encoder_trainable=choice, lora_finetune=choice != "full"
    )
    encoder = TwoStageNetwork(config).encoders[0]
    assert all(p.requires_grad == expected for p in encoder.trunk.parameters())
    assert not encoder.conv_s0.weight.requires_grad  # governed by skip_convs alone


@pytest.mark.parametrize(
    ("config", "mode"),
    [(TINY, "evaluation"), (TINY, "training"), (PUBLISHED_STRUCTURE, "training")],
    ids=["tiny-evaluation", "tiny-training", "published-training"],
)
def test_forward_has_no_graph_break(config: NetworkConfig, mode: str, monkeypatch) -> None:
    monkeypatch.setattr(linear, "LEAST_PRODUCTS", math.inf)  # one library multiplies for both
    network = TwoStageNetwork(config).eval()
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    cloud, proprio, language = inputs(network, 2)
    teacher = random_teacher(network.config, 2) if mode == "training" else None
    with torch.no_grad():
        expected = network(cloud, proprio, language, teacher)
        actual = compiled(cloud, proprio, language, teacher)
    torch.testing.assert_close(actual.fine.heatmaps, expected.fine.heatmaps, atol=1e-5, rtol=0)
    assert torch.equal(actual.waypoint, expected.waypoint)


def test_half_rounding_keeps_the_gradient() -> None:
    x = torch.tensor([1.0003, -7.12345, 1e-9, 0.0, 300.17], requires_grad=True)
    rounded = round_to_half(x)
    assert torch.equal(rounded, x.half().float())
    rounded.sum().backward()
    assert torch.equal(x.grad, torch.ones(5))


@pytest.mark.parametrize("half", [True, False])
def test_soft_max_before_the_arg_max_is_rounded_as_published(half: bool) -> None:
    """Two places whose probabilities float16 cannot tell apart: the first of the grid wins."""
    network = TwoStageNetwork(dataclasses.replace(TINY, heatmap_half=half)).eval()
    size, logits = network.config.img_size, torch.full((1, 3, *[TINY.img_size] * 2), -20.0)
    for place, logit in ((-0.5, 4.0), (0.5, 4.0 + 2.0**-12)):
        pixels = project(torch.full((1, 3), place), network.views, size)[0].round().long()
        for view, (column, row) in enumerate(pixels.tolist()):
            logits[0, view, row - 1 : row + 3, column - 1 : column + 3] = logit
    point = network.peak(logits)
    expected = torch.full((1, 3), -0.5 if half else 0.5)
    torch.testing.assert_close(point, expected, atol=3 / size, rtol=0)


def test_joint_attention_from_the_first_layer_is_an_option() -> None:
    assert MultiViewTransformer(TINY, 3).within_view_layers == TINY.depth // 2
    joint = dataclasses.replace(TINY, self_cross_ver=0)
    assert MultiViewTransformer(joint, 3).within_view_layers == 0
