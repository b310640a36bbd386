"""What LeRobot runs of a hub repository (EnvHub): `make_env`. Put this file at its top."""

from __future__ import annotations

from typing import Any

from lerobot_env_sam2act import Sam2ActEnv


def make_env(n_envs: int = 1, use_async_envs: bool = False, cfg: Any = None) -> dict[str, Any]:
    """Environments of one task as {"sam2act": {0: vector environment}}.

    Args:
        n_envs: how many run side by side.
        use_async_envs: whether each has a process of its own.
        cfg: a configuration with a `task`; None = put_block_back.
    """
    config = cfg if isinstance(cfg, Sam2ActEnv) else Sam2ActEnv(**_task_of(cfg))
    return config.create_envs(n_envs=n_envs, use_async_envs=use_async_envs)


def _task_of(cfg: Any) -> dict[str, str]:
    task = getattr(cfg, "task", None)
    return {"task": task} if task else {}
