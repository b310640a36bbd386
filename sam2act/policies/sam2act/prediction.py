"""Old place of `policies.multiview.prediction`."""

from sam2act.policies.multiview.prediction import Prediction, decoded

__all__ = ["Prediction", "decoded"]
