"""Quaternions, Euler angles and rotation bins on tensors of any batch shape and device.

Quaternions are (x, y, z, w). "Extrinsic xyz" means turning about the fixed x, then y, then z
axis, which is what SciPy calls `xyz` in lower case. Results are float64 wherever bins depend on
them; autocast does not touch float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GIMBAL_TOLERANCE = 1e-7  # radians from the pole at which SciPy fixes the third angle to 0
GIMBAL_BAND = 1.0  # degrees around +-90 that training targets move onto the pole


def canonical_quaternion(quaternion: Tensor) -> Tensor:
    """The unit quaternion with w >= 0 of the same rotation; (..., 4), dtype kept."""
    unit = quaternion / torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)
    return torch.where(unit[..., 3:] < 0, -unit, unit)


def matrix_from_quaternion_xyzw(quaternion: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) of any norm but zero; dtype kept."""
    unit = quaternion / torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)
    x, y, z, w = unit.unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return _matrix(entries)


def quaternion_xyzw_from_matrix(matrix: Tensor) -> Tensor:
    """Canonical quaternions (..., 4) of rotation matrices (..., 3, 3); dtype kept.

    Every component gives one way to the result; the one of the largest component is used, because
    it divides by no small number.
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    yx, zy, xz = (
        m[..., 1, 0] + m[..., 0, 1], m[..., 2, 1] + m[..., 1, 2], m[..., 0, 2] + m[..., 2, 0]
    )  # fmt: skip
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    )  # fmt: skip
    # Row i is 4 q_i q: a multiple of the quaternion whatever i is.
    rows = [
        torch.stack([1 + xx - yy - zz, yx, xz, wx], dim=-1),
        torch.stack([yx, 1 - xx + yy - zz, zy, wy], dim=-1),
        torch.stack([xz, zy, 1 - xx - yy + zz, wz], dim=-1),
        torch.stack([wx, wy, wz, 1 + xx + yy + zz], dim=-1),
    ]
    table = torch.stack(rows, dim=-2)
    largest = table.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    index = largest[..., None, None].expand(*largest.shape, 1, 4)
    return canonical_quaternion(table.gather(-2, index).squeeze(-2))


def euler_xyz_from_quaternion(quaternion: Tensor) -> Tensor:
    """Extrinsic xyz angles in degrees, each in [-180, 180] (the middle one in [-90, 90]).

    Follows the half-angle method of Bernardes and Viollet (2022) as SciPy does, including its
    convention that the third angle is 0 when the middle one is +-90 degrees.

    Args:
        quaternion: (..., 4) of any norm but zero.

    Returns:
        (..., 3) float64.
    """
    x, y, z, w = _unit(quaternion).unbind(-1)
    a, b, c, d = w - y, x + z, y + w, z - x
    half_sum, half_difference = torch.atan2(b, a), torch.atan2(d, c)
    middle = 2 * torch.atan2(torch.hypot(c, d), torch.hypot(a, b))  # in [0, pi], 0 = -90 degrees
    low, high = middle <= GIMBAL_TOLERANCE, (middle - math.pi).abs() <= GIMBAL_TOLERANCE
    first = half_sum - half_difference
    first = torch.where(low, 2 * half_sum, torch.where(high, -2 * half_difference, first))
    third = torch.where(low | high, 0.0, half_sum + half_difference)
    angles = torch.stack([first, middle - math.pi / 2, third], dim=-1)
    turn = 2 * math.pi
    angles = torch.where(angles < -math.pi, angles + turn, angles)
    return torch.rad2deg(torch.where(angles > math.pi, angles - turn, angles))


def quaternion_from_euler_xyz(degrees: Tensor) -> Tensor:
    """Canonical quaternions (..., 4) float64 of extrinsic xyz angles (..., 3) in degrees."""
    half = torch.deg2rad(degrees.to(torch.float64)) / 2
    (sx, sy, sz), (cx, cy, cz) = half.sin().unbind(-1), half.cos().unbind(-1)
    parts = [
        sx * cy * cz - cx * sy * sz,
        cx * sy * cz + sx * cy * sz,
        cx * cy * sz - sx * sy * cz,
        cx * cy * cz + sx * sy * sz,
    ]
    return canonical_quaternion(torch.stack(parts, dim=-1))


def correct_gimbal(degrees: Tensor) -> Tensor:
    """Euler angles whose middle angle is moved onto the pole within one degree of it.

    The rotation is rebuilt and taken apart again, so at a pole the third angle becomes 0.

    Args:
        degrees: (..., 3) extrinsic xyz.

    Returns:
        (..., 3) float64.
    """
    degrees = degrees.to(torch.float64)
    first, middle, third = degrees.unbind(-1)
    near_pole = (middle.abs() > 90 - GIMBAL_BAND) & (middle.abs() < 90 + GIMBAL_BAND)
    middle = torch.where(near_pole, 90 * middle.sign(), middle)
    return euler_xyz_from_quaternion(
        quaternion_from_euler_xyz(torch.stack([first, middle, third], dim=-1))
    )


def gimbal_corrected_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) float64 of quaternions (..., 4) after `correct_gimbal`."""
    degrees = correct_gimbal(euler_xyz_from_quaternion(quaternion))
    return matrix_from_quaternion_xyzw(quaternion_from_euler_xyz(degrees))


