"""The bounded bank of past keyframes, and networks that hold several at once."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.network import SAM2ActNetwork

SHAPE = (1, 1, 1)
CONFIG = load_network(
    "configs/mvt/tiny.yaml",
    "use_memory True num_maskmem 2 img_size 32 depth 2 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 2 lang_dim 8 head_hidden [16,16] data.points 0 memory_mask_size 16 "
    "memory_layers 2 memory_hidden 32 memory_dim 16 memory_dropout 0.0",
)


def number(*values: float) -> Tensor:
    """One frame per environment that holds nothing but its number, (B, 1, 1, 1)."""
    return torch.tensor(values).view(-1, *SHAPE)


def numbers(bank: MemoryBank) -> list[list[float]]:
    """The numbers of the stored frames, newest first, per environment."""
    return bank.frames.flatten(1).tolist()


def empty(batch: int, capacity: int) -> MemoryBank:
    return MemoryBank.for_environments(batch, capacity, SHAPE, torch.zeros(()))


@pytest.fixture(scope="module")
def network() -> SAM2ActNetwork:
    torch.manual_seed(0)
    network = SAM2ActNetwork(CONFIG).eval()
    # Values that matter, so that a wrong slot shows.
    torch.nn.init.normal_(network.memory.temporal_encoding)
    return network


def inputs(frames: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Images, proprioception and language of `frames` keyframes."""
    generator = torch.Generator().manual_seed(seed)
    size = CONFIG.img_size
    return (
        torch.rand(frames, 3, 10, size, size, generator=generator),
        torch.rand(frames, 4, generator=generator),
        torch.rand(frames, CONFIG.lang_len, CONFIG.lang_dim, generator=generator),
    )


# ------------------------------------------------------------------------------- the bank itself
@pytest.mark.parametrize("kind", ["environments", "windows"])
def test_newest_comes_first_and_the_oldest_leaves(kind: str) -> None:
    make = MemoryBank.for_environments if kind == "environments" else MemoryBank.for_windows
    bank = make(1, 3, SHAPE, torch.zeros(()))
    for step in range(1, 6):
        bank = bank.push(number(step))
        expected = [float(n) for n in range(step, max(step - 3, 0), -1)]
        stored = numbers(bank)[0]
        assert stored[: len(expected)] == expected
        assert bank.slots == (3 if kind == "environments" else len(expected))
        assert not any(stored[len(expected) :])


def test_size_stays_bounded_over_a_long_episode() -> None:
    bank = empty(2, 4)
    for step in range(200):
        bank = bank.push(number(step, step))
    assert tuple(bank.frames.shape) == (2, 4, *SHAPE)
    assert bank.frames.untyped_storage().nbytes() <= 5 * 2 * 4  # one frame more than the capacity
    assert bank.count is not None and bank.count.tolist() == [4, 4]


def test_push_changes_nothing_in_place() -> None:
    before = empty(1, 2).push(number(1.0))
    before.push(number(2.0))
    assert numbers(before) == [[1.0, 0.0]] and before.count is not None
    assert before.count.tolist() == [1]


def test_count_and_mask_follow_every_environment() -> None:
    bank = empty(2, 3).push(number(1, 11)).push(number(2, 12)).reset(torch.tensor([1]))
    bank = bank.push(number(3, 13))
    assert bank.count is not None and bank.count.tolist() == [3, 1]
    filled = bank.filled()
    assert filled is not None
    assert filled.tolist() == [[True, True, True], [True, False, False]]
    assert numbers(bank) == [[3.0, 2.0, 1.0], [13.0, 0.0, 0.0]]


def test_empty_bank_shows_one_slot_and_a_window_all() -> None:
    filled = empty(1, 3).filled()
    assert filled is not None and filled.tolist() == [[True, False, False]]
    assert MemoryBank.for_windows(1, 3, SHAPE, torch.zeros(())).filled() is None


def test_reset_empties_the_named_environments_only() -> None:
    bank = empty(3, 2).push(number(1, 2, 3)).reset(torch.tensor([0, 2]))
    assert numbers(bank) == [[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]]
    assert bank.count is not None and bank.count.tolist() == [0, 1, 0]


def test_select_and_replace_move_environments() -> None:
    bank = empty(3, 2).push(number(1, 2, 3)).push(number(4, 5, 6)).reset(torch.tensor([1]))
    rows = torch.tensor([2, 1])
    picked = bank.select(rows)
    assert numbers(picked) == [[6.0, 3.0], [0.0, 0.0]]
    assert picked.count is not None and picked.count.tolist() == [2, 0]
    changed = bank.put(rows, picked.push(number(8, 9)))
    assert numbers(changed) == [[4.0, 1.0], [9.0, 0.0], [8.0, 6.0]]
    assert changed.count is not None and changed.count.tolist() == [2, 1, 2]
    assert numbers(bank) == [[4.0, 1.0], [0.0, 0.0], [6.0, 3.0]]


@pytest.mark.parametrize("kind", ["environments", "windows"])
def test_anchor_rule_keeps_the_first_frame_and_the_newest(kind: str) -> None:
    make = MemoryBank.for_environments if kind == "environments" else MemoryBank.for_windows
    bank = make(1, 3, SHAPE, torch.zeros(()))
    for step in range(1, 7):
        bank = bank.push(number(step), "anchor_recent")
    assert numbers(bank) == [[6.0, 5.0, 1.0]]


