"""Facts of published scenes are read completely, shipped ones and those of another folder alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sam2act.envs.embedded.fidelity.documents import read_documents
from sam2act.envs.embedded.kit.facts import parse_facts, pose_matrix, read_facts, scene_facts
from tests.golden_files import scenes_dir

TASKS = sorted(read_documents())


def test_eighteen_scenes_are_known() -> None:
    assert len(TASKS) == 18


@pytest.mark.parametrize("task", TASKS)
def test_a_file_of_another_folder_gives_the_same_scene(task: str) -> None:
    shipped, external = scene_facts(task), read_facts(scenes_dir() / f"{task}.json")
    assert list(shipped.objects) == list(external.objects)
    assert (shipped.root, shipped.static) == (external.root, external.static)
    assert shipped.base_yaw == external.base_yaw
    assert shipped.waypoints <= external.waypoints  # a script need not use all that there are
    for name, item in shipped.objects.items():
        other = external.objects[name]
        assert np.allclose(item.in_parent, other.in_parent, atol=1e-9)
        assert (item.parent, item.joint, item.volume) == (other.parent, other.joint, other.volume)


def test_every_kind_of_fact_is_read(tmp_path: Path) -> None:
    place = [0.1, 0, 0, 0, 0, 0, 1]
    entries = [
        {"name": "base", "kind": "dummy", "parent": None, "in_parent": place},
        {"name": "axis", "kind": "joint", "parent": "base", "in_parent": place, "joint": {
            "kind": "revolute", "position": 0.5, "spring_damper": True, "spring_k": 2.0,
            "damping": 0.1, "target": 0.4}},
        {"name": "door", "kind": "shape", "parent": "axis", "in_parent": place,
         "size": [1, 2, 3], "mass": 4.0, "dynamic": True, "respondable": False, "wireframe": True,
         "flags": ["renderable", "collidable"], "rgb": [[1, 0, 0], [0, 1, 0]],
         "primitive": "cuboid"},
        {"name": "eye", "kind": "proximity_sensor", "parent": "base", "in_parent": place,
         "volume": {"kind": "cylinder", "radius": 0.1, "z_from": 0.1, "z_to": 0.3}},
        {"name": "waypoint0", "kind": "dummy", "parent": "door", "in_parent": place,
         "extension": {"gripper": "close 0.6", "ignore_collisions": True, "linear": True}},
    ]  # fmt: skip
    path = tmp_path / "scene.json"
    sampling = {"asked_yaw": [-1.0, 1.0]}
    document = {"objects": entries[::-1], "base_sampling": sampling, "waypoints": [{}]}
    path.write_text(json.dumps(document))
    facts = read_facts(path)
    assert list(facts.objects)[0] == "base" and not facts.static and facts.base_yaw == (-1.0, 1.0)
    door, axis = facts.objects["door"].shape, facts.objects["axis"].joint
    assert door is not None and axis is not None
    assert not door.is_seen and door.is_obstacle and door.color == (1, 0, 0)
    assert not axis.slides and axis.limits is None and axis.spring == (2.0, 0.1)
    assert axis.target == 0.4 and axis.position == 0.5
    volume = facts.objects["eye"].volume
    assert volume is not None and volume.size == (0.2, 0.2, pytest.approx(0.2))
    assert volume.center == (0.0, 0.0, pytest.approx(0.2))
    marks = facts.objects["waypoint0"].marks
    assert (marks.opening, marks.ignore_collisions, marks.linear) == (0.6, True, True)
    assert facts.by_level() == ["base", "eye", "axis", "door", "waypoint0"]
    assert facts.subtree("axis") == ["axis", "door", "waypoint0"]


def test_the_script_of_a_static_scene_keeps_its_base() -> None:
    facts = parse_facts(
        {
            "objects": [{"name": "base", "kind": "dummy", "parent": None,
                         "in_parent": [0, 0, 0, 0, 0, 0, 1]}],
            "base_sampling": {"static": True},
            "waypoints": [],
        }
    )  # fmt: skip
    assert facts.static and facts.base_yaw == (0.0, 0.0)


def test_poses_are_position_and_quaternion_xyzw() -> None:
    pose = pose_matrix([1, 2, 3, 0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    assert np.allclose(pose @ [1, 0, 0, 1], [1, 3, 3, 1])
