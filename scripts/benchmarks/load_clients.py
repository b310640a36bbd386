"""The clients of `load_server.py`: they load no torch.

    python load_clients.py HOST:PORT FRAMES.npz SESSIONS SECONDS

Every session is a thread that acts as fast as it is answered. Prints latencies, and the actions of
each session's first episode, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.runtime.console import make_output_safe

PICTURES, EPISODE = 8, 6  # different observations; steps of an episode
TEXT = "put the block back"
PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "sam2act_client"


def picture(number: int, turn: int) -> int:
    """Which picture session `number` sees at its turn."""
    return (3 * number + 5 * turn) % PICTURES


def read_frames(path: str) -> list[dict[str, dict[str, np.ndarray]]]:
    """Picture -> part -> camera, or part of the state -> array."""
    frames: list[dict[str, dict[str, np.ndarray]]] = [{} for _ in range(PICTURES)]
    with np.load(path) as arrays:
        for key in arrays.files:
            number, part, name = key.split("/")
            frames[int(number)].setdefault(part, {})[name] = arrays[key]
    return frames


class Robot:
    """One session."""

    def __init__(self, client: Any, number: int, frames: list[Any]) -> None:
        self.client, self.number, self.frames = client, number, frames
        self.latencies: list[float] = []
        self.actions: list[list[float]] = []  # of the first episode

    def turn(self) -> None:
        """The next step of its episode; RuntimeError if a step was lost or counted twice."""
        count = len(self.latencies)
        if count % EPISODE == 0:
            self.client.reset()
        started = time.perf_counter()
        action = self.client.act(self.frames[picture(self.number, count)], TEXT)
        self.latencies.append(time.perf_counter() - started)
        if action.step != count % EPISODE:
            raise RuntimeError(f"session {self.number}: step {action.step} at turn {count}")
        if count < EPISODE:
            self.actions.append(action.values.tolist())

    def live(self, until: float) -> None:
        """Turns until a moment."""
        while time.monotonic() < until:
            self.turn()


def main() -> int:
    """Entry point; an error of any session ends it with a traceback."""
    make_output_safe()
    sys.path.insert(0, str(PLUGIN))
    from sam2act_client import Client

    address, path, sessions, seconds = sys.argv[1:]
    frames = read_frames(path)
    robots = [
        Robot(Client(f"ws://{address}/sam2act"), number, frames) for number in range(int(sessions))
    ]
    for robot in robots:  # one after the other: the server numbers them in this order
        robot.turn()
    started = time.monotonic()
    with ThreadPoolExecutor(len(robots)) as pool:
        list(pool.map(lambda robot: robot.live(started + float(seconds)), robots))
    spent = time.monotonic() - started
    for robot in robots:
        robot.client.close()
    told = {
        "latencies": [value for robot in robots for value in robot.latencies[1:]],
        "seconds": spent,
        "actions": [robot.actions for robot in robots],
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
