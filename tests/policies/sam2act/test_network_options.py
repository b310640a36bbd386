"""What each option of the SAM2Act+ network changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.sam2act.memory.attention import MemoryAttentionLayer, rotate_pairs
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.memory.encoder import mask_from_heatmap
from sam2act.policies.sam2act.memory.memory import Memory
from sam2act.policies.sam2act.network import SAM2ActNetwork
from tests.small_encoder import SMALL_ENCODER

SIZES = (
    "use_memory True num_maskmem 2 img_size 32 depth 2 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 2 lang_dim 8 head_hidden [16,16] data.points 0 memory_mask_size 16 "
    "memory_layers 2 memory_hidden 32 memory_dim 16 memory_dropout 0.0 "
)
# Width 64, as in the tiny preset: the local start needs enough frequencies.
WIDE = "use_memory True num_maskmem 3 img_size 64 memory_mask_size 32 memory_layers 2 "


def build(opts: str = "", sizes: str = SIZES) -> SAM2ActNetwork:
    """A tiny network that depends on its options alone."""
    torch.manual_seed(0)
    return SAM2ActNetwork(load_network("configs/mvt/tiny.yaml", sizes + opts))


def build_memory(opts: str = "", views: int = 3) -> Memory:
    torch.manual_seed(0)
    return Memory(load_network("configs/mvt/tiny.yaml", WIDE + opts), views)


def inputs(network: SAM2ActNetwork, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, proprioception and language of `frames` keyframes."""
    generator = torch.Generator().manual_seed(1)
    config = network.config
    return (
        torch.rand(frames, 3, 10, config.img_size, config.img_size, generator=generator),
        torch.rand(frames, 4, generator=generator),
        torch.rand(frames, config.lang_len, config.lang_dim, generator=generator),
    )


# ---------------------------------------------------------------------------------------- start
def test_layers_start_as_copies_of_one() -> None:
    """Published: a layer is built once and copied, so that all start with its random weights."""
    memory = build_memory()
    for layers in (memory.attention.layers, memory.encoder.fuser.layers):
        first, *others = (layer.state_dict() for layer in layers)
        assert others and any(value.std() > 0 for value in first.values() if value.numel() > 1)
        for other in others:
            assert all(torch.equal(value, other[name]) for name, value in first.items())


# ------------------------------------------------------------------------------------ positions
@pytest.mark.parametrize("frames", [1, 3, 10])
def test_reference_positions_are_a_reshape_of_the_table(frames: int) -> None:
    """Published: expand to the frames and views, reshape, then split into columns."""
    memory = build_memory()
    views, tokens, width = 3, memory.config.grid_size**2, memory.config.token_width
    table = torch.randn(1, views * tokens, width)
    expected = table.expand(frames, -1, -1).reshape(tokens, frames * views, width)
    actual = memory.query_position(table, torch.arange(frames), frames)
    assert torch.equal(actual, expected.transpose(0, 1))


def test_reference_positions_depend_on_the_slot_and_the_batch_size() -> None:
    memory = build_memory()
    table = torch.randn(1, 3 * memory.config.grid_size**2, 4)
    alone = memory.query_position(table, torch.tensor([0]), 1)
    first, second = memory.query_position(table, torch.tensor([0, 1]), 2).split(3)
    assert not torch.equal(first, second) and not torch.equal(alone, first)


def test_consistent_positions_are_those_of_the_tokens() -> None:
    memory = build_memory("memory_pos consistent")
    tokens = memory.config.grid_size**2
    table = torch.randn(1, 3 * tokens, 4)
    for frames in (1, 4):
        actual = memory.query_position(table, torch.arange(frames), frames)
        assert torch.equal(actual, table[0].unflatten(0, (3, tokens)).repeat(frames, 1, 1))


