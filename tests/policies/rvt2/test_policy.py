"""RVT-2 as a policy: terms of its loss, its samples, what of its options is served otherwise."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.rvt2.policy import RVT2Policy
from tests.policies.noise import batch

NETWORK = load_network(
    "configs/mvt/tiny_rvt2.yaml",
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 4 lang_dim 8 data.points 0 renderer.radius 0.1 head_hidden [16,16] "
    "xops True",
)


@pytest.fixture(scope="module")
def policy() -> RVT2Policy:
    built = build_policy(load_experiment("configs/tiny.yaml"), NETWORK, seed=2).policy
    assert isinstance(built, RVT2Policy)
    return built.train()


def test_every_parameter_learns_from_the_loss(policy: RVT2Policy) -> None:
    samples = batch(3)
    noise = policy.sample_noise(3, torch.Generator().manual_seed(0))
    output = policy.loss(samples, torch.randn(3, 4, 8), noise)
    output.total.backward()
    assert tuple(output.terms) == policy.term_names and len(policy.term_names) == 6
    assert all(parameter.grad is not None for parameter in policy.parameters())
    policy.zero_grad()


def test_released_attention_key_is_told_once(
    policy: RVT2Policy, caplog: pytest.LogCaptureFixture
) -> None:
    unused: Any = None
    with caplog.at_level(logging.INFO):
        policy.on_start(unused, fresh=True)
    assert [r.message for r in caplog.records if "xops: True" in r.message] == [
        "xops: True is served by scaled_dot_product_attention, which computes the same"
    ]


def test_published_run_had_192_samples_per_update(policy: RVT2Policy) -> None:
    published = load_experiment("configs/rvt2_published.yaml")
    assert policy.published_samples == 8 * published.bs == 192
    assert published.epochs * (published.train_iter // 192) == 83_300  # "about 80k"
    assert load_experiment("configs/rvt2.yaml").epochs * (160_000 // 192) == 12_495
