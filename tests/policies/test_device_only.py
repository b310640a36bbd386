"""Training steps and acting never wait for the GPU.

Fake tensors have no values: where a GPU would have to be waited for, they raise an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sam2act.config.load import load_experiment, load_network
from sam2act.core.types import KeyframeBatch
from sam2act.policies.checkpoint import PolicyBundle, build_policy
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.training.optimizer import build_optimizer
from tests.policies.noise import batch
from tests.small_encoder import SMALL_ENCODER

SIDE = 16
SMALL = (
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 4 lang_dim 8 data.points 0 renderer.radius 0.1 head_hidden [16,16] "
    "renderer.backend torch "  # C reads values, Triton launches kernels
)
LORA = (
    "encoder sam2 encoder_trainable lora lora_finetune True sam2_ckpt '' "
    f"{SMALL_ENCODER}img_size 64 data.points 128 "
)
MEMORY = (
    "use_memory True num_maskmem 2 memory_layers 1 memory_hidden 16 memory_dim 16 "
    "memory_mask_size 16 memory_fuser_kernel 3 "
)
PUBLISHED = (
    "peract.transform_augmentation True peract.add_rgc_loss True rvt.img_aug 0.1 "
    "peract.optimizer_type lamb peract.bnb True "
)
NETWORKS = {"stage one": SMALL, "LoRA": SMALL + LORA, "memory": SMALL + MEMORY}
WINDOW = 3  # num_maskmem + 1


def samples(built: PolicyBundle, count: int, device: str) -> tuple[KeyframeBatch, Tensor]:
    """Noise and language tokens."""
    network = built.network
    language = torch.ones(count, network.lang_len, network.lang_dim, device=device)
    return batch(count, side=SIDE).to(device), language


def bundle(network: str, device: str, more: str = "") -> PolicyBundle:
    opts = f"image_size {SIDE} cameras ['front','wrist'] {PUBLISHED}"
    built = build_policy(
        load_experiment("configs/tiny.yaml", opts),
        load_network("configs/mvt/tiny.yaml", NETWORKS[network] + more),
    )
    built.policy.to(device)
    return built


def forget_values(policy: nn.Module) -> None:
    """Turn parameters and buffers into tensors of the mode at work."""
    for module in policy.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            fake = nn.Parameter(torch.empty(parameter.shape), parameter.requires_grad)
            setattr(module, name, fake)
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))


@pytest.fixture
def without_values(monkeypatch: pytest.MonkeyPatch) -> FakeTensorMode:
    """The paths in torch; Triton's launch kernels and read nothing."""
    monkeypatch.setattr("sam2act.rendering.grid_argmax._fastest_method", lambda *_: "dense")
    return FakeTensorMode(allow_non_fake_inputs=True)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_training_step_reads_nothing_back(network: str, without_values: FakeTensorMode) -> None:
    built = bundle(network, "cpu")
    with without_values:
        forget_values(built.policy)
        training_step(built, "cpu")()


@pytest.mark.parametrize("network", ["stage one", "LoRA"])
def test_acting_reads_nothing_back(network: str, without_values: FakeTensorMode) -> None:
    built = bundle(network, "cpu")
    with without_values:
        forget_values(built.policy)
        recorded, language = samples(built, 2, "cpu")
        action = built.policy.predict(recorded.observation(), language).action
    assert action.values.shape == (2, 1, 9)


@pytest.mark.parametrize(
    "read", [bool, Tensor.tolist, Tensor.numpy, Tensor.nonzero, lambda x: x[x > 0]]
)
def test_reading_back_is_noticed(
    read: Callable[[Tensor], object], without_values: FakeTensorMode
) -> None:
    with without_values, pytest.raises(RuntimeError):
        read(torch.ones(1))


@pytest.mark.gpu
@pytest.mark.parametrize("network", NETWORKS)
def test_a_real_gpu_is_not_waited_for(network: str) -> None:
    built = bundle(network, "cuda", "renderer.backend auto ")
    step = training_step(built, "cuda")
    recorded, language = samples(built, WINDOW, "cuda")
    built.policy.predict(recorded.observation(), language)
    step()  # these two fill caches
    with synchronisation_is_an_error():
        step()
        built.policy.predict(recorded.observation(), language)


def training_step(built: PolicyBundle, device: str) -> Callable[[], None]:
    """An update of all trainable weights, its samples on the device already."""
    policy = built.policy.train()
    recorded, language = samples(built, WINDOW, device)
    draws = TrainingNoise.sample(WINDOW, torch.Generator().manual_seed(0)).to(device)
    parameters = [p for p in policy.parameters() if p.requires_grad]
    optimizer = build_optimizer(parameters, optimizer_type="lamb", bnb=True, lr=1e-3)

    def step() -> None:
        policy.loss(recorded, language, draws).total.backward()
        optimizer.step()
        assert all(parameter.grad is not None for parameter in parameters)

    return step


@contextmanager
def synchronisation_is_an_error() -> Iterator[None]:
    """On a real GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
