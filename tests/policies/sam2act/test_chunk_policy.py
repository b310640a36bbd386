"""SAM2Act with a diffusion head: what it learns from, its losses, and that the commands take it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.cli import train
from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.core.types import Observation, SampleIdentity, WindowBatch
from sam2act.policies.base import policy_class
from sam2act.policies.checkpoint import build_policy, load_policy, read_checkpoint
from sam2act.policies.sam2act.chunk_policy import SAM2ActChunkPolicy
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.session import PolicySession
from tests.training import tiny_run

OPTS = f"{tiny_run.NETWORK_OPTS} chunk.dit_depth 1 chunk.dit_width 16 chunk.num_ddim_steps 2"
CENTRE = (0.2, 0.0, 1.1)  # of the scene bounds, metres
SIDE = 16


def build(opts: str = "", experiment: str = "") -> SAM2ActChunkPolicy:
    """A small policy; its head predicts something."""
    bundle = build_policy(
        load_experiment("configs/tiny_chunk.yaml", f"image_size {SIDE} {experiment}"),
        load_network("configs/mvt/tiny_chunk.yaml", f"{OPTS} {opts}"),
    )
    policy = bundle.policy
    assert isinstance(policy, SAM2ActChunkPolicy)
    torch.nn.init.normal_(policy.network.action_model.final_layer.linear.weight)
    return policy.train()


def observation(count: int = 2) -> Observation:
    """A camera above the centre of the scene looks down at a bumpy floor."""
    generator = torch.Generator().manual_seed(1)
    shape = (count, 2, SIDE, SIDE)
    intrinsics = torch.tensor([[10.0, 0, 8], [0, 10, 8], [0, 0, 1]], dtype=torch.float64)
    extrinsics = torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))
    extrinsics[:3, 3] = torch.tensor([0.2, 0.0, 1.6])
    hand = torch.tensor([1.0, 0.04, 0.04, *CENTRE, 0.0, 1.0, 0.0, 0.0])
    return Observation(
        rgb=torch.randint(256, (*shape, 3), generator=generator, dtype=torch.uint8),
        depth=0.5 + 0.3 * torch.rand(shape, generator=generator),
        intrinsics=intrinsics.expand(count, 2, 3, 3),
        extrinsics=extrinsics.expand(count, 2, 4, 4),
        proprioception=hand.expand(count, 10),
    )


def batch(count: int = 2) -> WindowBatch:
    generator = torch.Generator().manual_seed(2)
    goal = torch.tensor([*CENTRE, 0.0, 1.0, 0.0, 0.0]).repeat(count, 1)
    goal[:, :3] += 0.1 * torch.rand(count, 3, generator=generator)
    return WindowBatch(
        instruction=torch.zeros(count, dtype=torch.int64),
        identities=tuple(SampleIdentity("open_drawer", 0, i, i) for i in range(count)),
        observed=observation(count),
        action=torch.rand(count, 16, 7, generator=generator),
        valid=torch.ones(count, 16, dtype=torch.bool),
        goal=goal,
    )


def language(count: int = 2) -> Tensor:
    return torch.rand(count, 4, 8, generator=torch.Generator().manual_seed(5))


def test_without_the_option_nothing_is_there() -> None:
    plain = load_network("configs/mvt/tiny.yaml", tiny_run.NETWORK_OPTS)
    assert not plain.gives_chunks and NetworkConfig().action_head == "keyframe_bins"
    policy = build_policy(load_experiment("configs/tiny.yaml"), plain).policy
    assert not isinstance(policy, SAM2ActChunkPolicy)
    assert not any("action_model" in name for name in policy.state_dict())


def test_the_published_network_conditions_by_768_numbers() -> None:
    head = load_network("configs/mvt/sam2act.yaml", "action_head diffusion_chunk").chunk
    assert (head.condition_dim, head.action_dim, head.chunk) == (768, 7, 16)
    wide = load_network(
        "configs/mvt/sam2act.yaml",
        "action_head diffusion_chunk chunk.sees_state True chunk.control ee_pose",
    ).chunk
    assert (wide.condition_dim, wide.action_dim) == (768 + 64, 8)


def test_both_losses_reach_every_part() -> None:
    policy, data = build("chunk.condition_dropout 0.0"), batch()
    noise = policy.sample_noise(2, torch.Generator().manual_seed(0))
    output = policy.loss(data, language(), noise)
    assert tuple(output.terms) == policy.term_names == ("trans_loss", "noise_error")
    weighted = output.terms["trans_loss"] + 10 * output.terms["noise_error"]
    torch.testing.assert_close(output.total.detach(), weighted)
    output.total.backward()
    idle = {name for name, p in policy.named_parameters() if p.grad is None or not p.grad.any()}
    expected = {"network.action_model.z_embedder.uncondition"}
    expected |= {f"network.action_model.history_embedder.linear.{x}" for x in ("weight", "bias")}
    assert idle == expected


def test_a_shift_moves_everything_together() -> None:
    """Where the waypoint lies, seen from the hand, is the same for every shift."""
    policy, data = build(), batch()
    noise = policy.sample_noise(2, torch.Generator().manual_seed(0)).sample
    still = build(experiment="peract.transform_augmentation False")
    cloud, targets, hand, _ = policy.placed_window(data, noise)
    fixed, wanted, held, _ = still.placed_window(data, noise)
    moved = targets.waypoint - wanted.waypoint
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(hand.position - held.position, moved)
    torch.testing.assert_close(hand.quaternion.abs(), held.quaternion.abs())
    assert len(cloud.points) == len(fixed.points) == 2


def test_a_chunk_depends_on_its_own_environment_alone() -> None:
    policy = build().eval()
    together, state = policy.act(observation(), language(), policy.initial_state(2))
    alone, _ = policy.act(
        observation().select(torch.tensor([1])), language()[1:], policy.initial_state(1)
    )
    torch.testing.assert_close(together.values[1:], alone.values, rtol=1e-3, atol=1e-3)
    assert together.space == "ee_delta" and together.valid.all()
    assert state.count.tolist() == [1, 1]
    empty = observation()
    empty.depth.zero_()
    assert not policy.act(empty, language(), policy.initial_state(2))[0].valid.any()


def test_the_hand_conditions_only_where_it_is_asked_for() -> None:
    seen, hand = observation(), observation().proprioception.clone()
    hand[:, 3] += 0.05
    shifted = dataclasses.replace(seen, proprioception=hand)
    for sees in (True, False):
        policy = build(f"chunk.sees_state {sees}").eval()
        chunks = [
            policy.act(each, language(), policy.initial_state(2))[0].values
            for each in (seen, shifted)
        ]
        assert torch.equal(*chunks) is not sees


def test_the_commands_train_resume_and_act(tmp_path: Path) -> None:
    tiny_run.write_demos(tmp_path, episodes=2, images="all")

    def run(epochs: int) -> dict:
        opts = tiny_run.experiment_opts(tmp_path, f"bs 2 train_iter 2 epochs {epochs}")
        arguments = [
            "--exp_cfg_path=configs/tiny_chunk.yaml",
            "--mvt_cfg_path=configs/mvt/tiny_chunk.yaml",
            f"--exp_cfg_opts={opts}",
            f"--mvt_cfg_opts={OPTS}",
            f"--log-dir={tmp_path}/runs",
            "--device=cpu",
        ]
        assert train.main(arguments) == 0
        return read_checkpoint(tmp_path / "runs" / "tiny_chunk_test" / "model_last.pth")

    first, second = run(epochs=1), run(epochs=2)
    assert (first["extra"]["step"], second["extra"]["step"]) == (1, 2)
    before, after = first["model_state"], second["model_state"]
    assert any(not torch.equal(before[name], after[name]) for name in before)
    bundle = load_policy(tmp_path / "runs" / "tiny_chunk_test" / "model_last.pth")
    assert bundle.policy.spec.executor == "open_loop(8)"
    chunk = PolicySession(bundle).act(observation(1), language(1))
    assert chunk.values.shape == (1, 16, 7) and chunk.values.isfinite().all()
    state = bundle.transforms.state_dict()["statistics"][0]  # within what was recorded
    within = (chunk.values - state["shift"]).abs() <= state["scale"] + 1e-5
    assert within[..., :6].all()


def test_it_may_start_from_a_policy_of_keyframes() -> None:
    experiment = load_experiment("configs/tiny.yaml")
    keyframes = build_policy(
        experiment, load_network("configs/mvt/tiny.yaml", OPTS.split(" chunk")[0]), seed=7
    ).policy
    policy = build()
    head = policy.network.action_model.x_embedder.linear.weight.clone()
    report = policy.weight_adapter.load(keyframes.weight_adapter.export())
    assert torch.equal(head, policy.network.action_model.x_embedder.linear.weight)
    assert all(name.startswith(("network.action_model", "network.state")) for name in report.fresh)
    theirs = keyframes.network.state_dict()
    shared = {n: x for n, x in policy.network.state_dict().items() if n in theirs}
    assert len(shared) == len(report.loaded) > 50
    assert all(torch.equal(value, theirs[name]) for name, value in shared.items())
    assert policy.weight_adapter.load(policy.weight_adapter.export()).fresh == []


@pytest.mark.parametrize(
    ("network", "experiment", "message"),
    [
        ("", "peract.transform_augmentation_rpy [0,0,10]", "only chunk.control ee_delta may be"),
        ("chunk.control ee_pose", "", "actions of control ee_pose would have to move"),
    ],
)
def test_motions_that_actions_cannot_follow(network: str, experiment: str, message: str) -> None:
    config = load_network("configs/mvt/tiny_chunk.yaml", network)
    with pytest.raises(ConfigError, match=message):
        policy_class(config).check_stage(
            1, load_experiment("configs/tiny_chunk.yaml", experiment), config
        )


def test_impossible_keys() -> None:
    config = load_network("configs/mvt/tiny_chunk.yaml", OPTS)
    with pytest.raises(ConfigError, match="has no second stage"):
        policy_class(config).check_stage(2, load_experiment("configs/tiny_chunk.yaml"), config)
    with pytest.raises(ConfigError, match="use_memory: False"):
        load_network("configs/mvt/tiny_chunk.yaml", "use_memory True")
    with pytest.raises(ConfigError, match="control: .joint."):
        load_network("configs/mvt/tiny_chunk.yaml", "chunk.control joint")
    assert policy_class(config).ground_truth(load_experiment("configs/tiny.yaml"), config) is None
