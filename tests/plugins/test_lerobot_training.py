"""Training our policies with LeRobot's own command on data sets that `convert-data` made.

Needs the environment of scripts/make_lerobot_env.sh, as tests/plugins/test_lerobot.py.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2act.cli.convert_data import main as convert
from sam2act.core.errors import UserError
from sam2act.core.types import KeyframeBatch
from sam2act.data.lerobot import layout
from sam2act.data.lerobot.reader import LeRobotReader
from sam2act.data.loader import gather_batch
from sam2act.data.rlbench.types import dump_published, load_restricted
from sam2act.data.samplers import first_chains
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.policies.checkpoint import load_policy
from sam2act.policies.session import trained_encoder
from sam2act.training.schedule import learning_rate
from tests.data.synthetic_demos import write_synthetic_task
from tests.places import REPOSITORY
from tests.plugins.conftest import DISTRIBUTIONS, PLUGINS

TASK, CAMERAS, SIDE, KEYFRAMES = "open_drawer", ("front", "wrist"), 16, (6, 12, 17)
OPTIONS = f"cameras [front,wrist] image_size {SIDE}"
SMALL = (
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 im_channels 16 "
    "lang_len 4 lang_dim 8 data.points 0 renderer.radius 0.1 head_hidden [16,16]"
)
MATRICES = ("depth_range", "intrinsics", "extrinsics")  # LeRobot's reader rounds them to float32


@pytest.fixture(scope="module")
def demos(plugins: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demos")
    options = {"images": "all", "keyframes": KEYFRAMES, "cameras": CAMERAS, "image_size": SIDE}
    write_synthetic_task(folder, task=TASK, episodes=2, **options)
    for path in folder.rglob("low_dim_obs.pkl"):
        demo = load_restricted(path)
        for number, observation in enumerate(demo):
            observation.joint_positions = np.full(7, number / 7)
        dump_published(demo, path)
    return folder


def _converted(demos: Path, folder: Path, *options: str) -> Path:
    places = ["--input", str(demos), "--output", str(folder), "--tasks", TASK]
    assert convert(["--from", "rlbench", "--to", "lerobot", *places, *options]) == 0
    return folder / "train" / TASK


@pytest.fixture(scope="module")
def whole(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of all frames."""
    return _converted(demos, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def keyframes(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of keyframes."""
    return _converted(demos, tmp_path_factory.mktemp("keyframes"), "--frames", "keyframes")


def _policy(root: Path, preset: str = "tiny", options: str = "", network: str = "") -> Any:
    """A fresh policy as lerobot-train makes it, with what its loader draws from."""
    from lerobot.datasets.factory import resolve_delta_timestamps
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.policies.factory import make_policy

    kind = importlib.import_module("lerobot_policy_sam2act").SAM2ActConfig
    config = kind(
        preset=preset,
        experiment_opts=f"{OPTIONS} {options}",
        network_opts=f"{SMALL} {network}",
        device="cpu",
        push_to_hub=False,
    )
    plain = LeRobotDataset("local/x", root=root)
    deltas = resolve_delta_timestamps(config, plain.meta)
    data = LeRobotDataset("local/x", root=root, delta_timestamps=deltas)
    return make_policy(config, ds_meta=data.meta), data


def _batch(policy: Any, data: Any, frames: list[int]) -> dict[str, Any]:
    """Frames as they reach the policy: through LeRobot's loader and its pre-processor."""
    from lerobot.policies.factory import make_pre_post_processors

    before, _ = make_pre_post_processors(policy.config)
    rows = torch.utils.data.Subset(data, frames)
    batch: dict[str, Any] = before(next(iter(torch.utils.data.DataLoader(rows, len(frames)))))
    return batch


# -------------------------------------------------------------------------------- data sets
def _decoded(path: Path, timestamps: list[float], tolerance: float, _: str) -> torch.Tensor:
    """(T, 3, H, W) in 0..1 of the frames at `timestamps`, by PyAV."""
    import av

    with av.open(str(path)) as video:
        frames = {frame.time: frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)}
    times = [min(frames, key=lambda time: abs(time - wanted)) for wanted in timestamps]
    assert np.allclose(times, timestamps, rtol=0, atol=tolerance)
    pictures = np.stack([frames[time] for time in times])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("colours", ["png", "lossless", "h264"])
def test_lerobot_reads_what_was_recorded(
    demos: Path, tmp_path: Path, colours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos with files and timestamps of LeRobot, and a decoder that needs no FFmpeg."""
    from lerobot.datasets import lerobot_dataset
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    monkeypatch.setattr(lerobot_dataset, "decode_video_frames", _decoded)
    root = _converted(demos, tmp_path, "--colours", colours)
    data, ours = LeRobotDataset("local/x", root=root), LeRobotReader(root).read(1)
    first = data.meta.episodes[1]["dataset_from_index"]
    assert (data.num_episodes, len(data), data.meta.fps) == (2, 36, 20)
    for frame in (0, 7, 17):
        item = data[first + frame]
        assert item["task"] == ours.instructions[0] and item["frame_index"] == frame
        for name, feature in (("depth_code", "depth_code"), ("rgb", "images")):
            seen = (item[f"observation.{feature}.wrist"] * 255).round().permute(1, 2, 0).numpy()
            true = ours.image(f"wrist_{name}", frame)
            assert np.array_equal(seen, true)
        for name in MATRICES:
            wanted = ours.numbers[f"wrist_{name}"][frame].astype(np.float32)
            assert np.array_equal(item[f"observation.{name}.wrist"].numpy(), wanted)


def test_samples_are_those_of_our_training(demos: Path, whole: Path, keyframes: Path) -> None:
    samples = importlib.import_module("lerobot_policy_sam2act.samples")
    request = StoreRequest(demos, whole.parent / "store", cameras=CAMERAS, image_size=SIDE)
    store = ensure_store(request, [TASK], progress=False)
    expected = gather_batch(store, first_chains(store), collision_label="next_keypoint")
    for root, frames in ((whole, [0, 6, 12, 18, 24, 30]), (keyframes, [0, 1, 2, 4, 5, 6])):
        policy, data = _policy(root)
        bundle = policy._bundle
        batch = _batch(policy, data, frames)
        found, texts = samples.keyframe_samples(batch, bundle.experiment, bundle.transforms.spec)
        for item in dataclasses.fields(KeyframeBatch):
            seen, true = getattr(found, item.name), getattr(expected, item.name)
            if item.name in MATRICES:
                assert torch.equal(seen.float(), true.float()), item.name
            elif item.name != "identities":
                assert seen.dtype == true.dtype and torch.equal(seen, true), item.name
        assert [x.keyframe for x in found.identities] == [0, 1, 2] * 2
        assert texts == ["open the drawer"] * 6


# --------------------------------------------------------------------------------- training
@pytest.fixture(scope="module")
def run(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of twenty steps of LeRobot's own command."""
    output = tmp_path_factory.mktemp("runs") / "run"
    _command(
        "lerobot_train",
        f"--dataset.repo_id=local/{TASK} --dataset.root={whole} --policy.type=sam2act "
        f"--policy.device=cpu --policy.push_to_hub=false --batch_size=4 --steps=20 --save_freq=10 "
        f"--log_freq=5 --num_workers=0 --output_dir={output}".split()
        + [f"--policy.experiment_opts={OPTIONS}", f"--policy.network_opts={SMALL}"],
    )
    return output / "checkpoints"


def _command(name: str, arguments: list[str]) -> str:
    paths = [str(REPOSITORY), *(str(PLUGINS / name) for name in DISTRIBUTIONS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"lerobot.scripts.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_lerobot_trains_saves_and_acts(run: Path) -> None:
    """The weights move, both sides read them, and the policy acts in LeRobot's environment."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.envs.utils import add_envs_task, preprocess_observation
    from lerobot.policies.factory import make_policy

    early, late = (load_policy(run / step / "pretrained_model") for step in ("000010", "000020"))
    assert (early.step, late.step, late.stage) == (10, 20, 1)
    before, after = early.model_state(), late.model_state()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    folder = run / "last" / "pretrained_model"
    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_path = folder
    env = importlib.import_module("lerobot_env_sam2act").Sam2ActEnv
    cfg = env(task=TASK, image_size=SIDE, cameras=list(CAMERAS))
    policy = make_policy(config, env_cfg=cfg)
    envs = cfg.create_envs(n_envs=1)["sam2act"][0]
    observation, _ = envs.reset(seed=[0])
    action = policy.select_action(add_envs_task(envs, preprocess_observation(observation)))
    assert action.shape == (1, 9) and action.isfinite().all()
    envs.close()


def test_optimiser_and_schedule_of_a_checkpoint_go_on(run: Path) -> None:
    """LeRobot's files of step 10 restore what `sam2act train` has there."""
    from lerobot.optim.optimizers import load_optimizer_state
    from lerobot.optim.schedulers import load_scheduler_state

    state = run / "000010" / "training_state"
    kind = importlib.import_module("lerobot_policy_sam2act").SAM2ActConfig
    config = kind(experiment_opts=OPTIONS, network_opts=SMALL)
    policy = load_policy(run / "000010" / "pretrained_model").policy
    optimizer = config.get_optimizer_preset().build(policy.parameter_groups())
    schedule = config.get_scheduler_preset().build(optimizer, 20)
    load_optimizer_state(optimizer, state)
    load_scheduler_state(schedule, state)
    values = config.experiment_config().peract
    base = values.lr * config.experiment_config().bs
    expected = learning_rate(10, base, values.warmup_steps, 20, values.lr_cos_dec)
    assert schedule.last_lrs() == [expected] == [optimizer.param_groups[0]["lr"]]
    assert len(optimizer.state) == sum(p.requires_grad for p in policy.parameters())


def test_published_optimiser_survives_lerobots_files(plugins: Any, tmp_path: Path) -> None:
    """Its counts of steps are numbers, and LeRobot keeps tensors alone."""
    from lerobot.optim.optimizers import load_optimizer_state, save_optimizer_state

    module = importlib.import_module("lerobot_policy_sam2act.optimisation")

    def optimizer_of(weight: torch.Tensor) -> Any:
        return module.SAM2ActOptimizerConfig(lr=0.1).build([{"params": [weight], "lr_scale": 0.5}])

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(weight)
    for _ in range(2):
        weight.grad = torch.arange(3.0)
        optimizer.step()
    save_optimizer_state(optimizer, tmp_path)
    copy = torch.nn.Parameter(weight.detach().clone())
    loaded = load_optimizer_state(optimizer_of(copy), tmp_path)
    for one, parameter in ((optimizer, weight), (loaded, copy)):
        parameter.grad = torch.arange(3.0)
        one.step()
    assert torch.equal(weight, copy) and not torch.equal(weight, torch.ones(3))
    schedule = module.SAM2ActSchedulerConfig(4, 0.1, cosine=False).build(loaded, 20)
    assert schedule.last_lrs() == [pytest.approx(0.1 * 0.5 / 4)]


def test_loss_is_that_of_our_trainer(whole: Path) -> None:
    """The same samples, instructions and random numbers give the same loss and gradients."""
    samples = importlib.import_module("lerobot_policy_sam2act.samples")
    policy, data = _policy(whole)
    batch = _batch(policy, data, [0, 3, 6, 17])
    policy.train()
    torch.manual_seed(4)
    loss, terms = policy.forward(batch)
    bundle = policy._bundle
    rows, texts = samples.keyframe_samples(batch, bundle.experiment, bundle.transforms.spec)
    assert len(rows) == 3  # the last frame of an episode leads nowhere
    torch.manual_seed(4)
    noise = bundle.policy.sample_noise(3, torch.default_generator)
    language = trained_encoder(bundle).encode(texts)
    assert torch.equal(loss, bundle.policy.loss(rows, language, noise).total)
    assert tuple(terms) == bundle.policy.term_names and all(map(np.isfinite, terms.values()))
    assert sum(terms.values()) == pytest.approx(loss.item())


def test_a_remainder_of_one_sample_is_filled_up(whole: Path) -> None:
    """LeRobot's loader hands out what is left of a pass, and BatchNorm needs two samples."""
    policy, data = _policy(whole)
    policy.train()
    with pytest.raises(UserError, match="batch_size: 1 cannot train"):
        policy.forward(_batch(policy, data, [5]))
    policy.forward(_batch(policy, data, [0, 3]))
    assert policy.forward(_batch(policy, data, [5]))[0].isfinite()


def test_memory_learns_from_windows_of_keyframes(keyframes: Path, whole: Path) -> None:
    memory = {"preset": "tiny_plus", "options": "bs 4", "network": "num_maskmem 1"}
    policy, data = _policy(keyframes, **memory)
    assert (policy.config.stage, policy.config.drop_n_last_frames) == (2, 2)
    batch = _batch(policy, data, [0, 1, 5])
    assert batch["observation.images.front"].shape == (3, 2, 3, SIDE, SIDE)
    policy.train()
    loss, terms = policy.forward(batch)
    loss.backward()
    assert tuple(terms) == policy.network.term_names and loss.isfinite()
    trained = [p for group in policy.get_optim_params() for p in group["params"]]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    dense, frames = _policy(whole, **memory)
    with pytest.raises(UserError, match="keyframes \\[0, 0\\]; convert .* --frames keyframes"):
        dense.forward(_batch(dense, frames, [0, 1]))


# ---------------------------------------------------------------------------------- refusals
def test_other_data_sets_are_refused_by_feature(whole: Path) -> None:
    samples = importlib.import_module("lerobot_policy_sam2act.samples")
    policy, data = _policy(whole)
    bundle = policy._bundle
    spec, flag = bundle.transforms.spec, bundle.experiment.peract.collision_label
    for name in ("observation.depth_code.wrist", layout.KEYFRAME_POSE, layout.KEYFRAME_FLAG):
        features = {key: of for key, of in data.meta.features.items() if key != name}
        with pytest.raises(UserError, match=f"{name}: the data set lacks .*sam2act convert-data"):
            samples.check_features(features, spec, flag)
    with pytest.raises(UserError, match="16 x 16 pixels, the policy takes 32 x 32; set"):
        _policy(whole, options="image_size 32")
    batch = _batch(policy, data, [0, 3])
    changed = batch | {"observation.depth_code.wrist": batch["observation.depth_code.wrist"] * 0.9}
    with pytest.raises(UserError, match="image transforms changed the codes of depth"):
        policy.forward(changed)
    with pytest.raises(UserError, match="gripper_open is 0.3, neither 0 nor 1; set"):
        policy.forward(batch | {layout.KEYFRAME_GRIPPER: torch.full((2,), 0.3)})
    with pytest.raises(UserError, match="was not recorded; set .*assume_ignore_collisions"):
        policy.forward(batch | {layout.KEYFRAME_FLAG: torch.full((2,), -1.0)})
    with pytest.raises(UserError, match="no frame of the batch leads to a keyframe"):
        policy.forward(_batch(policy, data, [17, 35]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("peract.ema 0.9", "peract.ema: 0.9 averages weights"),
        ("transforms [normalise_state]", "take statistics of the training data"),
    ],
)
def test_what_lerobot_cannot_do_is_refused_by_key(whole: Path, options: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _policy(whole, options=options)
