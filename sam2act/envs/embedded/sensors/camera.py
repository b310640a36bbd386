"""A ray-cast RGB-D camera: no OpenGL, no display, the same pixels on every machine.

`mj_multiRay` finds what each pixel sees. Rays are cast in a frame in which the camera looks along x
from the origin (see `RayCamera._enter_view`), because the routine's culling is wrong for steep
directions in the world frame. A fixed camera keeps what it sees of fixed shapes; only the pixels
around moving shapes are cast again.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from sam2act.envs.embedded.robot.poses import site_matrix
from sam2act.envs.embedded.sensors.pinhole import PinholeCamera
from sam2act.envs.embedded.sensors.shading import Shader

_RAY_LENGTH = 20.0  # in units of the ray's forward component, i.e. metres of depth
_VISIBLE_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)
_BEHIND = np.array([-1000.0, 0.0, 0.0])  # in the view frame, where no ray goes
_NEAREST = 0.01  # metres; what comes closer to the camera's plane may appear anywhere
_WINDOW_MARGIN = 1e-3  # of the pixels around a moving shape, per metre of depth
_SIGNS = np.array(list(itertools.product((-1, 1), repeat=3)))


def _pose(
    position: Sequence[float], x_axis: Sequence[float], z_axis: Sequence[float]
) -> np.ndarray:
    """(4, 4) camera pose from rounded axes: x and z are normalised, y completes the triad."""
    pose = np.eye(4)
    z = np.asarray(z_axis, float) / np.linalg.norm(z_axis)
    x = np.asarray(x_axis, float) - z * np.dot(x_axis, z)
    x /= np.linalg.norm(x)
    pose[:3] = np.stack([x, np.cross(z, x), z, np.asarray(position, float)], axis=1)
    return pose


# Read off the `misc` of recorded RLBench demos.
CAMERA_SPECS: Mapping[str, PinholeCamera] = {
    spec.name: spec
    for spec in (
        PinholeCamera(
            "front",
            _pose((1.350, 0, 1.580), (0, -1, 0), (-0.906308, 0, -0.422618)),
            40.0, 0.01, 4.5,
        ),
        PinholeCamera(
            "left_shoulder",
            _pose((-0.175, 0.2, 1.98), (0.173648, 0.984808, 0), (0.416198, -0.073387, -0.906308)),
            40.0, 0.01, 3.2,
        ),
        PinholeCamera(
            "right_shoulder",
            _pose((-0.175, -0.2, 1.98), (-0.173648, 0.984808, 0), (0.416198, 0.073387, -0.906308)),
            40.0, 0.01, 3.2,
        ),
        PinholeCamera(
            "overhead",
            _pose((-0.175, 0, 2.43), (0, 1, 0), (0.422619, 0, -0.906308)),
            40.0, 0.01, 3.3,
        ),
        PinholeCamera(
            "wrist",
            _pose((-0.050009, 0.002, -0.092072), (0, 1, 0), (0.087155, 0, 0.996195)),
            60.0, 0.01, 3.5, on_hand=True,
        ),
    )
}  # fmt: skip


class Image(NamedTuple):
    """What one camera sees."""

    rgb: np.ndarray  # (H, W, 3) uint8
    depth: np.ndarray  # (H, W) float32, metres along the optical axis
    geom: np.ndarray  # (H, W) int32, number of the geom seen, -1 = nothing
    normal: np.ndarray  # (H, W, 3) of the surface; axes forward, left, up of the camera


class _Hits(NamedTuple):
    """What N rays meet."""

    geom: np.ndarray  # (N,) int32, -1 = nothing
    depth: np.ndarray  # (N,) metres along the optical axis
    normal: np.ndarray  # (N, 3) view frame


class _StillLife(NamedTuple):
    """What a fixed camera sees of the things that never move, and where they were then."""

    hits: _Hits
    camera: np.ndarray  # (4, 4)
    positions: np.ndarray  # (G, 3) of the fixed geoms
    matrices: np.ndarray  # (G, 9)


class RayCamera:
    """Renders the cameras of a model.

    Args:
        model: the compiled scene.
        image_size: pixels per side.
        sample: where in a pixel its ray passes: 0 = the corner from which depth images are
            projected back into space, 0.5 = the middle.
    """

    def __init__(self, model: mujoco.MjModel, image_size: int, sample: float = 0.0) -> None:
        self.shader = Shader(model)
        self._model = model
        self._view = mujoco.MjData(model)
        self._size, self._sample = image_size, sample
        self._tip = model.site("tip").id
        self._hand = model.body("hand").id
        self._rays: dict[float, np.ndarray] = {}
        self._lengths: dict[float, np.ndarray] = {}
        self._still_lives: dict[str, _StillLife] = {}
        self._body_moves = model.body_weldid != 0
        self._geom_moves = self._body_moves[model.geom_bodyid]
        boxes = model.geom_aabb[self._geom_moves]  # centre and half extents in the geom's frame
        self._corners = boxes[:, None, :3] + _SIGNS * boxes[:, None, 3:]
        self.reset()

    def reset(self) -> None:
        """Cameras at their places, plain light and textures."""
        self.specs = dict(CAMERA_SPECS)
        self.shader.reset()

    def extrinsics(self, data: mujoco.MjData, name: str) -> np.ndarray:
        """(4, 4) camera pose in the world: columns x, y, z (the viewing direction), position."""
        spec = self.specs[name]
        if not spec.on_hand:
            return spec.pose
        return site_matrix(data, self._tip) @ spec.pose

    def render(self, data: mujoco.MjData, name: str) -> Image:
        """The image of camera `name`; `data` needs up-to-date kinematics.

        Pixel (u, v) is the ray through the integer position (u, v), the grid on which depth images
        are projected back into space. Where nothing is hit the colour is black, the depth far.
        """
        spec, pose = self.specs[name], self.extrinsics(data, name)
        axes = pose[:3, [2, 0, 1]]  # view frame: x forward, y left, z up
        rays = self.rays(spec)
        self._enter_view(data, axes, pose[:3, 3])
        # The palm, a coarse box here, would hide a third of the wrist image.
        hits = self._cast(rays, self._hand) if spec.on_hand else self._look(data, name, rays)
        rays_world = rays @ axes.T
        points = pose[:3, 3] + hits.depth[:, None] * rays_world
        directions = rays_world / self._lengths[spec.field_of_view]
        rgb = self.shader.shade(data, hits.geom, hits.normal @ axes.T, directions, points)
        depth = hits.depth.astype(np.float32)
        missed = hits.geom < 0
        if missed.any():
            rgb[missed], depth[missed] = 0, spec.far
        side = (self._size, self._size)
        return Image(
            rgb.reshape(*side, 3),
            depth.reshape(side),
            hits.geom.reshape(side),
            hits.normal.reshape(*side, 3),
        )

    def point_cloud(self, data: mujoco.MjData, name: str, depth: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 world positions of the pixels of a depth image in metres."""
        pose, rays = self.extrinsics(data, name), self.rays(self.specs[name])
        rays_world = rays.reshape(*depth.shape, 3) @ pose[:3, [2, 0, 1]].T
        return (pose[:3, 3] + depth[..., None] * rays_world).astype(np.float32)

    def rays(self, spec: PinholeCamera) -> np.ndarray:
        """(H * W, 3) directions in the view frame, forward component 1: their length is depth."""
        if spec.field_of_view not in self._rays:
            focal = spec.intrinsics(self._size)[0, 0]
            pixels = (np.arange(self._size) + self._sample - self._size / 2) / focal
            v, u = np.meshgrid(pixels, pixels, indexing="ij")
            rays = np.stack([np.ones_like(u), u, v], axis=-1).reshape(-1, 3)
            self._rays[spec.field_of_view] = rays
            self._lengths[spec.field_of_view] = np.linalg.norm(rays, axis=1, keepdims=True)
        return self._rays[spec.field_of_view]

    def _enter_view(self, data: mujoco.MjData, axes: np.ndarray, origin: np.ndarray) -> None:
        """Copy the scene into the frame with axes `axes` (3, 3) and origin `origin` (3,)."""
        view = self._view
        for name in ("geom_x", "x", "xi"):
            positions, matrices = getattr(data, f"{name}pos"), getattr(data, f"{name}mat")
            getattr(view, f"{name}pos")[:] = (positions - origin) @ axes
            turned = axes.T @ matrices.reshape(-1, 3, 3)
            getattr(view, f"{name}mat")[:] = turned.reshape(-1, 9)

    def _look(self, data: mujoco.MjData, name: str, rays: np.ndarray) -> _Hits:
        """What a fixed camera sees: the still life, and moving shapes in front of it."""
        hits = _Hits(*(values.copy() for values in self._still_life(data, name, rays)))
        near = np.flatnonzero(self._is_near_moving_shape(rays))
        moving = self._cast(rays[near], with_fixed=False)
        closer = (moving.geom >= 0) & ((hits.geom[near] < 0) | (moving.depth < hits.depth[near]))
        for all_values, new_values in zip(hits, moving, strict=True):
            all_values[near[closer]] = new_values[closer]
        return hits

    def _still_life(self, data: mujoco.MjData, name: str, rays: np.ndarray) -> _Hits:
        """What a fixed camera sees of fixed shapes; cast again when any of them was moved."""
        camera, fixed = self.specs[name].pose, ~self._geom_moves
        now = (camera, data.geom_xpos[fixed], data.geom_xmat[fixed])
        known = self._still_lives.get(name)
        if known is None or not all(map(np.array_equal, known[1:], now)):
            present = [self._view.geom_xpos.copy(), self._view.xpos.copy(), self._view.xipos.copy()]
            self._view.geom_xpos[self._geom_moves] = _BEHIND
            self._view.xpos[self._body_moves] = self._view.xipos[self._body_moves] = _BEHIND
            known = _StillLife(self._cast(rays), *now)
            self._still_lives[name] = known
            self._view.geom_xpos[:], self._view.xpos[:], self._view.xipos[:] = present
        return known.hits

    def _is_near_moving_shape(self, rays: np.ndarray) -> np.ndarray:
        """(N,) whether a ray passes through the window in which a moving shape's box appears."""
        matrices = self._view.geom_xmat[self._geom_moves].reshape(-1, 1, 3, 3)
        centers = self._view.geom_xpos[self._geom_moves][:, None]
        corners = (matrices @ self._corners[..., None])[..., 0] + centers
        ahead = (corners[..., 0] > 0).any(axis=1)
        corners = corners[ahead]
        reaches_behind = (corners[..., 0] < _NEAREST).any(axis=1)[:, None]
        seen = corners[..., 1:] / np.maximum(corners[..., :1], _NEAREST)
        low = np.where(reaches_behind, -np.inf, seen.min(axis=1) - _WINDOW_MARGIN)
        high = np.where(reaches_behind, np.inf, seen.max(axis=1) + _WINDOW_MARGIN)
        pixels = -rays[: self._size, 1]  # rising: focal lengths are negative
        first, last = np.searchsorted(pixels, -high), np.searchsorted(pixels, -low)
        near = np.zeros((self._size, self._size), bool)
        for (left, top), (right, bottom) in zip(first, last, strict=True):
            near[top:bottom, left:right] = True
        return near.ravel()

    def _cast(self, rays: np.ndarray, excluded_body: int = -1, *, with_fixed: bool = True) -> _Hits:
        """Cast `rays` (N, 3) from the origin of the view frame."""
        count = len(rays)
        hits = _Hits(np.empty(count, np.int32), np.empty(count), np.empty((count, 3)))
        mujoco.mj_multiRay(
            self._model,
            self._view,
            np.zeros(3),
            rays.ravel(),
            _VISIBLE_GROUPS,
            int(with_fixed),
            excluded_body,
            hits.geom,
            hits.depth,
            hits.normal.ravel(),
            count,
            _RAY_LENGTH,
        )
        return hits
