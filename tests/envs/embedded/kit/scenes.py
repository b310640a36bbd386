"""Scenes compiled from facts alone, without a task."""

from __future__ import annotations

import copy
import functools

import mujoco

from sam2act.envs.embedded.fidelity.documents import read_documents
from sam2act.envs.embedded.kit.assembly import Assembly
from sam2act.envs.embedded.kit.facts import scene_facts
from sam2act.envs.embedded.kit.frames import Frames
from sam2act.envs.embedded.kit.workspace import model_text

# The one of which the kit cannot yet build everything: nothing moves on its joint.
RIGID = "put_money_in_safe"
TASKS = [task for task in read_documents() if task != RIGID]


@functools.cache
def compiled(task: str) -> tuple[Assembly, mujoco.MjModel]:
    """The scene of `task` with the shapes of its facts."""
    assembly = Assembly(scene_facts(task))
    return assembly, mujoco.MjModel.from_xml_string(model_text(assembly.fragment()))


def loaded(task: str) -> tuple[Frames, mujoco.MjModel, mujoco.MjData]:
    """The tree of the scene of `task` as it is loaded, with a model of its own."""
    assembly, pristine = compiled(task)
    model = copy.copy(pristine)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return Frames(assembly, model, data), model, data