# ----------------------------------------------------------------------------------------- mask
def test_centred_mask_ignores_the_level_of_the_logits_and_the_reference_does_not() -> None:
    logits = 3 * torch.randn(2, 1, 16, 16)
    for rule, same in (("reference", False), ("centred", True)):
        mask = mask_from_heatmap(logits, 16, rule)
        raised = mask_from_heatmap(logits + 7, 16, rule)
        assert torch.allclose(mask, raised, atol=1e-4) is same
        assert mask.min() >= -10 and mask.max() <= 10
    peak = mask_from_heatmap(logits, 16, "centred").amax(dim=(1, 2, 3))
    expected = 20 * torch.sigmoid(torch.tensor(3.0)) - 10
    torch.testing.assert_close(peak, expected.expand(2))


def test_mask_rule_reaches_the_stored_frame() -> None:
    tokens, heatmaps = torch.randn(3, 64, 8, 8), 5 + torch.randn(1, 3, 64, 64)
    stored = [
        build_memory(f"memory_mask {rule}").encode(tokens, heatmaps)
        for rule in ("reference", "centred")
    ]
    assert stored[0].shape == (1, 3, 64, 32 * 2) and not torch.allclose(stored[0], stored[1])


# ----------------------------------------------------------------------------------------- start
@torch.no_grad()
def own_cell_attention(memory: Memory, frames: int) -> tuple[Tensor, Tensor]:
    """Attention on the own cell and the most on any other one, summed over frames and averaged
    over inputs: (N,) each."""
    config, layer, angles = memory.config, memory.attention.layers[0], memory.attention.angles
    grid, batch = config.grid_size, 16
    tokens = torch.randn(batch * memory.views, config.token_width, grid, grid)
    maps = torch.randn(batch, memory.views, config.img_size, config.img_size)
    bank = MemoryBank.for_windows(batch, frames, memory.frame_shape, tokens)
    for _ in range(frames):
        bank = bank.push(memory.encode(torch.randn_like(tokens), maps))
    assert isinstance(layer, MemoryAttentionLayer)
    cross = layer.cross_attn_image
    keys = bank.frames.permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)
    key = rotate_pairs(cross.k_proj(keys + memory._memory_position(frames)), angles)
    query = rotate_pairs(cross.q_proj(layer.norm2(tokens.flatten(2).transpose(1, 2))), angles)
    weight = (query @ key.transpose(1, 2) / config.token_width**0.5).softmax(-1)
    weight = weight.unflatten(2, (frames, grid**2)).sum(2).mean(0)
    own = weight.diagonal().clone()
    return own, weight.fill_diagonal_(0).amax(1)


def test_local_start_makes_a_token_look_at_its_own_cell() -> None:
    own, other = own_cell_attention(build_memory("memory_init local memory_tpos_std 0.5"), 3)
    assert (own > 2 * other).all()
    own, other = own_cell_attention(build_memory("memory_init reference"), 3)
    assert not (own > 2 * other).any()


def test_local_start_is_gentle_but_leaves_no_tensor_at_zero() -> None:
    for layer in build_memory("memory_init local").attention.layers:
        for projection in (layer.self_attn.out_proj, layer.linear2):
            for parameter in projection.parameters():
                assert parameter.norm() > 0 and parameter.abs().max() < 0.01
    reference = build_memory("memory_init reference").attention.layers[0]
    assert reference.linear2.weight.abs().max() > 0.01


def test_calibrated_norm_gives_back_the_scale_of_the_tokens() -> None:
    memory = build_memory("memory_init local")
    tokens = 3 * torch.randn(6, 64, 8, 8) + torch.randn(64, 1, 1)
    memory.calibrate(tokens)
    torch.testing.assert_close(memory.attention.norm.weight.detach(), tokens.std(dim=(0, 2, 3)))
    torch.testing.assert_close(memory.attention.norm.bias.detach(), tokens.mean(dim=(0, 2, 3)))


@pytest.mark.parametrize("deviation", [0.02, 0.5])
def test_temporal_encoding_starts_at_the_scale_of_its_key(deviation: float) -> None:
    table = build_memory(f"memory_tpos_std {deviation} num_maskmem 40").temporal_encoding
    assert float(table.detach().std()) == pytest.approx(deviation, rel=0.05)


