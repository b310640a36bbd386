#!/usr/bin/env python3
"""Film a scripted demonstration or a policy in the embedded simulator.

    sam2act play --task put_block_back --variation 2 --output film.mp4
    sam2act play --episode data/test/<task>/all_variations/episodes/episode3 \\
        --output film.gif
    sam2act play --task put_block_back --checkpoint runs/x/model_last.pth \\
        --output rollout.mp4

The film shows the front view, the four views that the policy gets, the instruction and the
keyframe under way. The suffix chooses the format: .mp4 (needs PyAV), .gif or .webp.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from tqdm import tqdm

from sam2act.cli.arguments import ArgumentParser, positive_number
from sam2act.cli.status import DONE, run_command
from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.specs import PolicySpec
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.core.types import Session
from sam2act.data.rlbench.demos import read_episode
from sam2act.envs.base import EnvError
from sam2act.envs.embedded.options import Options
from sam2act.envs.policy_inputs import FrameHistory
from sam2act.envs.recorded import recorded_origin
from sam2act.envs.registry import make_env
from sam2act.envs.video import check_video_path, write_video
from sam2act.evaluation.environment import environment_of
from sam2act.policies.checkpoint import load_policy
from sam2act.policies.session import PolicySession, trained_encoder
from sam2act.reports.film import film_frame

if TYPE_CHECKING:
    from sam2act.envs.embedded.sim import EmbeddedEnv

FRAMES_PER_SECOND = 20  # of the simulation
VIEW_SIDE = 128
MOST_KEYFRAMES, MOST_FRAMES = 25, 400
BACKEND = "embedded"
NOBODY = PolicySpec(camera_specs=(), language=None, state=())  # the script needs to see nothing


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--task", help="task of the embedded simulator")
    source.add_argument("--episode", type=Path, help="folder of a demo whose scene is played again")
    parser.add_argument("--variation", type=int, default=0, help="with --task (0)")
    parser.add_argument("--seed", type=int, default=0, help="with --task (0)")
    parser.add_argument("--checkpoint", type=Path, help="let this policy act instead of the script")
    parser.add_argument("--perturb", nargs="+", default=[], metavar="FACTOR", help="with --task")
    parser.add_argument(
        "--every", type=positive_number, default=1, help="keep every N-th frame (1)"
    )
    parser.add_argument("--speed", type=positive_number, default=1, help="times real time (1)")
    parser.add_argument("--output", type=Path, required=True, help="film.mp4, .gif or .webp")
    return parser


class Camera:
    """Films an environment: every N-th of the frames that it is called for."""

    def __init__(self, env: EmbeddedEnv, every: int) -> None:
        from sam2act.envs.embedded.sensors.camera import RayCamera

        self._env = env
        self._large = RayCamera(env.model, 2 * VIEW_SIDE)
        self._large.specs, self._large.shader = env.camera.specs, env.camera.shader
        self._every = every
        self._count = 0
        self.status = ""
        self.frames: list[np.ndarray] = []

    def __call__(self) -> None:
        self._count += 1
        if self._count % self._every == 0:
            self.take()

    def take(self) -> None:
        """Add a frame."""
        env = self._env
        observation = env.observe(POLICY_CAMERAS)
        views = {name: getattr(observation, f"{name}_rgb") for name in POLICY_CAMERAS}
        large = self._large.render(env.data, "front").rgb
        self.frames.append(film_frame(large, views, env.instructions[0], self.status))


def load_session(checkpoint: Path) -> PolicySession:
    """The policy of a checkpoint, with its text encoder."""
    bundle = load_policy(checkpoint)
    return PolicySession(bundle, text_encoder=trained_encoder(bundle))


def script_actions(env: EmbeddedEnv) -> Iterator[np.ndarray]:
    """The actions of the scripted expert."""
    for waypoint in env.task.waypoints(env.scene):
        yield waypoint.action


def policy_actions(env: EmbeddedEnv, policy: Session) -> Iterator[np.ndarray]:
    """The actions of a trained policy, each from the observation before it."""
    history, keyframes = FrameHistory(policy.spec), policy.spec.action == KEYFRAME_POSE
    for step in range(MOST_KEYFRAMES if keyframes else MOST_FRAMES):
        observation = env.observe(policy.spec.cameras)
        inputs = history.observe([0], [observation], [step])
        with torch.inference_mode():
            chunk = policy.act(inputs, [env.instructions[0]], env_ids=[0])
        yield chunk.values[0, 0].double().cpu().numpy()


def film_episode(
    env: EmbeddedEnv, actions: Iterator[np.ndarray], every: int, control: str = KEYFRAME_POSE.mode
) -> tuple[list[np.ndarray], str]:
    """Run `actions` of a control mode until success or an error; the frames and how it ended."""
    unit = "keyframe" if control == KEYFRAME_POSE.mode else "step"
    camera = Camera(env, every)
    env.on_frame = camera
    camera.take()
    outcome = "not solved"
    for number, action in enumerate(tqdm(actions, desc="filming", unit=unit), start=1):
        camera.status = f"{unit} {number}"
        try:
            result = env.step(action, control)
        except EnvError as error:
            outcome = f"{type(error).__name__}: {error}"
            break
        if result.reward >= env.spec.success_threshold:
            outcome = f"solved after {number} {unit}s"
            break
    camera.status = outcome
    for _ in range(FRAMES_PER_SECOND // every + 1):  # let the end be read
        camera.take()
    env.on_frame = None
    return camera.frames, outcome


def open_scene(args: argparse.Namespace, spec: PolicySpec) -> EmbeddedEnv:
    """The environment for a policy, reset to the scene that the flags name.

    Raises:
        SpecError: the policy cannot act in it.
        ValueError: there is no such scene.
    """
    demo = None if args.episode is None else read_episode(args.episode).demo
    task, perturbations = args.task, tuple(args.perturb)
    if demo is not None:
        origin = recorded_origin(demo)
        if origin["backend"] != BACKEND:
            raise ValueError(f"{args.episode}: not recorded in the embedded simulator")
        task, perturbations = origin["task"], tuple(origin["perturbations"])
    options = Options(perturbations=perturbations, stop_on_success=False)
    config = environment_of(spec, task, BACKEND, options)
    # Whoever wants pictures takes them; a step makes none.
    env = cast("EmbeddedEnv", make_env(dataclasses.replace(config, cameras=())))
    if demo is None:
        env.reset(args.variation, args.seed)
    else:
        env.reset_to_demo(demo)
    return env


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(
        lambda: _film(args), (EnvError, ValueError), "Interrupted; no film was written."
    )


def _film(args: argparse.Namespace) -> int:
    check_video_path(args.output)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    policy = load_session(args.checkpoint) if args.checkpoint else None
    spec = NOBODY if policy is None else policy.spec
    env = open_scene(args, spec)
    actions = script_actions(env) if policy is None else policy_actions(env, policy)
    frames, outcome = film_episode(env, actions, args.every, spec.action.mode)
    write_video(args.output, frames, FRAMES_PER_SECOND / args.every * args.speed)
    print(f"{args.output}: {outcome}, {len(frames)} frames")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
