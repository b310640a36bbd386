"""The vision transformers of vision-language models: names, sizes, equality with timm."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import pytest
import torch

from sam2act.core.torchvision_cpu import ensure_torchvision_importable
from sam2act.nn.encoders.released_vit import (
    DINOV2_REG_L,
    SIGLIP_SO400M,
    ReleasedViT,
    ViTSizes,
)
from tests.nn.encoders.weights import images, randomise

SIDE = 56
TINY = {"width": 32, "depth": 3, "heads": 2, "image_side": SIDE}
TINY_DINO = dataclasses.replace(DINOV2_REG_L, **TINY, hidden=128)
TINY_SIGLIP = dataclasses.replace(SIGLIP_SO400M, **TINY, hidden=119)  # 3.7362 times the width
RELEASED = {  # parameters of the models of timm
    "vit_large_patch14_reg4_dinov2.lvd142m": (TINY_DINO, DINOV2_REG_L, 303_230_976),
    "vit_so400m_patch14_siglip_224": (TINY_SIGLIP, SIGLIP_SO400M, 427_680_704),
}


def tiny(sizes: ViTSizes) -> ReleasedViT:
    torch.manual_seed(0)
    network = ReleasedViT(sizes).eval()
    randomise(network)
    return network


@pytest.mark.parametrize("name", RELEASED)
def test_the_full_sizes_have_the_released_numbers_of_parameters(name: str) -> None:
    _, sizes, expected = RELEASED[name]
    with torch.device("meta"):
        network = ReleasedViT(sizes)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    assert sizes.tokens == 256


@pytest.mark.parametrize("sizes", [TINY_DINO, TINY_SIGLIP], ids=["dino", "siglip"])
def test_patches_leave_before_the_last_block(sizes: ViTSizes) -> None:
    network, pictures = tiny(sizes), images(SIDE)
    with torch.no_grad():
        tokens = network(pictures)
        assert tokens.shape == (2, 16, 32)
        network.norm.weight.zero_()
        network.blocks[-1].mlp.fc2.bias.fill_(9)
        assert network(pictures).equal(tokens)
        network.blocks[-2].mlp.fc2.bias.fill_(9)
        assert not network(pictures).equal(tokens)


def test_recomputed_blocks_give_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        network = tiny(TINY_DINO)
        network.checkpointing = recompute
        network(images(SIDE, 1)).square().sum().backward()
        gradients.append(network.reg_token.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", RELEASED)
def test_names_and_tokens_are_those_of_timm(name: str) -> None:
    ensure_torchvision_importable()
    import timm

    sizes = RELEASED[name][0]
    keys = {"depth": sizes.depth, "embed_dim": sizes.width, "num_heads": sizes.heads}
    other = timm.create_model(name, num_classes=0, img_size=SIDE, **keys).eval()
    randomise(other)
    ours = ReleasedViT(sizes).eval()
    ours.load_state_dict(other.state_dict())
    pictures = images(SIDE)
    with torch.no_grad():
        expected = other.get_intermediate_layers(pictures, n={sizes.depth - 2})[0]
        torch.testing.assert_close(ours(pictures), expected, rtol=1e-4, atol=1e-5)
