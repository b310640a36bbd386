"""Memory parts of the published network against stored outputs.

Tolerances in float32: 1e-3 for memory attention and all that lies behind it (it is sharp with these
weights), 1 % of the largest entry for gradients, 2e-4 elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.policies.sam2act.memory.encoder import mask_from_heatmap
from sam2act.policies.sam2act.network import SAM2ActNetwork
from sam2act.policies.sam2act.published_weights import published_name
from tests.golden_files import GoldenFile, base_name, golden
from tests.policies.sam2act.golden_network import (
    assert_close,
    assert_stored,
    load_golden_weights,
    tensors,
)
from tests.training.scripted_update import SCALE, PublishedUpdate, ScriptedTrainer

TOLERANCE, ATTENTION_TOLERANCE = 2e-4, 1e-3
GRADIENT_TOLERANCE = 0.01  # of the largest entry
SEEN: dict[str, dict[tuple, Any]] = {}  # tokens and features of frames, by the salt of the weights
RATE = 0.01  # of the update below, large enough for float32 to show its length


@functools.lru_cache(maxsize=2)
def published_network(salt: str, num_maskmem: int) -> SAM2ActNetwork:
    """The published SAM2Act+ with golden weights, unrounded heat maps and no dropout."""
    opts = "sam2_ckpt '' heatmap_half False attn_dropout 0.0 memory_dropout 0.0 num_maskmem "
    network = SAM2ActNetwork(load_network("configs/mvt/sam2act_plus.yaml", opts + str(num_maskmem)))
    load_golden_weights(network, salt)
    network.coarse_tokens = once_per_frame(network.coarse_tokens, SEEN.setdefault(salt, {}))
    return network.eval()


def once_per_frame(tokens_of: Callable[..., Any], seen: dict[tuple, Any]) -> Callable[..., Any]:
    """`tokens_of` without gradients, computed once per frame: the number of memories, in which the
    networks of one salt differ, comes behind the tokens."""

    def remembered(*inputs: Tensor) -> Any:
        if torch.is_grad_enabled():
            return tokens_of(*inputs)
        key = tuple(value.numpy().tobytes() for value in inputs)
        if key not in seen:
            seen[key] = tokens_of(*inputs)
        return seen[key]

    return remembered


def published_columns(position: Tensor) -> Tensor:
    """(F * V, N, C) as the published (N, F * V, C)."""
    return position.transpose(0, 1)


@golden("net_memory_attention.npz")
@torch.no_grad()
def test_memory_attention_gives_the_published_tokens(golden_file: GoldenFile) -> None:
    stored = {name: value.transpose(0, 1) for name, value in tensors(golden_file).items()}
    network = published_network(golden_file.salt, 9)
    out = network.memory.attention(
        stored["curr"], stored["curr_pos"], stored["memory"], stored["memory_pos"]
    )
    assert_close(out, stored["out"], ATTENTION_TOLERANCE)


@golden("net_memory_encoder.npz")
@torch.no_grad()
def test_memory_encoder_gives_the_published_memory(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    network = published_network(golden_file.salt, 9)
    size = stored["mask_256"].shape[-1]
    mask = mask_from_heatmap(stored["heatmap"], size, "reference")
    assert_close(mask, 20 * torch.sigmoid(stored["mask_256"]) - 10, TOLERANCE)
    grid = stored["out"].shape[-1]
    tokens = stored["feat"].permute(1, 2, 0).unflatten(2, (grid, grid))
    memory = network.memory.encoder(tokens, mask)
    assert_close(memory.transpose(1, 2), stored["out"].flatten(2), TOLERANCE)
    position = network.memory.encoder.position
    assert_close(position.T.expand(len(mask), -1, -1), stored["pos"].flatten(2), 1e-6)


@golden("net_memory_rollout.npz")
@torch.no_grad()
def test_memory_rollout_gives_the_published_heatmaps(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    network = published_network(golden_file.salt, int(stored["num_maskmem"]))
    heatmaps = rollout(network, stored)
    assert_stored(stored, "trans", heatmaps[:, :, None], ATTENTION_TOLERANCE)


def rollout(network: SAM2ActNetwork, stored: dict[str, Tensor]) -> Tensor:
    """Heat maps of consecutive frames of one environment, starting without memories."""
    bank, maps = network.empty_bank(1), []
    for image, proprio in zip(stored["imgs"], stored["proprio"], strict=True):
        step = network.coarse_step(image[None], proprio[None], stored["lang_emb"], bank)
        bank = step.bank
        maps.append(step.heatmaps)
    return torch.cat(maps)


@golden("net_memory_rollout_detail.npz")
@torch.no_grad()
def test_memory_rollout_recalls_the_published_tokens(golden_file: GoldenFile) -> None:
    detail = tensors(golden_file)
    frames = tensors(golden_file.sibling("net_memory_rollout.npz"))
    network = published_network(golden_file.salt, int(detail["num_maskmem"]))
    bank = network.empty_bank(1)
    position = network._query_position(torch.zeros(1, dtype=torch.int64), 1)
    assert_stored(detail, "pos_embed_used", published_columns(position), 0.0)
    names = [base_name(name) for name in detail if name.startswith("x_mem_")]
    steps = [int(name.removeprefix("x_mem_")) for name in names]
    for step in sorted(steps):
        proprio = frames["proprio"][step : step + 1]
        image = frames["imgs"][step : step + 1]
        tokens, _ = network.coarse_tokens(image, proprio, frames["lang_emb"])
        raw = tokens.flatten(2).transpose(1, 2).flatten(0, 1)[None]
        assert_stored(detail, f"tokens_raw_{step}", raw, TOLERANCE)
        recalled = network.memory.recall(tokens, bank, position)
        assert_stored(detail, f"x_mem_{step}", recalled, ATTENTION_TOLERANCE)
        bank = network.coarse_step(image, proprio, frames["lang_emb"], bank).bank
        if step == 0:
            for view in range(image.shape[1]):
                stored = detail[f"bank0_feat_v{view}"][:, 0]
                assert_close(bank.frames[0, 0, view], stored, ATTENTION_TOLERANCE)
                position_stored = detail[f"bank0_pos_v{view}"][:, 0]
                assert_close(network.memory.encoder.position, position_stored, 1e-6)


@golden("net_memory_rollout_window2.npz")
@torch.no_grad()
def test_memory_window_forgets_the_oldest_frame(golden_file: GoldenFile) -> None:
    window = tensors(golden_file)
    frames = tensors(golden_file.sibling("net_memory_rollout.npz"))
    network = published_network(golden_file.salt, int(window["num_maskmem"]))
    step = int(window["step"])
    heatmaps = rollout(network, frames)
    last = heatmaps[step : step + 1, :, None]
    assert_stored(window, f"trans_step{step}", last, ATTENTION_TOLERANCE)


def training_heatmaps(network: SAM2ActNetwork, frames: dict, count: int) -> Tensor:
    """Heat maps of the first `count` frames in training mode."""
    network.train()
    try:
        language = frames["lang_emb"].expand(count, -1, -1)
        return network.window_heatmaps(frames["imgs"][:count], frames["proprio"][:count], language)
    finally:
        network.eval()


def stored_loss(stored: dict[str, Tensor], heatmaps: Tensor) -> Tensor:
    """The loss of which a file holds the value and gradients; heat maps (F, V, 1, H, W)."""
    generator = np.random.default_rng(int(stored["loss_weight_seed"]))
    draws = generator.standard_normal(tuple(heatmaps.shape)).astype(np.float32)
    return (heatmaps * torch.as_tensor(draws / np.float32(1000))).sum()


@pytest.mark.parametrize("checkpointing", [False, True])
@golden("net_memory_train.npz")
def test_memory_training_gives_published_values_and_gradients(
    golden_file: GoldenFile, checkpointing: bool
) -> None:
    stored = tensors(golden_file)
    frames = tensors(golden_file.sibling("net_memory_rollout.npz"))
    network = published_network(golden_file.salt, int(stored["num_maskmem"]))
    count = int(stored["num_frames"])
    position = network._query_position(torch.arange(count), count)
    assert_stored(stored, "pos_embed_used", published_columns(position), 0.0)
    config = network.config
    object.__setattr__(config, "memory_checkpointing", checkpointing)
    network.zero_grad()
    heatmaps = training_heatmaps(network, frames, count)[:, :, None]
    assert_stored(stored, "trans", heatmaps, ATTENTION_TOLERANCE)
    loss = stored_loss(stored, heatmaps)
    assert float(loss.detach()) == pytest.approx(float(stored["loss"]), abs=1e-3)
    loss.backward()
    object.__setattr__(config, "memory_checkpointing", False)
    gradients = {published_name(name): p.grad for name, p in network.named_parameters()}
    names = [name for name in stored if name.startswith("grad:")]
    assert names
    for name in names:
        expected, actual = stored[name], gradients[name.removeprefix("grad:")]
        tolerance = GRADIENT_TOLERANCE * float(expected.abs().max())
        assert_close(actual, expected, tolerance)
    network.zero_grad()


@golden("net_memory_train.npz")
def test_memory_update_moves_the_network_as_published(
    golden_file: GoldenFile, tmp_path: Path
) -> None:
    """Forward and backward pass, gradient scaler, clipped LAMB with the options of stage 2."""
    stored = tensors(golden_file)
    frames = tensors(golden_file.sibling("net_memory_rollout.npz"))
    network = published_network(golden_file.salt, int(stored["num_maskmem"]))
    names = {p: published_name(n) for n, p in network.named_parameters() if p.requires_grad}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    starts = [parameter.detach().numpy().copy() for parameter in names]

    def loss() -> Tensor:
        heatmaps = training_heatmaps(network, frames, int(stored["num_frames"]))
        return stored_loss(stored, heatmaps[:, :, None])

    opts = "peract.warmup_steps 0 train_iter 20"
    plus = "configs/sam2act_plus.yaml"
    run = ScriptedTrainer(list(names), [loss], lr=RATE, opts=opts, folder=tmp_path, config=plus)
    try:
        output = run.update()
        ends = [parameter.detach().numpy().copy() for parameter in names]
        after = network.state_dict()
        trained = {n for n, p in network.named_parameters() if p.requires_grad}
        assert all(torch.equal(after[n], before[n]) for n in before if n not in trained)
    finally:
        network.load_state_dict(before)
        network.zero_grad()
    assert float(output.total) == pytest.approx(float(stored["loss"]), abs=1e-3)
    assert run.scale == SCALE and run.rates == pytest.approx([RATE])
    compared = 0
    for name, start, end, gradient in zip(
        names.values(), starts, ends, run.gradients[0], strict=True
    ):
        expected = PublishedUpdate(start).step(gradient, RATE)
        np.testing.assert_allclose(end, expected, atol=1e-6, rtol=0, err_msg=name)
        published = stored.get(f"grad:{name}")
        if published is not None:  # also from the stored gradient, where its sign is certain
            value, largest = published.numpy(), float(published.abs().max())
            np.testing.assert_allclose(gradient, value, atol=GRADIENT_TOLERANCE * largest, rtol=0)
            clear = np.abs(value) > 2 * GRADIENT_TOLERANCE * largest
            expected = PublishedUpdate(start).step(value, RATE)
            np.testing.assert_allclose(end[clear], expected[clear], atol=1e-3 * RATE, rtol=0)
            compared += 1
    assert compared == sum(name.startswith("grad:") for name in stored)


@golden("net_memory_train_2seq.npz")
@torch.no_grad()
def test_memory_training_of_two_sequences(golden_file: GoldenFile) -> None:
    stored = tensors(golden_file)
    frames = tensors(golden_file.sibling("net_memory_rollout.npz"))
    network = published_network(golden_file.salt, int(stored["num_maskmem"]))
    count = int(stored["num_frames"])
    position = network._query_position(torch.arange(count), count)
    assert_stored(stored, "pos_embed_used", published_columns(position), 0.0)
    heatmaps = training_heatmaps(network, frames, count)[:, :, None]
    every = heatmaps.shape[-1] // stored["trans_every7px"].shape[-1]
    sampled = heatmaps[..., ::every, ::every]
    assert_close(sampled, stored["trans_every7px"], ATTENTION_TOLERANCE)
