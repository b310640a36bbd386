"""LeRobot's batches as training samples of a keyframe policy.

The features are those that `sam2act convert-data --to lerobot` writes (sam2act/data/lerobot/
layout.py). A row is one frame, or for a policy with memory a window of W frames, which are
consecutive keyframes.

Legend: B rows, W frames of a row, N = B * W samples, K cameras, H W image size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lerobot_policy_sam2act.batches import IMAGES, STATE, named_state, picture_bytes
from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import UserError
from sam2act.core.frames import state_rows
from sam2act.core.specs import GRIPPER_OPEN, PolicySpec
from sam2act.core.types import KeyframeBatch, SampleIdentity
from sam2act.data.lerobot.layout import (
    FLAG,
    KEYFRAME_FLAG,
    KEYFRAME_FRAME,
    KEYFRAME_GRIPPER,
    KEYFRAME_INDEX,
    KEYFRAME_POSE,
)
from sam2act.envs.recorded import RECORDED_STATE

DEPTH_CODE = "observation.depth_code."
CALIBRATION = ("depth_range", "intrinsics", "extrinsics")
CONVERT = "convert the demonstrations with `sam2act convert-data --to lerobot` of this version"
_NUMBERS = (STATE, KEYFRAME_INDEX, KEYFRAME_FRAME, KEYFRAME_POSE, KEYFRAME_GRIPPER)
_FLAGS = {"current_obs": FLAG, "next_keypoint": KEYFRAME_FLAG}
_ROUNDING = 0.01  # of a byte, by which LeRobot's pictures may differ from whole ones


class DataSetError(UserError):
    """A data set lacks what training needs; the message names the feature and the remedy."""


def window_of(spec: PolicySpec) -> int:
    """Consecutive keyframes that belong together in training; 1 without memory."""
    return spec.keyframe_window if spec.past_keyframes else 1


def check_features(features: Mapping[str, Any], spec: PolicySpec, flag: str) -> None:
    """Make sure that a data set can be trained on.

    Args:
        features: of its meta/info.json.
        spec: what is observed for the policy.
        flag: the key `peract.collision_label`.

    Raises:
        DataSetError: a feature is absent or has another size.
    """
    for name in _needed(spec, flag):
        if name not in features:
            raise DataSetError(f"{name}: the data set lacks this feature; {CONVERT}")
    size = sum(part.size for part in RECORDED_STATE)
    if list(features[STATE]["shape"]) != [size]:
        found, names = features[STATE]["shape"], ", ".join(part.name for part in RECORDED_STATE)
        raise DataSetError(f"{STATE}: has shape {list(found)}, not [{size}] ({names}); {CONVERT}")
    for camera in spec.camera_specs:
        height, width = features[IMAGES + camera.name]["shape"][:2]
        if (height, width) != (camera.height, camera.width):
            raise DataSetError(
                f"{IMAGES}{camera.name}: the data set has {height} x {width} pixels, the policy "
                f"takes {camera.height} x {camera.width}; set --policy.experiment_opts="
                f"'image_size {height}', or convert with --image-size {camera.height}"
            )


def _needed(spec: PolicySpec, flag: str) -> list[str]:
    kinds = (IMAGES, DEPTH_CODE, *(f"observation.{kind}." for kind in CALIBRATION))
    return [*(kind + camera for kind in kinds for camera in spec.cameras), *_NUMBERS, _FLAGS[flag]]


def keyframe_samples(
    batch: Mapping[str, Any], experiment: ExperimentConfig, spec: PolicySpec
) -> tuple[KeyframeBatch, list[str]]:
    """The samples of a batch and the instruction of each.

    Frames after the last keyframe of their episode, which lead nowhere, are left out.

    Args:
        batch: what LeRobot's data loader gives.
        experiment: names the labels and the threshold of the gripper.
        spec: what is observed for the policy.

    Raises:
        DataSetError: something is absent, or impossible.
    """
    flag = _FLAGS[experiment.peract.collision_label]
    needed = _needed(spec, experiment.peract.collision_label)
    lacking = [name for name in needed if name not in batch]
    if lacking:
        raise DataSetError(f"{lacking[0]}: the batch lacks this feature; {CONVERT}")
    width = _window_width(batch, window_of(spec))
    keep = torch.from_numpy(np.flatnonzero(_leads_on(batch, width)))
    rows = {name: _rows(batch[name], width)[keep] for name in needed}
    index = rows[KEYFRAME_INDEX].numpy()
    state = named_state(rows[STATE].double().numpy())
    opened = _opened(state[GRIPPER_OPEN.name][:, 0], experiment.gripper_threshold, STATE)
    state[GRIPPER_OPEN.name] = opened[:, None]
    target = _opened(rows[KEYFRAME_GRIPPER].numpy(), experiment.gripper_threshold, KEYFRAME_GRIPPER)
    samples = KeyframeBatch(
        rgb=_pictures(rows, IMAGES, spec),
        depth_code=_pictures(rows, DEPTH_CODE, spec),
        **{kind: _stacked(rows, f"observation.{kind}.", spec).double() for kind in CALIBRATION},
        proprioception=torch.from_numpy(state_rows(spec.state, state, index, spec.episode_length)),
        instruction=torch.zeros(len(keep), dtype=torch.int64),
        target_pose=rows[KEYFRAME_POSE].float(),
        gripper_open=torch.from_numpy(target.astype(np.int64)),
        ignore_collisions=_collisions(rows[flag], flag, experiment.assume_ignore_collisions),
        identities=_identities(batch, rows, keep, width),
    )
    texts = [text for text in batch["task"] for _ in range(width)]
    return samples, [texts[row] for row in keep.tolist()]


def joined(one: KeyframeBatch, other: KeyframeBatch) -> KeyframeBatch:
    """The samples of both."""
    parts: dict[str, Any] = {}
    for item in dataclasses.fields(KeyframeBatch):
        mine, theirs = getattr(one, item.name), getattr(other, item.name)
        tensor = isinstance(mine, Tensor)
        parts[item.name] = torch.cat([mine, theirs]) if tensor else mine + theirs
    return KeyframeBatch(**parts)


# ------------------------------------------------------------------------------------ windows
def _window_width(batch: Mapping[str, Any], window: int) -> int:
    """Frames per row: those of the policy's windows.

    Raises:
        DataSetError: the batch has others.
    """
    shape = batch[KEYFRAME_POSE].shape
    found = shape[1] if len(shape) == 3 else 1
    if found != window:
        raise DataSetError(
            f"{KEYFRAME_POSE}: a row of the batch holds {found} frames, the policy learns from "
            f"{window}; load the data with the delta timestamps of its configuration"
        )
    return found


def _leads_on(batch: Mapping[str, Any], window: int) -> np.ndarray:
    """(N,) whether a frame is learnt from: those before the last keyframe.

    Raises:
        DataSetError: none of them is, or the frames of a window are not consecutive keyframes.
    """
    index = batch[KEYFRAME_INDEX].cpu().numpy().reshape(-1, window)
    if window > 1 and not ((index[:, :1] >= 0) & (np.diff(index, axis=1) == 1)).all():
        odd = index[np.argmax(~(np.diff(index, axis=1) == 1).all(axis=1))].tolist()
        raise DataSetError(
            f"{KEYFRAME_INDEX}: a policy with memory learns from {window} consecutive keyframes, "
            f"but the frames of a row lead to keyframes {odd}; convert the demonstrations with "
            "--frames keyframes, and leave out episodes with fewer keyframes"
        )
    there: np.ndarray = index.reshape(-1) >= 0
    if not there.any():
        raise DataSetError(
            f"{KEYFRAME_INDEX}: no frame of the batch leads to a keyframe; mark keyframes to the "
            "end of each episode (convert-data --keyframes)"
        )
    return there


def _rows(values: Tensor, width: int) -> Tensor:
    """(N, ...) on the CPU of (B, ...), or of (B, W, ...) in windows."""
    values = values.cpu()
    return values if width == 1 else values.flatten(0, 1)


def _identities(
    batch: Mapping[str, Any], rows: Mapping[str, Tensor], keep: Tensor, width: int
) -> tuple[SampleIdentity, ...]:
    """Where samples come from; frames are counted over the whole data set."""
    unknown = torch.full((len(batch["task"]),), -1)
    starts, episodes = (
        batch.get(name, unknown).reshape(-1).cpu().repeat_interleave(width)[keep]
        for name in ("index", "episode_index")
    )
    frames = starts + keep % width
    columns = (episodes, frames, rows[KEYFRAME_FRAME], rows[KEYFRAME_INDEX])
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(SampleIdentity("", *where) for where in numbers)


# ------------------------------------------------------------------------------------- values
def _stacked(rows: Mapping[str, Tensor], prefix: str, spec: PolicySpec) -> Tensor:
    """(N, K, ...) of all cameras."""
    return torch.stack([rows[prefix + camera] for camera in spec.cameras], dim=1)


def _pictures(rows: Mapping[str, Tensor], prefix: str, spec: PolicySpec) -> Tensor:
    """(N, K, H, W, 3) uint8 of all cameras.

    Raises:
        DataSetError: depth codes are no whole bytes.
    """
    for camera in spec.cameras if prefix == DEPTH_CODE else ():
        values = rows[prefix + camera] * 255
        if ((values - values.round()).abs() > _ROUNDING).any():
            raise DataSetError(
                f"{prefix}{camera}: image transforms changed the codes of depth; leave out "
                "--dataset.image_transforms.enable (peract.color_jitter changes colours alone)"
            )
    return torch.stack([picture_bytes(rows[prefix + camera]) for camera in spec.cameras], dim=1)


def _opened(values: np.ndarray, threshold: float | None, feature: str) -> np.ndarray:
    """(N,) 0 or 1.

    Raises:
        DataSetError: another value, and no threshold.
    """
    if threshold is not None:
        return (values > threshold).astype(np.float64)
    odd = values[(values != 0) & (values != 1)]
    if len(odd):
        raise DataSetError(
            f"{feature}: gripper_open is {odd[0]:g}, neither 0 nor 1; set --policy.experiment_opts="
            "'gripper_threshold X' (states above X count as open)"
        )
    return values.astype(np.float64)


def _collisions(values: Tensor, feature: str, assumed: bool | None) -> Tensor:
    """(N,) int64 0 or 1; -1 becomes what is assumed.

    Raises:
        DataSetError: nothing is.
    """
    unknown = values < 0
    if unknown.any() and assumed is None:
        raise DataSetError(
            f"{feature}: was not recorded; set --policy.experiment_opts="
            "'assume_ignore_collisions False' (or True)"
        )
    return torch.where(unknown, float(bool(assumed)), values).round().long()
