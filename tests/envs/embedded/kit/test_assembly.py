"""Bodies of compiled scenes stand where the facts say, joints count as published."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sam2act.envs.embedded.fidelity.compiled import pose_difference
from sam2act.envs.embedded.fidelity.documents import Document, read_documents
from sam2act.envs.embedded.kit.assembly import Assembly
from sam2act.envs.embedded.kit.facts import pose_matrix, scene_facts
from sam2act.envs.embedded.kit.workspace import model_text
from tests.envs.embedded.kit.scenes import TASKS, loaded
from tests.golden_files import scenes_dir

DOCUMENTS = read_documents()


def check_poses(document: Document) -> None:
    frames, _, _ = loaded(document.task)
    base = np.linalg.inv(frames.pose(document.root))
    for name, expected in document.in_base().items():
        far, turned = pose_difference(expected, base @ frames.pose(name))
        assert far < 2e-4 and turned < 2e-3, name


@pytest.mark.parametrize("task", TASKS)
def test_everything_stands_where_the_facts_say(task: str) -> None:
    check_poses(DOCUMENTS[task])


@pytest.mark.parametrize("task", TASKS)
def test_everything_stands_where_a_folder_of_facts_says(task: str) -> None:
    document = read_documents(scenes_dir())[task]
    assert "in_base" in document.content["objects"][0]
    check_poses(document)
    placed = Assembly(scene_facts(task)).poses()
    for name, entry in document.entries.items():
        far, _ = pose_difference(pose_matrix(entry["world_at_load"]), placed[name])
        assert far < 2e-4, name


def test_joints_count_as_published() -> None:
    frames, model, data = loaded("reopen_drawer")
    opened, closed = (data.joint(f"drawer_joint_{place}").qpos[0] for place in ("bottom", "top"))
    assert (opened, closed) == (pytest.approx(0.21), pytest.approx(0.0))
    assert model.joint("drawer_joint_bottom").range == pytest.approx([0, 0.21])
    before = frames.pose("drawer_bottom")[:3, 3]
    data.joint("drawer_joint_bottom").qpos[0] = 0.0
    mujoco.mj_kinematics(model, data)
    moved = frames.pose("drawer_bottom")[:3, 3] - before
    assert moved == pytest.approx([0, 0.21, 0], abs=2e-3)  # shut towards +y


def test_what_is_scaled_keeps_its_proportions() -> None:
    facts = scene_facts("open_drawer")
    plain, large = Assembly(facts), Assembly(facts, scales={"drawer_frame": 1.5})
    for name in ("drawer_legs", "waypoint_anchor_top"):
        near, far = (
            np.linalg.inv(item.poses()["drawer_frame"]) @ item.poses()[name]
            for item in (plain, large)
        )
        assert far[:3, 3] == pytest.approx(1.5 * near[:3, 3], abs=1e-9)
    model = mujoco.MjModel.from_xml_string(model_text(large.fragment()))
    assert model.joint("drawer_joint_top").range == pytest.approx([0, 0.45])
    mass = facts.objects["drawer_top"].shape
    assert mass is not None
    assert model.body("drawer_top").mass[0] == pytest.approx(1.5**3 * mass.mass)
