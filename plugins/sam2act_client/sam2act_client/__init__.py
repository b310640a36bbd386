"""Client of `sam2act serve`: actions for a robot, without torch."""

from sam2act_client.client import (
    Action,
    Client,
    EpisodeLostError,
    RefusedError,
    ServerGoneError,
)

__all__ = ["Action", "Client", "EpisodeLostError", "RefusedError", "ServerGoneError"]
