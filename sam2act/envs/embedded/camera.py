"""A ray-cast RGB-D camera: no OpenGL, no display, the same pixels on every machine.

One call of `mj_multiRay` per camera finds what each pixel sees. Rays are cast in a frame in which
the camera looks along x from the origin (see `RayCamera._cast`), because the routine's culling is
wrong for steep directions in the world frame (spec section 1.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from sam2act.envs.base import CameraSpec
from sam2act.envs.embedded.shading import Shader

_RAY_LENGTH = 20.0  # in units of the ray's forward component, i.e. metres of depth
_VISIBLE_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)


def _pose(position: Sequence[float], x_axis: Sequence[float], z_axis: Sequence[float]):
    """(4, 4) camera pose from rounded axes: x and z are normalised, y completes the triad."""
    pose = np.eye(4)
    z = np.asarray(z_axis, float) / np.linalg.norm(z_axis)
    x = np.asarray(x_axis, float) - z * np.dot(x_axis, z)
    x /= np.linalg.norm(x)
    pose[:3] = np.stack([x, np.cross(z, x), z, np.asarray(position, float)], axis=1)
    return pose


# Read off the `misc` of recorded RLBench demos (spec section 2.1).
CAMERA_SPECS: Mapping[str, CameraSpec] = {
    spec.name: spec
    for spec in (
        CameraSpec(
            "front",
            _pose((1.350, 0, 1.580), (0, -1, 0), (-0.906308, 0, -0.422618)),
            40.0, 0.01, 4.5,
        ),
        CameraSpec(
            "left_shoulder",
            _pose((-0.175, 0.2, 1.98), (0.173648, 0.984808, 0), (0.416198, -0.073387, -0.906308)),
            40.0, 0.01, 3.2,
        ),
        CameraSpec(
            "right_shoulder",
            _pose((-0.175, -0.2, 1.98), (-0.173648, 0.984808, 0), (0.416198, 0.073387, -0.906308)),
            40.0, 0.01, 3.2,
        ),
        CameraSpec(
            "overhead",
            _pose((-0.175, 0, 2.43), (0, 1, 0), (0.422619, 0, -0.906308)),
            40.0, 0.01, 3.3,
        ),
        CameraSpec(
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


class RayCamera:
    """Renders the cameras of a model.

    Args:
        model: the compiled scene.
        image_size: pixels per side.
        shader: colours; a new `Shader` if None.
    """

    def __init__(self, model: mujoco.MjModel, image_size: int, shader: Shader | None = None):
        self.shader = shader or Shader(model)
        self.reset()
        self._model = model
        self._view = mujoco.MjData(model)
        self._size = image_size
        self._tip = model.site("tip").id
        self._hand = model.body("hand").id
        self._rays: dict[float, np.ndarray] = {}
        self._lengths: dict[float, np.ndarray] = {}
        count = image_size * image_size
        self._geom = np.empty(count, np.int32)
        self._depth = np.empty(count)
        self._normal = np.empty(3 * count)

    def reset(self) -> None:
        """Cameras at their places, plain light and textures."""
        self.specs = dict(CAMERA_SPECS)
        self.shader.reset()

    def extrinsics(self, data: mujoco.MjData, name: str) -> np.ndarray:
        """(4, 4) camera pose in the world: columns x, y, z (the viewing direction), position."""
        spec = self.specs[name]
        if not spec.on_hand:
            return spec.pose
        tip = np.eye(4)
        tip[:3, :3] = data.site_xmat[self._tip].reshape(3, 3)
        tip[:3, 3] = data.site_xpos[self._tip]
        return tip @ spec.pose

    def render(self, data: mujoco.MjData, name: str) -> Image:
        """The image of camera `name`; `data` needs up-to-date kinematics.

        Pixel (u, v) is the ray through the integer position (u, v), the grid on which depth images
        are projected back into space. Where nothing is hit the colour is black, the depth far.
        """
        spec, pose = self.specs[name], self.extrinsics(data, name)
        rays = self._rays_of(spec)
        axes = pose[:3, [2, 0, 1]]  # view frame: x forward, y left, z up
        # The palm, a coarse box here, would hide a third of the wrist image.
        self._cast(data, axes, pose[:3, 3], rays, self._hand if spec.on_hand else -1)
        missed = self._geom < 0
        rays_world = rays @ axes.T
        points = pose[:3, 3] + self._depth[:, None] * rays_world
        directions = rays_world / self._lengths[spec.field_of_view]
        normals = self._normal.reshape(-1, 3) @ axes.T
        rgb = self.shader.shade(data, self._geom, normals, directions, points)
        depth = self._depth.astype(np.float32)
        if missed.any():
            rgb[missed], depth[missed] = 0, spec.far
        side = (self._size, self._size)
        return Image(rgb.reshape(*side, 3), depth.reshape(side), self._geom.reshape(side).copy())

    def point_cloud(self, data: mujoco.MjData, name: str, depth: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 world positions of the pixels of a depth image in metres."""
        pose, rays = self.extrinsics(data, name), self._rays_of(self.specs[name])
        rays_world = rays.reshape(*depth.shape, 3) @ pose[:3, [2, 0, 1]].T
        return (pose[:3, 3] + depth[..., None] * rays_world).astype(np.float32)

    def _rays_of(self, spec: CameraSpec) -> np.ndarray:
        """(H * W, 3) directions in the view frame, forward component 1: their length is depth."""
        if spec.field_of_view not in self._rays:
            focal = spec.intrinsics(self._size)[0, 0]
            pixels = (np.arange(self._size) - self._size / 2) / focal
            v, u = np.meshgrid(pixels, pixels, indexing="ij")
            rays = np.stack([np.ones_like(u), u, v], axis=-1)
            rays = rays.reshape(-1, 3)
            self._rays[spec.field_of_view] = rays
            self._lengths[spec.field_of_view] = np.linalg.norm(rays, axis=1, keepdims=True)
        return self._rays[spec.field_of_view]

    def _cast(
        self,
        data: mujoco.MjData,
        axes: np.ndarray,
        origin: np.ndarray,
        rays: np.ndarray,
        excluded_body: int,
    ) -> None:
        """Move the scene into the view frame and cast `rays` from the origin."""
        view = self._view
        for name in ("geom_x", "x", "xi"):
            positions, matrices = getattr(data, f"{name}pos"), getattr(data, f"{name}mat")
            getattr(view, f"{name}pos")[:] = (positions - origin) @ axes
            turned = axes.T @ matrices.reshape(-1, 3, 3)
            getattr(view, f"{name}mat")[:] = turned.reshape(-1, 9)
        mujoco.mj_multiRay(
            self._model,
            view,
            np.zeros(3),
            rays.ravel(),
            _VISIBLE_GROUPS,
            1,
            excluded_body,
            self._geom,
            self._depth,
            self._normal,
            len(rays),
            _RAY_LENGTH,
        )
