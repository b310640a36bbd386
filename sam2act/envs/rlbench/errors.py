"""Errors of RLBench and PyRep in the terms of `sam2act.envs.base`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sam2act.envs.base import (
    BoundaryError,
    ConfigurationPathError,
    EnvError,
    IKError,
    InvalidActionError,
    NoWaypointsError,
    ScriptError,
    WaypointError,
)

# By name, since forks define the same errors in different modules.
_EQUIVALENTS: dict[str, type[EnvError]] = {
    "IKError": IKError,
    "ConfigurationError": IKError,  # sampling found no joint configuration
    "ConfigurationPathError": ConfigurationPathError,
    "InvalidActionError": InvalidActionError,
    "BoundaryError": BoundaryError,
    "WaypointError": WaypointError,
    "NoWaypointsError": NoWaypointsError,
    "DemoError": ScriptError,
}
# Raised by a reset from the BoundaryError or WaypointError of its last attempt.
_UNPLACEABLE = "TaskEnvironmentError"
_NO_DEMO = "Could not collect demos"  # a RuntimeError


def equivalent(error: BaseException | None) -> EnvError | None:
    """Our error for one of RLBench or PyRep; None if the episode is not to blame."""
    if error is None or isinstance(error, EnvError):
        return error
    names = [
        kind.__name__
        for kind in type(error).__mro__
        if kind.__module__.partition(".")[0] in ("rlbench", "pyrep")
    ]
    text = str(error) or type(error).__name__
    if _UNPLACEABLE in names:
        cause = equivalent(error.__cause__ or error.__context__)
        return BoundaryError(text) if cause is None else type(cause)(f"{text} ({cause})")
    if isinstance(error, RuntimeError) and _NO_DEMO in text:
        return ScriptError("the script of the task did not succeed with this seed")
    known = next((_EQUIVALENTS[name] for name in names if name in _EQUIVALENTS), None)
    return None if known is None else known(text)


@contextmanager
def translated() -> Iterator[None]:
    """Inside, errors that end an episode appear as an `EnvError`; others pass unchanged."""
    try:
        yield
    except Exception as error:
        ours = equivalent(error)
        if ours is None or ours is error:
            raise
        raise ours from error
