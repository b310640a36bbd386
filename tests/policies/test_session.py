"""Acting from a checkpoint: environments keep apart, batches do not matter, instructions encode."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.config.experiment import LanguageConfig
from sam2act.config.load import load_experiment, load_network
from sam2act.core.types import ContractError, Observation, Session
from sam2act.language.text_encoder import HashedTextEncoder, build_text_encoder
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    build_policy,
    config_extra,
    save_checkpoint,
)
from sam2act.policies.executors import build_executor
from sam2act.policies.observations import random_observation, validate_observation
from sam2act.policies.session import PolicySession, batch_slots

EXPERIMENT = load_experiment("configs/tiny.yaml", "image_size 16 cameras ['front','wrist']")
SIZES = (
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 4 lang_dim 8 data.points 128 renderer.radius 0.1 head_hidden [16,16] "
    "num_maskmem 3 "
)
PAST = (
    "use_memory True memory_layers 1 memory_hidden 16 memory_dim 16 memory_mask_size 16 "
    "memory_fuser_kernel 3 memory_pos consistent memory_init local memory_tpos_std 0.5"
)
STAGE_ONE = load_network("configs/mvt/tiny.yaml", SIZES)
PLUS = load_network("configs/mvt/tiny.yaml", SIZES + PAST)
SPEC = build_policy(EXPERIMENT, PLUS).policy.spec
EPISODES = 4
STEPS = 6


@pytest.fixture(scope="module")
def stage_one() -> PolicyBundle:
    return build_policy(EXPERIMENT, STAGE_ONE, seed=1)


@pytest.fixture(scope="module")
def plus() -> PolicyBundle:
    bundle = build_policy(EXPERIMENT, PLUS, seed=1)
    with torch.no_grad():  # sharper heat maps, so that the past decides about actions
        for value in bundle.policy.network.coarse.upsampler.parameters():
            value.mul_(3)
    return bundle


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frame(episode: int, step: int) -> Observation:
    """What environment `episode` shows at `step`."""
    return random_observation(SPEC, 1, generator(100 * episode + step))


def frames(episodes: Sequence[int], step: int | Sequence[int]) -> Observation:
    steps = [step] * len(episodes) if isinstance(step, int) else step
    return Observation.join([frame(e, s) for e, s in zip(episodes, steps, strict=True)])


def tokens(episodes: Sequence[int]) -> Tensor:
    table = torch.randn(100, *SPEC.language_shape, generator=generator(7))
    return table[list(episodes)]


def act(policy: PolicySession, episodes: Sequence[int], step: int | Sequence[int]) -> Tensor:
    """(B, 9) actions; environment and episode have the same number."""
    return policy.act(frames(episodes, step), tokens(episodes), episodes).values[:, 0]


def past(policy: PolicySession, episode: int) -> Tensor:
    """What the policy remembers of an environment."""
    bank = policy._states.select([episode])
    assert bank.count is not None
    return bank.frames[0, : int(bank.count[0])]


def alone(bundle: PolicyBundle, batch_size: int | None) -> dict[int, tuple[Tensor, Tensor]]:
    """Actions (STEPS, 9) and memories of every episode, run by itself."""
    results = {}
    for episode in range(EPISODES):
        policy = PolicySession(bundle, batch_size=batch_size)
        actions = [act(policy, [episode], step) for step in range(STEPS)]
        results[episode] = torch.cat(actions), past(policy, episode)
    return results


def together(bundle: PolicyBundle, batch_size: int | None) -> dict[int, tuple[Tensor, Tensor]]:
    """The same in common batches, environment e starting e steps later, in changing order."""
    policy = PolicySession(bundle, batch_size=batch_size)
    actions: dict[int, list[Tensor]] = {episode: [] for episode in range(EPISODES)}
    for time in range(STEPS + EPISODES - 1):
        running = [e for e in range(EPISODES) if 0 <= time - e < STEPS]
        order = running[time % len(running) :] + running[: time % len(running)]
        chosen = act(policy, order, [time - e for e in order])
        for episode, action in zip(order, chosen, strict=True):
            actions[episode].append(action)
    return {e: (torch.stack(actions[e]), past(policy, e)) for e in range(EPISODES)}


# ------------------------------------------------------------------------- batches of episodes
@pytest.mark.parametrize("rows", [4, 3, 6])
def test_episodes_in_one_batch_equal_separate_ones_bit_for_bit(
    plus: PolicyBundle, rows: int
) -> None:
    separate, common = alone(plus, rows), together(plus, rows)
    for episode in range(EPISODES):
        for mine, other in zip(common[episode], separate[episode], strict=True):
            assert torch.equal(mine, other)


def test_episodes_in_one_batch_equal_separate_ones_without_padding(plus: PolicyBundle) -> None:
    separate, common = alone(plus, None), together(plus, None)
    for episode in range(EPISODES):
        for mine, other in zip(common[episode], separate[episode], strict=True):
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)


def test_stage_one_actions_do_not_depend_on_the_batch(stage_one: PolicyBundle) -> None:
    policy = PolicySession(stage_one, batch_size=3)
    whole = act(policy, [0, 1, 2], 0)
    for episode in (2, 0, 1):
        assert torch.equal(act(policy, [episode], 0)[0], whole[episode])
    unpadded = PolicySession(stage_one)
    torch.testing.assert_close(act(unpadded, [0, 1, 2], 0), whole, atol=1e-4, rtol=0)
    plain = stage_one.policy.predict(frames([0, 1, 2], 0), tokens([0, 1, 2])).action
    assert torch.equal(act(unpadded, [0, 1, 2], 0), plain.values[:, 0])


def test_more_environments_than_rows_make_several_passes(plus: PolicyBundle) -> None:
    policy = PolicySession(plus, batch_size=2)
    ids = [0, 1, 2, 3, 4]
    several = act(policy, ids, 0)
    assert policy.forward_passes == 3 and several.shape == (5, 9)
    whole = act(PolicySession(plus), ids, 0)
    torch.testing.assert_close(several, whole, atol=1e-4, rtol=0)


def test_every_environment_keeps_its_row() -> None:
    plans = batch_slots([6, 1, 4, 3, 8], 4)
    rows = [{slot: plan.rows[slot] for slot in plan.slots} for plan in plans]
    assert rows == [{2: 0, 1: 1, 0: 2, 3: 3}, {0: 4}]
    assert all(len(plan.rows) == 4 for plan in plans) and plans[1].rows == [4, 4, 4, 4]
    (plan,) = batch_slots([6, 1, 4], None)
    assert plan.rows == plan.slots == [0, 1, 2]


# ---------------------------------------------------------------------------------- episodes
def test_the_past_changes_actions_and_reset_forgets_it(plus: PolicyBundle) -> None:
    policy = PolicySession(plus, batch_size=2)
    fresh = act(policy, [0, 1], 5)
    policy.reset()
    for step in range(3):
        act(policy, [0, 1], step)
    assert len(past(policy, 0)) == len(past(policy, 1)) == 3
    remembered = past(policy, 1).clone()
    policy.reset([0, 17])
    assert len(past(policy, 0)) == 0 and torch.equal(past(policy, 1), remembered)
    later = act(policy, [0, 1], 5)
    assert torch.equal(later[0], fresh[0])
    assert not torch.equal(later[1], fresh[1])
    policy.reset()
    assert policy.state_bytes == 0
    assert torch.equal(act(policy, [0, 1], 5), fresh)


def test_long_episodes_take_constant_space(plus: PolicyBundle) -> None:
    policy = PolicySession(plus, validate=False)
    shown, language, sizes = frames([0, 1], 0), tokens([0, 1]), set()
    for _ in range(200):
        policy.act(shown, language)
        sizes.add(policy.state_bytes)
    grid = PLUS.grid_size**2
    assert sizes == {2 * PLUS.num_maskmem * 3 * grid * PLUS.memory_dim * 4 + 2 * 8}


def test_refused_input_leaves_the_past_alone(plus: PolicyBundle) -> None:
    policy = PolicySession(plus)
    act(policy, [0], 0)
    remembered = past(policy, 0).clone()
    broken = dataclasses.replace(frames([0, 1], 1), depth=-frames([0, 1], 1).depth)
    with pytest.raises(ContractError, match="^depth"):
        policy.act(broken, tokens([0, 1]))
    with pytest.raises(ContractError, match="^env_ids"):
        policy.act(frames([0, 1], 1), tokens([0, 1]), [3, 3])
    with pytest.raises(ContractError, match="^env_ids"):
        policy.reset([1, 1])
    with pytest.raises(ContractError, match="no text encoder"):
        policy.act(frames([0, 1], 1), ["a", "b"])
    assert torch.equal(past(policy, 0), remembered)
    assert set(policy._states.row_of) == {0}


def test_warm_up_leaves_no_trace(plus: PolicyBundle, stage_one: PolicyBundle) -> None:
    for bundle in (plus, stage_one):
        policy, other = PolicySession(bundle), PolicySession(bundle)
        for each in (policy, other):
            act(each, [0, 1], 0)
        policy.warm_up(3)
        assert policy.forward_passes == 1 and policy.state_bytes == other.state_bytes
        assert torch.equal(act(policy, [0, 1], 1), act(other, [0, 1], 1))


def test_executor_runs_the_policy(plus: PolicyBundle) -> None:
    policy = PolicySession(plus)
    executor = build_executor("single", policy)
    chunk = executor.act(frames([0, 1], 0), tokens([0, 1]))
    assert chunk.values.shape == (2, 1, 9) and executor.forward_passes == 2
    executor.reset([1])
    assert len(past(policy, 0)) == 1 and len(past(policy, 1)) == 0


# -------------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize("kind", ["stage_one", "plus"])
def test_checkpoints_act_as_the_saved_policy(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = request.getfixturevalue(kind)
    path = tmp_path / "model_last.pth"
    save_checkpoint(path, {"model_state": bundle.model_state(), "extra": config_extra(bundle)})
    policy: Session = PolicySession.from_checkpoint(
        path, batch_size=2, text_encoder=HashedTextEncoder(*SPEC.language_shape)
    )
    assert policy.spec == bundle.policy.spec
    assert policy.spec.past_keyframes == (3 if kind == "plus" else 0)
    original = PolicySession(bundle, batch_size=2)
    for step in range(2):
        action = policy.act(frames([0, 1], step), tokens([0, 1])).values[:, 0]
        assert torch.equal(action, act(original, [0, 1], step))
    position, quaternion, switches = action.split([3, 4, 2], dim=1)
    assert SPEC.bounds.contains(position).all()
    torch.testing.assert_close(quaternion.norm(dim=1), torch.ones(2))
    assert set(switches.flatten().tolist()) <= {0.0, 1.0}


def test_absent_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        PolicySession.from_checkpoint(tmp_path / "none.pth")


# ------------------------------------------------------------------------------------ options
def test_mixed_precision_stays_close(plus: PolicyBundle) -> None:
    exact, mixed = PolicySession(plus), PolicySession(plus, dtype=torch.bfloat16)
    for policy in (exact, mixed):
        action = act(policy, [0, 1], 0)
        assert action.dtype == torch.float32 and action.isfinite().all()
    assert past(mixed, 0).dtype == torch.float32
    difference = (past(exact, 0) - past(mixed, 0)).abs().max()
    assert 0 < difference < 0.1 * past(exact, 0).abs().max()
    with pytest.raises(ContractError, match="^dtype: expected float32"):
        PolicySession(plus, dtype=torch.int8)


def test_validation_can_be_turned_off(stage_one: PolicyBundle) -> None:
    shown = dataclasses.replace(frames([0], 0), cameras=("wrist", "front"))
    PolicySession(stage_one, validate=False).act(shown, tokens([0]))
    with pytest.raises(ContractError, match="^cameras"):
        PolicySession(stage_one).act(shown, tokens([0]))
    with pytest.raises(ContractError, match="^batch_size"):
        PolicySession(stage_one, batch_size=0)


@pytest.mark.parametrize("kind", ["stage_one", "plus"])
def test_actions_without_anything_to_see_are_not_valid(
    kind: str, request: pytest.FixtureRequest
) -> None:
    bundle, shown = request.getfixturevalue(kind), frames([0, 1, 2], 0)
    depth = shown.depth.clone()
    depth[1] = 0
    empty = dataclasses.replace(shown, depth=depth)
    policy = PolicySession(bundle)
    with pytest.raises(ContractError, match="^depth: .*environment 1"):
        policy.act(empty, tokens([0, 1, 2]))
    assert policy.forward_passes == 0
    chunk = PolicySession(bundle, validate=False).act(empty, tokens([0, 1, 2]))
    assert chunk.valid.tolist() == [[True], [False], [True]]


def test_validation_waits_for_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    for name in ("tolist", "item", "__bool__", "nonzero", "cpu", "numpy"):
        method = getattr(Tensor, name)

        def counted(self, *args, method=method, name=name):
            waits.append(name)
            return method(self, *args)

        monkeypatch.setattr(Tensor, name, counted)
    validate_observation(frames([0], 0), SPEC, tokens([0]))
    assert waits == ["tolist"]


# ----------------------------------------------------------------------------------- language
class CountingEncoder:
    """Hashed features; records what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.hashed = HashedTextEncoder(*SPEC.language_shape)

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked.append(list(texts))
        return self.hashed.encode(texts)


