"""Rotation conversions against SciPy and against their own inverses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sam2act.geometry import rotations

COUNT = 5000


def random_quaternions(count: int = COUNT, seed: int = 0) -> torch.Tensor:
    """Unit quaternions of both signs, (count, 4) float64."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return draws / draws.norm(dim=1, keepdim=True)


def pole_quaternions(offsets_degrees: list[float]) -> torch.Tensor:
    """Rotations whose middle angle lies the given offsets below +90 and above -90 degrees."""
    generator = np.random.default_rng(3)
    middle = np.concatenate([90 - np.array(offsets_degrees), np.array(offsets_degrees) - 90])
    outer = generator.uniform(-180, 180, size=(50, len(middle), 2))
    middle = np.broadcast_to(middle, outer.shape[:2])
    angles = np.stack([outer[..., 0], middle, outer[..., 1]], axis=-1).reshape(-1, 3)
    return torch.from_numpy(Rotation.from_euler("xyz", angles, degrees=True).as_quat())


def scipy_euler(quaternion: torch.Tensor) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gimbal lock is expected in some of the inputs
        return Rotation.from_quat(quaternion.numpy()).as_euler("xyz", degrees=True)


def scipy_bins(quaternion: torch.Tensor, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation classes by SciPy and NumPy, and the distance of each angle from a tie in bins."""
    euler = scipy_euler(quaternion)
    middle = euler[:, 1]
    euler[:, 1] = np.where(np.abs(np.abs(middle) - 90) < 1, 90 * np.sign(middle), middle)
    corrected = torch.from_numpy(Rotation.from_euler("xyz", euler, degrees=True).as_quat())
    steps = (scipy_euler(corrected) + 180) / (360 / num_bins)
    tie_distance = np.abs(steps - np.floor(steps) - 0.5)
    return np.round(steps).astype(int) % num_bins, tie_distance


def test_matrices_equal_scipy() -> None:
    quaternion = random_quaternions()
    expected = Rotation.from_quat(quaternion.numpy()).as_matrix()
    matrix = rotations.matrix_from_quaternion_xyzw(3 * quaternion)
    np.testing.assert_allclose(matrix, expected, atol=1e-14)


def test_quaternion_matrix_round_trip_is_canonical() -> None:
    half_turns = torch.cat([torch.eye(4, dtype=torch.float64)[:3], random_quaternions(300, 5)])
    half_turns[3:, 3] = 1e-9 * half_turns[3:, 3]
    for quaternion in (random_quaternions(), half_turns):
        matrix = rotations.matrix_from_quaternion_xyzw(quaternion)
        back = rotations.quaternion_xyzw_from_matrix(matrix)
        assert (back[:, 3] >= 0).all()
        angle = rotations.geodesic_angle(back, quaternion)
        assert angle.max() < 1e-5


def test_canonical_keeps_the_rotation_and_dtype() -> None:
    quaternion = (2.5 * random_quaternions(100)).float()
    canonical = rotations.canonical_quaternion(quaternion)
    assert canonical.dtype == torch.float32 and (canonical[:, 3] >= 0).all()
    torch.testing.assert_close(canonical.norm(dim=1), torch.ones(100))
    assert rotations.geodesic_angle(canonical, quaternion).max() < 1e-4


@pytest.mark.parametrize("offsets", [None, [0.0, 1e-9], [1e-4, 0.5, 1.5]])
def test_euler_angles_equal_scipy_also_at_the_poles(offsets: list[float] | None) -> None:
    quaternion = random_quaternions() if offsets is None else pole_quaternions(offsets)
    difference = rotations.euler_xyz_from_quaternion(quaternion).numpy() - scipy_euler(quaternion)
    difference = (difference + 180) % 360 - 180  # -180 and 180 are the same angle
    assert np.abs(difference).max() < 1e-6
    if offsets == [0.0, 1e-9]:
        assert (rotations.euler_xyz_from_quaternion(quaternion)[:, 2] == 0).all()


def test_quaternion_from_euler_equals_scipy() -> None:
    degrees = torch.rand(COUNT, 3, dtype=torch.float64) * 400 - 200
    expected = Rotation.from_euler("xyz", degrees.numpy(), degrees=True).as_quat(canonical=True)
    np.testing.assert_allclose(
        rotations.quaternion_from_euler_xyz(degrees), expected, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("num_bins", [72, 36, 90])
def test_bins_equal_scipy_except_at_ties(num_bins: int) -> None:
    quaternion = torch.cat([random_quaternions(20000, 7), pole_quaternions([0.0, 0.3, 0.9, 1.1])])
    expected, tie_distance = scipy_bins(quaternion, num_bins)
    bins = rotations.bins_from_quaternion(quaternion, num_bins).numpy()
    clear = tie_distance > 1e-7
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(bins[clear], expected[clear])


def test_bins_wrap_and_round_halves_to_even() -> None:
    degrees = torch.tensor([[-180.0, 0, 0], [178.0, 0, 0], [0, 0, 180.0], [5.0, -10.0, 20.0]])
    bins = rotations.bins_from_quaternion(rotations.quaternion_from_euler_xyz(degrees), 72)
    assert bins.tolist() == [[0, 36, 36], [0, 36, 36], [36, 36, 0], [37, 34, 40]]


def test_bins_round_trip_within_half_a_bin() -> None:
    quaternion = random_quaternions(2000, 11)
    bins = rotations.bins_from_quaternion(quaternion, 72)
    decoded = rotations.quaternion_from_bins(bins, 72)
    difference = scipy_euler(quaternion) - (bins * 5.0 - 180).numpy()
    difference = (difference + 180) % 360 - 180
    away_from_pole = np.abs(scipy_euler(quaternion)[:, 1]) < 89
    assert np.abs(difference[away_from_pole]).max() <= 2.5 + 1e-9
    assert rotations.geodesic_angle(quaternion, decoded).max() < 7.5 + 1


def test_decoding_bins_and_coding_again_changes_nothing() -> None:
    grid = torch.arange(72)
    middle = torch.arange(19, 54)  # strictly between the poles, where angles are unique
    bins = torch.cartesian_prod(grid[::5], middle, grid[::7])
    again = rotations.bins_from_quaternion(rotations.quaternion_from_bins(bins, 72), 72)
    assert torch.equal(again, bins)


def test_geodesic_angle_equals_scipy_and_sees_tiny_angles() -> None:
    first, second = random_quaternions(500, 1), random_quaternions(500, 2)
    relative = Rotation.from_quat(first.numpy()).inv() * Rotation.from_quat(second.numpy())
    np.testing.assert_allclose(
        rotations.geodesic_angle(first, -second), np.degrees(relative.magnitude()), atol=1e-9
    )
    tiny = torch.tensor([np.sin(0.5e-9), 0, 0, np.cos(0.5e-9)], dtype=torch.float64)
    identity = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)
    assert rotations.geodesic_angle(tiny, identity).item() == pytest.approx(np.degrees(1e-9))


def test_intrinsic_euler_matrix_equals_scipy() -> None:
    radians = torch.rand(200, 3, dtype=torch.float64) * 6 - 3
    expected = Rotation.from_euler("XYZ", radians.numpy()).as_matrix()
    np.testing.assert_allclose(rotations.matrix_from_euler_xyz(radians), expected, atol=1e-14)


def test_gimbal_correction_only_acts_near_the_poles() -> None:
    degrees = torch.tensor([[30.0, 60.0, -20.0], [30.0, 89.5, -20.0], [30.0, -89.5, -20.0]])
    corrected = rotations.correct_gimbal(degrees)
    expected = torch.tensor([[30.0, 60.0, -20.0], [50.0, 90.0, 0.0], [10.0, -90.0, 0.0]])
    torch.testing.assert_close(corrected, expected.double(), rtol=0, atol=1e-6)
