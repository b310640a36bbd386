"""Rays from a camera: which shapes they can meet, and which they meet first.

`mj_multiRay` casts them in the view frame, in which the camera looks along x (y left, z up) from
the origin, because the routine's culling is wrong for steep directions in the world frame.
"""

from __future__ import annotations

import copy
import itertools
from typing import NamedTuple

import mujoco
import numpy as np

VIEW_AXES = [2, 0, 1]  # columns of a camera pose: x forward, y left, z up
_RAY_LENGTH = 20.0  # in units of the ray's forward component, i.e. metres of depth
_VISIBLE_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)
_SEEN, _UNSEEN = 0, 5  # groups of what a cast can meet, and of the rest
_NEAREST = 0.01  # metres; a box this close to the camera may appear anywhere
_WINDOW_MARGIN = 1e-3  # of the pixels around a shape, per metre of depth
_SIGNS = np.array(list(itertools.product((-1, 1), repeat=3)))
_EDGES = np.array(
    [(a, b) for a in range(8) for b in range(a) if (_SIGNS[a] != _SIGNS[b]).sum() == 1]
)


class Hits(NamedTuple):
    """What N rays meet."""

    geom: np.ndarray  # (N,) int32, -1 = nothing
    depth: np.ndarray  # (N,) metres along the optical axis
    normal: np.ndarray  # (N, 3) view frame


class Windows(NamedTuple):
    """The rectangles of pixels outside of which G shapes cannot appear, empty ones left out."""

    geoms: np.ndarray  # (G,) numbers of the shapes
    bounds: np.ndarray  # (G, 4) left, top, right, bottom; the last two exclusive
    nearest: np.ndarray  # (G,) metres of depth, no part of the shape is nearer
    side: int  # rows and columns of the image

    def only(self, chosen: np.ndarray) -> Windows:
        """Those of some shapes, a mask (G,)."""
        return Windows(self.geoms[chosen], self.bounds[chosen], self.nearest[chosen], self.side)


_STRIPS = 8  # per image