def bins_from_quaternion(quaternion: Tensor, num_bins: int, *, gimbal: bool = True) -> Tensor:
    """Rotation classes: extrinsic xyz angles rounded (halves to even) to `360 / num_bins` degrees.

    Bin b stands for the angle `b * 360 / num_bins - 180`; +180 and -180 are both bin 0.

    Args:
        quaternion: (..., 4) of any norm but zero.
        num_bins: number of classes per axis.
        gimbal: apply `correct_gimbal` first, as training targets do.

    Returns:
        (..., 3) int64 in [0, num_bins).
    """
    degrees = euler_xyz_from_quaternion(quaternion)
    if gimbal:
        degrees = correct_gimbal(degrees)
    steps = torch.round((degrees + 180) / (360 / num_bins))
    return steps.to(torch.int64).remainder(num_bins)


def quaternion_from_bins(bins: Tensor, num_bins: int) -> Tensor:
    """Canonical quaternions (..., 4) float64 of rotation classes (..., 3)."""
    return quaternion_from_euler_xyz(bins.to(torch.float64) * (360 / num_bins) - 180)


def geodesic_angle(first: Tensor, second: Tensor) -> Tensor:
    """Angle in degrees, in [0, 180], of the rotation between quaternions (..., 4); float64 (...).

    Exact also for tiny angles, where the arc cosine of a scalar product is not.
    """
    first, second = _unit(first), _unit(second)
    lengths = [torch.linalg.vector_norm(first + sign * second, dim=-1) for sign in (1, -1)]
    near, far = torch.minimum(*lengths), torch.maximum(*lengths)
    return torch.rad2deg(4 * torch.atan2(near, far))


def matrix_from_euler_xyz(radians: Tensor) -> Tensor:
    """`Rx Ry Rz` (..., 3, 3) of angles (..., 3) in radians; dtype kept.

    This is the intrinsic order used by the augmentation, the opposite of the extrinsic one above.
    """
    (sx, sy, sz), (cx, cy, cz) = radians.sin().unbind(-1), radians.cos().unbind(-1)
    entries = [
        cy * cz, -cy * sz, sy,
        cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy,
        sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy,
    ]  # fmt: skip
    return _matrix(entries)


def matrix_from_rotation_vector(radians: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of axes times angles (..., 3); dtype kept."""
    angle = torch.linalg.vector_norm(radians, dim=-1, keepdim=True)
    # sin(a / 2) / a, whose limit is 1 / 2
    share = 0.5 * torch.sinc(angle / (2 * math.pi))
    return matrix_from_quaternion_xyzw(torch.cat([share * radians, (angle / 2).cos()], dim=-1))


def rotation_6d_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 6): the first two rows of rotation matrices (..., 3, 3) (Zhou et al. 2019)."""
    return matrix[..., :2, :].flatten(-2)


def matrix_from_rotation_6d(rows: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of (..., 6), whose two rows are made orthonormal; dtype kept.

    The first row keeps its direction.
    """
    first = torch.nn.functional.normalize(rows[..., :3], dim=-1)
    second = rows[..., 3:] - (first * rows[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def _matrix(entries: list[Tensor]) -> Tensor:
    """(..., 3, 3) of its nine entries (...), row by row."""
    matrix: Tensor = torch.stack(entries, dim=-1).unflatten(-1, (3, 3))
    return matrix


def _unit(quaternion: Tensor) -> Tensor:
    quaternion = quaternion.to(torch.float64)
    unit: Tensor = quaternion / torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)
    return unit
