"""Policies of sam2act in LeRobot: `--policy.path=FOLDER`, a folder that `sam2act export` wrote.

Importing this module registers the configuration; LeRobot finds model and processors by its name.
"""

from lerobot_policy_sam2act.configuration_sam2act import SAM2ActConfig

__all__ = ["SAM2ActConfig"]
