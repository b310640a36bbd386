from __future__ import annotations

from typing import Any

import numpy as np


class ActResult:
    def __init__(
        self,
        action: Any,
        observation_elements: dict | None = None,
        replay_elements: dict | None = None,
        info: dict | None = None,
    ) -> None:
        assert isinstance(action, np.ndarray) and action.dtype == np.float32
        self.action = action
        self.observation_elements = observation_elements or {}
        self.replay_elements = replay_elements or {}
        self.info = info or {}
