"""CogACT in SIMPLER's evaluation loop: ensemble of chunks and what the simulated robots expect.

Legend: H actions of a chunk, A numbers of an action.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from sam2act.core.errors import ConfigError, require, require_choice
from sam2act.processing.blending import blend, similarity_weights

SETUPS = {  # robot -> data set of its units, chunks of the ensemble, steps of a gripper command
    "widowx_bridge": ("bridge_orig", 7, 1),
    "google_robot": ("fractal20220817_data", 2, 10),
}
OPEN_FROM = 0.5
Numbers = NDArray[np.floating[Any]]


class AdaptiveEnsembler:
    """Weighted mean of what the last chunks say of the present step, newest chunk as reference."""

    def __init__(self, pred_action_horizon: int, adaptive_ensemble_alpha: float = 0.0) -> None:
        """Keeps `pred_action_horizon` chunks; see `similarity_weights` for alpha.

        Raises:
            ConfigError: fewer than one chunk.
        """
        require(
            pred_action_horizon >= 1,
            f"pred_action_horizon: {pred_action_horizon}, but at least 1 chunk is kept",
        )
        self.pred_action_horizon = pred_action_horizon
        self.adaptive_ensemble_alpha = adaptive_ensemble_alpha
        self._chunks: deque[tuple[Numbers, Numbers]] = deque(maxlen=pred_action_horizon)

    def reset(self) -> None:
        """Forget all chunks."""
        self._chunks.clear()

    def ensemble_action(self, cur_action: Numbers, compared: Numbers | None = None) -> Numbers:
        """The action of this step (A,).

        Args:
            cur_action: the newest chunk (H, A), or one action (A,), which counts for later steps
                as it is.
            compared: the same actions in the space where similarity is measured; None = as given.
        """
        newest = cur_action if compared is None else compared
        self._chunks.appendleft((cur_action, newest))
        single = cur_action.ndim == 1
        pairs = [
            (chunk, seen) if single else (chunk[age], seen[age])
            for age, (chunk, seen) in enumerate(self._chunks)
            if single or age < len(chunk)
        ]
        actions, others = (torch.from_numpy(np.stack(x)) for x in zip(*pairs, strict=True))
        weights = similarity_weights(others, self.adaptive_ensemble_alpha)
        mean: Numbers = blend(actions, weights, "raw").numpy()
        return mean


class CogACTInference:
    """A policy as SIMPLER calls it: `reset(text)`, `step(image, text) -> raw, action`.

    Args:
        saved_model_path: see `load_vla`.
        unnorm_key: data set of the units; None = that of the robot.
        policy_setup: widowx_bridge or google_robot.
        horizon: no use, as published.
        action_ensemble_horizon: chunks of the ensemble; None = 7 for WidowX, 2 for Google.
        image_size: to which pictures are scaled first, (width, height).
        future_action_window_size: actions of a chunk after the present one.
        action_dim: numbers of an action.
        action_model_type: size of the head.
        action_scale: factor of translations and rotations.
        cfg_scale: strength of guidance.
        use_ddim: sample by DDIM.
        num_ddim_steps: its steps.
        use_bf16: keep the vision-language model in bfloat16.
        action_ensemble: blend chunks; else the first action of the newest one.
        adaptive_ensemble_alpha: see `similarity_weights`.
        ensemble_space: where similarity is measured, raw (published) or normalised.
        device: None = a GPU if there is one.
        loader: in place of `load_vla`.
    """

    def __init__(  # noqa: PLR0913  # the published arguments
        self,
        saved_model_path: str = "CogACT/CogACT-Base",
        unnorm_key: str | None = None,
        policy_setup: str = "widowx_bridge",
        horizon: int = 0,
        action_ensemble_horizon: int | None = None,
        image_size: tuple[int, int] | list[int] = (224, 224),
        future_action_window_size: int = 15,
        action_dim: int = 7,
        action_model_type: str = "DiT-B",
        action_scale: float = 1.0,
        cfg_scale: float = 1.5,
        use_ddim: bool = True,
        num_ddim_steps: int = 10,
        use_bf16: bool = True,
        action_ensemble: bool = True,
        adaptive_ensemble_alpha: float = 0.1,
        *,
        ensemble_space: str = "raw",
        device: str | None = None,
        loader: Callable[..., Any] | None = None,
    ) -> None:
        """With published arguments, then ours; see the class.

        Raises:
            ConfigError: another robot, or the model cannot be loaded.
        """
        require_choice("policy_setup", policy_setup, tuple(SETUPS))
        require_choice("ensemble_space", ensemble_space, ("raw", "normalised"))
        key, chunks, self.sticky_gripper_num_repeat = SETUPS[policy_setup]
        self.policy_setup, self.unnorm_key = policy_setup, unnorm_key or key
        self.image_size, self.action_scale = (image_size[0], image_size[1]), action_scale
        self.sampling: dict[str, Any] = {
            "cfg_scale": cfg_scale,
            "use_ddim": use_ddim,
            "num_ddim_steps": num_ddim_steps,
        }
        self.ensemble_space = ensemble_space
        self.ensembler: AdaptiveEnsembler | None = None
        if action_ensemble:
            kept = chunks if action_ensemble_horizon is None else action_ensemble_horizon
            self.ensembler = AdaptiveEnsembler(kept, adaptive_ensemble_alpha)
        self.vla = (loader or _load_vla)(
            saved_model_path,
            load_for_training=False,
            action_model_type=action_model_type,
            future_action_window_size=future_action_window_size,
            action_dim=action_dim,
            vlm_dtype=torch.bfloat16 if use_bf16 else torch.float32,
        )
        self.vla.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        self.reset("")

    def reset(self, task_description: str) -> None:
        """Start of an episode."""
        self.task_description = task_description
        if self.ensembler is not None:
            self.ensembler.reset()
        self._previous: float | None = None  # opening that the last change left
        self._repeated, self._sticky = 0, 0.0  # steps of a gripper command, and the command

    def step(
        self, image: NDArray[np.uint8], task_description: str | None = None
    ) -> tuple[dict[str, Numbers], dict[str, Numbers]]:
        """The next action.

        Args:
            image: (height, width, 3) uint8.
            task_description: another text than before starts an episode; None = the same.

        Returns:
            raw: world_vector (3,) metres, rotation_delta (3,) roll, pitch, yaw in radians,
                open_gripper (1,).
            action: world_vector and rot_axangle (3,), scaled; gripper (1,) as the robot takes it,
                terminate_episode (1,) zero.

        Raises:
            ConfigError: the picture has another form.
        """
        if task_description is not None and task_description != self.task_description:
            self.reset(task_description)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ConfigError(
                f"image: expected (height, width, 3) uint8, got {image.shape} {image.dtype}"
            )
        scaled = Image.fromarray(image).resize(self.image_size, Image.Resampling.BOX)
        chunk, normalised = self.vla.predict_action(
            scaled, self.task_description, unnorm_key=self.unnorm_key, **self.sampling
        )
        chosen = self._chosen(chunk, normalised)
        raw = {
            "world_vector": chosen[:3],
            "rotation_delta": chosen[3:6],
            "open_gripper": chosen[6:7],
        }
        turn = Rotation.from_euler("xyz", raw["rotation_delta"].astype(float)).as_rotvec()
        action = {
            "world_vector": raw["world_vector"] * self.action_scale,
            "rot_axangle": turn * self.action_scale,
            "gripper": np.array([self._gripper(float(raw["open_gripper"][0]))]),
            "terminate_episode": np.zeros(1),
        }
        return raw, action

    def _chosen(self, chunk: Numbers, normalised: Numbers) -> Numbers:
        if self.ensembler is None:
            return np.asarray(chunk[0])
        compared = normalised if self.ensemble_space == "normalised" else None
        return self.ensembler.ensemble_action(chunk, compared)

    def _gripper(self, opening: float) -> float:
        if self.policy_setup == "widowx_bridge":
            return 1.0 if opening > OPEN_FROM else -1.0
        return self._relative_gripper(opening)

    def _relative_gripper(self, opening: float) -> float:
        """The Google robot's command: a change that is repeated for some steps, else 0 or less
        than half a change."""
        relative = 0.0 if self._previous is None else self._previous - opening
        if self._previous is None:
            self._previous = opening
        if abs(relative) > OPEN_FROM and not self._repeated:
            self._sticky, self._previous = relative, opening
            self._repeated = self.sticky_gripper_num_repeat
        if self._repeated:
            self._repeated -= 1
            return self._sticky
        return relative


def _load_vla(path: str, **options: Any) -> Any:
    """`load_vla`, imported when it is needed."""
    from sam2act.policies.cogact.released_files import load_vla

    return load_vla(path, **options)
