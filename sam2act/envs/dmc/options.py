"""What can be chosen of an environment of DeepMind Control."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.core.errors import require, require_choice

LEVELS = ("original", "color_easy", "color_hard", "video_easy", "video_hard")


@dataclass(frozen=True)
class Options:
    """Options of `dmc`.

    Attributes:
        level: of the generalisation benchmark.
        videos: folder of mp4 files for the video levels; empty = films made of moving colours.
        action_repeat: frames per action; their rewards are added.
    """

    level: str = "original"
    videos: str = ""
    action_repeat: int = 2

    def __post_init__(self) -> None:
        require_choice("level", self.level, LEVELS)
        require(self.action_repeat >= 1, "action_repeat must be at least 1")
