#!/usr/bin/env python3
"""Measures the embedded simulator: images, planning, physics, demonstrations.

    python scripts/benchmarks/benchmark_simulator.py --json FILE [--quick]

Baselines of the same run: one ray at a time for the images, real time for physics, the images of
every frame for demonstrations, one worker for data sets.
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
import torch
from benchmarking import Row, build_parser, median_seconds, report

from sam2act.core.tasks import MEMORYBENCH_TASKS, POLICY_CAMERAS
from sam2act.envs.base import CAMERAS, EnvConfig
from sam2act.envs.embedded.kit.workspace import TIMESTEP
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.recording.demo_generation import Request, generate
from sam2act.runtime.console import make_output_safe

TASK = "put_block_back"
ONE_RAY = "one ray at a time"


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    options = build_parser(__doc__).parse_args(arguments)
    torch.set_num_threads(1)
    repeats, seeds, demos = (3, 1, 2) if options.quick else (30, 8, 100)
    rows = [
        *measure_images(repeats),
        *measure_motion(seeds),
        *measure_physics(200 if options.quick else 20000),
        *measure_demo(seeds),
        *measure_data_set(demos, 1 if options.quick else 20),
    ]
    report("embedded simulator", rows, options.json)
    return 0


def measure_images(repeats: int) -> Iterator[Row]:
    """An observation in the middle of an episode, with the policy's cameras and with all."""
    for task in MEMORYBENCH_TASKS:
        env = EmbeddedEnv(EnvConfig(task, cameras=POLICY_CAMERAS))
        env.reset(0, 0)
        for _, waypoint in zip(range(4), env.task.waypoints(env.scene), strict=False):
            env.execute(waypoint.action, stop_on_success=False)
        slow = 1e3 * median_seconds(functools.partial(cast_singly, env), repeats=1, warm_up=0)
        for name, cameras in (("4 cameras", POLICY_CAMERAS), ("5 cameras", CAMERAS)):
            seconds = median_seconds(functools.partial(env.observe, cameras), repeats=repeats)
            baseline = slow if cameras == POLICY_CAMERAS else None
            label = ONE_RAY if baseline else ""
            yield Row(f"{task}: observation, {name}", 1e3 * seconds, "ms", baseline, label)


def cast_singly(env: EmbeddedEnv) -> None:
    """The rays of the policy's cameras, one call each and without shading."""
    hit, normal = np.zeros(1, np.int32), np.zeros(3)
    for name in POLICY_CAMERAS:
        pose = env.camera.extrinsics(env.data, name)
        size = env.config.image_size
        pixels = (np.arange(size) - size / 2) / env.camera.specs[name].intrinsics(size)[0, 0]
        v, u = np.meshgrid(pixels, pixels, indexing="ij")
        rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) @ pose[:3, :3].T
        origin = pose[:3, 3].copy()
        for ray in rays:
            mujoco.mj_ray(env.model, env.data, origin, ray, None, 1, -1, hit, normal)


def measure_motion(seeds: int) -> Iterator[Row]:
    """Planning of the scripted keyframe moves, and whole closed-loop steps."""
    for task in MEMORYBENCH_TASKS:
        env = EmbeddedEnv(EnvConfig(task, cameras=POLICY_CAMERAS))
        plans, steps = [], []
        for seed in range(seeds):
            env.reset(seed % env.variation_count(), seed)
            for waypoint in env.task.waypoints(env.scene):
                started = time.perf_counter()
                plans.append(env.step(waypoint.action).info["plan_ms"])
                steps.append(1e3 * (time.perf_counter() - started))
        yield Row(f"{task}: planned move, median", statistics.median(plans), "ms")
        yield Row(f"{task}: planned move, longest", max(plans), "ms")
        yield Row(f"{task}: step with observation, median", statistics.median(steps), "ms")


def measure_physics(steps: int) -> Iterator[Row]:
    """Simulated steps per second, and compiling a scene."""
    env = EmbeddedEnv(EnvConfig("reopen_drawer", cameras=()))
    env.reset(0, 0)
    started = time.perf_counter()
    for _ in range(steps):
        mujoco.mj_step(env.model, env.data)
    rate = steps / (time.perf_counter() - started)
    yield Row(
        "physics, drawer scene", rate, "steps/s", 1 / TIMESTEP, "real time", higher_is_better=True
    )
    build = median_seconds(lambda: EmbeddedEnv(EnvConfig("reopen_drawer")), repeats=3)
    reset = median_seconds(lambda: env.begin_episode(0, 1), repeats=3)
    yield Row("compiling a scene", 1e3 * build, "ms")
    yield Row("reset of an episode", 1e3 * reset, "ms")


def measure_demo(seeds: int) -> Iterator[Row]:
    """One scripted demonstration per image policy."""
    env = EmbeddedEnv(EnvConfig(TASK, cameras=POLICY_CAMERAS))
    seconds = {}
    for images in ("all", "keyframes", "none"):
        runs = 1 if images == "all" else seeds
        times = []
        for seed in range(runs):
            started = time.perf_counter()
            env.get_demo(seed % 4, seed, images)
            times.append(time.perf_counter() - started)
        seconds[images] = statistics.median(times)
    for images in ("none", "keyframes"):
        name = f"{TASK}: demo, images {images}"
        yield Row(name, seconds[images], "s", seconds["all"], "images of every frame")


def measure_data_set(demos: int, alone: int) -> Iterator[Row]:
    """A data set on disk with two workers; one worker makes `alone` demos, scaled up."""
    with tempfile.TemporaryDirectory() as folder:
        single = generation_seconds(Path(folder) / "one", alone, workers=1) * demos / alone
        double = generation_seconds(Path(folder) / "two", demos, workers=2)
    name = f"{TASK}: {demos} demos, images keyframes, 2 workers"
    yield Row(name, double, "s", single, f"1 worker, from {alone} demos")


def generation_seconds(output: Path, episodes: int, workers: int) -> float:
    """Wall time, the start of the workers included."""
    request = Request((TASK,), episodes, output)
    started = time.perf_counter()
    for _ in generate(request, workers):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
