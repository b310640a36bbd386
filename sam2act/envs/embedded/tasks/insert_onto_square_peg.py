"""RLBench: put the square ring onto the peg of the named colour."""

from __future__ import annotations

from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.placing import Boundary
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene

PEGS = ("pillar0", "pillar1", "pillar2")
RING = "square_ring"


class InsertOntoSquarePeg(PublishedTask):
    """Variation v asks for colour v; any peg may have it, the other two have other colours.

    The opening of the ring leaves 2.5 mm to the peg on every side.
    """

    variations = len(COLORS)
    graspable = manipulated = resized = (RING,)
    receivers = ("square_base",)
    resized_receivers = PEGS
    told_by_looks = PEGS
    object_sizes = (1.0, 1.15)
    receiver_sizes = (0.85, 1.0)

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The ring lies anywhere before the pegs, turned at random."""
        frames, random, names = scene.frames, scene.random, list(COLORS)
        color = names[variation]
        asked, *others = random.permutation(PEGS)
        spare = random.choice([name for name in names if name != color], 2, replace=False)
        for peg, paint in zip((asked, *others), (color, *spare), strict=True):
            scene.set_color(peg, COLORS[paint])
        foot = frames.pose("success_centre")
        foot[:2, 3] = frames.pose(asked)[:2, 3]
        frames.move("success_centre", foot)
        Boundary(frames, ["boundary0"], random).sample(RING)
        return [
            f"put the ring on the {color} spoke",
            f"slide the square ring onto the {color} peg",
            f"the ring belongs around the {color} peg",
        ]

    def success(self, scene: Scene) -> bool:
        """The ring lies around the foot of the asked peg: sensors on its four sides see it."""
        return all(scene.detects(f"success_detector{side}", RING) for side in range(4))
