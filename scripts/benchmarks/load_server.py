#!/usr/bin/env python3
"""Load of a server: many sessions on the loopback against one, nothing lost, nothing mixed up.

    python scripts/benchmarks/load_server.py [--sessions 32] [--seconds 20] [--rows 8] [--hostile]

A tiny SAM2Act+ with random weights serves robots whose clients run in another process. Every
session has episodes of its own, and sees pictures in an order of its own. The first actions of
every X
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import pickle
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from load_clients import EPISODE, PICTURES, TEXT, picture

from sam2act.config.load import load_experiment, load_network
from sam2act.core.specs import TIME, PolicySpec
from sam2act.core.types import Frame
from sam2act.envs.policy_inputs import policy_observation
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.observations import random_observation
from sam2act.policies.session import PolicySession, trained_encoder
from sam2act.runtime.console import make_output_safe

CLIENTS = Path(__file__).with_name("load_clients.py")


def session(rows: int) -> PolicySession:
    """A tiny SAM2Act+ with weights that depend on nothing."""
    experiment = load_experiment("configs/tiny_plus.yaml")
    bundle = build_policy(experiment, load_network("configs/mvt/tiny_plus.yaml"))
    return PolicySession(bundle, batch_size=rows, text_encoder=trained_encoder(bundle))


def frames(spec: PolicySpec) -> list[Frame]:
    """What robots see."""
    seen = random_observation(spec, PICTURES, torch.Generator().manual_seed(0))
    found = []
    for row in range(PICTURES):
        parts = {
            kind: {
                camera: getattr(seen, kind)[row, place].numpy()
                for place, camera in enumerate(spec.cameras)
            }
            for kind in ("rgb", "depth", "intrinsics", "extrinsics")
        }
        sizes = [part.size for part in spec.state]
        numbers = np.split(seen.proprioception[row].numpy(), np.cumsum(sizes)[:-1])
        state = {p.name: n for p, n in zip(spec.state, numbers, strict=True) if p != TIME}
        found.append(Frame(state=state, **parts))
    return found


def write_frames(path: Path, spec: PolicySpec) -> None:
    """The frames as arrays called `<picture>/<part>/<camera or part of the state>`."""
    arrays = {
        f"{number}/{part}/{name}": values
        for number, frame in enumerate(frames(spec))
        for part in ("rgb", "depth", "intrinsics", "extrinsics", "state")
        for name, values in getattr(frame, part).items()
    }
    np.savez(path, **arrays)


# --------------------------------------------------------------------------------------- server
def measure(sessions: int, seconds: float, rows: int) -> dict[str, Any]:
    """What the clients of a fresh server tell."""
    from sam2act.serving.acting import Actor
    from sam2act.serving.running import serving

    policy = session(rows)
    policy.validate = False  # the actor checks
    policy.warm_up()
    with serving(Actor(policy)) as address, TemporaryDirectory() as folder:
        path = Path(folder) / "frames.npz"
        write_frames(path, policy.spec)
        command = [sys.executable, str(CLIENTS), address, str(path), str(sessions), str(seconds)]
        with ThreadPoolExecutor(1) as pool:
            clients = pool.submit(
                subprocess.run,
                command,
                capture_output=True,
                encoding="utf-8",
                timeout=300 + seconds,
            )
            megabytes = []
            while not clients.done():
                megabytes.append(resident_megabytes())
                time.sleep(0.5)
            done = clients.result()
    if done.returncode:
        raise SystemExit(f"the clients failed: {done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told | {"megabytes": megabytes}


def endure(seconds: float) -> tuple[int, list[float]]:
    """How many hostile frames a server was sent, and its memory meanwhile."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    from sam2act.serving.acting import Actor
    from sam2act.serving.app import Settings
    from sam2act.serving.codec import decode, encode
    from sam2act.serving.limits import Limits
    from sam2act.serving.running import serving

    wrong = {"type": "act", "observation": {"rgb": {"front": [1.0, float("nan")]}}}
    piece = bytes(500_000)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # of connections that are cut
    hostile: list[Any] = [
        *(b"\xc1", b"\x93\x01\x02", "a text", encode(wrong), pickle.dumps([1]), bytes(3_000_000)),
        [piece] * 8,  # one message in pieces, beyond the limit
    ]
    sent, megabytes, until = 0, [], time.monotonic() + seconds
    limits = Limits(request_bytes=2_000_000)
    with serving(Actor(session(1)), Settings(limits)) as address:
        while time.monotonic() < until:
            content = hostile[sent % len(hostile)]
            sent += 1
            megabytes.append(resident_megabytes())
            with connect(f"ws://{address}/sam2act", compression=None) as connection:
                connection.recv(10)
                with contextlib.suppress(ConnectionClosed):
                    connection.send(content)
                    connection.recv(10)
        with connect(f"ws://{address}/sam2act") as connection:
            if decode(connection.recv(10, decode=False), 0)["type"] != "hello":
                raise SystemExit("the server does not greet any more")
    return sent, megabytes


def resident_megabytes() -> float:
    """Memory of this process that is no page of a file."""
    fields = Path("/proc/self/statm").read_text(encoding="utf-8").split()
    return (int(fields[1]) - int(fields[2])) * resource.getpagesize() / 1e6


def memory_summary(megabytes: list[float]) -> str:
    """The largest memory in each quarter of the time."""
    quarters = [part.max() for part in np.array_split(megabytes, 4)]
    return "memory of the server, most in each quarter: " + ", ".join(f"{x:.0f}" for x in quarters)


def differing(actions: list[list[list[float]]], rows: int) -> tuple[int, int]:
    """How many actions there are, and how many of them differ from direct acting."""
    direct = session(rows)
    seen, wrong, count = frames(direct.spec), 0, 0
    for step in range(EPISODE):
        ids = [number for number, series in enumerate(actions) if len(series) > step]
        if not ids:
            break
        looks = [seen[picture(number, step)] for number in ids]
        observation = policy_observation(looks, direct.spec, [step] * len(ids))
        values = direct.act(observation, [TEXT] * len(ids), ids).values[:, 0].double().tolist()
        count += len(ids)
        wrong += sum(actions[n][step] != value for n, value in zip(ids, values, strict=True))
    return count, wrong


def summary(name: str, told: dict[str, Any]) -> str:
    """One line of figures."""
    p50, p95 = 1e3 * np.percentile(told["latencies"], [50, 95])
    rate = len(told["latencies"]) / told["seconds"]
    return (
        f"{name:12s} {len(told['latencies']):6d} actions, {rate:7.1f} per second, latency "
        f"p50 {p50:7.1f} ms, p95 {p95:7.1f} ms"
    )


def main() -> int:
    """Entry point; the exit status is 1 if an action differs."""
    make_output_safe()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rows", type=int, default=8, help="of every forward pass (8)")
    parser.add_argument("--hostile", action="store_true", help="frames that no client sends")
    args = parser.parse_args()
    if args.hostile:
        sent, megabytes = endure(args.seconds)
        print(f"{sent} hostile frames; {memory_summary(megabytes)} MB")
        return 0
    print(summary("1 session", measure(1, args.seconds / 2, 1)), flush=True)
    told = measure(args.sessions, args.seconds, args.rows)
    print(summary(f"{args.sessions} sessions", told))
    print(f"{memory_summary(told['megabytes'])} MB")
    count, wrong = differing(told["actions"], args.rows)
    print(f"{count} actions compared with direct acting, {wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
