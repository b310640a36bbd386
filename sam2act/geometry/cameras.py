"""Depth images of pinhole cameras: 24-bit coding and unprojection to world points.

Everything is batched over any leading axes "..." and runs on the device of its inputs.
H W image size. Depth is along the optical axis, in metres; 0 means that nothing was measured.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sam2act.geometry.depth_codes import DEPTH_STEPS as DEPTH_STEPS
from sam2act.geometry.depth_codes import depth_codes


def decode_depth(code: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Depth in metres of 24-bit depth codes; linear between the clipping planes.

    Args:
        code: (..., H, W, 3) uint8, high byte first.
        near: (...) distance of code 0 in metres.
        far: (...) distance of the largest code in metres.

    Returns:
        (..., H, W) float64.
    """
    high, middle, low = code.to(torch.float64).unbind(-1)
    fraction = (high * 65536 + middle * 256 + low) / DEPTH_STEPS
    near, far = (plane.to(torch.float64)[..., None, None] for plane in (near, far))
    return near + fraction * (far - near)


def measured_depth(code: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """`decode_depth`, but 0 where the code is 0: no scene lies on the near plane of a camera.

    Args:
        code: (..., H, W, 3) uint8, high byte first.
        near: (...) metres.
        far: (...) metres, beyond `near`.

    Returns:
        (..., H, W) float64.
    """
    depth = decode_depth(code, near, far)
    return torch.where(depth > near.to(torch.float64)[..., None, None], depth, 0)


def encode_depth(depth01: Tensor) -> Tensor:
    """`depth_codes` of a tensor: (...) -> (..., 3) uint8."""
    return torch.from_numpy(depth_codes(depth01.numpy(force=True))).to(depth01.device)


def unproject(depth: Tensor, intrinsics: Tensor, extrinsics: Tensor) -> Tensor:
    """World position of every pixel: `X = R K^-1 (u d, v d, d) + C`.

    Pixel indices u (column) and v (row) are integers: the published data use no half-pixel
    offset. The arithmetic is float64 throughout; only the result is rounded. A pixel of depth 0,
    without measurement, becomes NaN instead of a point at the camera.

    Args:
        depth: (..., H, W) metres, 0 = nothing measured.
        intrinsics: (..., 3, 3) K; a singular K gives non-finite points.
        extrinsics: (..., 4, 4) T_world_from_camera.

    Returns:
        (..., H, W, 3) float32, metres, world frame.
    """
    depth, intrinsics, extrinsics = (
        tensor.to(torch.float64) for tensor in (depth, intrinsics, extrinsics)
    )
    depth = depth.masked_fill(depth == 0, torch.nan)
    # inv_ex: the plain inverse would wait for the device to report singular matrices.
    inverse = torch.linalg.inv_ex(intrinsics).inverse
    directions = extrinsics[..., :3, :3] @ inverse  # columns: per u, per v, constant
    column, row = directions[..., None, None, :, 0], directions[..., None, None, :, 1]
    constant = directions[..., None, None, :, 2]
    height, width = depth.shape[-2:]
    u = torch.arange(width, dtype=depth.dtype, device=depth.device)[:, None]
    v = torch.arange(height, dtype=depth.dtype, device=depth.device)[:, None, None]
    rays = column * u + row * v + constant
    origin = extrinsics[..., None, None, :3, 3]
    points: Tensor = (rays * depth[..., None] + origin).to(torch.float32)
    return points
