"""A released CogACT model as a session: what executors and servers act with.

Legend: B environments of a call, H actions of a chunk, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sam2act.core.actions import OPENING, ActionSpec, Component
from sam2act.core.specs import LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, ContractError, Instruction, Observation
from sam2act.policies.cogact.vla import CogACT

CAMERA = "image"
TEXT = LanguageSpec("llama", 1, 1)  # the model reads texts itself
COMPONENTS = (
    Component("translation", 3, "m"),
    Component("roll_pitch_yaw", 3, "rad"),
    Component("gripper", 1, OPENING, "", 0.0, 1.0),
)


class ReleasedSession:
    """`predict_action_batch` for any number of environments; it remembers nothing of them."""

    def __init__(self, model: CogACT, unnorm_key: str | None = None, **sampling: Any) -> None:
        """Act with `model`.

        Args:
            model: from `load_vla`.
            unnorm_key: data set whose units the actions get; None if the model knows one only.
            sampling: `cfg_scale`, `use_ddim`, `num_ddim_steps` of `predict_action_batch`.

        Raises:
            ConfigError: an unknown `unnorm_key`.
        """
        self._model, self._key, self._sampling = model, unnorm_key, sampling
        size = model.get_action_dim(unnorm_key)
        parts = COMPONENTS if size == 7 else (Component("action", size, "of the data set"),)
        self._spec = PolicySpec(
            camera_specs=square_cameras([CAMERA], model.vlm.config.vlm_image_side, depth=False),
            language=TEXT,
            state=(),
            action=ActionSpec("raw", parts, horizon=model.head.chunk),
        )

    @property
    def spec(self) -> PolicySpec:
        """One picture and a text in, a chunk in the units of the data set out."""
        return self._spec

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Nothing is remembered."""

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The next actions (B, H, A) float64.

        Raises:
            ContractError: token features in place of texts.
        """
        if isinstance(language, Tensor):
            raise ContractError("language: this model takes texts, got token features")
        pictures = [Image.fromarray(np.asarray(rgb)) for rgb in observation.rgb[:, 0].cpu().numpy()]
        actions, _ = self._model.predict_action_batch(
            pictures, list(language), self._key, **self._sampling
        )
        values = torch.from_numpy(np.asarray(actions, np.float64))
        return ActionChunk(values, torch.ones(values.shape[:2], dtype=torch.bool), "raw")
