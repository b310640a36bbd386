"""What the published rules say beside the facts of the scene: wordings, scripts, random places."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sam2act.envs.embedded.kit.facts import FREE_YAW, Yaw
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.scene import Scene

_NAMES = list(COLORS)
_PLACES = ("bottom", "middle", "top")
_BUTTONS = [name for name in _NAMES if name not in ("red", "lime")]
_ORDERS = list(itertools.islice(itertools.permutations(_BUTTONS, 3), 17))
_GROCERIES = (
    *("crackers", "chocolate jello", "strawberry jello", "soup", "tuna", "spam", "coffee"),
    *("mustard", "sugar"),
)
_SHAPES = ("cube", "cylinder", "triangular prism", "star", "moon")
_STACK_PLANES = tuple(f"stack_blocks_boundary{number}" for number in range(4))
_BLOCKS = tuple(f"stack_blocks_{kind}{k}" for kind in ("target", "distractor") for k in range(4))


@dataclass(frozen=True)
class Spawned:
    """What is put at random.

    Attributes:
        objects: their names, in no order.
        planes: boundary planes in which they are put.
        distance: least distance of their origins within one plane, metres.
        yaw: bounds of their turn, radians.
    """

    objects: tuple[str, ...]
    planes: tuple[str, ...]
    distance: float
    yaw: Yaw = FREE_YAW


@dataclass(frozen=True)
class Rules:
    """The rules of a task.

    Attributes:
        variations: their number.
        wordings: number of instructions of an episode.
        first: the first wording of a variation.
        actions: number of waypoints that the script goes to in a variation; None = not decoded.
        means: whether a scene shows the variation, beyond what the wording says.
        spawned: what is put at random.
        moved: waypoints that the task itself puts elsewhere; what lies below them follows.
    """

    variations: int
    wordings: int
    first: Callable[[int], str]
    actions: Callable[[int], int] | None
    means: Callable[[Scene, int], bool] = lambda scene, variation: True
    spawned: Spawned | None = None
    moved: tuple[int, ...] = ()


def _wording(text: str, *words: str) -> Callable[[int], str]:
    return lambda variation: text.format(words[variation])


def _colored(text: str) -> Callable[[int], str]:
    return _wording(text, *_NAMES)


def _count(number: int) -> Callable[[int], int]:
    return lambda variation: number


def _has_color(scene: Scene, shape: str, color: int) -> bool:
    geom = scene.geoms(shape)[0]
    return bool(np.allclose(scene.model.geom_rgba[geom, :3], COLORS[_NAMES[color]], atol=0.02))


def _shows(*shapes: str) -> Callable[[Scene, int], bool]:
    """Of several shapes number `variation mod N` has the colour number `variation`."""
    return lambda scene, color: _has_color(scene, shapes[color % len(shapes)], color)


def _lies_on(block: str, *patches: str) -> Callable[[Scene, int], bool]:
    def test(scene: Scene, variation: int) -> bool:
        apart = scene.position(block) - scene.position(patches[variation])
        return bool(np.abs(apart[:2]).max() < 0.002)

    return test


def _open_drawer(scene: Scene, variation: int) -> bool:
    found = [scene.joint(f"drawer_joint_{place}") for place in _PLACES]
    return bool(np.allclose(found, 0.21 * np.eye(3)[variation], atol=0.002))


def _peg(scene: Scene, variation: int) -> bool:
    return any(_has_color(scene, f"pillar{number}", variation) for number in range(3))


def _dragged(scene: Scene, variation: int) -> bool:
    shapes = {"target0": 0, "distractor1": 5, "distractor2": 6, "distractor3": 7}
    return all(
        _has_color(scene, shape, (variation + more) % len(_NAMES)) for shape, more in shapes.items()
    )


def _stacked(scene: Scene, variation: int) -> bool:
    return all(_has_color(scene, f"stack_blocks_target{k}", variation // 3) for k in range(4))


def _pushed(variation: int) -> str:
    colors = _ORDERS[variation // 3][: 1 + variation % 3]
    return ", then ".join(f"push the {color} button" for color in colors)


def _cups(variation: int) -> str:
    many = f"place {variation + 1} cups on the cup holder"
    return many if variation else "place 1 cup on the cup holder"


_BUTTON = Spawned(("push_buttons_target1",), ("boundary",), 0.0)
RULES: Mapping[str, Rules] = {
    "reopen_drawer": Rules(
        3, 1,
        lambda _: "Close the opened drawer, push the button, and then open the previous drawer "
        "again",
        _count(9), _open_drawer, _BUTTON, moved=(0, 1, 6, 7, 8)
    ),
    "put_block_back": Rules(
        4, 1,
        lambda _: "move the block on the color patch to the center, then press the button, and "
        "finally move the block back to where it was placed",
        _count(12), _lies_on("block", "target1", "target2", "target3", "target4"), _BUTTON,
        moved=(1, 10, 11),
    ),
    "rearrange_block": Rules(
        2, 1,
        lambda _: "Move the block not on the patch to the empty patch, then press the button, "
        "then move the block that has not been moved off the patch",
        _count(11), _lies_on("block1", "target1", "target2"), _BUTTON, moved=(2, 3, 6, 7, 8)
    ),
    "close_jar": Rules(
        20, 4, _colored("close the {} jar"), _count(6), _shows("jar0", "jar1"),
        Spawned(("jar0", "jar1"), ("spawn_boundary",), 0.01), moved=(3,)
    ),
    "insert_onto_square_peg": Rules(
        20, 3, _colored("put the ring on the {} spoke"), _count(5), _peg,
        Spawned(("square_ring",), ("boundary0",), 0.01),
    ),
    "light_bulb_in": Rules(
        20, 4, _colored("screw in the {} light bulb"), _count(7),
        _shows("bulb_holder0", "bulb_holder1"),
        Spawned(("bulb_holder0", "bulb_holder1"), ("spawn_boundary",), 0.01), moved=(1,)
    ),
    "meat_off_grill": Rules(
        2, 3, _wording("take the {} off the grill", "chicken", "steak"), None
    ),
    "open_drawer": Rules(3, 3, _wording("open the {} drawer", *_PLACES), _count(3), moved=(1,)
    ),
    "place_cups": Rules(
        3, 4, _cups, lambda variation: 7 * (variation + 1),
        spawned=Spawned(("mug0", "mug1", "mug2"), ("mug_boundary",), 0.10), moved=(1, 5)
    ),
    "place_shape_in_shape_sorter": Rules(
        5, 4, _wording("put the {} in the shape sorter", *_SHAPES), _count(5),
        spawned=Spawned(
            ("cube", "cylinder", "triangular_prism", "star", "moon"), ("boundary",), 0.05
        ), moved=(1, 4)
    ),
    "place_wine_at_rack_location": Rules(
        3, 5, _wording("stack the wine bottle to the {} of the rack", "middle", "left", "right"),
        _count(5), moved=(3, 4)
    ),
    "push_buttons": Rules(
        50, 3, _pushed, lambda variation: 2 * (1 + variation % 3),
        spawned=Spawned(
            tuple(f"push_buttons_target{number}" for number in range(3)),
            ("push_buttons_boundary",), 0.1,
        ), moved=(0,)
    ),
    "put_groceries_in_cupboard": Rules(
        9, 4, _wording("put the {} in the cupboard", *_GROCERIES), None
    ),
    "put_item_in_drawer": Rules(
        3, 4, _wording("put the item in the {} drawer", *_PLACES), _count(11), moved=(2,)
    ),
    "put_money_in_safe": Rules(
        3, 3, _wording("put the money away in the safe on the {} shelf", *_PLACES), _count(5),
        spawned=Spawned(("dollar_stack",), ("dollar_stack_boundary",), 0.0, (0.0, np.pi / 2)),
        moved=(4,),
    ),
    "reach_and_drag": Rules(
        20, 4, _colored("use the stick to drag the cube onto the {} target"), _count(6), _dragged
    ),
    "slide_block_to_color_target": Rules(
        4, 5, _wording("slide the block to {} target", "green", "blue", "pink", "yellow"),
        lambda variation: (2, 5)[variation % 2], moved=(0, 1, 2, 3, 4)
    ),
    "stack_blocks": Rules(
        60, 6,
        lambda variation: f"stack {2 + variation % 3} {_NAMES[variation // 3]} blocks",
        lambda variation: 6 * (2 + variation % 3) - 1,
        _stacked, Spawned(_BLOCKS, _STACK_PLANES, 0.1), moved=(1, 3)
    ),
    "stack_cups": Rules(
        20, 6, _colored("stack the other cups on top of the {} cup"), _count(10),
        _shows("cup2_visual"), Spawned(("cup1", "cup2", "cup3"), ("boundary",), 0.05, (0.0, 0.0)),
    ),
    "sweep_to_dustpan_of_size": Rules(
        2, 4, _wording("sweep dirt to the {} dustpan", "tall", "short"), _count(5), moved=(2, 3, 4)
    ),
    "turn_tap": Rules(2, 3, _wording("turn {} tap", "left", "right"), None),
}  # fmt: skip
