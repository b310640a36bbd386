"""What vla-eval calls the components of actions; the benchmark and the server tell it alike."""

from __future__ import annotations

from sam2act.core.actions import OPENING, Component

# Name of a component -> name and format in vla-eval's specifications.
FORMATS = {
    "position": ("position", "absolute_xyz"),
    "translation": ("position", "delta_xyz"),
    "quaternion": ("rotation", "quaternion_xyzw"),
    "rotation_vector": ("rotation", "axis_angle"),
    "gripper": ("gripper", "continuous_01"),
}


def vla_eval_names(part: Component) -> tuple[str, str]:
    """Name and format of a component; `raw` where vla-eval has none."""
    if part.name == "gripper" and part.unit != OPENING:
        return part.name, "raw"
    return FORMATS.get(part.name, (part.name, "raw"))
