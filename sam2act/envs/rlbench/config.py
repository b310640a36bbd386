"""What RLBench is asked to observe, and which task to run."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from sam2act.core.errors import ConfigError
from sam2act.core.tasks import REAL_ROBOT_TASKS
from sam2act.data.rlbench.types import RecordedObservation
from sam2act.envs.base import CAMERAS, EnvConfig
from sam2act.envs.rlbench.versions import INSTALL_RLBENCH, require_packages, task_files

PURPOSE = "backend rlbench"


def check_task_name(name: str) -> None:
    """Make sure that the installed RLBench has task `name`; nothing is imported.

    Raises:
        MissingSimulatorError: RLBench or PyRep is not installed, or another project of that name.
        ValueError: it has not; the message says which forks hold other tasks.
    """
    task, _, variant = name.partition("@")
    if variant:
        raise ValueError(
            f"task {name!r} is a variant that only the embedded simulator has; RLBench has {task}"
        )
    if name in REAL_ROBOT_TASKS:
        raise ConfigError(
            f"task {name} is the twin of a real-robot task, which only the embedded simulator has; "
            "choose --backend embedded"
        )
    require_packages(("rlbench", "pyrep"), PURPOSE)
    known = task_files()
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ValueError(
        f"task {name!r} is not in the installed RLBench ({len(known)} tasks){hint} All 21 tasks "
        "of the published evaluation are in the fork that its repository holds: unset "
        f"RLBENCH_REPOSITORY, remove rlbench.env and run {INSTALL_RLBENCH}"
    )


def task_class(name: str) -> Any:
    """RLBench's class of task `name`, a name that `check_task_name` accepts."""
    module = importlib.import_module(f"rlbench.tasks.{name}")
    return getattr(module, "".join(word[:1].upper() + word[1:] for word in name.split("_")))


def observation_config(config: EnvConfig) -> Any:
    """RLBench's description of the observations: as published, and depth in metres.

    The published policy takes RLBench's point clouds; ours makes the same ones from depth.
    """
    from pyrep.const import RenderMode
    from rlbench.observation_config import CameraConfig, ObservationConfig

    cameras = {}
    for name in CAMERAS:
        wanted = name in config.cameras
        cameras[f"{name}_camera"] = CameraConfig(
            rgb=wanted,
            depth=wanted,
            point_cloud=wanted and config.point_clouds,
            mask=wanted and config.masks,
            image_size=(config.image_size, config.image_size),
            render_mode=RenderMode.OPENGL,  # OPENGL3 would cast shadows
            masks_as_one_channel=True,
            depth_in_meters=True,
        )
    return ObservationConfig(
        **cameras,
        joint_velocities=True,
        joint_positions=True,
        joint_forces=False,
        gripper_open=True,
        gripper_pose=True,
        gripper_matrix=True,
        gripper_joint_positions=True,
        gripper_touch_forces=False,
        task_low_dim_state=False,
    )


def as_observation(observation: Any) -> RecordedObservation:
    """RLBench's observation as the type of this project, which pickles without RLBench."""
    return RecordedObservation(**vars(observation))
