"""The weights of SAM2Act under their released names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from sam2act.core.weight_names import LoadReport, WeightsError
from sam2act.policies.base import Policy, WeightAdapter
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.policies.sam2act.published_weights import (
    export_state,
    import_state,
    load_stage_one,
    published_name,
    released_parameters,
)


class ReleasedWeights(WeightAdapter):
    """Reads and writes the released layout."""

    def __init__(self, policy: Policy, carried: dict[str, Tensor]) -> None:
        """`carried` are unused tensors of that layout; loading replaces them."""
        super().__init__(policy)
        self.network = cast(TwoStageNetwork, policy.network)
        self.carried = carried

    def parameter_name(self, name: str) -> str:
        """The released name of the policy's parameter `name`."""
        if not name.startswith("network."):  # of training alone, in no file of weights
            return name
        return published_name(name.removeprefix("network."))

    def released_order(self) -> list[str]:
        """All parameters of the released network; empty if this one has no counterpart there."""
        try:
            return released_parameters(self.export())
        except WeightsError:  # another encoder, or one without adapters
            return []

    def export(self) -> dict[str, Tensor]:
        """The weights in the released layout."""
        return export_state(self.network, self.carried)

    def load(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Replace all weights by those of a state in the released layout.

        Raises:
            WeightsError: a tensor is missing, unexpected or misshapen; nothing is changed.
        """
        return import_state(self.network, self.carried, state)

    def load_earlier_stage(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Take a stage-1 state into a network with memory, which keeps its fresh values.

        Raises:
            WeightsError: as `load`.
        """
        return load_stage_one(self.network, self.carried, state)
