"""The keys of DrQ-v2; defaults are the published ones for easy tasks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require, require_choice, require_positive

_LINEAR = re.compile(r"linear\(([\d.]+),([\d.]+),(\d+)\)")


@dataclass(frozen=True)
class DrQv2Config(ComponentConfig):
    """The agent (`--mvt_cfg_path`, `--mvt_cfg_opts`)."""

    policy: str = "drq_v2"
    camera: str = "camera"  # name of the one that it sees
    image_size: int = 84
    frame_stack: int = 3
    action_size: int = 1  # numbers of an action; that of the environment
    action_rate: float = 50.0  # actions per second; that of the environment
    channels: int = 32
    feature_dim: int = 50
    hidden_dim: int = 1024
    lr: float = 1e-4
    tau: float = 0.01  # share by which the target critic follows the critic
    stddev_schedule: str = "linear(1.0,0.1,100000)"  # of the noise, over actions
    stddev_clip: float = 0.3  # of the noise in losses
    shift: int = 4  # pixels of the random shift
    algorithm: str = "drq_v2"  # drq_v2 | svea: half of the critic's loss on overlaid images
    overlay: float = 0.5  # share of the other picture in an overlay

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "image_size", "frame_stack", "action_size", "channels")
        require_positive(self, "feature_dim", "hidden_dim")
        require(self.lr > 0, "lr must be above 0")
        require(self.image_size >= 17, "image_size must be at least 17 pixels")
        require(0 < self.tau <= 1, "tau must be above 0 and at most 1")
        require(self.shift >= 0, "shift must not be negative")
        require(0 <= self.overlay < 1, "overlay must be from 0 to below 1")
        require_choice("algorithm", self.algorithm, ("drq_v2", "svea"))
        self.stddev(0)

    def stddev(self, step: int) -> float:
        """Standard deviation of the noise after `step` actions.

        Raises:
            ConfigError: `stddev_schedule` has another form.
        """
        found = _LINEAR.fullmatch(self.stddev_schedule.replace(" ", ""))
        if found is None:
            require(
                self.stddev_schedule.replace(".", "", 1).isdigit(),
                f"stddev_schedule: {self.stddev_schedule!r} is neither a number nor "
                "linear(FIRST,LAST,ACTIONS)",
            )
            return float(self.stddev_schedule)
        first, last, duration = float(found[1]), float(found[2]), int(found[3])
        share = min(step / max(duration, 1), 1.0)
        return (1 - share) * first + share * last
