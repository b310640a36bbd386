"""What recorded and observed numbers must mean: one set of rules for demos, replays and acting.

A rule is evaluated on whole arrays without waiting for the device; `check` waits once, for all
rules together. The caller says where the numbers come from. Leading axes "..." are (B, K) in
observations and batches, (F, K) in recorded data: B environment or sample, F frame, K camera. S
side of an image.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.core.types import FINGER_RANGE, ContractError

logger = logging.getLogger(__name__)
MAX_DEPTH = 100.0  # metres; more means another unit
TOLERANCE = 1e-3  # of rotations, labels, norms and ranges
# Share of the image by which a principal point may miss the middle: without a warning; at most.
# One that misses it by a quarter belongs to a picture of half the size.
OFF_CENTRE, FAR_OFF_CENTRE = 0.1, 0.2
SHORT_FOCAL = 0.1  # share of the image; a shorter one sees more than 157 degrees: another unit
NORM_RANGE = (0.5, 2.0)  # of quaternions that were scaled as a whole
NORM_SPREAD = 0.05  # by which the norms of the quaternions of a demo may differ
_CAMERA_FIELDS = ("depth", "depth_range", "intrinsics", "extrinsics")


@dataclass(frozen=True)
class Rule:
    """One rule about values; entry [...] of `kept` says whether that place keeps it."""

    field: str
    kept: Tensor  # (...) bool; NaN must give False
    values: Tensor  # (...), shown where `kept` is False
    expected: str


def check(
    rules: Sequence[Rule],
    error: type[ValueError] = ContractError,
    *,
    cameras: Sequence[str] = (),
    place: Callable[[int], str] = "environment {}".format,
    start: str = "",
    remedy: str = "",
) -> None:
    """Raise `error` for the first broken rule; one synchronisation as long as all are kept.

    Args:
        rules: at least one.
        error: what to raise.
        cameras: (K,) their names.
        place: names an entry of the first axis.
        start: where the numbers come from, a file for example.
        remedy: what can be done.
    """
    for message in _violations(rules, cameras, place):
        raise error(f"{start}{message}{remedy}")


def advise(
    rules: Sequence[Rule],
    *,
    cameras: Sequence[str] = (),
    place: Callable[[int], str] = "environment {}".format,
    start: str = "",
) -> None:
    """Log the rules that are broken although the data can be used, each message once."""
    for message in _violations(rules, cameras, place):
        _log_once(f"{start}{message}")


@functools.lru_cache(maxsize=1024)
def _log_once(message: str) -> None:
    logger.warning("%s", message)


def _violations(
    rules: Sequence[Rule], cameras: Sequence[str], place: Callable[[int], str]
) -> list[str]:
    device = rules[0].kept.device
    kept = torch.stack([rule.kept.all().to(device) for rule in rules]).tolist()
    return [
        _violation(rule, cameras, place) for rule, fine in zip(rules, kept, strict=True) if not fine
    ]


def _violation(rule: Rule, cameras: Sequence[str], place: Callable[[int], str]) -> str:
    where = (~rule.kept).nonzero()[0].tolist()
    value = rule.values[tuple(where)].item()
    named = place(where[0])
    if rule.field in _CAMERA_FIELDS:
        named += f", camera {cameras[where[1]]}"
    count = int((~rule.kept).sum())
    return f"{rule.field}: expected {rule.expected}, got {value:g} ({named}; {count} in all)"


# ------------------------------------------------------------------------------------ cameras
def camera_rules(intrinsics: Tensor, extrinsics: Tensor, image_size: int) -> list[Rule]:
    """Pinhole cameras (..., 3, 3) in pixels of the image, rigid poses (..., 4, 4) in the world."""
    focal, centre = intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2], intrinsics[..., :2, 2]
    last_row, last_pose_row = intrinsics[..., 2, :], extrinsics[..., 3, :]
    rotation = extrinsics[..., :3, :3].double()
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    deviation = (rotation.transpose(-1, -2) @ rotation - identity).abs().amax((-1, -2))
    # The triple product of the columns: det() would use a solver.
    x, y, z = rotation.unbind(-1)
    determinant = (torch.linalg.cross(x, y) * z).sum(-1)
    return [
        Rule("intrinsics", intrinsics.isfinite(), intrinsics, "finite entries"),
        Rule(
            "intrinsics",
            focal.abs() >= SHORT_FOCAL * image_size,
            focal,
            f"focal lengths in pixels, not 0 and at least {SHORT_FOCAL * image_size:g} for a "
            f"picture of {image_size} pixels",
        ),
        Rule(
            "intrinsics",
            focal.prod(-1) > 0,
            focal.amin(-1),
            "focal lengths of one sign (both are negative in RLBench; one alone mirrors)",
        ),
        Rule("intrinsics", last_row == _last_row_of_identity(last_row), last_row, "last row 0 0 1"),
        _centre_rule(centre, image_size, FAR_OFF_CENTRE),
        Rule("extrinsics", extrinsics.isfinite(), extrinsics, "finite entries"),
        Rule(
            "extrinsics",
            last_pose_row == _last_row_of_identity(last_pose_row),
            last_pose_row,
            "last row 0 0 0 1 (T_world_from_camera)",
        ),
        Rule(
            "extrinsics",
            deviation <= TOLERANCE,
            deviation,
            "a rigid T_world_from_camera: the columns of its rotation have length 1 and are "
            f"orthogonal within {TOLERANCE}",
        ),
        Rule("extrinsics", determinant > 0, determinant, "a rotation without mirroring"),
    ]


def _last_row_of_identity(row: Tensor) -> Tensor:
    """(n,) 0, ..., 0, 1 like `row` (..., n), made on its device: a list would be copied there."""
    return torch.eye(row.shape[-1], dtype=row.dtype, device=row.device)[-1]


def camera_advice(intrinsics: Tensor, image_size: int) -> list[Rule]:
    """What suggests that pictures were resized or cut and their matrices (..., 3, 3) were not."""
    return [_centre_rule(intrinsics[..., :2, 2], image_size, OFF_CENTRE)]


def _centre_rule(centre: Tensor, image_size: int, share: float) -> Rule:
    """Principal points (..., 2) within a share of the image of its middle."""
    low, high = (0.5 - share) * image_size, (0.5 + share) * image_size
    expected = (
        f"the principal point near the middle of the picture of {image_size} pixels, {low:g} to "
        f"{high:g} (a matrix must be scaled and shifted with its picture)"
    )
    return Rule("intrinsics", (centre >= low) & (centre <= high), centre, expected)


def depth_rules(depth: Tensor) -> list[Rule]:
    """Depth images (..., S, S) in metres."""
    expected = (
        f"metres in 0..{MAX_DEPTH:g} (convert millimetres; give pixels without measurement depth 0)"
    )
    return [Rule("depth", (depth >= 0) & (depth <= MAX_DEPTH), depth, expected)]


def live_camera_rules(depth: Tensor) -> list[Rule]:
    """Depth images (B, K, S, S) of cameras that are connected: each measured something."""
    deepest = depth.amax((-1, -2))
    expected = (
        "at least one measured pixel per camera, all are 0 (is the camera connected? with "
        "validate=False the policy acts without it)"
    )
    return [Rule("depth", deepest > 0, deepest, expected)]


def depth_range_rules(depth_range: Tensor) -> list[Rule]:
    """Clipping planes (..., 2) of coded depth."""
    near, far = depth_range.unbind(-1)
    return [
        Rule("depth_range", near >= 0, near, "a near plane of at least 0 m"),
        Rule(
            "depth_range",
            (far > near) & (far <= MAX_DEPTH),
            far,
            f"a far plane behind the near plane, at most {MAX_DEPTH:g} m",
        ),
    ]


def workspace_rules(sees_workspace: Tensor) -> list[Rule]:
    """(B,) bool: whether any point of any camera can be used."""
    expected = (
        "a point of any camera inside the workspace (check the unit of depth, the extrinsics and "
        "scene_bounds; pixels of depth 0 are no points)"
    )
    return [Rule("points", sees_workspace, sees_workspace, expected)]


# -------------------------------------------------------------------------------------- robot
def robot_rules(proprioception: Tensor) -> list[Rule]:
    """(..., 4): gripper open, two finger joints in metres, time feature."""
    opened, fingers, time = proprioception.split([1, 2, 1], dim=-1)
    return [
        zero_or_one("proprioception", opened, "gripper open as 0 or 1 (compare with a threshold)"),
        finger_rule("proprioception", fingers),
        # Below -1 after the trained episode length, which an evaluation may exceed.
        Rule(
            "proprioception",
            time.isfinite() & (time <= 1 + TOLERANCE),
            time,
            "a time feature of at most 1 (core.types.proprioception makes it)",
        ),
    ]


def finger_rule(field: str, fingers: Tensor, slack: float = TOLERANCE) -> Rule:
    """Finger joints (...) in metres, at most `slack` outside their range."""
    low, high = FINGER_RANGE
    kept = (fingers >= low - slack) & (fingers <= high + slack)
    return Rule(field, kept, fingers, f"finger joints in {low:g}..{high:g} m")


def zero_or_one(field: str, label: Tensor, expected: str = "0 or 1") -> Rule:
    """A label (...) with two values."""
    return Rule(
        field, (label.abs() <= TOLERANCE) | ((label - 1).abs() <= TOLERANCE), label, expected
    )


def pose_rules(field: str, pose: Tensor) -> list[Rule]:
    """Poses (N, 7) of one demo: metres and a quaternion x, y, z, w, scaled and signed at will.

    The quaternions of a demo that was scaled as a whole share one norm. Three Euler angles do not,
    or have a norm that no quaternion has, or a fourth number that is always 0.
    """
    position, quaternion = pose[..., :3], pose[..., 3:]
    norm = torch.linalg.vector_norm(quaternion, dim=-1)
    middle = norm.median()
    alike = (norm - middle).abs() <= NORM_SPREAD * middle
    low, high = NORM_RANGE
    plausible = (norm >= low * (1 - TOLERANCE)) & (norm <= high * (1 + TOLERANCE))
    unit = (norm - 1).abs() <= NORM_SPREAD
    has_w = (quaternion[..., 3] != 0).any()
    name = "a quaternion x, y, z, w in entries 4 to 7"
    hint = "Euler angles must be converted"
    return [
        Rule(field, position.isfinite(), position, "a finite position"),
        Rule(field, quaternion.isfinite(), quaternion, f"{name}, finite"),
        Rule(field, norm > TOLERANCE, norm, f"{name} of norm 1, not 0"),
        Rule(field, plausible, norm, f"{name} of norm 1 ({hint}, scaled quaternions normalised)"),
        Rule(field, alike, norm, f"{name} of one norm in all frames ({hint})"),
        Rule(field, unit | has_w, norm, f"{name} of norm 1, or a w that is not always 0 ({hint})"),
    ]


def unit_pose_rules(field: str, pose: Tensor) -> list[Rule]:
    """Poses (..., 7) as samples hold them: metres and a unit quaternion."""
    norm = torch.linalg.vector_norm(pose[..., 3:], dim=-1)
    return [
        Rule(field, pose[..., :3].isfinite(), pose[..., :3], "a finite position"),
        Rule(field, (norm - 1).abs() <= TOLERANCE, norm, "a quaternion (x, y, z, w) of norm 1"),
    ]
