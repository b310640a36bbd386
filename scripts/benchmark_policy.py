#!/usr/bin/env python3
"""Time and memory of the full-size network: acting, and one training step.

    python scripts/benchmark_policy.py --json FILE [--quick] [--device cuda]

Baselines are the published network's figures on two CPU threads (forward of both branches at
batch 1: 3.15 s; forward and backward at batch 2: 20.5 s and 8.7 GB), which leave out rendering,
3-D arg-max and optimiser; ours include them. They are comparable on a similar CPU only.
"""

from __future__ import annotations

import dataclasses
import functools
import resource
import sys
from typing import NamedTuple

import torch
from benchmarking import Row, build_parser, median_seconds, report

from sam2act.config.load import load_experiment, load_network
from sam2act.policy.checkpoint import PolicyBundle, build_policy
from sam2act.policy.contracts import Batch, SampleIdentity
from sam2act.policy.targets import LossDraws
from sam2act.training.optimizer import build_optimizer

PUBLISHED_FORWARD_SECONDS = 3.15
PUBLISHED_STEP_SECONDS = 20.5
PUBLISHED_STEP_GIGABYTES = 8.7
PUBLISHED = "published network, 2 CPU threads"
TRAINING_BATCH = 2
ACTING_BATCH = 4


class Sizes(NamedTuple):
    """What is measured."""

    network_opts: str
    image_size: int
    repeats: int


FULL = Sizes("sam2_ckpt ''", 128, 5)
QUICK = Sizes("sam2_ckpt '' depth 2 sam2_config sam2.1_hiera_t.yaml", 32, 2)


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = build_parser(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(arguments)
    sizes = QUICK if args.quick else FULL
    bundle = build_policy(
        load_experiment("configs/sam2act.yaml"),
        load_network("configs/mvt/sam2act.yaml", sizes.network_opts),
    )
    bundle.policy.to(args.device)
    rows = measure_acting(bundle, sizes, args.device)
    rows += measure_training(bundle, sizes, args.device)
    if args.quick:  # another network than the one that was published
        rows = [
            dataclasses.replace(row, baseline=None, baseline_name="")
            if row.baseline_name == PUBLISHED
            else row
            for row in rows
        ]
    report(f"{'quick ' if args.quick else ''}policy, {args.device}, float32", rows, args.json)
    return 0


def measure_acting(bundle: PolicyBundle, sizes: Sizes, device: str) -> list[Row]:
    """Observation to action: unprojection, two renderings, both branches, arg-max."""
    seconds = []
    for count in (1, ACTING_BATCH):
        batch, language = random_batch(bundle, count, sizes.image_size, device)
        observation = batch.observation()
        act = functools.partial(bundle.policy.act, observation, language)
        seconds.append(median_seconds(act, repeats=sizes.repeats, device=device) / count)
    name = f"act, per observation of {ACTING_BATCH}"
    return [
        Row("act, batch 1", seconds[0], "s", PUBLISHED_FORWARD_SECONDS, PUBLISHED),
        Row(name, seconds[1], "s", seconds[0], "batch 1 in this run"),
    ]


def measure_training(bundle: PolicyBundle, sizes: Sizes, device: str) -> list[Row]:
    """One update at batch 2 with augmentation, rendering, targets and optimiser."""
    policy = bundle.policy.train()
    batch, language = random_batch(bundle, TRAINING_BATCH, sizes.image_size, device)
    draws = LossDraws.sample(TRAINING_BATCH, torch.Generator().manual_seed(0)).to(device)
    optimizer = build_optimizer(
        [p for p in policy.parameters() if p.requires_grad],
        optimizer_type="lamb",
        bnb=True,
        lr=1e-5,
    )

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        policy.loss(batch, language, draws).total.backward()
        optimizer.step()

    seconds = median_seconds(step, repeats=max(1, sizes.repeats // 2), device=device)
    name = f"training step, batch {TRAINING_BATCH}"
    return [
        Row(name, seconds, "s", PUBLISHED_STEP_SECONDS, PUBLISHED),
        Row("peak memory", peak_gigabytes(device), "GB", PUBLISHED_STEP_GIGABYTES, PUBLISHED),
    ]


def peak_gigabytes(device: str) -> float:
    """Largest memory so far: of the GPU, or of the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def random_batch(
    bundle: PolicyBundle, count: int, side: int, device: str
) -> tuple[Batch, torch.Tensor]:
    """Noise in the shape of recorded samples, seen by cameras above the workspace."""
    generator = torch.Generator().manual_seed(0)
    cameras = len(bundle.experiment.cameras)
    images = (count, cameras, side, side, 3)
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[0, 0] = intrinsics[1, 1] = side
    intrinsics[:2, 2] = side / 2
    extrinsics = torch.eye(4, dtype=torch.float64)
    extrinsics[:3, :3] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # looks straight down
    extrinsics[:3, 3] = torch.tensor([0.2, 0.0, 1.6])
    batch = Batch(
        rgb=torch.randint(256, images, dtype=torch.uint8, generator=generator),
        depth_code=torch.randint(256, images, dtype=torch.uint8, generator=generator),
        depth_range=torch.tensor([0.01, 1.0], dtype=torch.float64).expand(count, cameras, 2),
        intrinsics=intrinsics.expand(count, cameras, 3, 3),
        extrinsics=extrinsics.expand(count, cameras, 4, 4),
        proprioception=torch.rand(count, 4, generator=generator),
        instruction=torch.zeros(count, dtype=torch.int64),
        target_pose=torch.tensor([[0.2, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]).repeat(count, 1),
        gripper_open=torch.ones(count, dtype=torch.int64),
        ignore_collisions=torch.zeros(count, dtype=torch.int64),
        identities=(SampleIdentity("noise", 0, 0, 0),) * count,
    )
    network = bundle.network
    language = torch.randn(count, network.lang_len, network.lang_dim, generator=generator)
    return batch.to(device), language.to(device)


if __name__ == "__main__":
    sys.exit(main())
