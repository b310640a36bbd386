"""Evaluate whatever acts in closed loop; here a session that always opens the gripper at home."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, Instruction, Observation
from sam2act.evaluation.options import EvaluationOptions
from sam2act.evaluation.run import evaluate, session_target


class StayAtHome:  # a trained one: PolicySession.from_checkpoint("model_last.pth", ...)
    spec = PolicySpec(square_cameras(["front", "wrist"], 64, depth=False), language=None)

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Forget the last episode; this one remembers nothing."""

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        pose = torch.tensor([0.28, 0.0, 1.2, 0, 1, 0, 0, 1, 1.0])  # m, xyzw, open, collisions
        values = pose.expand(len(observation), 1, 9)
        return ActionChunk(values, torch.ones(values.shape[:2], dtype=torch.bool))


if __name__ == "__main__":
    folder = Path("runs/by_hand")  # results go to its eval/
    options = EvaluationOptions(folder, tasks=("turn_tap",), backend="embedded", seed=0)
    options = replace(options, eval_episodes=2, episode_length=2, workers=1, device="cpu")
    outcome = evaluate(options, targets=[session_target("stay_at_home", StayAtHome())])
    print("success in percent:", outcome.rates)
