"""CogACT's HTTP service: what it answers, to many at once, and to malformed requests."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.session import PolicySession, trained_encoder
from sam2act.serving.limits import Limits
from tests.places import REPOSITORY
from tests.serving.small_policies import FORBIDDEN, grey, png, remembering_session

pytest.importorskip("aiohttp", reason="aiohttp (extra serve) is not installed")
from sam2act.serving.acting import Actor
from sam2act.serving.app import Settings
from sam2act.serving.running import serving

LIMITS = Limits(request_bytes=100_000, image_pixels=10_000, receive_seconds=1.0, sessions=60)
TASK = {"task_description": "push"}
Part = tuple[str, str, bytes]  # name, file name, content


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Actor(remembering_session()), Settings(LIMITS)) as found:
        yield found


def post(address: str, parts: list[Part], **headers: str) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    body = b""
    for name, file, content in parts:
        head = f'--PART\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"'
        body += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=PART"} | headers
    request = urllib.request.Request(
        f"http://{address}/api/inference", body + b"--PART--\r\n", headers
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ask(address: str, colour: int, **told: Any) -> tuple[int, Any]:
    told = TASK | told
    return post(
        address,
        [("json", "a.json", json.dumps(told).encode()), ("image", "a.png", png(grey(colour)))],
    )


def test_answers_are_actions_and_each_robot_has_its_memory(address: str) -> None:
    answers = [ask(address, colour, session=name) for name, colour in [("a", 3), ("b", 5)] * 2]
    assert [status for status, _ in answers] == [200] * 4
    assert [action[:2] for _, action in answers] == [[3, 3], [5, 5], [3, 6], [5, 10]]
    assert all(len(action) == 7 for _, action in answers)


def test_another_task_or_a_reset_begins_an_episode(address: str) -> None:
    told: list[dict[str, Any]] = [{}, {}, {"task_description": "pull"}, {}, {"reset": True}]
    totals = [ask(address, 2, session="c", **entry)[1][1] for entry in told]
    assert totals == [2, 4, 2, 2, 2]


def test_fifty_at_once_are_all_answered_and_none_is_mixed_up(address: str) -> None:
    def robot(number: int) -> list[tuple[int, Any]]:
        return [ask(address, number + 1, session=f"robot {number}") for _ in range(2)]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(robot, range(50)))
    assert {status for pair in answers for status, _ in pair} == {200}
    expected = [[[n, n], [n, 2 * n]] for n in range(1, 51)]
    assert [[action[:2] for _, action in pair] for pair in answers] == expected


def test_fifty_of_one_robot_take_their_turns(address: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(address, 1), range(50)))
    assert sorted(action[1] for _, action in answers) == list(range(1, 51))


GOOD = [("json", "a.json", json.dumps(TASK).encode()), ("image", "a.png", png(grey(1)))]
MALFORMED: dict[str, tuple[list[Part], int, str]] = {
    "no JSON": (GOOD[1:], 400, "0 JSON files"),
    "no picture": (GOOD[:1], 400, "pictures: expected front, got none"),
    "two pictures": ([*GOOD, ("other", "b.png", b"x")], 400, "got image, other"),
    "broken JSON": ([("json", "a", b"{"), GOOD[1]], 400, "cannot be read as JSON"),
    "deep JSON": ([("json", "a", b"[" * 50_000), GOOD[1]], 400, "cannot be read as JSON"),
    "a list": ([("json", "a", b"[]"), GOOD[1]], 400, "expected an object, got list"),
    "no task": ([("json", "a", b"{}"), GOOD[1]], 400, "task_description: expected a text"),
    "a number": (
        [("json", "a", b'{"task_description": 1}'), GOOD[1]],
        400,
        "task_description: expected a text, got 1",
    ),
    "long task": (
        [("json", "a", json.dumps({"task_description": "x" * 3000}).encode()), GOOD[1]],
        400,
        "3000 characters",
    ),
    "NaN in the state": (
        [("json", "a", b'{"task_description": "a", "state": {"x": [NaN]}}'), GOOD[1]],
        400,
        "state: x: expected finite numbers",
    ),
    "a picture that is none": ([GOOD[0], ("image", "a.png", b"GIF89a")], 400, "no whole picture"),
    "half a picture": ([GOOD[0], ("image", "a.png", png(grey(1))[:-30])], 400, "no whole picture"),
    "many pixels": (
        [GOOD[0], ("image", "a.png", png(grey(1, 101)))],
        400,
        "101 x 101 pixels, more than the limit of 10000",
    ),
    "many bytes": ([GOOD[0], ("image", "a.png", bytes(200_000))], 413, "limit of 100000 bytes"),
    "a policy that fails": (
        [
            ("json", "a", b'{"task_description": "a", "session": "failing"}'),
            ("image", "a.png", png(grey(FORBIDDEN))),
        ],
        500,
        "the server failed (RuntimeError)",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_end_with_what_is_wrong(address: str, case: str) -> None:
    parts, status, message = MALFORMED[case]
    found, told = post(address, parts)
    assert (found, list(told)) == (status, ["error"])
    assert message in told["error"]
    assert ask(address, 4, session="after", reset=True) == (200, [4, 4, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "body", [b"not a form", b"--PART\r\n\r\n", b"--PART\r\nContent-Disposition: x\r\n\r\na"]
)
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=PART"])
def test_other_bodies_are_refused(address: str, body: bytes, kind: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("POST", "/api/inference", body, {"Content-Type": kind})
    answer = connection.getresponse()
    assert answer.status == 400
    assert "send a multipart form" in json.load(answer)["error"]


def test_a_body_that_never_ends_is_cut_off(address: str) -> None:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = "POST /api/inference HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n"
        head += "Content-Type: multipart/form-data; boundary=PART\r\n\r\n--PART\r\n"
        connection.sendall(head.encode())
        assert b" 408 " in connection.recv(1000).splitlines()[0]


def test_a_failure_ends_the_episode_until_the_next_one_begins(address: str) -> None:
    assert ask(address, 1, session="d")[0] == 200
    assert ask(address, FORBIDDEN, session="d")[0] == 500
    status, told = ask(address, 1, session="d")
    assert status == 409 and "begin another one" in told["error"]
    assert ask(address, 1, session="d", reset=True)[0] == 200


def test_a_token_is_asked_for() -> None:
    with serving(Actor(remembering_session()), Settings(LIMITS, token="secret")) as address:
        assert post(address, GOOD)[0] == 401
        assert post(address, GOOD, Authorization="Bearer secre")[0] == 401
        assert post(address, GOOD, Authorization="Bearer secret")[0] == 200
        assert post(address, GOOD, Authorization="Api-Key secret")[0] == 200
        with urllib.request.urlopen(f"http://{address}/healthz") as health:
            assert json.load(health) == {"status": "ok"}


def test_requests_are_counted() -> None:
    with serving(Actor(remembering_session())) as address:
        ask(address, 1)
        ask(address, FORBIDDEN)
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    assert 'sam2act_requests_total{outcome="ok"} 1' in lines
    assert 'sam2act_requests_total{outcome="internal"} 1' in lines
    assert "sam2act_request_seconds_count 1" in lines and "sam2act_sessions 1" in lines


def test_the_example_gets_what_direct_acting_gives(tmp_path: Path) -> None:
    experiment = load_experiment("configs/tiny_cogact.yaml", "cameras front transforms []")
    bundle = build_policy(experiment, load_network("configs/mvt/tiny_cogact.yaml"))
    encoder = trained_encoder(bundle)
    side = bundle.policy.spec.image_size
    (tmp_path / "a.png").write_bytes(png(grey(9, side)))
    state = {"gripper_pose": [0.3, 0, 1, 0, 1, 0, 0], "gripper_open": [1]}
    told = json.dumps({"task_description": "open it", "state": state})
    with serving(Actor(PolicySession(bundle, text_encoder=encoder))) as address:
        done = subprocess.run(
            [
                *(sys.executable, str(REPOSITORY / "examples" / "cogact_client.py")),
                *(f"http://{address}", str(tmp_path / "a.png"), told),
            ],
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.removeprefix("action "))
    import torch

    from sam2act.core.types import Observation

    observation = Observation(
        torch.from_numpy(grey(9, side))[None, None],
        proprioception=torch.tensor([[*state["gripper_pose"], 1.0]]),
    )
    direct = PolicySession(bundle, text_encoder=encoder).act(observation, ["open it"])
    np.testing.assert_array_equal(found, direct.values[0, 0].double().numpy())


def small_cogact(**options: bool) -> PolicySession:
    """An untrained one with a camera."""
    experiment = load_experiment("configs/tiny_cogact.yaml", "cameras front transforms []")
    opts = " ".join(f"{name} {value}" for name, value in options.items())
    bundle = build_policy(experiment, load_network("configs/mvt/tiny_cogact.yaml", opts))
    return PolicySession(bundle, text_encoder=trained_encoder(bundle))


def test_a_policy_without_state_answers_the_published_client() -> None:
    policy = small_cogact(sees_state=False)
    picture = ("image", "a.png", png(grey(9, policy.spec.image_size)))
    with serving(Actor(policy)) as address:
        status, action = post(address, [GOOD[0], picture])
    assert status == 200 and len(action) == 7 and action[6] in (0, 1)


def test_a_policy_with_state_says_what_the_request_lacks() -> None:
    policy = small_cogact(sees_state=True)
    picture = ("image", "a.png", png(grey(9, policy.spec.image_size)))
    told = json.dumps(TASK | {"state": {"gripper_open": [1]}}).encode()
    with serving(Actor(policy)) as address:
        answers = [post(address, [text, picture]) for text in (GOOD[0], ("json", "a.json", told))]
    assert [status for status, _ in answers] == [400, 400]
    reasons = [answer["error"] for _, answer in answers]
    trained = "was trained with gripper_pose (7 numbers), gripper_open (1 numbers)"
    assert all(trained in reason for reason in reasons)
    assert "has no gripper_pose, gripper_open;" in reasons[0] and "no gripper_pose;" in reasons[1]
