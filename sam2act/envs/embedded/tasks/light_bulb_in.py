"""RLBench: screw the bulb from the holder of the named colour into the lamp."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from sam2act.envs.embedded.kit.assembly import Look, geom_name
from sam2act.envs.embedded.kit.mjcf import HIDDEN_GROUP, cylinder, shape
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.placing import Boundary, require_room
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene

HOLDERS, BULBS = ("bulb_holder0", "bulb_holder1"), ("bulb_phys0", "bulb_phys1")
GRASP_OFFSET = 0.01  # metres below the middle of the glass
_THREAD_COLOR, _GLASS_COLOR, _LAMP_COLOR = (0.6, 0.6, 0.6), (1, 1, 1), (0.85, 0.85, 1.0)
_FRICTION = 0.1  # of a bulb
# Diameter, height and middle of the round parts of the lamp's foot in its frame, metres.
_FOOT = (
    (0.0804, 0.0216, -0.1258),
    (0.0943, 0.0805, -0.0748),
    (0.0721, 0.1282, 0.0296),
    (0.0199, 0.0430, 0.1152),
)


class LightBulbIn(PublishedTask):
    """Variation v: colour v, of the holder with number v modulo 2.

    There is no thread: the bulb is turned by 166 degrees over the socket and let go.
    """

    variations = len(COLORS)
    graspable = manipulated = BULBS
    told_by_looks = (*HOLDERS, *BULBS)
    receivers = ("lamp_base",)

    deviations: ClassVar[Mapping[str, str]] = {
        "spawned": "Places at which the open hand would land on the other bulb are drawn again, as "
        "published demonstrations are tried again."
    }

    def looks(self) -> Mapping[str, Look]:
        """A round foot; bulbs of glass on a thread."""
        looks = {"lamp_base": Look(partial(_foot, self.facts.shape("lamp_base").mass))}
        for number, bulb in enumerate(BULBS):
            looks[bulb] = Look(partial(_solid, bulb, self.facts.shape(bulb).mass))
            for name, make in ((f"light_bulb{number}", _thread), (f"bulb{number}", _glass)):
                looks[name] = Look(partial(make, name))
        return looks

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The holders stand at random places, each with a bulb; the lamp stands beside them."""
        frames, random, names = scene.frames, scene.random, list(COLORS)
        number, color = variation % 2, names[variation]
        boundary = Boundary(frames, ["spawn_boundary"], random)
        for holder in HOLDERS:
            boundary.sample(holder)
        self.bulb = BULBS[number]
        glass, grasp = frames.pose(f"bulb{number}"), frames.pose("waypoint1")
        grasp[:3, 3] = glass[:3, 3] + GRASP_OFFSET * glass[:3, 2]
        frames.move("waypoint1", grasp)
        require_room(frames, "waypoint1", [BULBS[1 - number]])
        other = random.choice([name for name in names if name != color])
        scene.set_color(HOLDERS[number], COLORS[color])
        scene.set_color(HOLDERS[1 - number], COLORS[other])
        return [
            f"screw in the {color} light bulb",
            f"put the bulb from the {color} holder into the lamp",
            f"take the light bulb out of the {color} stand and screw it into the socket",
            f"the lamp needs the bulb that stands in the {color} holder",
        ]

    def success(self, scene: Scene) -> bool:
        """The asked bulb is in the socket, released."""
        return scene.detects("success", self.bulb) and scene.holds_nothing


def _foot(mass: float, scale: float) -> str:
    return "".join(
        cylinder(
            scale * diameter / 2,
            scale * height / 2,
            _LAMP_COLOR,
            pos=(0, 0, scale * middle),
            name=geom_name("lamp_base", number),
            mass=mass * scale**3 / len(_FOOT),
        )
        for number, (diameter, height, middle) in enumerate(_FOOT)
    )


def _solid(name: str, mass: float, scale: float) -> str:
    """What is touched of a bulb: a ball on a cylinder."""
    options: dict[str, object] = {"group": HIDDEN_GROUP, "friction": _FRICTION}
    options |= {"pos": (0, 0, scale * 0.01869), "mass": 0.855 * mass * scale**3}
    ball = shape("sphere", scale * 0.0342, _GLASS_COLOR, name=geom_name(name, 0), **options)
    options |= {"pos": (0, 0, -scale * 0.02831), "mass": 0.145 * mass * scale**3}
    name = geom_name(name, 1)
    return ball + cylinder(scale * 0.01659, scale * 0.024575, _GLASS_COLOR, name=name, **options)


def _thread(name: str, scale: float) -> str:
    """The metal of a bulb, which reaches into the glass; z points down."""
    options = {"class_": "visual", "pos": (0, 0, scale * 0.0242), "name": geom_name(name, 0)}
    thread = cylinder(scale * 0.0165, scale * 0.0300, _THREAD_COLOR, **options)
    options |= {"pos": (0, 0, -scale * 0.0207), "name": geom_name(name, 1)}
    return thread + shape("sphere", scale * 0.0335, _THREAD_COLOR, **options)


def _glass(name: str, scale: float) -> str:
    """Round, on a neck; z points down."""
    options = {"class_": "visual", "pos": (0, 0, scale * 0.0304), "name": geom_name(name, 0)}
    neck = cylinder(scale * 0.0185, scale * 0.0100, _GLASS_COLOR, **options)
    options |= {"pos": (0, 0, -scale * 0.0062), "name": geom_name(name, 1)}
    return neck + shape("sphere", scale * 0.0342, _GLASS_COLOR, **options)