def test_anchor_rule_follows_every_environment() -> None:
    bank = empty(2, 3)
    for step in range(1, 7):
        if step == 5:
            bank = bank.reset(torch.tensor([1]))
        bank = bank.push(number(step, 10 + step), "anchor_recent")
    assert numbers(bank) == [[6.0, 5.0, 1.0], [16.0, 15.0, 0.0]]


# ------------------------------------------------------------------------------- in the network
@torch.no_grad()
def test_growing_and_allocated_bank_are_recalled_alike(network: SAM2ActNetwork) -> None:
    memory, batch = network.memory, 2
    tokens = torch.randn(batch * 3, CONFIG.token_width, 4, 4)
    position = torch.randn(batch * 3, 16, CONFIG.token_width)
    like = torch.zeros(())
    grown = MemoryBank.for_windows(batch, CONFIG.num_maskmem, memory.frame_shape, like)
    allocated = network.empty_bank(batch)
    for _ in range(CONFIG.num_maskmem + 2):
        torch.testing.assert_close(
            memory.recall(tokens, grown, position), memory.recall(tokens, allocated, position)
        )
        frame = torch.randn(batch, *memory.frame_shape)
        grown, allocated = grown.push(frame), allocated.push(frame)


@torch.no_grad()
def test_without_a_past_tokens_stay_as_they_are(network: SAM2ActNetwork) -> None:
    tokens, position = torch.randn(3, CONFIG.token_width, 4, 4), torch.randn(3, 16, 32)
    bank = network.empty_bank(1)
    assert torch.equal(network.memory.recall(tokens, bank, position), tokens)
    bank = bank.push(torch.randn(1, *network.memory.frame_shape))
    assert not torch.allclose(network.memory.recall(tokens, bank, position), tokens)


@torch.no_grad()
def test_environments_at_different_steps_equal_separate_runs(network: SAM2ActNetwork) -> None:
    """Environment e starts e keyframes late, and the last one starts a second episode."""
    steps, environments = 5, 3
    frames = [inputs(environments, seed) for seed in range(steps)]
    bank, together = network.empty_bank(environments), []
    for step, frame in enumerate(frames):
        starting = [e for e in range(environments) if e == step or (e == 2 and step == 4)]
        bank = bank.reset(torch.tensor(starting, dtype=torch.int64))
        taken = network.coarse_step(*frame, bank)
        together.append(taken.heatmaps)
        bank = taken.bank
    assert bank.count is not None and bank.count.tolist() == [2, 2, 1]
    for environment in range(environments):
        alone = network.empty_bank(1)
        for step, frame in enumerate(frames):
            if step == environment or (environment == 2 and step == 4):
                alone = network.empty_bank(1)
            one = [value[environment : environment + 1] for value in frame]
            taken = network.coarse_step(*one, alone)
            alone = taken.bank
            torch.testing.assert_close(
                taken.heatmaps[0], together[step][environment], atol=1e-4, rtol=0
            )


@torch.no_grad()
def test_windows_equal_steps(network: SAM2ActNetwork) -> None:
    """With positions that do not depend on the batch, training and evaluation agree."""
    object.__setattr__(network.config, "memory_pos", "consistent")
    try:
        frames = inputs(6)
        windows = network.window_heatmaps(*frames)
        for start in (0, 3):
            bank = network.empty_bank(1)
            for frame in range(start, start + 3):
                step = network.coarse_step(*(part[frame : frame + 1] for part in frames), bank)
                bank = step.bank
                torch.testing.assert_close(windows[frame], step.heatmaps[0], atol=1e-4, rtol=1e-4)
    finally:
        object.__setattr__(network.config, "memory_pos", "reference")


@pytest.mark.parametrize("frames", [2, 4])
def test_broken_window_is_refused(network: SAM2ActNetwork, frames: int) -> None:
    with pytest.raises(ConfigError, match=f"bs: {frames} is not a multiple of the window"):
        network.window_heatmaps(*inputs(frames))


class Probe:
    """A gradient hook: it lives exactly as long as the graph of the tensor it is put on."""

    def __call__(self, gradient: Tensor) -> None:
        """Changes nothing."""


def test_past_frames_are_released_with_the_loss(network: SAM2ActNetwork, monkeypatch) -> None:
    """Nothing keeps a bank or its graph once heat maps and loss are gone."""
    alive: list[weakref.ref[Probe]] = []
    push = MemoryBank.push

    def push_with_probe(bank: MemoryBank, frame: Tensor, rule: str = "fifo") -> MemoryBank:
        probe = Probe()
        alive.append(weakref.ref(probe))
        frame.register_hook(probe)
        return push(bank, frame, rule)

    monkeypatch.setattr(MemoryBank, "push", push_with_probe)
    loss = network.window_heatmaps(*inputs(6)).square().mean()
    gc.collect()
    held = [probe() is not None for probe in alive]
    assert held == [True, True, False]  # the loss holds all but the last frame, which nobody reads
    loss.backward()
    del loss
    network.zero_grad()
    gc.collect()
    assert [probe() for probe in alive] == [None] * 3
