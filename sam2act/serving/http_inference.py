"""`POST /api/inference`: a picture and a JSON file in, a list of numbers out, as CogACT serves.

The JSON file holds `task_description` and, if the client likes, `session` (its robot's name; all
that name none are one robot), `reset` (an episode begins) and `state` (part of the robot's state ->
numbers). A new task description begins an episode.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

from sam2act.core.specs import PolicySpec
from sam2act.core.types import Frame
from sam2act.serving.errors import RequestError
from sam2act.serving.limits import Limits
from sam2act.serving.pictures import decoded
from sam2act.serving.service import Request, Service

NO_NAME = "http"  # the session of clients that name none
FORM = "send a multipart form with a picture and a JSON file {'task_description': ...}"


@dataclass
class Upload:
    """The parts of a form."""

    texts: list[bytes] = field(default_factory=list)  # JSON files
    pictures: dict[str, bytes] = field(default_factory=dict)  # by the name of their part


async def answer(service: Service, request: web.Request) -> web.Response:
    """The action as a JSON list.

    Raises:
        RequestError: there is none.
    """
    upload = await _received(request, service.limits)
    wanted = await asyncio.to_thread(read_request, upload, service.spec, service.limits)
    reply = await service.act(wanted)
    if not reply.answer.valid[0]:
        raise RequestError("bad_request", "the policy sees nothing to act on in this picture")
    return web.json_response(reply.answer.actions[0].tolist())


async def _received(request: web.Request, limits: Limits) -> Upload:
    if not request.content_type.startswith("multipart/"):
        raise RequestError("bad_request", f"content type {request.content_type}; {FORM}")
    try:
        form = await asyncio.wait_for(request.post(), limits.receive_seconds)
    except asyncio.TimeoutError as error:
        raise RequestError(
            "too_slow", f"the request did not arrive within {limits.receive_seconds:g} s"
        ) from error
    except web.HTTPRequestEntityTooLarge as error:
        raise RequestError(
            "too_large", f"the request has more than the limit of {limits.request_bytes} bytes"
        ) from error
    except (ValueError, AssertionError, RuntimeError) as error:  # of aiohttp's reader of forms
        raise RequestError("bad_request", f"the form is malformed; {FORM}") from error
    upload = Upload()
    for name, part in form.items():
        _sort_in(upload, name, part)
    return upload


def _sort_in(upload: Upload, name: str, part: Any) -> None:
    """A part is JSON if its name, its type or its file name says so, else a picture."""
    if isinstance(part, web.FileField):
        content = part.file.read()
        told = name == "json" or part.content_type == "application/json"
        is_json = told or part.filename.endswith(".json")
    else:
        content = part.encode() if isinstance(part, str) else bytes(part)
        is_json = name == "json"
    if is_json:
        upload.texts.append(content)
    else:
        upload.pictures[name] = content


# -------------------------------------------------------------------------------- the request
def read_request(upload: Upload, spec: PolicySpec, limits: Limits) -> Request:
    """What the parts of a form ask for.

    Raises:
        RequestError, ContractError: they are not what the policy needs; the message says which.
    """
    if len(upload.texts) != 1:
        raise RequestError("bad_request", f"{len(upload.texts)} JSON files; {FORM}")
    told = _json_object(upload.texts[0])
    task = _text(told, "task_description", required=True)
    if len(task) > limits.instruction_characters:
        raise RequestError(
            "bad_request",
            f"task_description: {len(task)} characters, the limit is "
            f"{limits.instruction_characters}",
        )
    reset = told.get("reset", False)
    if not isinstance(reset, bool):
        raise RequestError("bad_request", f"reset: expected true or false, got {reset!r:.50}")
    frame = Frame(rgb=_images(upload.pictures, spec, limits), state=_state(told.get("state", {})))
    return Request(
        session=_text(told, "session") or NO_NAME,
        frame=frame,
        instruction=task,
        reset=reset,
        reset_on_new_instruction=True,
    )


def _json_object(content: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError("bad_request", "the JSON file cannot be read as JSON") from error
    if not isinstance(told, dict):
        raise RequestError(
            "bad_request", f"JSON: expected an object, got {type(told).__name__}; {FORM}"
        )
    return told


def _text(told: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = told.get(key, None if required else "")
    if not isinstance(value, str) or (required and not value.strip()):
        raise RequestError("bad_request", f"{key}: expected a text, got {value!r:.50}")
    return value


def _images(
    pictures: Mapping[str, bytes], spec: PolicySpec, limits: Limits
) -> dict[str, np.ndarray]:
    """Camera -> image. Parts are named like cameras; one alone belongs to the only camera."""
    wanted = {camera.name: camera for camera in spec.camera_specs}
    if len(wanted) == len(pictures) == 1:
        pictures = dict(zip(wanted, pictures.values(), strict=True))
    if set(pictures) != set(wanted):
        raise RequestError(
            "bad_request",
            f"pictures: expected {', '.join(wanted)}, got {', '.join(pictures) or 'none'}",
        )
    return {
        name: decoded(pictures[name], camera, limits.image_pixels)
        for name, camera in wanted.items()
    }


def _state(told: Any) -> dict[str, np.ndarray]:
    if not isinstance(told, dict):
        raise RequestError("bad_request", f"state: expected an object, got {type(told).__name__}")
    return {name: _numbers(name, values) for name, values in told.items()}


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        numbers = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise RequestError("bad_request", f"state: {name}: expected a list of numbers") from error
    if not np.isfinite(numbers).all():
        raise RequestError("bad_request", f"state: {name}: expected finite numbers")
    return numbers