def test_texts_are_encoded_once_each(stage_one: PolicyBundle) -> None:
    encoder = CountingEncoder()
    policy = PolicySession(stage_one, text_encoder=encoder)
    texts = ["close the jar", "open the drawer", "close the jar"]
    by_text = policy.act(frames([0, 1, 2], 0), texts).values
    policy.act(frames([0, 1, 2], 0), ["open the drawer", "stack the cups", "close the jar"])
    assert encoder.asked == [["close the jar", "open the drawer"], ["stack the cups"]]
    ready = encoder.hashed.encode(texts)
    assert torch.equal(by_text, policy.act(frames([0, 1, 2], 0), ready).values)


def test_encoded_texts_are_bounded(stage_one: PolicyBundle) -> None:
    cache = PolicySession(stage_one, text_encoder=CountingEncoder())._instructions
    for number in range(300):
        cache.features([f"move {number}"])
    assert len(cache._features) == 256


def test_error_says_how_to_build_the_encoder(stage_one: PolicyBundle) -> None:
    with pytest.raises(ContractError, match="build_text_encoder") as caught:
        PolicySession(stage_one).act(frames([0], 0), ["go"])
    call = str(caught.value).split("text_encoder=sam2act.language.text_encoder.")[1].split(" with")
    encoder = eval(
        call[0], {"build_text_encoder": build_text_encoder, "LanguageConfig": LanguageConfig}
    )
    PolicySession(stage_one, text_encoder=encoder).act(frames([0], 0), ["go"])


def test_encoders_that_do_not_fit_are_refused(stage_one: PolicyBundle) -> None:
    policy = PolicySession(stage_one, text_encoder=HashedTextEncoder(5, 8))
    with pytest.raises(ContractError, match=r"expected features .*\(1, 4, 8\), got \(1, 5, 8\)"):
        policy.act(frames([0], 0), ["go"])
    experiment = dataclasses.replace(EXPERIMENT, language=LanguageConfig(encoder="clip"))
    bundle = build_policy(experiment, STAGE_ONE)
    with pytest.raises(ContractError, match="expected clip, .* got hashed"):
        PolicySession(bundle, text_encoder=HashedTextEncoder(4, 8))
