"""The small backbone: what its feature depends on, what of it is trained, its keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.core.types import Observation, SampleIdentity, WindowBatch
from sam2act.nn.encoders.efficientnet_lite import LITE_SIZES, EfficientNetLiteEncoder
from sam2act.policies.base import BuildOptions
from sam2act.policies.cogact.config import CogACTConfig
from sam2act.policies.cogact.policy import CogACTPolicy

SIDE = 32  # two places per side
SMALL = {
    "backbone": "small",
    "action_model_type": "custom",
    "condition_dim": 8,
    "backbone_width": 16,
    "image_side": SIDE,
    "lang_len": 4,
    "lang_dim": 6,
    "sampler": "ddim",
    "sees_state": True,
    "encoder_variant": "tiny",
    "encoder_ckpt": "random",
}
STATE = torch.tensor([0.3, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]).expand(2, 8)


def build(pretrained: bool = False, **keys: object) -> CogACTPolicy:
    torch.manual_seed(0)
    experiment = ExperimentConfig(cameras=("front", "wrist"), image_size=SIDE)
    config = CogACTConfig(**SMALL | keys)  # type: ignore[arg-type]
    return CogACTPolicy.build(config, experiment, BuildOptions(pretrained=pretrained)).eval()


def pictures() -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(256, (2, 2, SIDE, SIDE, 3), generator=random, dtype=torch.uint8)


def words() -> Tensor:
    """Two instructions of three tokens."""
    tokens = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(2))
    tokens[:, 3] = 0
    return tokens


def test_the_feature_depends_on_every_camera_the_state_and_the_order_of_tokens() -> None:
    backbone = build().backbone
    images, language = pictures(), words()
    before = backbone(images, STATE, language)
    assert before.shape == (2, 1, 8)
    for camera in range(2):
        changed = images.clone()
        changed[0, camera] = changed[0, camera].flip(0)
        after = backbone(changed, STATE, language)
        assert not torch.allclose(after[0], before[0])
        torch.testing.assert_close(after[1], before[1])  # another sample
    swapped = language[:, [1, 0, 2, 3]]
    for others in ((images, STATE + 0.1, language), (images, STATE, swapped)):
        assert not torch.allclose(backbone(*others), before, atol=1e-5)


def test_tokens_of_zeros_are_not_seen() -> None:
    backbone, images, language = build().backbone, pictures(), words()
    before = backbone(images, STATE, language)
    with torch.no_grad():
        backbone.text_places[3] += 1
    torch.testing.assert_close(backbone(images, STATE, language), before)


def test_a_place_of_the_map_holds_what_lies_there() -> None:
    backbone, images = build(encoder_trainable="none").backbone, pictures()
    maps = backbone.maps(images)
    middle, coarse = backbone.encoder(images[1, 1].movedim(-1, 0)[None].float() / 255)[1:]
    place = maps[1, 4 + 2]  # second camera, second row, first column
    torch.testing.assert_close(place[-8:], coarse[0, :, 1, 0])
    torch.testing.assert_close(place[:24].view(6, 2, 2), middle[0, :, 2:, :2])


@pytest.mark.parametrize("trained", ["none", "full"])
def test_the_image_encoder_is_trained_where_it_is_wanted(trained: str) -> None:
    policy = build(encoder_trainable=trained, condition_dropout=0.0).train()
    torch.nn.init.normal_(policy.action_model.final_layer.linear.weight)
    batch = WindowBatch(
        instruction=torch.zeros(2, dtype=torch.int64),
        identities=tuple(SampleIdentity("open_drawer", 0, i, i) for i in range(2)),
        observed=Observation(pictures(), proprioception=STATE),
        action=torch.rand(2, 16, 7, generator=torch.Generator().manual_seed(3)),
        valid=torch.ones(2, 16, dtype=torch.bool),
    )
    noise = policy.sample_noise(2, torch.Generator().manual_seed(0))
    policy.loss(batch, words(), noise).total.backward()
    idle = {n for n, p in policy.backbone.named_parameters() if p.grad is None or not p.grad.any()}
    encoder = {f"encoder.{name}" for name, _ in policy.backbone.encoder.named_parameters()}
    assert idle == (encoder if trained == "none" else set())
    given = {id(p) for group in policy.parameter_groups() for p in group["params"]}
    assert {id(p) in given for p in policy.backbone.encoder.parameters()} == {trained == "full"}


def test_a_new_run_reads_the_weights_and_acting_does_not(tmp_path: Path) -> None:
    source = EfficientNetLiteEncoder(LITE_SIZES["tiny"])
    state = {f"_{n}": v for n, v in source.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    named = {"encoder_ckpt": str(tmp_path / "weights.pth")}
    read = build(pretrained=True, **named).backbone.encoder.state_dict()
    assert all(torch.equal(read[name], value) for name, value in source.state_dict().items())
    absent = {"encoder_ckpt": str(tmp_path / "absent.pth")}
    assert not torch.equal(
        build(**absent).backbone.encoder.conv_stem.weight, source.conv_stem.weight
    )
    with pytest.raises(ConfigError, match="encoder_ckpt: .*absent.pth not found"):
        build(pretrained=True, **absent)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"image_side": 58}, "image_side: 58, but backbone: small .* of 16; set it to 64"),
        ({"fusion_heads": 3}, "backbone_width 16 must be a multiple of fusion_heads, which is 3"),
        ({"encoder_trainable": "lora"}, "encoder_trainable: 'lora' is not one of"),
        ({"backbone": "large"}, "backbone: 'large' is not one of"),
    ],
)
def test_impossible_keys(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**keys)


def test_the_preset_is_whole() -> None:
    experiment = load_experiment("configs/small_cogact.yaml")
    network = load_network("configs/mvt/small_cogact.yaml")
    assert isinstance(network, CogACTConfig)
    policy = CogACTPolicy.build(network, experiment, BuildOptions())
    assert policy.spec.language is not None
    assert (policy.spec.language.encoder, policy.spec.language.width) == ("minilm", 384)
    assert policy.backbone.map_places.shape == (2 * 36, 256)
