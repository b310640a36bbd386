"""RLBench: put the money from the top of the open safe onto one of its shelves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from sam2act.envs.embedded.kit.assembly import Look, geom_name
from sam2act.envs.embedded.kit.mjcf import box
from sam2act.envs.embedded.kit.placing import Boundary
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene

SHELVES = ("bottom", "middle", "top")
_FALL = 0.0058  # metres to the safe from where the money is put; reach is judged at its end
_MONEY, _MONEY_YAW = np.array([0.0531, 0.1254, 0.0321]), np.deg2rad(20)  # extents, metres


class PutMoneyInSafe(PublishedTask):
    """Variation v asks for shelf v (bottom, middle, top)."""

    variations = len(SHELVES)
    graspable = ("dollar_stack",)
    manipulated = ("dollar_stack",)
    receivers = ("safe_body", "safe_door")
    resized = ("dollar_stack",)
    object_sizes = (0.75, 1.0)
    deviations: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (f"safe_joint.{fact}" for fact in ("pose", "limits", "position", "spring")),
        "Nothing moves on this joint, as published: the door stands open, and no joint is needed.",
    ) | {
        "init": "The money is put down 6 mm lower, onto the safe, before reach is judged.",
        "spawned": "The tilted hand reaches about half of the plane along one side; other places "
        "are drawn again, as published.",
    }

    def looks(self) -> Mapping[str, Look]:
        """The stack of notes lies askew in its frame."""
        return {"dollar_stack": Look(make=self._money)}

    def _money(self, scale: float) -> str:
        facts = self.facts.shape("dollar_stack")
        return box(
            scale * _MONEY / 2,
            facts.color,
            euler=(0, 0, _MONEY_YAW),
            name=geom_name("dollar_stack", 0),
            mass=facts.mass * scale**3,
        )

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The money lies somewhere on the safe; the script ends at the asked shelf."""
        frames, shelf = scene.frames, SHELVES[variation]
        self._sensor = f"success_detector{variation}"
        boundary = Boundary(frames, ["dollar_stack_boundary"], scene.random)
        boundary.sample("dollar_stack", yaw=(0.0, np.pi / 2))
        money = frames.pose("dollar_stack")
        money[2, 3] -= _FALL
        frames.move("dollar_stack", money)
        goal = frames.pose("waypoint4")
        goal[:3, 3] = frames.pose(f"dummy_shelf{variation}")[:3, 3]
        frames.move("waypoint4", goal)
        return [
            f"put the money away in the safe on the {shelf} shelf",
            f"lay the bundle of notes onto the {shelf} shelf of the safe",
            f"store the money on the safe's {shelf} shelf",
        ]

    def success(self, scene: Scene) -> bool:
        """Some part of the money is just above the asked shelf, released."""
        return scene.detects(self._sensor, "dollar_stack") and scene.holds_nothing
