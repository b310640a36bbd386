"""The vision-language model as a backbone in training, at small size; needs transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam2act.cli import train
from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import build_policy, read_checkpoint
from sam2act.policies.cogact import export_vla, load_vla
from sam2act.policies.cogact.policy import CogACTPolicy
from sam2act.policies.cogact.prismatic_backbone import build_prompt_encoder
from tests.policies.cogact.small_release import SIZES, TEXT, write_release
from tests.training import tiny_run


def opts(**more: object) -> str:
    """The small model as options of the network file."""
    keys = {f"vlm.{name}": value for name, value in SIZES.items()} | {
        "image_side": SIZES["vlm_image_side"],
        "condition_dim": SIZES["llm_width"],
        "action_model_type": "custom",
        "control": "ee_delta",
        "lang_len": 24,
        **more,
    }
    return " ".join(f"{key} {value}" for key, value in keys.items())


def experiment_opts(folder: Path, more: str = "") -> str:
    base = tiny_run.experiment_opts(folder, "bs 2 train_iter 2 source rlbench tasks open_drawer")
    return (
        f"{base} cameras [front] image_size {SIZES['vlm_image_side']} peract.lr 1e-3 "
        f"language.weights_path {folder}/tokenizer.json {more}"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demos, and a small release with a tokenizer."""
    pytest.importorskip("transformers", reason="transformers (extra vla) is not installed")
    folder = tmp_path_factory.mktemp("prismatic")
    side = SIZES["vlm_image_side"]
    tiny_run.write_demos(folder, episodes=2, images="all", image_size=side, cameras=("front",))
    write_release(folder)
    return folder


def checkpoint_of(folder: Path) -> Path:
    return next((folder / "checkpoints").glob("*.pt"))


def run(folder: Path, epochs: int, more: str = "", **network: object) -> dict:
    arguments = [
        "--exp_cfg_path=configs/cogact.yaml",
        "--mvt_cfg_path=configs/mvt/cogact.yaml",
        f"--exp_cfg_opts={experiment_opts(folder, more)} epochs {epochs}",
        f"--mvt_cfg_opts={opts(**network)}",
        f"--log-dir={folder}/runs",
        "--device=cpu",
    ]
    assert train.main(arguments) == 0
    return read_checkpoint(folder / "runs" / "cogact_test" / "model_last.pth")


def test_published_presets_state_the_published_training() -> None:
    experiment = load_experiment("configs/cogact.yaml")
    assert experiment.bs * 8 * experiment.peract.lr == pytest.approx(2e-5)
    assert (experiment.peract.grad_clip, experiment.peract.lambda_weight_l2) == (1.0, 0.0)
    network = load_network("configs/mvt/cogact.yaml")
    assert (network.backbone, network.chunk, network.sampler) == ("prismatic", 16, "ddpm")
    assert (network.condition_dim, network.action_dim) == (4096, 7)


def test_it_trains_from_a_release_resumes_and_is_exported(folder: Path) -> None:
    named = {"pretrained_checkpoint": str(checkpoint_of(folder)), "activation_checkpointing": True}
    first = run(folder, 1, "peract.ema 0.5", **named)
    start = torch.load(checkpoint_of(folder))["model"]
    trained = first["model_state"]
    known = {f"backbone.vlm.{p}.{n}": x for p, part in start.items() for n, x in part.items()}
    name = "backbone.vlm.llm_backbone.llm.model.layers.0.self_attn.q_proj.weight"
    moved = (trained[name] - known[name]).abs().max()
    assert 0 < moved < 0.01  # one update from the release, not from fresh weights
    averaged = first["extra"]["average"]["average"]
    assert averaged and all(key.startswith("action_model.") for key in averaged)
    second = run(folder, 2, "peract.ema 0.5", **named)
    assert second["extra"]["step"] == 2 and not torch.equal(
        second["model_state"][name], trained[name]
    )

    out = folder / "out" / "checkpoints" / "step-000002-epoch-02-loss=1.0.pt"
    export_vla(folder / "runs" / "cogact_test" / "model_last.pth", out, name="open_drawer")
    model = load_vla(out, action_model_type="custom", token_size=SIZES["llm_width"])
    assert torch.equal(
        model.vlm.state_dict()[name.removeprefix("backbone.vlm.")], second["model_state"][name]
    )
    assert model.ema_diffusion is not None and "open_drawer" in model.norm_stats


def test_recomputed_layers_change_no_gradient(folder: Path) -> None:
    gradients = []
    for recompute in (False, True):
        experiment = load_experiment("configs/cogact.yaml", experiment_opts(folder))
        network = load_network("configs/mvt/cogact.yaml", opts(activation_checkpointing=recompute))
        policy = build_policy(experiment, network).policy.train()
        assert isinstance(policy, CogACTPolicy)
        tokens = build_prompt_encoder(experiment.language, 24, 2).encode([TEXT, f"{TEXT} {TEXT}"])
        side = SIZES["vlm_image_side"]
        images = torch.randint(
            256,
            (2, 1, side, side, 3),
            dtype=torch.uint8,
            generator=torch.Generator().manual_seed(0),
        )
        feature = policy.backbone(images, torch.zeros(2, 0), tokens)
        assert feature.shape == (2, 1, SIZES["llm_width"])
        feature.square().sum().backward()
        gradients.append({n: p.grad for n, p in policy.backbone.named_parameters()})
    for name, gradient in gradients[0].items():
        if gradient is not None:
            torch.testing.assert_close(gradients[1][name], gradient)
    assert sum(x is not None for x in gradients[0].values()) > 50


def test_prompts_are_ids_with_a_mask(folder: Path) -> None:
    language = load_experiment("configs/cogact.yaml", experiment_opts(folder)).language
    encoder = build_prompt_encoder(language, 24, 2)
    features = encoder.encode([TEXT])
    count = int(features[0, :, 1].sum())
    assert features[0, 0, 0] == 1 and features[0, count - 2 : count, 0].tolist() == [29871, 2]
    assert not features[0, count:].any()
    with pytest.raises(ConfigError, match="lang_len: 4"):
        build_prompt_encoder(language, 4, 2).encode([TEXT])


def test_impossible_keys() -> None:
    experiment = load_experiment("configs/cogact.yaml", "language.encoder hashed")
    with pytest.raises(ConfigError, match="does not go with backbone: prismatic"):
        build_policy(experiment, load_network("configs/mvt/cogact.yaml"))
    for key, message in (
        ("condition_dim 8", "set it to vlm.llm_width"),
        ("image_side 8", "set it to vlm.vlm_image_side"),
        ("sees_state True", "is for backbone: tiny or small"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_network("configs/mvt/cogact.yaml", key)
    with pytest.raises(ConfigError, match="set it to 2"):
        build_prompt_encoder(experiment.language, 8, 8)
