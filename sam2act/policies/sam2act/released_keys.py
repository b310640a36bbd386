"""Keys of released yaml files of SAM2Act that choose nothing here."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.policies.multiview.released_keys import TwoStageSwitches, UnusedKeys, fixed

__all__ = ["Sam2Switches", "UnusedKeys"]


@dataclass(frozen=True)
class Sam2Switches(TwoStageSwitches):
    """Those of two stages, and of the image encoder."""

    ifSAM2: bool = True  # False is another word for `encoder: none`
    ifsep: bool = fixed(False)
    resize_rgb: bool = fixed(True)
