"""Where acting was documented before version 0.1 had rooms: `sam2act.policy.inference` and others.

Each name is the module of the new place, so code that was written for the old one goes on working.
New code imports from `sam2act.policies` and `sam2act.core.types`.
"""

import importlib
import sys

MOVED = {
    "checkpoint": "policies.checkpoint",
    "contracts": "core.types",
    "executor": "policies.executors",
    "inference": "policies.session",
    "observations": "policies.observations",
    "preprocessing": "policies.multiview.preprocessing",
}
for _old, _new in MOVED.items():
    sys.modules[f"{__name__}.{_old}"] = importlib.import_module(f"sam2act.{_new}")
