"""Random places as RLBench draws them: the base of a scene, and things within boundary planes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.kit.facts import FREE_YAW, Yaw
from sam2act.envs.embedded.kit.frames import Frames

# The plane in which whole scenes are placed: centre and half extents, metres. Its size is inferred.
WORKSPACE_CENTER = np.array([0.25, 0.0, 0.752])
WORKSPACE_HALF = np.array([0.35, 0.455])
TRIES = 100
LEAST_DISTANCE = 0.01  # metres between origins
_FINGERS_REACH = 0.06  # metres from the middle to the outside of an open finger
# Boxes (2, 3) around the open fingers and the palm with their way along the approach, in the frame
# of the tip, metres.
_HAND = (
    np.array([(-0.012, -0.063, -0.5), (0.012, 0.063, 0.002)]),
    np.array([(-0.0165, -0.100, -0.5), (0.0165, 0.100, -0.046)]),
)


def place_base(frames: Frames, random: np.random.Generator) -> None:
    """Put the whole scene somewhere into the workspace, unless it is a static one.

    The box around everything, turned by the drawn yaw about the base, must lie in the plane when
    the base is in its middle; then the base goes where the box still fits.

    Raises:
        BoundaryError: no yaw of 100 fits.
    """
    facts = frames.facts
    if facts.static:
        return
    base = frames.pose(facts.root)
    base[:3, :3] = np.eye(3)
    base[:2, 3] = WORKSPACE_CENTER[:2]
    box = frames.box(facts.root, frames.pose(facts.root))
    spot, yaw = spot_in_plane(box, WORKSPACE_HALF, facts.base_yaw, random)
    base[:2, 3] += spot
    base[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
    frames.move(facts.root, base)


def spot_in_plane(
    box: np.ndarray, half: np.ndarray, bounds: Yaw, random: np.random.Generator, tries: int = TRIES
) -> tuple[np.ndarray, float]:
    """Place (2,) from the middle of a plane of half extents `half` (2,), and yaw, of `box` (2, 3).

    Raises:
        BoundaryError: none of the drawn yaws lets the box fit.
    """
    for _ in range(tries):
        yaw = float(random.uniform(*bounds))
        turned = turned_box(box, yaw)
        if fits(turned, half):
            low, high = -half + np.abs(turned[0, :2]), half - np.abs(turned[1, :2])
            return random.uniform(low, high), yaw
    raise BoundaryError("no turn lets the box around it fit into the plane")


def turned_box(box: np.ndarray, yaw: float) -> np.ndarray:
    """The box (2, 3) around `box` turned about its frame's z.

    Quirk: published scenes are turned by `yaw`, but tried with minus `yaw`.
    """
    corners = np.stack(np.meshgrid(box[:, 0], box[:, 1], indexing="ij"), axis=-1).reshape(-1, 2)
    cosine, sine = np.cos(-yaw), np.sin(-yaw)
    turned = corners @ np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([np.stack([turned.min(axis=0), turned.max(axis=0)]), box[:, 2]])


def fits(box: np.ndarray, half: np.ndarray) -> bool:
    """Whether a box (2, 3) around the middle of a plane lies in it."""
    return bool((box[0, :2] > -half).all() and (box[1, :2] < half).all())


class Boundary:
    """Planes of a scene in which things are put at random, clear of each other.

    Args:
        frames: the scene.
        names: of the planes; one is drawn with odds by area.
        random: of the episode.
    """

    def __init__(self, frames: Frames, names: Sequence[str], random: np.random.Generator) -> None:
        self._frames, self._random = frames, random
        self._names = list(names)
        self._halves = [np.array(frames.facts.shape(name).size[:2]) / 2 for name in names]
        areas = np.array([half.prod() for half in self._halves])
        self._odds = areas / areas.sum()
        self._inside: list[list[str]] = [[] for _ in names]

    def sample(
        self, name: str, *, yaw: Yaw = FREE_YAW, min_distance: float = LEAST_DISTANCE
    ) -> None:
        """Put object `name` and all below it into one of the planes, its height unchanged.

        As published, the object itself has to lie in the plane, not what is below it.

        Args:
            name: an object.
            yaw: bounds of the turn about its own z axis, radians.
            min_distance: of its origin from those of what lies in the same plane, metres.

        Raises:
            BoundaryError: no free place was found in 100 tries.
        """
        for _ in range(TRIES):
            plane = int(self._random.choice(len(self._names), p=self._odds))
            if self._try(name, plane, yaw, min_distance):
                self._inside[plane].append(name)
                return
        raise BoundaryError(f"{name}: no free place within {', '.join(self._names)}")

    def _try(self, name: str, plane: int, bounds: Yaw, min_distance: float) -> bool:
        frames, base = self._frames, self._frames.pose(self._names[plane])
        pose = frames.pose(name)
        upright = np.eye(4)
        upright[:3, :3], upright[:3, 3] = base[:3, :3], pose[:3, 3]
        box = frames.box(name, upright, whole=False)
        try:
            spot, yaw = spot_in_plane(box, self._halves[plane], bounds, self._random, tries=1)
        except BoundaryError:
            return False
        local = np.linalg.inv(base) @ pose
        local[:2, 3] = spot
        local[:3, :3] = local[:3, :3] @ Rotation.from_euler("z", yaw).as_matrix()
        frames.move(name, base @ local)
        return self._is_clear(name, plane, min_distance)

    def _is_clear(self, name: str, plane: int, min_distance: float) -> bool:
        frames, spot = self._frames, self._frames.pose(name)[:3, 3]
        for other in self._inside[plane]:
            if np.linalg.norm(frames.pose(other)[:3, 3] - spot) < min_distance:
                return False
            if frames.collide(name, other):
                return False
        return True


def require_room_for_fingers(frames: Frames, mark: str, others: Sequence[str], room: float) -> None:
    """Complain if the open fingers at a mark of the script come too close to other things.

    Scenes in which the script seizes or topples a neighbour give no published demos either.

    Args:
        frames: the scene.
        mark: where the hand closes, pointing down.
        others: things that it must not seize.
        room: that their origins need, seen from above, metres.

    Raises:
        BoundaryError: one of them is nearer than that.
    """
    hand = frames.pose(mark)
    for name in others:
        offset = hand[:3, :3].T @ (frames.pose(name)[:3, 3] - hand[:3, 3])
        along = offset[1] - np.clip(offset[1], -_FINGERS_REACH, _FINGERS_REACH)
        if np.hypot(offset[0], along) < room:
            raise BoundaryError(f"{name}: no room for the fingers")


def require_room(frames: Frames, mark: str, others: Iterable[str]) -> None:
    """Make sure that the open hand lands on none of `others` when it comes straight to `mark`.

    Published demonstrations are tried again where it does, so that such scenes are never met.

    Raises:
        BoundaryError: it would.
    """
    grasp = frames.pose(mark)
    for name in others:
        pose = frames.pose(name)
        box, relative = frames.box(name, pose), np.linalg.inv(grasp) @ pose
        for part in _HAND:
            if _meet(part, _around(box, relative)) and _meet(
                box, _around(part, np.linalg.inv(relative))
            ):
                raise BoundaryError(f"{name} is in the way of the hand")


def _around(box: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The box (2, 3) around a box (2, 3) that lies at `pose` (4, 4)."""
    corners = np.array(list(itertools.product(*box.T))) @ pose[:3, :3].T + pose[:3, 3]
    return np.stack([corners.min(axis=0), corners.max(axis=0)])


def _meet(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two boxes (2, 3) along the same axes overlap."""
    return bool((first[0] < second[1]).all() and (second[0] < first[1]).all())