class RayCaster:
    """Casts rays into one scene, seen from one camera at a time.

    Attributes:
        visible: (G,) bool, whether cameras can see a geom at all.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = copy.copy(model)  # `cast` hides geoms and bodies in it
        self._view = mujoco.MjData(model)
        self.visible = _VISIBLE_GROUPS[model.geom_group] != 0
        self._body = model.geom_bodyid.copy()
        self._bodies = (model.body_geomnum.copy(), model.body_bvhadr.copy())
        self._center, self._half = model.geom_aabb[:, :3].copy(), model.geom_aabb[:, 3:].copy()
        self._corners = self._center[:, None] + _SIGNS * self._half[:, None]

    def enter_view(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """Look at the scene `data` from a camera at `pose` (4, 4)."""
        view, axes, origin = self._view, pose[:3, VIEW_AXES], pose[:3, 3]
        for name in ("geom_x", "x", "xi"):
            positions, matrices = getattr(data, f"{name}pos"), getattr(data, f"{name}mat")
            getattr(view, f"{name}pos")[:] = (positions - origin) @ axes
            turned = axes.T @ matrices.reshape(-1, 3, 3)
            getattr(view, f"{name}mat")[:] = turned.reshape(-1, 9)

    def cast(self, rays: np.ndarray, geoms: np.ndarray) -> Hits:
        """What `rays` (N, 3) from the camera meet first of `geoms` (numbers or bool mask)."""
        self._show_only(geoms)
        count = len(rays)
        hits = Hits(np.empty(count, np.int32), np.empty(count), np.empty((count, 3)))
        mujoco.mj_multiRay(
            self._model,
            self._view,
            np.zeros(3),
            rays.ravel(),
            _VISIBLE_GROUPS,
            1,
            -1,
            hits.geom,
            hits.depth,
            hits.normal.ravel(),
            count,
            _RAY_LENGTH,
        )
        return hits

    def cast_image(self, rays: np.ndarray, pixels: np.ndarray, shapes: Windows) -> Hits:
        """What the rays of some pixels of a square image meet first of `shapes`, strip by strip of
        rows: a ray is tested with those shapes alone whose windows reach into its strip.

        Args:
            rays: (N, 3) from the camera.
            pixels: (N,) their places in the image, row by row, rising.
            shapes: windows of the shapes in this image.
        """
        side = shapes.side
        rows = np.linspace(0, side, _STRIPS + 1).round().astype(int)
        starts = np.searchsorted(pixels, rows * side)
        parts = []
        for top, bottom, first, last in zip(
            rows[:-1], rows[1:], starts[:-1], starts[1:], strict=True
        ):
            reach = (shapes.bounds[:, 1] < bottom) & (shapes.bounds[:, 3] > top)
            parts.append(self.cast(rays[first:last], shapes.geoms[reach]))
        return Hits(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def _show_only(self, geoms: np.ndarray) -> None:
        """Hide all other geoms; bodies of which nothing is left cost no time."""
        model = self._model
        model.geom_group[:] = _UNSEEN
        model.geom_group[geoms] = _SEEN
        has_geoms = np.zeros(model.nbody, bool)
        has_geoms[self._body[geoms]] = True
        geom_count, first_node = self._bodies
        model.body_geomnum[:] = np.where(has_geoms, geom_count, 0)
        model.body_bvhadr[:] = np.where(has_geoms, first_node, -1)

    def windows(self, geoms: np.ndarray, pixels: np.ndarray) -> Windows:
        """Where `geoms` (numbers) may appear in an image whose columns lie at `pixels` (S,) to the
        right per metre of depth, rising, and whose rows lie at the same values downwards."""
        corners = self._view_corners(geoms)
        nearest = corners[..., 0].min(axis=1)
        seen = corners[..., 1:] / np.maximum(corners[..., :1], _NEAREST)
        low, high = seen.min(axis=1), seen.max(axis=1)
        crossing = np.flatnonzero((nearest < _NEAREST) & (corners[..., 0].max(axis=1) > 0))
        if len(crossing):
            low[crossing], high[crossing] = self._clipped(geoms[crossing], corners[crossing])
        first = np.searchsorted(pixels, -(high + _WINDOW_MARGIN))
        last = np.searchsorted(pixels, -(low - _WINDOW_MARGIN))
        shown = np.flatnonzero((corners[..., 0].max(axis=1) > 0) & (first < last).all(axis=1))
        bounds = np.concatenate([first, last], axis=1)
        return Windows(geoms[shown], bounds[shown], nearest[shown], len(pixels))

    def _view_corners(self, geoms: np.ndarray) -> np.ndarray:
        """(G, 8, 3) corners of the boxes around `geoms`, view frame."""
        matrices = self._view.geom_xmat[geoms].reshape(-1, 3, 3)
        return self._corners[geoms] @ matrices.swapaxes(1, 2) + self._view.geom_xpos[geoms][:, None]

    def _clipped(self, geoms: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest (G, 2) view coordinates of boxes that cross the plane of the camera:
        of their parts in front of `_NEAREST`, without bounds if the camera is in or at the box.

        A ray has less than twice the length of its forward component, so that whatever it meets
        nearer than `_NEAREST` belongs to a box within twice this distance.
        """
        matrices = self._view.geom_xmat[geoms].reshape(-1, 3, 3)
        camera = -(self._view.geom_xpos[geoms][:, None] @ matrices)[:, 0]
        around = np.abs(camera - self._center[geoms]) <= self._half[geoms] + 2 * _NEAREST
        start, end = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
        points = np.concatenate([_in_front(start, end), _in_front(end, start)], axis=1)
        seen = points[..., 1:] / np.maximum(points[..., :1], _NEAREST)
        is_behind = points[..., :1] < _NEAREST * (1 - 1e-9)  # of edges wholly behind
        low = np.where(is_behind, np.inf, seen).min(axis=1)
        high = np.where(is_behind, -np.inf, seen).max(axis=1)
        inside = around.all(axis=1)[:, None]
        return np.where(inside, -np.inf, low), np.where(inside, np.inf, high)


def _in_front(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """`points` (..., 3), those nearer than `_NEAREST` moved towards `others` up to that depth."""
    lacking = np.maximum(_NEAREST - points[..., :1], 0)
    length = np.maximum(np.abs(others[..., :1] - points[..., :1]), 1e-12)
    return points + np.minimum(lacking / length, 1) * (others - points)
