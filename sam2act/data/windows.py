"""Windows of consecutive frames and the actions taken there, for policies of dense actions.

A window stands at a frame t that has an action. It shows the frames t + offset of the policy and
holds H actions, from `first_action` after t on. Frames before the start of the episode are its
first one, frames beyond its end the last one; actions beyond the end repeat the last one and are
marked.

Legend: N window, B batch, T frames of a window, H actions, A numbers of an action, P numbers of the
state, K camera, E episode.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sam2act.core.specs import GRIPPER_OPEN, GRIPPER_POSE, NEXT_KEYFRAME, TIME, PolicySpec
from sam2act.core.types import Observation, SampleIdentity, WindowBatch, state_rows
from sam2act.data.loader import SampleDataset
from sam2act.data.rlbench.dense_actions import DENSE_CONTROLS, pose_actions
from sam2act.data.store.store import FrameStore
from sam2act.data.store.task_store import ACTION, REBUILD, StoreError, TaskStore
from sam2act.geometry.cameras import measured_depth

_POSE_STATES = (GRIPPER_POSE.name, GRIPPER_OPEN.name)


class _Episodes(NamedTuple):
    """What is known of E episodes, as arrays (E,)."""

    task: np.ndarray  # row of the list of tasks
    number: np.ndarray
    length: np.ndarray  # frames
    actions: np.ndarray  # how many
    first_image: np.ndarray  # in the store of the task
    first_state: np.ndarray  # row of the joined states
    first_action: np.ndarray  # row of the joined actions
    instruction: np.ndarray


class WindowStore(FrameStore):
    """All windows of the stores of several tasks, for a policy's `PolicySpec`."""

    samples = "windows"

    def _join(self, spec: PolicySpec) -> None:
        self.spec = spec
        states, actions, goals, rows = [], [], [], []
        images, first_state, first_action = 0, 0, 0
        for row, store in enumerate(self.task_stores):
            for entry in self._entries(row):
                _require_dense(store, entry)
                state = _states(store, entry, spec)
                action = dense_actions(store, entry, spec)
                images = store.rows[entry["episode"]].frame
                text = self.instruction_of(row, entry["episode"])
                where = (images, first_state, first_action, text)
                rows.append((row, entry["episode"], len(state), len(action), *where))
                states.append(state)
                actions.append(action)
                if spec.goal:
                    goals.append(goal_poses(store, entry, spec))
                first_state += len(state)
                first_action += len(action)
        table = np.array(rows, np.int64).reshape(-1, len(_Episodes._fields))
        self._of = _Episodes(*table.T)
        self._states = np.concatenate(states) if states else np.zeros((0, spec.state_size), "f4")
        self._actions = np.concatenate(actions) if actions else np.zeros((0, 0), "f4")
        self._goals = np.concatenate(goals) if goals else np.zeros((0, GRIPPER_POSE.size), "f4")
        counts = self._of.actions
        self._episode = np.repeat(np.arange(len(counts)), counts)
        self._frame = np.arange(len(self._episode)) - np.repeat(self._of.first_action, counts)
        self.task_index = self._of.task[self._episode]
        before, behind = spec.margins
        left = self._of.length[self._episode] - 1 - self._frame
        self.valid = np.flatnonzero((self._frame >= before) & (left >= behind))

    def separate(self) -> np.ndarray:
        """(M,) int64: every window that shares no action with the one before, for validation."""
        return self.valid[self._frame[self.valid] % self.spec.action.horizon == 0]

    def covering(self) -> np.ndarray:
        """(M,) int64: windows that hold every action, those at the margins too, for statistics."""
        return np.flatnonzero(self._frame % self.spec.action.horizon == 0)

    def fingerprints(self) -> dict[str, str]:
        """Task -> digest of what its windows teach; images and places of files are left out."""
        found = {}
        for row, task in enumerate(self.tasks):
            digest = hashlib.sha256()
            for episode in np.flatnonzero(self._of.task == row):
                of = _Episodes(*(column[episode] for column in self._of))
                digest.update(f"{of.number} {self.instructions[of.instruction]}".encode())
                frames = slice(of.first_state, of.first_state + of.length)
                digest.update(self._states[frames].tobytes())
                digest.update(self._goals[frames].tobytes())
                digest.update(
                    self._actions[of.first_action : of.first_action + of.actions].tobytes()
                )
            found[task] = digest.hexdigest()
        return found

    def gather(self, windows: np.ndarray) -> WindowBatch:
        """The windows of given numbers (B,), in their order."""
        return self._gathered(windows, images=True)

    def without_images(self, windows: np.ndarray) -> WindowBatch:
        """The same without any camera, for statistics of states and actions."""
        return self._gathered(windows, images=False)

    def _gathered(self, windows: np.ndarray, *, images: bool) -> WindowBatch:
        spec = self.spec
        of = _Episodes(*(column[self._episode[windows]] for column in self._of))
        now = self._frame[windows]
        frames = now[:, None] + np.array(spec.offsets, np.int64)
        frames = np.clip(frames, 0, of.length[:, None] - 1)  # (B, T)
        steps = now[:, None] + spec.first_action + np.arange(spec.action.horizon)
        valid = steps < of.actions[:, None]  # (B, H)
        rows = of.first_action[:, None] + np.minimum(steps, of.actions[:, None] - 1)
        last = np.minimum(now + spec.action.horizon, of.length - 1)
        identities = zip(
            of.task.tolist(), of.number.tolist(), now.tolist(), last.tolist(), strict=True
        )
        return WindowBatch(
            instruction=torch.from_numpy(of.instruction),
            identities=tuple(SampleIdentity(self.tasks[task], *rest) for task, *rest in identities),
            observed=self._observation(of, frames, images),
            action=torch.from_numpy(self._actions[rows]),
            valid=torch.from_numpy(valid),
            goal=torch.from_numpy(self._goals[of.first_state + now]) if spec.goal else None,
        )

    def _observation(self, of: _Episodes, frames: np.ndarray, with_images: bool) -> Observation:
        """What is seen in frames (B, T) of B episodes."""
        size, wanted = frames.shape, frames.reshape(-1)
        count = size[1]
        tasks = np.repeat(of.task, count)
        images = np.repeat(of.first_image, count) + wanted
        state = self._states[np.repeat(of.first_state, count) + wanted]
        shape = size if len(self.spec.offsets) > 1 else size[:1]

        def shaped(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values.reshape(*shape, *values.shape[1:]))

        if not with_images:
            nothing = torch.zeros(*shape, 0, 0, 0, 3, dtype=torch.uint8)
            return Observation(rgb=nothing, proprioception=shaped(state), cameras=())
        parts = self._depth(tasks, images) if self.spec.needs_depth else (None, None, None)
        depth, intrinsics, extrinsics = (None if part is None else shaped(part) for part in parts)
        return Observation(
            rgb=shaped(self.pictures(tasks, images, 0)),
            depth=depth,
            intrinsics=intrinsics,
            extrinsics=extrinsics,
            proprioception=shaped(state),
            cameras=self.cameras,
        )

    def _depth(self, tasks: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Depth in metres and matrices of stored frames."""
        rows = self.first_frame[tasks] + images
        ranges, intrinsics, extrinsics = (values[rows] for values in self.calibration.values())
        code = torch.from_numpy(self.pictures(tasks, images, 1))
        near, far = torch.from_numpy(ranges).unbind(-1)
        depth = measured_depth(code, near, far).float().numpy()
        return depth, intrinsics, extrinsics


class WindowDataset(SampleDataset):
    """The batches of windows of one rank."""

    store: WindowStore

    def gather(self, records: np.ndarray) -> WindowBatch:
        """The windows of given numbers."""
        return self.store.gather(records)


def _require_dense(store: TaskStore, entry: dict[str, Any]) -> None:
    if len(entry["frames"]) != entry["num_frames"]:
        raise StoreError(
            f"{store.folder}: holds {len(entry['frames'])} of the {entry['num_frames']} frames "
            f"of episode {entry['episode']}, but this policy learns from all; {REBUILD} --dense"
        )


def _states(store: TaskStore, entry: dict[str, Any], spec: PolicySpec) -> np.ndarray:
    """(T, P) float32: what the policy gets of the state in every frame of an episode."""
    numbers = {part.name: store.state(part.name, entry) for part in spec.state if part != TIME}
    steps = np.arange(entry["num_frames"])
    return state_rows(spec.state, numbers, steps, spec.episode_length)


def dense_actions(store: TaskStore, entry: dict[str, Any], spec: PolicySpec) -> np.ndarray:
    """(T or T - 1, A) float32: the actions of an episode in the control mode of a policy.

    `ee_pose` and `ee_delta` follow from the recorded poses where there are any; all else must have
    been recorded.

    Raises:
        StoreError: there are no actions of that mode.
    """
    mode = spec.action.mode
    if mode in DENSE_CONTROLS and all(store.has_state(name) for name in _POSE_STATES):
        poses, gripper = (store.state(name, entry) for name in _POSE_STATES)
        actions = pose_actions(poses, gripper, mode)
    elif ACTION in store.arrays:
        first = store.rows[entry["episode"]].action
        actions = store.arrays[ACTION][first : first + entry["num_actions"]]
    else:
        raise StoreError(
            f"{store.folder}: holds no actions of mode {mode}, which this policy gives; recorded "
            f"are neither actions nor {' and '.join(_POSE_STATES)}"
        )
    if actions.shape[1:] != (spec.action.size,):
        raise StoreError(
            f"{store.folder}: actions have {actions.shape[1]} numbers, but the policy gives "
            f"{spec.action.size} ({spec.action.describe()})"
        )
    return actions.astype(np.float32)


def goal_poses(store: TaskStore, entry: dict[str, Any], spec: PolicySpec) -> np.ndarray:
    """(T, 7) float32: the pose of `PolicySpec.goal` for every frame of an episode, which is that of
    the last frame where nothing comes after it.

    Raises:
        StoreError: the data hold no poses, or no keyframes where these are asked for.
    """
    if not store.has_state(GRIPPER_POSE.name):
        raise StoreError(
            f"{store.folder}: holds no {GRIPPER_POSE.name}, but this policy learns from poses"
        )
    poses = store.state(GRIPPER_POSE.name, entry).astype(np.float32)
    now, last = np.arange(len(poses)), len(poses) - 1
    if spec.goal != NEXT_KEYFRAME:
        return poses[np.minimum(now + spec.action.horizon, last)]
    if not entry["keyframes"]:
        raise StoreError(
            f"{store.folder}: episode {entry['episode']} has no keyframes, which this policy "
            "learns from; a policy may take chunk_end instead"
        )
    ends = np.append(np.array(entry["keyframes"], np.int64), last)
    return poses[ends[np.searchsorted(ends[:-1], now, side="right")]]
