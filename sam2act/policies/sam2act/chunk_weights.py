"""The weights of the policy that acts at frame rate; it may start from one of keyframes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sam2act.core.weight_names import (
    LoadReport,
    WeightsError,
    misfit,
    require_finite,
    unwrapped,
)
from sam2act.policies.base import WeightAdapter
from sam2act.policies.multiview.released_names import BRANCHES
from sam2act.policies.sam2act.published_weights import published_name

_NETWORK = "network."
_OWN = ("network.action_model.", "network.state.")  # what a policy of keyframes has not


class ChunkWeights(WeightAdapter):
    """Names as in the modules; files of SAM2Act give the branches and the image encoder."""

    def load(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Replace all weights; of a file of SAM2Act all but those of the diffusion head.

        Raises:
            WeightsError: a tensor is missing, unexpected or misshapen; nothing is changed.
        """
        state = unwrapped(state)
        if not any(name.startswith(f"{branch}.") for name in state for branch in BRANCHES.values()):
            return super().load(state)
        require_finite(state)
        own = self.policy.state_dict()
        names = {
            name: published_name(name.removeprefix(_NETWORK))
            for name in own
            if not name.startswith(_OWN)
        }
        found = {name: state[theirs] for name, theirs in names.items() if theirs in state}
        complaint = misfit(found, {name: own[name] for name in names})
        if complaint:
            raise WeightsError(f"the weights of SAM2Act do not fit: {complaint}")
        self.policy.load_state_dict(found, strict=False)
        fresh = sorted(name for name in own if name.startswith(_OWN))
        return LoadReport(loaded=list(found), fresh=fresh)
