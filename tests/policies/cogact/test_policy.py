"""CogACT: its loss, what it acts on, and what its chunks depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import EE_DELTA
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, Observation, SampleIdentity, WindowBatch
from sam2act.policies.base import BuildOptions
from sam2act.policies.cogact.backbone import peaks
from sam2act.policies.cogact.config import CogACTConfig
from sam2act.policies.cogact.policy import CogACTPolicy
from sam2act.processing.transforms import Transforms
from tests.golden_files import GoldenFile, golden

SMALL = {
    "action_model_type": "custom",
    "condition_dim": 8,
    "backbone_width": 8,
    "image_side": 16,
    "lang_len": 4,
    "lang_dim": 6,
    "sampler": "ddim",
}
LANGUAGE = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(5))


def build(**keys: object) -> CogACTPolicy:
    torch.manual_seed(0)
    experiment = ExperimentConfig(cameras=("front", "wrist"), image_size=16)
    config = CogACTConfig(**SMALL | keys)  # type: ignore[arg-type]
    policy = CogACTPolicy.build(config, experiment, BuildOptions())
    torch.nn.init.normal_(policy.action_model.final_layer.linear.weight)
    return policy.eval()


def observation(count: int = 3) -> Observation:
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randint(256, (count, 2, 16, 16, 3), generator=generator, dtype=torch.uint8)
    state = torch.tensor([0.3, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    return Observation(rgb, proprioception=state.expand(count, 8))


def batch() -> WindowBatch:
    generator = torch.Generator().manual_seed(2)
    valid = torch.ones(3, 16, dtype=torch.bool)
    valid[1, 4:] = False
    return WindowBatch(
        instruction=torch.zeros(3, dtype=torch.int64),
        identities=tuple(SampleIdentity("open_drawer", 0, i, i) for i in range(3)),
        observed=observation(),
        action=torch.rand(3, 16, 7, generator=generator),
        valid=valid,
    )


def test_the_loss_is_the_error_of_the_noise_and_reaches_every_part() -> None:
    policy, data = build(condition_dropout=0.0).train(), batch()
    noise = policy.sample_noise(3, torch.Generator().manual_seed(0))
    output = policy.loss(data, LANGUAGE, noise)
    output.total.backward()
    idle = {name for name, p in policy.named_parameters() if p.grad is None or not p.grad.any()}
    expected = {"action_model.z_embedder.uncondition"}
    expected |= {f"action_model.history_embedder.linear.{end}" for end in ("weight", "bias")}
    assert idle == expected
    condition = policy.backbone(data.observed.rgb, data.observed.proprioception, LANGUAGE)
    errors = []
    for row in range(3):
        for repeat in range(4):
            wanted, step = noise.noise[row, repeat][None], noise.step[row, repeat][None]
            noisy = policy.chunks.process.add_noise(data.action[row][None], step, wanted)
            predicted = policy.action_model(noisy, step, condition[row][None])
            errors.append((predicted - wanted).square().mean())
    torch.testing.assert_close(output.total, torch.stack(errors).mean())


def test_masked_padding_does_not_count() -> None:
    """With a head that predicts nothing, the error is that of the noise itself."""
    data = batch()
    for masked, counted in ((True, data.valid), (False, torch.ones_like(data.valid))):
        policy = build(mask_padding=masked)
        torch.nn.init.zeros_(policy.action_model.final_layer.linear.weight)
        noise = policy.sample_noise(3, torch.Generator().manual_seed(0))
        loss = policy.loss(data, LANGUAGE, noise).total.detach()
        of_actions = noise.noise.square().mean(-1).movedim(1, 0)[:, counted]  # (R, N)
        torch.testing.assert_close(loss, of_actions.mean())


def test_dropped_conditions_hide_the_images() -> None:
    policy, data = build(condition_dropout=0.5), batch()
    noise = policy.sample_noise(3, torch.Generator().manual_seed(0))
    everything = noise.__class__(noise.step, noise.noise, torch.ones(3, dtype=torch.bool))
    other = WindowBatch(**vars(data) | {"observed": observation()})
    other.observed.rgb.bitwise_not_()
    hidden = [policy.loss(d, LANGUAGE, everything).total for d in (data, other)]
    seen = [policy.loss(d, LANGUAGE, noise).total for d in (data, other)]
    assert hidden[0] == hidden[1] and seen[0] != seen[1]
    share = policy.sample_noise(4000, torch.Generator().manual_seed(0)).dropped.float().mean()
    assert float(share) == pytest.approx(0.5, abs=0.04)


def acted(policy: CogACTPolicy, rows: list[int], count: int = 0) -> Tensor:
    index = torch.tensor(rows)
    state = policy.initial_state(len(rows))
    state = state.put(torch.arange(len(rows)), state.__class__(state.count + count))
    return policy.act(observation().select(index), LANGUAGE[index], state)[0].values


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_chunk_depends_on_its_own_environment_alone(sampler: str) -> None:
    policy = build(sampler=sampler, diffusion_steps=10, num_ddim_steps=5)
    together, alone = acted(policy, [0, 1, 2]), acted(policy, [2])
    torch.testing.assert_close(together[2:], alone, rtol=1e-4, atol=1e-4)
    assert torch.equal(acted(policy, [0]), acted(policy, [0]))
    assert not torch.allclose(acted(policy, [0]), acted(policy, [0], count=1))
    assert set(together[..., 6].unique().tolist()) <= {0.0, 1.0}


def test_the_instruction_and_the_state_change_what_is_done() -> None:
    policy = build(sees_state=True)
    seen, state = observation(1), policy.initial_state(1)
    first = policy.act(seen, LANGUAGE[:1], state)[0].values
    assert not torch.allclose(first, policy.act(seen, LANGUAGE[1:2], state)[0].values)
    moved = Observation(seen.rgb, proprioception=seen.proprioception + 0.1)
    assert not torch.allclose(first, policy.act(moved, LANGUAGE[:1], state)[0].values)
    blind = build()
    chunks = [blind.act(o, LANGUAGE[:1], state)[0].values for o in (seen, moved)]
    assert torch.equal(*chunks)


def test_draws_are_counted_per_environment() -> None:
    policy = build()
    _, state = policy.act(observation(), LANGUAGE, policy.initial_state(3))
    state = state.reset(torch.tensor([1]))
    assert state.count.tolist() == [1, 0, 1]
    assert state.select(torch.tensor([2, 1])).count.tolist() == [1, 0]


def test_spatial_softmax_finds_a_peak() -> None:
    maps = torch.zeros(1, 2, 5, 9)
    maps[0, 0, 1, 8] = maps[0, 1, 4, 0] = 100.0
    torch.testing.assert_close(peaks(maps), torch.tensor([[-0.5, 1.0, 1.0, -1.0]]))


@golden("related_dit_action.npz")
def test_actions_get_back_their_units(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    spec = PolicySpec((), None, action=EE_DELTA)
    texts = ("normalise_actions('quantile')",)
    transforms = Transforms(texts, spec)
    low, high, mask = (torch.from_numpy(arrays[f"unnorm_{n}"]) for n in ("q01", "q99", "mask"))
    shift = torch.where(mask, (high + low) / 2, 0.0)
    scale = torch.where(mask, (high - low) / 2, 1.0)
    statistics = {"shift": shift, "scale": scale}
    transforms.load_state_dict({"texts": texts, "statistics": [statistics]})
    values = torch.from_numpy(arrays["unnorm_in"])[None]
    values[..., 6] = (values[..., 6].clamp(-1, 1) >= 0.5).to(values)  # what the policy does
    chunk = ActionChunk(values, torch.ones(1, 16, dtype=torch.bool), "ee_delta")
    np.testing.assert_allclose(
        transforms.action(chunk).values[0].numpy(), arrays["unnorm_out"], atol=1e-6
    )


def test_impossible_keys() -> None:
    with pytest.raises(ConfigError, match="action_dim: 7, but actions of control ee_pose have 8"):
        build(control="ee_pose")
    with pytest.raises(ConfigError, match="30 denoising steps"):
        build(num_ddim_steps=30)
    with pytest.raises(ConfigError, match="condition_dropout"):
        build(condition_dropout=1.0)