# ----------------------------------------------------------------------------------------- rule
@torch.no_grad()
def test_rule_decides_whether_the_first_keyframe_is_kept() -> None:
    for rule, slots in (("fifo", [3, 2]), ("anchor_recent", [3, 0])):
        network = build(f"memory_rule {rule}").eval()
        frames, bank, newest = inputs(network, 4), network.empty_bank(1), []
        for time in range(4):
            bank = network.coarse_step(*(part[time : time + 1] for part in frames), bank).bank
            newest.append(bank.frames[0, 0])
        assert torch.equal(bank.frames[0], torch.stack([newest[slot] for slot in slots]))


@torch.no_grad()
def test_rule_changes_nothing_within_a_window() -> None:
    """A window holds as many keyframes as the bank and one more: nothing leaves it."""
    maps = []
    for rule in ("fifo", "anchor_recent"):
        network = build(f"memory_rule {rule}").eval()
        maps.append(network.window_heatmaps(*inputs(network, 3)))
    assert torch.equal(*maps)


# -------------------------------------------------------------------------------------- freezing
def test_frozen_parts_switch_to_evaluation_only_on_request() -> None:
    published, corrected = build().train(), build("frozen_eval True").train()
    for network, mode in ((published, True), (corrected, False)):
        coarse = network.coarse
        frozen = (network.encoders, coarse.tokenizer, coarse.transformer, network.fine)
        assert all(part.training is mode for top in frozen for part in top.modules())
        assert network.memory.training and coarse.upsampler.training
        network.eval()
        assert not any(part.training for part in network.modules())


def test_dropout_of_frozen_layers_acts_unless_they_are_in_evaluation() -> None:
    for opts, same in (("", False), ("frozen_eval True", True)):
        network = build("attn_dropout 0.5 " + opts).train()
        frames = inputs(network, 3)
        first, second = (network.coarse_tokens(*frames)[0] for _ in range(2))
        assert torch.equal(first, second) is same


def test_skip_convolutions_are_trained_unless_frozen() -> None:
    narrow = f"sam2_ckpt '' {SMALL_ENCODER}depth 2 attn_dim 32 attn_heads 2 "
    narrow += "attn_dim_head 16 im_channels 16 memory_hidden 32 "
    names = {}
    for freeze in (False, True):
        opts = f"{narrow} stage_two_freeze_skip_convs {freeze}"
        with torch.device("meta"):
            network = SAM2ActNetwork(load_network("configs/mvt/sam2act_plus.yaml", opts))
        names[freeze] = {n for n, p in network.named_parameters() if p.requires_grad}
    skips = {f"encoders.0.conv_s{i}.{leaf}" for i in (0, 1) for leaf in ("weight", "bias")}
    assert names[False] - names[True] == skips and names[True] < names[False]
    assert all(name.startswith(("memory.", "coarse.upsampler.")) for name in names[True])


# ---------------------------------------------------------------------------------- recomputation
def test_recomputing_frames_gives_equal_gradients() -> None:
    gradients, stored = [], []
    for opts in ("", "memory_checkpointing True"):
        network = build(opts).train()
        saved = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            heatmaps = network.window_heatmaps(*inputs(network, 6))
        weights = torch.randn(heatmaps.shape, generator=torch.Generator().manual_seed(3))
        (heatmaps * weights).sum().backward()
        stored.append(saved)
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.requires_grad})
    assert stored[1] < stored[0] / 3
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        assert value is not None, name
        torch.testing.assert_close(value, gradients[1][name], msg=name)


# ----------------------------------------------------------------------------------------- sizes
def test_mask_of_an_impossible_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory_mask_size 24 must be a power of two times"):
        load_network("configs/mvt/tiny.yaml", "use_memory True memory_mask_size 24")


def test_without_the_switch_there_is_no_memory_and_nothing_is_frozen() -> None:
    network = SAM2ActNetwork(load_network("configs/mvt/tiny.yaml"))
    assert network.memory is None and not any("memory" in name for name in network.state_dict())
    assert all(parameter.requires_grad for parameter in network.parameters())
