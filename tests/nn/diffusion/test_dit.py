"""The diffusion head against outputs of the published one; its parts against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.nn.diffusion.dit import DiT, DiTConfig
from sam2act.nn.diffusion.process import GaussianDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas, strided_steps
from tests.golden_files import GoldenFile, golden

FILE = "related_dit_action.npz"
SMALL = DiTConfig(action_model_type="custom", dit_width=8, dit_heads=2, condition_dim=5)
Arrays = dict[str, np.ndarray]


def stored_head(arrays: Arrays) -> DiT:
    """The head of a golden file; its sizes are read from the weights."""
    prefix = "param/net."
    state = {n[len(prefix) :]: torch.from_numpy(v) for n, v in arrays.items() if prefix in n}
    tokens, width = state["positional_embedding"].shape
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    heads = 4  # not stored
    config = DiTConfig(
        action_model_type="custom",
        dit_depth=depth,
        dit_width=width,
        dit_heads=heads,
        future_action_window_size=tokens - 2,
        action_dim=state["x_embedder.linear.weight"].shape[1],
        condition_dim=state["z_embedder.uncondition"].shape[1],
    )
    head = DiT(config)
    head.load_state_dict(state)
    return head.eval()


def tensors(arrays: Arrays, *names: str) -> list[Tensor]:
    return [torch.from_numpy(arrays[name]) for name in names]


@golden(FILE)
def test_noise_is_predicted_as_published(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    noisy, step, condition, expected = tensors(arrays, "x", "t", "z", "eps")
    with torch.no_grad():
        noise = stored_head(arrays)(noisy, step, condition)
    torch.testing.assert_close(noise, expected, rtol=1e-4, atol=1e-5)


@golden(FILE)
def test_schedule_and_noisy_actions(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    betas, signal, clean, step, noise, noisy = tensors(
        arrays, "betas", "alphas_cumprod", "x", "t", "noise", "qsample"
    )
    diffusion = GaussianDiffusion(cosine_betas(len(betas)))
    torch.testing.assert_close(diffusion.betas, betas, rtol=1e-12, atol=0)
    torch.testing.assert_close(diffusion.signal, signal, rtol=1e-10, atol=0)
    torch.testing.assert_close(diffusion.add_noise(clean, step, noise), noisy, rtol=1e-4, atol=1e-5)


@golden(FILE)
def test_loss_of_given_noise(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    clean, step, noise, condition, expected = tensors(
        arrays, "x", "t", "noise", "z", "loss_given_noise_t"
    )
    diffusion = GaussianDiffusion(cosine_betas(len(arrays["betas"])))
    with torch.no_grad():
        noisy = diffusion.add_noise(clean, step, noise)
        loss = (stored_head(arrays)(noisy, step, condition) - noise).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@golden(FILE)
@pytest.mark.parametrize(("name", "guidance"), [("nocfg", 1.0), ("cfg1.5", 1.5)])
def test_ddim_samples(golden_file: GoldenFile, name: str, guidance: float) -> None:
    arrays = golden_file.arrays()
    noise, condition = tensors(arrays, "noise", "z")
    predict = stored_head(arrays).predictor(condition, guidance)
    diffusion = GaussianDiffusion(cosine_betas(len(arrays["betas"])))
    counts = [int(key[4:].split("_")[0]) for key in arrays if key.endswith("_timesteps")]
    assert counts
    for count in counts:
        steps, expected = tensors(arrays, f"ddim{count}_timesteps", f"ddim{count}_{name}")
        assert torch.equal(strided_steps(len(arrays["betas"]), count), steps)
        # Large values of early steps leave rounding errors in proportion.
        sample = diffusion.sample_ddim(predict, noise, count)
        torch.testing.assert_close(
            sample, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max().clamp(min=1))
        )


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("DiT-S", 12_476_807), ("DiT-B", 88_986_887), ("DiT-L", 307_764_231)],
)
def test_published_sizes(size: str, parameters: int) -> None:
    with torch.device("meta"):
        head = DiT(DiTConfig(action_model_type=size))
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


def test_a_dropped_condition_is_the_learned_vector() -> None:
    torch.manual_seed(0)
    head = DiT(SMALL)
    torch.nn.init.normal_(head.final_layer.linear.weight)
    noisy, step = torch.randn(2, 16, 7), torch.tensor([3, 90])
    condition = torch.randn(2, 1, 5)
    mixed = head(noisy, step, condition, torch.tensor([True, False]))
    learned = head(noisy, step, head.z_embedder.uncondition.expand(2, 1, 5))
    kept = head(noisy, step, condition)
    assert torch.allclose(mixed[0], learned[0], atol=1e-6)
    assert torch.equal(mixed[1], kept[1])
    assert not torch.allclose(learned, kept, atol=1e-3)


def test_a_fresh_head_predicts_no_noise() -> None:
    head = DiT(SMALL)
    assert not head(torch.randn(2, 16, 7), torch.tensor([1, 2]), torch.randn(2, 1, 5)).any()


def test_samplers_find_a_single_point() -> None:
    """With the exact noise of data at one point, every sampler ends there."""
    diffusion = GaussianDiffusion(cosine_betas(100))
    point = torch.tensor([[0.3, -0.7]])

    def exact(noisy: Tensor, step: Tensor) -> Tensor:
        signal = diffusion.signal[step][:, None].to(noisy)
        return (noisy - signal.sqrt() * point) / (1 - signal).sqrt()

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 2, generator=generator)
    for sample in (
        diffusion.sample(exact, start, lambda _: torch.randn(5, 2, generator=generator)),
        diffusion.sample_ddim(exact, start, 10),
        diffusion.sample_ddim(exact, start, 100),
    ):
        assert torch.allclose(sample, point.expand(5, 2), atol=1e-3)


def test_ancestral_samples_have_the_variance_of_the_data() -> None:
    """Data of variance v: the exact noise is linear, and samples must have variance v again."""
    diffusion, variance = GaussianDiffusion(cosine_betas(100)), 0.25

    def exact(noisy: Tensor, step: Tensor) -> Tensor:
        signal = diffusion.signal[step][:, None].to(noisy)
        return noisy * (1 - signal).sqrt() / (signal * variance + 1 - signal)

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4000, 1, generator=generator)
    samples = diffusion.sample(exact, start, lambda _: torch.randn(4000, 1, generator=generator))
    assert float(samples.var()) == pytest.approx(variance, rel=0.1)
    assert float(diffusion.sample_ddim(exact, start, 100).var()) == pytest.approx(variance, rel=0.1)


def test_step_counts() -> None:
    assert strided_steps(100, 15).tolist() == list(range(0, 100, 7))
    assert strided_steps(100, 1).tolist() == [50]
    assert strided_steps(100, 100).tolist() == list(range(100))
    with pytest.raises(ConfigError, match="30 denoising steps.*34"):
        strided_steps(100, 30)
    with pytest.raises(ConfigError, match="101 denoising steps"):
        strided_steps(100, 101)
    with pytest.raises(ConfigError, match="0 denoising steps"):
        strided_steps(100, 0)


def test_impossible_sizes() -> None:
    with pytest.raises(ConfigError, match="dit_heads"):
        DiTConfig(action_model_type="custom", dit_width=10, dit_heads=4)
    with pytest.raises(ConfigError, match="DiT-XL"):
        DiTConfig(action_model_type="DiT-XL")
