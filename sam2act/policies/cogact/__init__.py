"""CogACT: a vision-language backbone whose one feature conditions a diffusion head of actions.

`from sam2act.policies.cogact import load_vla` gives the published calls; nothing is imported before
it is used.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

_CALLS = {
    "CogACT": "sam2act.policies.cogact.vla:CogACT",
    "load_vla": "sam2act.policies.cogact.released_files:load_vla",
    "save_vla": "sam2act.policies.cogact.released_files:save_vla",
    "export_vla": "sam2act.policies.cogact.export:export_vla",
    "AdaptiveEnsembler": "sam2act.policies.cogact.simpler:AdaptiveEnsembler",
    "CogACTInference": "sam2act.policies.cogact.simpler:CogACTInference",
}


def __getattr__(name: str) -> Any:
    if name not in _CALLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_CALLS[name])
