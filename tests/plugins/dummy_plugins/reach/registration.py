"""What sam2act calls when it looks for plug-ins."""

from __future__ import annotations

from sam2act.core.registry import ENVS, POLICIES, SOURCES


def register() -> None:
    """Make the components known by name."""
    POLICIES.add("chunker", "reach.policy:Chunker")
    SOURCES.add("reach_source", "reach.source:ReachSource")
    ENVS.add("reach", "reach.env")
