"""Experiments in compiled scenes about what no single number of the facts says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import mujoco
import numpy as np

from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.fidelity.findings import Finding, compared

_PLACES = ("bottom", "middle", "top")


def probe(runner: EpisodeRunner) -> Iterator[Finding]:
    """The findings of all experiments with this task."""
    for experiment in PROBES.get(runner.task_name, ()):
        yield experiment(runner)


def _moved(runner: EpisodeRunner, name: str, to: str, offset: tuple[float, float, float]) -> None:
    """Put an object to the place of another, moved by `offset` metres along the world's axes."""
    frames = runner.scene.frames
    pose = frames.pose(name)
    pose[:3, 3] = frames.pose(to)[:3, 3] + offset
    frames.move(name, pose)


def _ring_clearance(runner: EpisodeRunner) -> Finding:
    """The ring passes over a peg 2.5 mm off its middle, and no further."""
    runner.restore()
    frames, passes = runner.scene.frames, []
    for offset in (0.0, 0.002, 0.0035):
        _moved(runner, "square_ring", "pillar1", (offset, 0.0, 0.0))
        passes.append(not frames.touches("square_ring", "pillar1"))
    return compared("probe.clearance", passes == [True, True, False], "2.5 mm", passes)


def _block_tolerance(runner: EpisodeRunner) -> Finding:
    """The block counts as being at the centre up to 0.09 m off it, on a patch up to 0.065 m."""
    runner.restore()
    frames = runner.scene.frames
    seen = []
    for sensor, offset in (("success0", 0.088), ("success0", 0.094),
                           ("success1", 0.063), ("success1", 0.069)):  # fmt: skip
        level = frames.pose("block")[2, 3] - frames.pose(sensor)[2, 3]
        _moved(runner, "block", sensor, (offset, 0.0, level))
        seen.append(runner.scene.detects(sensor, "block"))
    published = [True, False, True, False]
    return compared("probe.tolerance", seen == published, published, seen)


def _other_drawers(runner: EpisodeRunner) -> Finding:
    """It does not matter that the other drawers were opened, too."""
    runner.begin_episode(0, 0)
    task, scene = runner.task, runner.scene
    button = "target_button_joint1"
    for asked, pressed, others in ((0.0, 0.0, 0.0), (0.0, 0.006, 0.0), (0.2, 0.0, 0.2)):
        scene.set_joint("drawer_joint_bottom", asked)
        for place in _PLACES[1:]:
            scene.set_joint(f"drawer_joint_{place}", others)
        scene.set_joint(button, 0.003 - pressed)
        mujoco.mj_forward(runner.model, runner.data)
        task.step(scene)
    return compared("probe.other_drawers", task.success(scene), "success", "no success")


def _plates_keep_color(runner: EpisodeRunner) -> Finding:
    """Pressed buttons look as before."""
    runner.begin_episode(2, 0)
    before = runner.model.geom_rgba.copy()
    for number in range(3):
        runner.scene.set_joint(f"target_button_joint{number}", -0.005)
        mujoco.mj_forward(runner.model, runner.data)
        runner.task.step(runner.scene)
    same = np.array_equal(before, runner.model.geom_rgba)
    return compared("probe.plates_keep_color", same, "kept", "changed")


PROBES: Mapping[str, tuple[Callable[[EpisodeRunner], Finding], ...]] = {
    "insert_onto_square_peg": (_ring_clearance,),
    "put_block_back": (_block_tolerance,),
    "reopen_drawer": (_other_drawers,),
    "push_buttons": (_plates_keep_color,),
}
