"""Tasks of sam2act's embedded simulator in LeRobot: `--env.type=sam2act --env.task=put_block_back`.

Importing this module registers the configuration with LeRobot and the ids with gymnasium.
"""

from lerobot_env_sam2act.configuration import Sam2ActEnv
from lerobot_env_sam2act.environment import register_tasks

__all__ = ["Sam2ActEnv"]
register_tasks()
