"""The five ways to train: what the transformer may see in each, and which losses count."""

from __future__ import annotations

import dataclasses

from sam2act.policies.uva.config import ACT, DYNAMIC, FULL, INVERSE, VIDEO
from sam2act.policies.uva.network import Clip

IMAGINES = (VIDEO, DYNAMIC, FULL)  # modes with the loss of the video
ACTS = (ACT, INVERSE, FULL)  # modes with the loss of the actions


def visible(clip: Clip, mode: str) -> Clip:
    """What of a whole clip the transformer sees in a mode."""
    if mode == DYNAMIC:
        return clip
    if mode == ACT:
        return dataclasses.replace(clip, future=None, mask=None, actions=None)
    if mode == INVERSE:
        return dataclasses.replace(clip, history=None, mask=None, actions=None)
    return dataclasses.replace(clip, actions=None)
