"""UVA: its losses per mode, what it acts on, its random numbers, its small autoencoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.types import Batch, Observation, SampleIdentity, WindowBatch
from sam2act.policies.base import BuildOptions, StartData
from sam2act.policies.uva.autoencoder import SmallAutoencoder, pictures_of
from sam2act.policies.uva.config import MODES, UVAConfig
from sam2act.policies.uva.noise import HISTORIES, UVANoise, draw, hidden_shares, mask_of
from sam2act.policies.uva.policy import UVAPolicy
from sam2act.policies.uva.sampling import rounds

SMALL = UVAConfig(
    autoregressive_model="custom",
    encoder_embed_dim=8,
    encoder_depth=1,
    decoder_depth=1,
    num_heads=2,
    attn_dropout=0.0,
    proj_dropout=0.0,
    diffloss_w=8,
    diffloss_d=1,
    act_diffloss_w=8,
    act_diffloss_d=1,
    vae="small",
    image_side=16,
    latent_side=4,
    vae_embed_dim=2,
    patch_size=2,
    act_diff_testing_steps=3,
    num_sampling_steps=3,
)
EXPERIMENT = ExperimentConfig(cameras=("img",), image_size=16)


def built(experiment: ExperimentConfig = EXPERIMENT, **changes: Any) -> UVAPolicy:
    torch.manual_seed(0)
    policy = UVAPolicy.build(dataclasses.replace(SMALL, **changes), experiment, BuildOptions())
    policy.vae_model.scale.fill_(1.0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "adaLN" in name or "final_layer" in name:
                parameter.normal_(std=0.1)
    return policy


def draw_of(policy: UVAPolicy, count: int = 3) -> UVANoise:
    return policy.sample_noise(count, torch.Generator().manual_seed(2))


def windows(count: int = 3, frames: int = 8) -> WindowBatch:
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randint(256, (count, frames, 1, 16, 16, 3), generator=generator)
    return WindowBatch(
        instruction=torch.zeros(count, dtype=torch.int64),
        identities=tuple(SampleIdentity("pusht", 0, row, row + 16) for row in range(count)),
        observed=Observation(
            rgb=rgb.to(torch.uint8),
            proprioception=torch.zeros(count, frames, 0),
            cameras=("img",),
        ),
        action=torch.rand(count, 16, 2, generator=generator) * 2 - 1,
        valid=torch.ones(count, 16, dtype=torch.bool),
    )


NOTHING = torch.zeros(3, 1, 1)


def test_a_step_trains_the_losses_of_its_mode() -> None:
    noise = draw(SMALL, 3, torch.Generator().manual_seed(2))
    trained = {
        "video_model": {"video_loss"},
        "dynamic_model": {"video_loss"},
        "policy_model": {"action_loss"},
        "inverse_model": {"action_loss"},
        "full_dynamic_model": {"video_loss", "action_loss"},
    }
    for mode in MODES:
        policy = built(selected_training_mode=mode).train()
        output = policy.loss(windows(), NOTHING, noise)
        present = {name for name, value in output.terms.items() if float(value) > 0}
        assert present == trained[mode]
        torch.testing.assert_close(
            output.total.detach(), torch.stack(list(output.terms.values())).sum()
        )
        output.total.backward()
        assert all(p.grad is not None for p in policy.model.parameters())
        moved = policy.model.diffactloss.net.input_proj.weight.grad.any()
        assert bool(moved) == ("action_loss" in trained[mode])
        assert not any(p.requires_grad for p in policy.vae_model.parameters())


def test_evaluation_measures_imagining_and_acting_whatever_was_drawn() -> None:
    policy = built(selected_training_mode="inverse_model").eval()
    noise = draw(SMALL, 3, torch.Generator().manual_seed(2))
    losses = policy.loss(windows(), NOTHING, noise).terms
    other = dataclasses.replace(noise, mode=1 - noise.mode)
    assert policy.loss(windows(), NOTHING, other).terms == losses
    assert set(losses) == {"video_loss", "action_loss"}
    alone = built(predict_action=False).eval().loss(windows(), NOTHING, noise).terms
    assert list(alone) == ["video_loss"]
    torch.testing.assert_close(alone["video_loss"], losses["video_loss"])


def test_only_hidden_tokens_are_learnt() -> None:
    """The video loss of one sample is that of its hidden places; seen ones do not count."""
    policy, batch = built(selected_training_mode="video_model").train(), windows()
    noise = draw(SMALL, 3, torch.Generator().manual_seed(2))
    noise = dataclasses.replace(noise, ratio=torch.full((3,), 0.7))
    mask = mask_of(noise)
    assert mask.sum(1).tolist() == [12] * 3  # 3 of 4 places in 4 frames
    assert torch.equal(mask[:, :4], mask[:, 12:])
    before = policy.loss(batch, NOTHING, noise).total
    louder = torch.where(mask[..., None], noise.video, noise.video + 5)
    assert torch.equal(
        policy.loss(batch, NOTHING, dataclasses.replace(noise, video=louder)).total, before
    )
    louder = torch.where(mask[..., None], noise.video + 5, noise.video)
    assert policy.loss(batch, NOTHING, dataclasses.replace(noise, video=louder)).total > before


STATE = "position:3,opening:1"


def test_the_state_is_seen_and_predicted() -> None:
    """Of the four numbers seen two frames differ in one; the opening alone is predicted."""
    keys = {"use_proprioception": True, "predict_proprioception": True, "proprioception": STATE}
    policy = built(**keys, predicted_proprioception="opening")
    assert policy.spec.state_size == 4 and policy.config.predicted_columns == [3]
    noise = draw(policy.config, 3, torch.Generator().manual_seed(2))
    plain = draw(SMALL, 3, torch.Generator().manual_seed(2))
    assert noise.state.shape == (3, 4, 1) and plain.state.numel() == 0
    assert torch.equal(noise.text, plain.text) and torch.equal(noise.action, plain.action)
    states = torch.rand(3, 8, 4, generator=torch.Generator().manual_seed(3))

    def losses(state: Tensor, mode: str = "video_model") -> dict[str, float]:
        policy.config = dataclasses.replace(policy.config, selected_training_mode=mode)
        observed = dataclasses.replace(windows().observed, proprioception=state)
        batch = dataclasses.replace(windows(), observed=observed)
        return {n: float(v) for n, v in policy.train().loss(batch, NOTHING, noise).terms.items()}

    found = losses(states)
    assert set(found) == {"video_loss", "action_loss", "state_loss"} and found["state_loss"] > 0
    earlier, unseen, later = (states.clone() for _ in range(3))
    earlier[:, 0, 0], unseen[:, 7, 0], later[:, 7, 3] = 2, 2, 2
    assert losses(earlier)["video_loss"] != found["video_loss"]
    assert losses(unseen)["state_loss"] == found["state_loss"]
    assert losses(later)["video_loss"] == found["video_loss"]
    assert losses(later)["state_loss"] != found["state_loss"]
    assert losses(states, "inverse_model")["state_loss"] != found["state_loss"]


def test_random_numbers_of_the_loss() -> None:
    noise = draw(SMALL, 6, torch.Generator().manual_seed(0))
    part = noise.select(slice(2, 4))
    assert torch.equal(part.video, noise.video[2:4]) and len(part.mode) == 2
    shared = draw(
        dataclasses.replace(SMALL, mode_sampling="shared"), 6, torch.Generator().manual_seed(0)
    )
    assert len(set(noise.mode.tolist())) == 6 and len(set(shared.mode.tolist())) == 1
    shares = hidden_shares(torch.linspace(0, 1, 20001), SMALL)
    assert float(shares.min()) == pytest.approx(0.7) and float(shares.max()) == pytest.approx(1)
    assert float(shares.mean()) == pytest.approx(0.867, abs=1e-3)
    assert len(HISTORIES) == 816 and all(x[-1] == 15 and list(x) == sorted(x) for x in HISTORIES)


def test_frames_of_the_history_vary_in_training_alone() -> None:
    policy = built(different_history_freq=True, selected_training_mode="video_model")
    assert policy.spec.offsets == (*range(-15, 1), 4, 8, 12, 16)
    assert policy.spec.seen == tuple(range(-15, 1))
    batch = windows(frames=20)
    noise = draw(SMALL, 3, torch.Generator().manual_seed(2))
    others = dataclasses.replace(noise, history=(noise.history + 400) % 816)
    policy.eval()
    assert torch.equal(*(policy.loss(batch, NOTHING, n).total for n in (noise, others)))
    policy.train()
    assert not torch.equal(*(policy.loss(batch, NOTHING, n).total for n in (noise, others)))
    plain = built().eval()
    shown = dataclasses.replace(
        batch.observed, rgb=batch.observed.rgb[:, [3, 7, 11, 15, 16, 17, 18, 19]]
    )
    same = plain.loss(dataclasses.replace(batch, observed=shown), NOTHING, noise).total
    torch.testing.assert_close(policy.eval().loss(batch, NOTHING, noise).total, same)


def test_windows_stand_where_published_ones_do() -> None:
    """Steps 0 to 31 with the present at 15; one may lie before the episode, seven behind it."""
    spec = built().spec
    assert spec.offsets == (-12, -8, -4, 0, 4, 8, 12, 16) and spec.first_action == 0
    assert spec.margins == (14, 9) and spec.executor == "open_loop(8)"
    assert built(shift_action=False).spec.first_action == 1
    assert built(pad_before=15).spec.margins == (0, 9)


def test_chunks_depend_on_the_observation_and_on_how_many_came_before() -> None:
    policy = built().eval()
    seen = dataclasses.replace(windows().observed, rgb=windows().observed.rgb[:, :4])
    chunk, state = policy.act(seen, NOTHING, policy.initial_state(3))
    again, _ = policy.act(seen, NOTHING, policy.initial_state(3))
    later, _ = policy.act(seen, NOTHING, state)
    assert chunk.values.shape == (3, 16, 2) and chunk.values.abs().max() <= 1
    assert torch.equal(chunk.values, again.values)
    assert not torch.equal(chunk.values, later.values)
    one = seen.select(torch.tensor([1]))
    alone, _ = policy.act(one, NOTHING[:1], policy.initial_state(1))
    torch.testing.assert_close(alone.values[0], chunk.values[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rounds", [1, 3])
def test_imagined_frames_are_pictures_that_follow_the_history(rounds: int) -> None:
    policy = built(num_iter=rounds).eval()
    seen = dataclasses.replace(windows().observed, rgb=windows().observed.rgb[:, :4])
    seeds = torch.arange(3)
    frames = policy.imagine(seen, NOTHING, seeds)
    assert frames.shape == (3, 4, 16, 16, 3) and frames.dtype == torch.uint8
    assert torch.equal(policy.imagine(seen, NOTHING, seeds), frames)
    assert not torch.equal(policy.imagine(seen, NOTHING, seeds + 7), frames)
    told = policy.imagine(seen, NOTHING, seeds, actions=torch.ones(3, 16, 2))
    assert not torch.equal(told, frames)


def test_the_autoencoder_learns_from_single_frames_of_whole_episodes() -> None:
    policy = built(trains="vae").train()
    assert policy.spec.offsets == (0,) and policy.spec.margins == (0, 0)
    batch = windows()
    seen = dataclasses.replace(batch.observed, rgb=batch.observed.rgb[:, 3])
    output = policy.loss(dataclasses.replace(batch, observed=seen), NOTHING, draw_of(policy))
    assert set(output.terms) == {"squared_error", "divergence"}
    output.total.backward()
    assert all(p.grad is not None for p in policy.vae_model.parameters())
    assert all(p.grad is None for p in policy.model.parameters())


def test_rounds_of_filling_in_follow_a_cosine() -> None:
    assert rounds(256, 1) == [256]
    assert rounds(256, 4) == [20, 75, 159, 256]
    assert rounds(4, 64)[-1] == 4 and len(rounds(4, 64)) <= 4


def test_the_small_autoencoder_learns_pictures_without_losing_its_latents() -> None:
    torch.manual_seed(0)
    autoencoder = SmallAutoencoder(channels=4, factor=4)
    pictures = pictures_of(windows(2).observed.rgb[:, :, 0].flatten(0, 1) // 128 * 255, 16)
    start = autoencoder.moments(pictures).log_variance.detach()
    assert float(start.mean()) == pytest.approx(-5, abs=0.3)
    optimizer = torch.optim.Adam(autoencoder.parameters(), 2e-3)
    errors = []
    for _ in range(60):
        moments = autoencoder.moments(pictures)
        shown = autoencoder.decode(moments.sample(torch.randn_like(moments.mean)))
        loss = (shown - pictures).square().mean()
        errors.append(loss.item())
        optimizer.zero_grad()
        (loss + 1e-4 * moments.divergence().mean() / pictures[0].numel()).backward()
        optimizer.step()
    assert errors[-1] < 0.8 * errors[0]
    moments = autoencoder.moments(pictures)
    assert moments.mean.std() > 3 * (moments.log_variance / 2).exp().mean()


def test_known_pictures_are_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, cached = built().train(), built(cache_latents=True).train()
    noise = draw(SMALL, 3, torch.Generator().manual_seed(2))
    expected = plain.loss(windows(), NOTHING, noise).total
    torch.testing.assert_close(cached.loss(windows(), NOTHING, noise).total, expected)

    def refuse(pictures: Tensor) -> None:
        raise AssertionError("a known picture was encoded again")

    first = cached.loss(windows(), NOTHING, noise).total
    monkeypatch.setattr(cached.vae_model, "moments", refuse)
    assert torch.equal(cached.loss(windows(), NOTHING, noise).total, first)
    with pytest.raises(AssertionError, match="known picture"):
        cached.loss(windows(4), NOTHING[[0, 0, 0, 0]], draw(SMALL, 4, torch.Generator()))


def test_the_spread_of_the_latents_is_measured_once() -> None:
    policy = built()
    policy.vae_model.scale.zero_()

    def batches(first: int, count: int) -> Iterator[Batch]:
        return iter([windows()] * count)

    data = StartData(batches, NOTHING, torch.device("cpu"), lambda tensors: None)
    policy.on_start(data, fresh=True)
    pictures = pictures_of(windows().observed.rgb[:, :, 0].flatten(0, 1), 16)
    spread = policy.vae_model.moments(pictures).mean.std()
    assert float(policy.vae_model.scale) == pytest.approx(1 / float(spread), rel=1e-3)
    policy.vae_model.scale.fill_(0.25)
    policy.on_start(data, fresh=False)
    assert float(policy.vae_model.scale) == 0.25


def test_biases_and_norms_are_not_decayed() -> None:
    matrices, vectors = built().parameter_groups()
    assert all(p.dim() > 1 for p in matrices["params"]) and "weight_decay" not in matrices
    assert all(p.dim() <= 1 for p in vectors["params"]) and vectors["weight_decay"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selected_training_mode": "video"}, "selected_training_mode: 'video' is not one of"),
        (
            {"selected_training_mode": "policy_model", "predict_action": False},
            "trains actions, but predict_action is False",
        ),
        ({"vae": "kl16"}, "kl16 has 16 pixels per latent"),
        ({"action_dim": 7, "control": "ee_pose"}, "have 8 numbers"),
        ({"image_side": 24}, "multiple of 4 pixels per latent"),
        ({"use_proprioception": True}, "use_proprioception: needs the parts of the state"),
        ({"proprioception": "robot0_eef_pos"}, "must be a name and a number"),
        (
            {
                **{"predict_proprioception": True, "proprioception": STATE},
                "predicted_proprioception": "speed",
            },
            "predicted_proprioception: 'speed' is not one of 'position', 'opening'",
        ),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(**changes)


def test_one_camera_and_still_pictures_are_needed() -> None:
    two = dataclasses.replace(EXPERIMENT, cameras=("front", "wrist"))
    with pytest.raises(ConfigError, match="takes one, got front, wrist"):
        built(two)
    changing = dataclasses.replace(EXPERIMENT, transforms=("augment_clip",))
    with pytest.raises(ConfigError, match="leave out augment_clip"):
        built(changing, cache_latents=True)
