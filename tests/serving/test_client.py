"""`sam2act_client`: it gets what direct acting gives, reconnects, and says what is lost."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch

from sam2act.core.types import Observation
from sam2act.serving.limits import Limits
from tests.places import REPOSITORY
from tests.serving.small_policies import FORBIDDEN, grey, remembering_session

pytest.importorskip("aiohttp", reason="aiohttp (extra serve) is not installed")
from sam2act.serving.acting import Actor
from sam2act.serving.app import Settings
from sam2act.serving.codec import decode, encode
from sam2act.serving.running import serving
from tests.serving.client_package import codec, sam2act_client

Client = sam2act_client.Client
PACKAGE = REPOSITORY / "plugins" / "sam2act_client"


def seen(colour: int) -> dict[str, Any]:
    return {"rgb": {"front": grey(colour)}}


def test_actions_equal_direct_acting() -> None:
    direct = remembering_session()
    with serving(Actor(remembering_session())) as address, Client(f"ws://{address}") as robot:
        assert robot.policy["cameras"][0]["name"] == "front"
        for number, colour in enumerate([3, 200, 7]):
            action = robot.act(seen(colour), "any")
            observation = Observation(
                torch.from_numpy(grey(colour))[None, None], proprioception=torch.zeros(1, 0)
            )
            expected = direct.act(observation, ["any"]).values[0, 0].double().numpy()
            np.testing.assert_array_equal(action.values, expected)
            assert (action.valid, action.step) == (True, number)
        robot.reset()
        assert robot.act(seen(1), chunk=True).values.shape == (4, 7)
        assert robot.act(seen(1)).values[1] == 2


def test_refusals_name_what_is_wrong_and_the_step_may_be_repeated() -> None:
    settings = Settings(Limits(request_bytes=10_000), token="secret")
    with serving(Actor(remembering_session()), settings) as address:
        with pytest.raises(sam2act_client.RefusedError, match="status 401.*TOKEN"):
            Client(f"ws://{address}", token="other")
        with Client(f"ws://{address}", token="secret") as robot:
            assert robot.act(seen(1)).step == 0
            with pytest.raises(sam2act_client.RefusedError, match="rgb"):
                robot.act({})
            with pytest.raises(sam2act_client.RefusedError, match="10000"):
                robot.act({"rgb": {"front": np.zeros((99, 99, 3), np.uint8)}})
            with pytest.raises(TypeError, match="cannot be sent"):
                robot.act({"rgb": {"front": np.array([object()])}})
            assert robot.act(seen(1)).values[1] == 2
            with pytest.raises(sam2act_client.RefusedError, match="internal"):
                robot.act(seen(FORBIDDEN))
            with pytest.raises(sam2act_client.EpisodeLostError):
                robot.act(seen(1))
            robot.reset()
            assert robot.act(seen(1)).step == 0


class Slow:
    """An actor that can be held up."""

    def __init__(self) -> None:
        self.inner, self.calls = Actor(remembering_session()), 0
        self.spec, self.executor = self.inner.spec, self.inner.executor
        self.wait = 0.0

    def act(self, turns: Any) -> Any:
        self.calls += 1
        answers = self.inner.act(turns)
        time.sleep(self.wait)
        return answers


def test_an_answer_that_was_lost_is_given_again_and_counts_once() -> None:
    actor = Slow()
    with serving(actor) as address, Client(f"ws://{address}", timeout=0.3, patience=20) as robot:
        robot.act(seen(2))
        actor.wait = 0.7  # longer than the client waits for an answer
        assert robot.act(seen(2)).values[1] == 4
        assert robot.reconnections >= 1 and actor.calls == 2
        actor.wait = 0.0
        assert robot.act(seen(2)).values[1] == 6


def test_a_server_that_was_restarted_has_lost_the_episode() -> None:
    with ExitStack() as first:
        address = first.enter_context(serving(Actor(remembering_session())))
        port = int(address.split(":")[1])
        robot = Client(f"ws://{address}", patience=20)
        robot.act(seen(1))
        first.close()  # the connection breaks

        def restart() -> None:
            time.sleep(0.3)
            second.enter_context(serving(Actor(remembering_session()), port=port))

        with ExitStack() as second:
            thread = threading.Thread(target=restart)
            thread.start()
            with pytest.raises(sam2act_client.EpisodeLostError, match="expected step 0, got 1"):
                robot.act(seen(1))
            thread.join()
            robot.reset()
            assert robot.act(seen(1)).step == 0 and robot.reconnections == 1
            robot.close()


def test_a_server_that_is_gone_is_told_after_a_while() -> None:
    with serving(Actor(remembering_session())) as address:
        robot = Client(f"ws://{address}", patience=0.5)
    with pytest.raises(sam2act_client.ServerGoneError):
        robot.act(seen(1))
    with pytest.raises(sam2act_client.ServerGoneError, match="not reached"):
        Client("ws://127.0.0.1:1", patience=0.2)


def test_both_codecs_agree() -> None:
    message = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": [True, None, "x"]}
    assert codec.encode(message) == encode(message)
    np.testing.assert_array_equal(codec.decode(encode(message))["a"], message["a"])
    np.testing.assert_array_equal(decode(codec.encode(message), 0)["a"], message["a"])


def test_it_imports_nothing_but_what_it_declares() -> None:
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).split(".")[0])
    outside = names - set(sys.stdlib_module_names) - {"sam2act_client"}
    assert outside == {"numpy", "msgpack", "websockets"}
    declared = (PACKAGE / "pyproject.toml").read_text()
    assert all(f'"{name}>=' in declared for name in outside)


def test_it_needs_no_torch() -> None:
    code = "import sys, sam2act_client; assert not {'torch', 'sam2act'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
