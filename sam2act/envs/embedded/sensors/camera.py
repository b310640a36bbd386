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
_VIEW_AXES = [2, 0, 1]  # columns of a camera pose: x forward, y left, z up
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
    """What a fixed camera sees of the things that never move, and what that depends on."""

    hits: _Hits
    rgb: np.ndarray  # (N, 3) uint8
    textures: dict[int, str]
    causes: tuple[np.ndarray, ...]  # camera, light, places and colours of the fixed geoms


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
        self._fixed = np.flatnonzero(~self._geom_moves)
        is_visible = _VISIBLE_GROUPS[model.geom_group] != 0
        self._movers = np.flatnonzero(self._geom_moves & is_visible)
        boxes = model.geom_aabb[self._movers]  # centre and half extents in the geom's frame
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
        self._enter_view(data, pose)
        if spec.on_hand:
            # The palm, a coarse box here, would hide a third of the wrist image.
            hits = self._cast(self.rays(spec), self._hand)
            rgb = self._colors(data, name, hits)
        else:
            hits, rgb = self._look(data, name)
        depth = hits.depth.astype(np.float32)
        depth[hits.geom < 0] = spec.far
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
        rays_world = rays.reshape(*depth.shape, 3) @ pose[:3, _VIEW_AXES].T
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

    def _enter_view(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """Copy the scene into the view frame of the camera at `pose` (4, 4)."""
        view, axes, origin = self._view, pose[:3, _VIEW_AXES], pose[:3, 3]
        for name in ("geom_x", "x", "xi"):
            positions, matrices = getattr(data, f"{name}pos"), getattr(data, f"{name}mat")
            getattr(view, f"{name}pos")[:] = (positions - origin) @ axes
            turned = axes.T @ matrices.reshape(-1, 3, 3)
            getattr(view, f"{name}mat")[:] = turned.reshape(-1, 9)

    def _colors(
        self, data: mujoco.MjData, name: str, hits: _Hits, pixels: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, 3) uint8 of what the rays of `pixels` (default: all) hit; black where nothing."""
        spec, pose = self.specs[name], self.extrinsics(data, name)
        rays, lengths = self.rays(spec), self._lengths[spec.field_of_view]
        if pixels is not None:
            rays, lengths = rays[pixels], lengths[pixels]
        axes = pose[:3, _VIEW_AXES]
        rays_world = rays @ axes.T
        points = pose[:3, 3] + hits.depth[:, None] * rays_world
        rgb = self.shader.shade(data, hits.geom, hits.normal @ axes.T, rays_world / lengths, points)
        rgb[hits.geom < 0] = 0
        return rgb

    def _look(self, data: mujoco.MjData, name: str) -> tuple[_Hits, np.ndarray]:
        """What a fixed camera sees, and its colours: moving shapes in front of the still life."""
        rays, still = self.rays(self.specs[name]), self._still_life(data, name)
        near = np.flatnonzero(self._may_see_moving_shape(rays, still.hits))
        moving = self._cast(rays[near], with_fixed=False)
        behind = _Hits(*(values[near] for values in still.hits))
        closer = (moving.geom >= 0) & ((behind.geom < 0) | (moving.depth < behind.depth))
        pixels, moving = near[closer], _Hits(*(values[closer] for values in moving))
        hits, rgb = _Hits(*(values.copy() for values in still.hits)), still.rgb.copy()
        for all_values, new_values in zip(hits, moving, strict=True):
            all_values[pixels] = new_values
        rgb[pixels] = self._colors(data, name, moving, pixels)
        return hits, rgb

    def _still_life(self, data: mujoco.MjData, name: str) -> _StillLife:
        """What a fixed camera sees of fixed shapes; made again when what it depends on changes."""
        spec, fixed = self.specs[name], self._fixed
        textures, lights = self.shader.textures, (self.shader.lamp_color, self.shader.sun_direction)
        places = data.geom_xpos[fixed], data.geom_xmat[fixed]
        now = (
            spec.pose,
            np.array(spec.field_of_view),
            *lights,
            *places,
            self._model.geom_rgba[fixed],
        )
        known = self._still_lives.get(name)
        if (
            known is None
            or known.textures != textures
            or not all(map(np.array_equal, known.causes, now))
        ):
            hits = self._cast_at_fixed(self.rays(spec))
            rgb = self._colors(data, name, hits)
            causes = tuple(cause.copy() for cause in now)
            known = self._still_lives[name] = _StillLife(hits, rgb, dict(textures), causes)
        return known

    def _cast_at_fixed(self, rays: np.ndarray) -> _Hits:
        """Cast `rays` (N, 3) as if there were no moving shapes."""
        view = self._view
        present = [view.geom_xpos.copy(), view.xpos.copy(), view.xipos.copy()]
        view.geom_xpos[self._geom_moves] = _BEHIND
        view.xpos[self._body_moves] = view.xipos[self._body_moves] = _BEHIND
        hits = self._cast(rays)
        view.geom_xpos[:], view.xpos[:], view.xipos[:] = present
        return hits

    def _may_see_moving_shape(self, rays: np.ndarray, still: _Hits) -> np.ndarray:
        """(N,) whether a ray passes through the window in which a moving shape's box appears, and
        the box is not wholly behind what the ray meets in `still`."""
        matrices = self._view.geom_xmat[self._movers].reshape(-1, 3, 3)
        centers = self._view.geom_xpos[self._movers][:, None]
        corners = self._corners @ matrices.swapaxes(1, 2) + centers
        depths = corners[..., 0]
        nearest, is_ahead = depths.min(axis=1), depths.max(axis=1) > 0
        reaches_behind = (nearest < _NEAREST)[:, None]
        seen = corners[..., 1:] / np.maximum(corners[..., :1], _NEAREST)
        low = np.where(reaches_behind, -np.inf, seen.min(axis=1) - _WINDOW_MARGIN)
        high = np.where(reaches_behind, np.inf, seen.max(axis=1) + _WINDOW_MARGIN)
        pixels = -rays[: self._size, 1]  # rising: focal lengths are negative
        first, last = np.searchsorted(pixels, -high), np.searchsorted(pixels, -low)
        clearance = np.where(still.geom < 0, np.inf, still.depth).reshape(self._size, self._size)
        near = np.zeros((self._size, self._size), bool)
        drawn = np.flatnonzero(is_ahead & (first < last).all(axis=1))
        windows = np.concatenate([first, last], axis=1)[drawn].tolist()
        for (left, top, right, bottom), depth in zip(windows, nearest[drawn].tolist(), strict=True):
            near[top:bottom, left:right] |= clearance[top:bottom, left:right] > depth - _NEAREST
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
