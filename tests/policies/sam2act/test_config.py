"""The keys of SAM2Act: those of its components, side by side."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from sam2act.core.errors import ConfigError
from sam2act.nn.image_encoder import ImageEncoderConfig, build_encoders
from sam2act.nn.upsampling import UpsamplerConfig
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.memory.config import MemoryConfig

PARTS = [part for part in NetworkConfig.__mro__ if dataclasses.is_dataclass(part)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_defaults_are_legal_in_every_part(part: type) -> None:
    assert part() == part()


def test_every_key_stands_in_one_part() -> None:
    count = Counter(key for part in PARTS for key in part.__dict__.get("__annotations__", {}))
    assert {key for key, times in count.items() if times > 1} == set()
    assert set(count) == {item.name for item in dataclasses.fields(NetworkConfig)}


def test_rotation_bins_fix_the_features() -> None:
    assert NetworkConfig(num_rot=36).feat_dim == 112
    assert dataclasses.replace(NetworkConfig(), num_rot=10).feat_dim == 34


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, "depth must be at least 1"),
        ({"im_channels": 8}, "im_channels must be a multiple of 16"),
        ({"attention_backend": "flash"}, "attention_backend: 'flash' is not one of 'sdpa'"),
        ({"lora_cover": "half"}, "lora_cover: 'half' is not one of 'published', 'full'"),
        ({"upsampler_channels": (1,)}, "upsampler_channels needs two values"),
        ({"local_feature": "nearest"}, "local_feature: 'nearest' is not one of"),
        ({"rend_three_views": True}, "use_point_renderer: False names the soft renderer of RVT"),
        ({"target_projection": "int8"}, "target_projection: 'int8' is not one of"),
        ({"use_memory": True}, "memory_mask_size 256 must be a power of two times the 20"),
        ({"memory_rule": "lifo"}, "memory_rule: 'lifo' is not one of 'fifo', 'anchor_recent'"),
        (
            {"ifsep": True, "feat_ver": 0},
            "supports only feat_ver: 1, ifsep: False; start from ",
        ),
        ({"ifSAM2": False}, "needs an encoder with finer levels, and none has none"),
    ],
)
def test_the_checks_of_all_parts_run(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**values)


def test_a_component_needs_its_own_keys_only() -> None:
    config = ImageEncoderConfig(
        encoder="tiny_conv",
        encoder_trainable="full",
        lora_finetune=False,
        tiny_conv_channels=(4,) * 4,
    )
    coarse, fine = build_encoders(config)
    assert coarse.channels == fine.channels == (4, 4, 4)
    with pytest.raises(ConfigError, match=r"\[64, 32\] must equal the widths .*, \[4, 4\]"):
        UpsamplerConfig().check_skip_widths(coarse.channels)


def test_the_shared_network_knows_no_memory() -> None:
    own = {item.name for item in dataclasses.fields(MemoryConfig)}
    shared = {item.name for item in dataclasses.fields(MultiviewConfig)}
    assert {"use_memory", "num_maskmem", "memory_rule"} <= own - shared
