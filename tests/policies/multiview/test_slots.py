"""Encoders and upsamplers as choices: what goes together, what a network consists of."""

from __future__ import annotations

import pytest
import torch

from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.core.registry import IMAGE_ENCODERS
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from tests.policies.inputs import random_cloud

SMALL = (
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 im_channels 16 "
    "lang_len 4 lang_dim 8 data.points 0 renderer.radius 0.1 head_hidden [16,16] "
)
ADAPTED = "encoder_trainable lora lora_finetune True lora_r 2 encoder_variant tiny "
SAM2 = "encoder sam2 encoder_trainable lora lora_finetune True sam2_ckpt '' "
WITHOUT_LEVELS = "multires_inputs False upsampler convex14 "
ENCODERS = {
    "none": "encoder none " + WITHOUT_LEVELS,
    "tiny_conv": "",
    "sam_vit_b": "encoder sam_vit_b " + ADAPTED + WITHOUT_LEVELS,
    "dinov2": "encoder dinov2 " + ADAPTED + WITHOUT_LEVELS,
    "depth_anything_v2": "encoder depth_anything_v2 " + ADAPTED + WITHOUT_LEVELS,
    "efficientnet_lite": "encoder efficientnet_lite encoder_variant tiny encoder_trainable none "
    "upsampler_channels [6,4] ",
}


def network(opts: str) -> TwoStageNetwork:
    """A small network of `configs/mvt/tiny.yaml` with other keys."""
    return TwoStageNetwork(load_network("configs/mvt/tiny.yaml", SMALL + opts))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_gives_maps_and_actions(name: str) -> None:
    torch.manual_seed(0)
    built = network(ENCODERS[name]).eval()
    with torch.no_grad():
        found = built(
            random_cloud(2, 64, torch.Generator().manual_seed(0)),
            torch.randn(2, 4),
            torch.randn(2, 4, 8),
        )
    assert found.coarse.heatmaps.shape == found.fine.heatmaps.shape == (2, 3, 32, 32)
    assert found.action.rotation.shape == (2, 3, 72) and found.waypoint.isfinite().all()


def test_every_registered_encoder_is_tried() -> None:
    assert set(ENCODERS) == set(IMAGE_ENCODERS.names()) - {"sam2"}  # by the golden tests


@pytest.mark.parametrize("name", ["sam_vit_b", "dinov2", "depth_anything_v2"])
def test_vision_transformers_train_their_adapters_alone_and_serve_both_branches(name: str) -> None:
    built = network(ENCODERS[name])
    trained = [n for n, p in built.encoders.named_parameters() if p.requires_grad]
    assert len(built.encoders) == 1 and built.coarse_encoder is built.fine_encoder
    assert len(trained) == 2 * 4 and all("qkv.linear_" in name for name in trained)


@pytest.mark.parametrize("encoder", ["", SAM2])
def test_without_multires_inputs_there_are_no_finer_levels(encoder: str) -> None:
    sizes = "sam2_config sam2.1_hiera_t.yaml upsampler_channels [8,4] "
    built = network(encoder + sizes + "multires_inputs False")
    assert built.coarse_encoder.channels[:2] == (0, 0)
    assert not any("conv_s" in name for name in built.state_dict())
    assert built.coarse.upsampler.first_norm.weight.shape == (8,)  # widths of the cascade are free


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ("upsampler convex14", "multires_inputs: True needs upsampler: cascade; convex14"),
        ("upsampler bilinear", "upsampler: bilinear needs preprocessed images .*policy: rvt"),
        ("upsampler nearest", "upsampler: 'nearest' is not one of 'cascade', 'convex14'"),
        ("encoder none", "multires_inputs: True needs an encoder with finer levels, and none has"),
        ("encoder dinov3", "encoder: 'dinov3' is not one of .*; did you mean dinov2"),
        ("encoder_variant tiny", "encoder_variant: tiny does not concern encoder: tiny_conv"),
        (
            "encoder_normalize imagenet",
            "encoder_normalize: imagenet does not concern encoder",
        ),
        ("encoder_ckpt a.pth", "encoder_ckpt does not concern encoder: tiny_conv"),
        ("multires_inputs False skip_convs pretrained_trained", "skip_convs: .* leaves out"),
        ("encoder dinov2 multires_inputs False encoder_variant b", "encoder_variant: 'b' is not"),
    ],
)
def test_impossible_choices_are_refused(opts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_network("configs/mvt/tiny.yaml", opts)


def test_fresh_transformers_need_a_file_or_the_word_random(tmp_path) -> None:
    opts = SMALL + ENCODERS["dinov2"]
    with pytest.raises(ConfigError, match="encoder_ckpt names no weights of .*dinov2.*random"):
        TwoStageNetwork(load_network("configs/mvt/tiny.yaml", opts), pretrained=True)
    absent = load_network("configs/mvt/tiny.yaml", f"{opts} encoder_ckpt {tmp_path}/absent.pth")
    with pytest.raises(ConfigError, match="encoder_ckpt: .*absent.pth"):
        TwoStageNetwork(absent, pretrained=True)
    word = load_network("configs/mvt/tiny.yaml", f"{opts} encoder_ckpt random")
    assert TwoStageNetwork(word, pretrained=True).coarse_encoder.channels == (0, 0, 32)


def test_old_switch_of_the_encoder_means_none() -> None:
    config = load_network("configs/mvt/sam2act.yaml", f"ifSAM2 False {WITHOUT_LEVELS}")
    assert config.encoder == "none" and config.token_parts == (0, 64, 64)
