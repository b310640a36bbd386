"""Old place of `policies.multiview.samples`."""

from sam2act.policies.multiview.samples import Targets, noisy_colors, placed, prepared

__all__ = ["Targets", "noisy_colors", "placed", "prepared"]
