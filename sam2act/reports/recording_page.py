"""A page by which a person checks a recording: calibration, cloud, gripper and keyframes.

Legend: T frames, N points, H W image size. Metres, world frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from sam2act.reports.charts import line_chart
from sam2act.reports.images import data_uri
from sam2act.reports.page import Page

AXIS_COLORS = ("#d62728", "#2ca02c", "#1f77ff")  # x, y, z of the gripper
AXIS_LENGTH = 0.1  # metres
_SIDE = 360  # pixels of a view of the cloud
_HEIGHT = 300  # pixels of a camera's picture
_MOST_POINTS = 20_000  # of a cloud that is drawn
_THUMBNAIL = 120


class CameraView(NamedTuple):
    """What one camera saw in a frame."""

    rgb: np.ndarray  # (H, W, 3) uint8
    points: np.ndarray  # (H, W, 3) world; NaN = nothing measured
    intrinsics: np.ndarray  # (3, 3)
    extrinsics: np.ndarray  # (4, 4) world from camera


class Recording(NamedTuple):
    """What is shown of an episode."""

    title: str
    views: Mapping[str, CameraView]  # of the frame that is looked at
    frame: int
    gripper_pose: np.ndarray  # (7,) in that frame
    bounds: Sequence[float]  # least and greatest x, y, z
    speeds: np.ndarray  # (T,) of the fastest joint, rad/s
    gripper_open: np.ndarray  # (T,) as recorded
    keyframes: Sequence[int]
    pictures: Sequence[np.ndarray]  # one per keyframe, (H, W, 3) uint8


def recording_page(recording: Recording) -> Page:
    """The page of one episode."""
    page = Page(recording.title)
    page.text(
        "If the calibration is right, the axes of the gripper (x red, y green, z blue, 10 cm each) "
        "stand between the fingers in every picture, points of other cameras lie on the things "
        "that they belong to, and the table is level in the side view."
    )
    page.heading(f"Cameras, frame {recording.frame}")
    with page.columns():
        for name in recording.views:
            picture = data_uri(over_image(recording, name))
            others = len(recording.views) > 1
            caption = f"{name}: axes of the gripper" + (", points of the others" if others else "")
            page.picture(picture, caption, caption)
    page.heading("Cloud")
    inside, seen = _inside(recording)
    page.text(f"{inside} of {seen} points lie inside the bounds (the box that is drawn).")
    with page.columns():
        for name, axes in {"from above": (0, 1), "from the side": (0, 2)}.items():
            page.picture(data_uri(cloud_view(recording, axes)), name, f"cloud {name}")
    page.heading("Keyframes")
    page.text(f"{len(recording.keyframes)} keyframes: {', '.join(map(str, recording.keyframes))}")
    page.markup(_motion(recording))
    page.picture(data_uri(keyframe_sheet(recording)), "every keyframe", "pictures of keyframes")
    return page


def pixels_of(points: np.ndarray, view: CameraView) -> np.ndarray:
    """(N, 2) column and row of points (N, 3) in a picture; NaN behind the camera."""
    rotation, origin = view.extrinsics[:3, :3], view.extrinsics[:3, 3]
    local = (points - origin) @ rotation
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.where(local[:, 2:] > 0, local / local[:, 2:], np.nan)
    pixels: np.ndarray = (flat @ view.intrinsics.T)[:, :2]
    return pixels


def over_image(recording: Recording, camera: str) -> Image.Image:
    """The picture of a camera with points of the others and the axes of the gripper."""
    view = recording.views[camera]
    image = Image.fromarray(view.rgb)
    scale = _HEIGHT / image.height
    image = image.resize((round(image.width * scale), _HEIGHT))
    draw = ImageDraw.Draw(image)
    for name, other in recording.views.items():
        if name != camera:
            points, colors = _thinned(other, _MOST_POINTS // 8)
            for (u, v), color in zip(pixels_of(points, view) * scale, colors, strict=True):
                if 0 <= u < image.width and 0 <= v < image.height:
                    draw.rectangle((u, v, u + 1, v + 1), fill=tuple(map(int, color)))
    corners = pixels_of(gripper_axes(recording.gripper_pose), view) * scale
    for tip, color in zip(corners[1:], AXIS_COLORS, strict=True):
        if np.isfinite([corners[0], tip]).all():
            draw.line((*corners[0], *tip), fill=color, width=3)
    return image


def gripper_axes(pose: np.ndarray) -> np.ndarray:
    """(4, 3): the origin of a gripper pose (7,) and the tips of its axes."""
    rotation = Rotation.from_quat(pose[3:]).as_matrix()
    return np.concatenate([pose[None, :3], pose[:3] + AXIS_LENGTH * rotation.T])


def cloud_view(recording: Recording, axes: tuple[int, int]) -> Image.Image:
    """All points along a world axis, with the bounds and the gripper."""
    bounds = np.array(recording.bounds, np.float64)
    low, high = (bounds[[a, a + 3]] for a in axes)
    middle = np.array([low.mean(), high.mean()])
    scale = _SIDE / (1.3 * max(np.ptp(low), np.ptp(high)))

    def place(points: np.ndarray) -> np.ndarray:
        flat = (points[:, list(axes)] - middle) * scale
        return np.stack([flat[:, 0], -flat[:, 1]], axis=1) + _SIDE / 2

    image = Image.new("RGB", (_SIDE, _SIDE), "white")
    canvas = np.array(image)
    for view in recording.views.values():
        points, colors = _thinned(view, _MOST_POINTS)
        spots = place(points).round().astype(int)
        kept = ((spots >= 0) & (spots < _SIDE)).all(axis=1)
        canvas[spots[kept, 1], spots[kept, 0]] = colors[kept]
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    box = place(np.stack([bounds[:3], bounds[3:]]))
    draw.rectangle((box[0, 0], box[1, 1], box[1, 0], box[0, 1]), outline="#8a94a3")
    corners = place(gripper_axes(recording.gripper_pose))
    for tip, color in zip(corners[1:], AXIS_COLORS, strict=True):
        draw.line((*corners[0], *tip), fill=color, width=3)
    return image


def keyframe_sheet(recording: Recording) -> Image.Image:
    """A row of the pictures of all keyframes with their numbers."""
    shown = [Image.fromarray(p) for p in recording.pictures] or [Image.new("RGB", (1, 1))]
    shown = [p.resize((round(p.width * _THUMBNAIL / p.height), _THUMBNAIL)) for p in shown]
    sheet = Image.new("RGB", (sum(p.width + 4 for p in shown), _THUMBNAIL + 14), "white")
    draw, left = ImageDraw.Draw(sheet), 0
    for picture, number in zip(shown, recording.keyframes, strict=False):
        sheet.paste(picture, (left, 14))
        draw.text((left, 1), str(number), fill="black")
        left += picture.width + 4
    return sheet


def _motion(recording: Recording) -> str:
    """Speed and gripper over the frames, with a stroke at every keyframe."""
    speeds, states = recording.speeds, recording.gripper_open.astype(float)
    top = max(float(speeds.max()), 1e-9)
    scaled = (states - states.min()) / max(float(np.ptp(states)), 1e-9) * top
    found = [(k, top if on else 0.0) for k in recording.keyframes for on in (0, 1, 0)]
    series = {
        "fastest joint": list(enumerate(speeds.tolist())),
        "gripper, scaled": list(enumerate(scaled.tolist())),
        "keyframes": found,
    }
    return line_chart(series, x_label="frame", y_label="rad/s")


def _thinned(view: CameraView, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` measured points (N, 3) of a camera, and their colours."""
    points, colors = view.points.reshape(-1, 3), view.rgb.reshape(-1, 3)
    measured = np.flatnonzero(np.isfinite(points).all(axis=1))
    chosen = measured[:: max(1, len(measured) // most)]
    return points[chosen], colors[chosen]


def _inside(recording: Recording) -> tuple[int, int]:
    """How many points lie inside the bounds, and how many were measured."""
    bounds = np.array(recording.bounds)
    points = np.concatenate([view.points.reshape(-1, 3) for view in recording.views.values()])
    points = points[np.isfinite(points).all(axis=1)]
    inside = ((points >= bounds[:3]) & (points <= bounds[3:])).all(axis=1)
    return int(inside.sum()), len(points)
