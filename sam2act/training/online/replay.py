"""What an agent did, on disk: every frame once, in a ring of fixed size.

Legend: N moments kept, T frames of an observation, S pixels per side, A numbers of an action, B
samples.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.policies.online import Transitions

META = "replay.json"
TRIES = 1000  # draws for one batch before there is too little


class ReplayBuffer:
    """Moments of episodes in the order in which they happened.

    A moment is a frame, and the action taken there with what followed; the last moment of an
    episode has a frame alone.
    """

    def __init__(self, folder: Path, capacity: int, side: int, actions: int, frames: int) -> None:
        """Open a folder, or begin one.

        Args:
            folder: of the files.
            capacity: N at most; later moments take the place of the oldest.
            side: S.
            actions: A.
            frames: T.

        Raises:
            ConfigError: the folder holds moments of other sizes.
        """
        self._form = {"capacity": capacity, "side": side, "actions": actions}
        self._folder, self._frames_seen = folder, frames
        self.count = 0  # moments ever added
        self._start = 0  # number of the running episode's first moment
        folder.mkdir(parents=True, exist_ok=True)
        meta = folder / META
        if meta.exists():
            self._read_meta(meta)
        self._frames = self._array("frames", (capacity, side, side, 3), np.uint8)
        self._actions = self._array("actions", (capacity, actions), np.float32)
        self._outcomes = self._array("outcomes", (capacity, 2), np.float32)  # reward, discount
        self._firsts = self._array("firsts", (capacity,), np.int64)
        self._lasts = self._array("lasts", (capacity,), np.bool_)

    def __len__(self) -> int:
        return min(self.count, self._form["capacity"])

    def begin(self) -> None:
        """The next moment is the first one of an episode."""
        self._start = self.count

    def add(self, frame: np.ndarray, action: np.ndarray, reward: float, discount: float) -> None:
        """A moment and what followed.

        Args:
            frame: (S, S, 3) uint8.
            action: (A,).
            reward: of the action.
            discount: 0 if it ended the episode for good, else 1.
        """
        slot = self._put(frame, last=False)
        self._actions[slot] = action
        self._outcomes[slot] = reward, discount

    def end(self, frame: np.ndarray) -> None:
        """The last moment of an episode, (S, S, 3) uint8."""
        self._put(frame, last=True)
        self.begin()

    def sample(
        self, batch: int, steps: int, discount: float, random: np.random.Generator
    ) -> Transitions:
        """B transitions of `steps` actions each, uniformly over all moments that have them.

        Raises:
            ValueError: no episode is that long yet.
        """
        capacity = self._form["capacity"]
        oldest = max(self.count - capacity, 0)
        latest = self.count - steps  # excluded: the moment `steps` later must exist
        chosen = np.zeros(0, np.int64)
        for _ in range(TRIES):
            if len(chosen) >= batch or latest <= oldest:
                break
            draws = random.integers(oldest, latest, 2 * batch)
            path = (draws[:, None] + np.arange(steps)) % capacity
            chosen = np.r_[chosen, draws[~self._lasts[path].any(1)]]
        if len(chosen) < batch:
            raise ValueError(f"no {batch} transitions of {steps} steps among {len(self)} moments")
        now = chosen[:batch]
        outcomes = self._outcomes[(now[:, None] + np.arange(steps)) % capacity].astype(np.float64)
        factors = np.cumprod(outcomes[..., 1] * discount, axis=1)
        before = np.c_[np.ones(batch), factors[:, :-1]]
        reward = (before * outcomes[..., 0]).sum(1)
        return Transitions(
            self._pixels(now, oldest),
            torch.from_numpy(self._actions[now % capacity]),
            torch.from_numpy(reward).float()[:, None],
            torch.from_numpy(factors[:, -1]).float()[:, None],
            self._pixels(now + steps, oldest),
        )

    def flush(self) -> None:
        """Make sure that everything is on the disk; `count` is what a resumed run begins with."""
        for array in (self._frames, self._actions, self._outcomes, self._firsts, self._lasts):
            array.flush()
        with replacing(self._folder / META) as partial:
            content = self._form | {"count": self.count, "start": self._start}
            partial.write_text(json.dumps(content), encoding="utf-8")

    def _pixels(self, numbers: np.ndarray, oldest: int) -> torch.Tensor:
        """(B, 3 T, S, S) the frames up to `numbers` (B,); before an episode its first one."""
        capacity = self._form["capacity"]
        firsts = np.maximum(self._firsts[numbers % capacity], oldest)
        wanted = numbers[:, None] + np.arange(1 - self._frames_seen, 1)
        frames = self._frames[np.maximum(wanted, firsts[:, None]) % capacity]
        return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def _put(self, frame: np.ndarray, *, last: bool) -> int:
        slot = self.count % self._form["capacity"]
        self._frames[slot] = frame
        self._firsts[slot], self._lasts[slot] = self._start, last
        self.count += 1
        return slot

    def _array(self, name: str, shape: tuple[int, ...], kind: type) -> np.memmap:
        path = self._folder / f"{name}.npy"
        if path.exists() and self.count:
            return np.lib.format.open_memmap(path, mode="r+")
        return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)

    def _read_meta(self, path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {name: content[name] for name in self._form}
        if found != self._form:
            raise ConfigError(
                f"replay: {self._folder} holds moments of {found}, the run wants {self._form}; "
                "remove the folder or name another run"
            )
        self.count = int(content["count"])
        # An episode that was cut off has no last moment; what it held stays usable up to there.
        self._start = self.count
