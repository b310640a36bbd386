"""A ray-cast RGB-D camera: no OpenGL, no display, the same pixels on every machine.

A fixed camera keeps what it sees of fixed shapes; only the pixels around moving shapes are cast
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from sam2act.envs.embedded.robot.poses import site_matrix
from sam2act.envs.embedded.sensors.casting import VIEW_AXES, Hits, RayCaster, Windows
from sam2act.envs.embedded.sensors.pinhole import PinholeCamera
from sam2act.envs.embedded.sensors.shading import Shader

_TOLERANCE = 1e-3  # metres of depth by which boxes may be too small


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


class _StillLife(NamedTuple):
    """What a fixed camera sees of the things that never move, and what that depends on."""

    hits: Hits
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
        self._caster = RayCaster(model)
        self._size, self._sample = image_size, sample
        self._tip = model.site("tip").id
        self._rays: dict[float, np.ndarray] = {}
        self._lengths: dict[float, np.ndarray] = {}
        self._still_lives: dict[str, _StillLife] = {}
        visible, moves = self._caster.visible, (model.body_weldid != 0)[model.geom_bodyid]
        self._fixed = np.flatnonzero(visible & ~moves)
        self._movers = np.flatnonzero(visible & moves)
        # The palm, a coarse box here, would hide a third of the wrist image.
        not_palm = model.geom_bodyid != model.body("hand").id
        self._seen_from_hand = np.flatnonzero(visible & not_palm)
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
        self._caster.enter_view(data, pose)
        if spec.on_hand:
            rays = self.rays(spec)
            shapes = self._caster.windows(self._seen_from_hand, self._columns(rays))
            hits = self._caster.cast_image(rays, np.arange(len(rays)), shapes)
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
        rays_world = rays.reshape(*depth.shape, 3) @ pose[:3, VIEW_AXES].T
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

    def _columns(self, rays: np.ndarray) -> np.ndarray:
        """(S,) where columns lie to the right, and rows downwards, per metre of depth."""
        return -rays[: self._size, 1]  # rising: focal lengths are negative

    def _colors(
        self, data: mujoco.MjData, name: str, hits: Hits, pixels: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, 3) uint8 of what the rays of `pixels` (default: all) hit; black where nothing."""
        spec, pose = self.specs[name], self.extrinsics(data, name)
        rays, lengths = self.rays(spec), self._lengths[spec.field_of_view]
        if pixels is not None:
            rays, lengths = rays[pixels], lengths[pixels]
        axes = pose[:3, VIEW_AXES]
        rays_world = rays @ axes.T
        points = pose[:3, 3] + hits.depth[:, None] * rays_world
        rgb = self.shader.shade(data, hits.geom, hits.normal @ axes.T, rays_world / lengths, points)
        rgb[hits.geom < 0] = 0
        return rgb

    def _look(self, data: mujoco.MjData, name: str) -> tuple[Hits, np.ndarray]:
        """What a fixed camera sees, and its colours: moving shapes in front of the still life."""
        rays, still = self.rays(self.specs[name]), self._still_life(data, name)
        near, movers = self._where_movers_may_appear(rays, still.hits)
        moving = self._caster.cast_image(rays[near], near, movers)
        behind = Hits(*(values[near] for values in still.hits))
        closer = (moving.geom >= 0) & ((behind.geom < 0) | (moving.depth < behind.depth))
        pixels, moving = near[closer], Hits(*(values[closer] for values in moving))
        hits, rgb = Hits(*(values.copy() for values in still.hits)), still.rgb.copy()
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
            hits = self._caster.cast(self.rays(spec), self._fixed)
            rgb = self._colors(data, name, hits)
            causes = tuple(cause.copy() for cause in now)
            known = self._still_lives[name] = _StillLife(hits, rgb, dict(textures), causes)
        return known

    def _where_movers_may_appear(self, rays: np.ndarray, still: Hits) -> tuple[np.ndarray, Windows]:
        """Numbers of the pixels in the windows of moving shapes, and these windows, where not
        wholly behind what is seen in `still`."""
        side = (self._size, self._size)
        shapes = self._caster.windows(self._movers, self._columns(rays))
        clearance = np.where(still.geom < 0, np.inf, still.depth).reshape(side)
        near, appears = np.zeros(side, bool), []
        for window, depth in zip(shapes.bounds.tolist(), shapes.nearest.tolist(), strict=True):
            left, top, right, bottom = window
            free = clearance[top:bottom, left:right] > depth - _TOLERANCE
            near[top:bottom, left:right] |= free
            appears.append(free.any())
        return np.flatnonzero(near), shapes.only(np.array(appears, bool))
