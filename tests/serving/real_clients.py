"""Run by a Python that has openpi-client or vla-eval: `real_clients.py openpi|vla-eval HOST:PORT`.

Prints as JSON what came back for pictures of the colours 3, 5 and, in another episode, 7.
"""

import asyncio
import json
import sys

import numpy as np

COLOURS = (3, 5, 7)


def grey(colour: int) -> np.ndarray:
    return np.full((8, 8, 3), colour, np.uint8)


def openpi(address: str) -> list:
    from openpi_client.action_chunk_broker import ActionChunkBroker
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    policy = WebsocketClientPolicy(f"ws://{address}/openpi")
    assert policy.get_server_metadata()["policy"]["action"]["size"] == 7
    broker = ActionChunkBroker(policy, action_horizon=1)
    found = []
    for colour in COLOURS:
        observation = {"observation/front_image": grey(colour), "prompt": "push"}
        observation["is_first_step"] = colour == COLOURS[-1]
        found.append(broker.infer(observation)["actions"][:2].tolist())
    try:
        policy.infer({"prompt": "no picture"})
    except RuntimeError as error:
        assert "rgb: expected" in str(error), error
    else:
        raise AssertionError("no error")
    return found


def vla_eval(address: str) -> list:
    from vla_eval.connection import Connection

    async def run() -> list:
        found = []
        async with Connection(f"ws://{address}/vla-eval") as connection:
            assert connection.server_info["action_spec"]["push"]["dims"] == 7
            for colour in COLOURS:
                if colour in (COLOURS[0], COLOURS[-1]):
                    await connection.start_episode({"task": {"name": "push"}})
                observation = {"images": {"front": grey(colour)}, "task_description": "push"}
                found.append((await connection.act(observation))["actions"][:2].tolist())
            try:
                await connection.act({"task_description": "no picture"})
            except RuntimeError as error:
                assert "rgb: expected" in str(error), error
            await connection.end_episode({})
        return found

    return asyncio.run(run())


if __name__ == "__main__":
    print(json.dumps({"openpi": openpi, "vla-eval": vla_eval}[sys.argv[1]](sys.argv[2])))
