"""Weights of a policy under the names of a released implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from sam2act.core.weight_names import LoadReport, WeightsError, misfit, require_finite, unwrapped
from sam2act.policies.base import Policy, WeightAdapter

NETWORK = "network."  # what the names of a policy begin with


class RenamedWeights(WeightAdapter):
    """Reads and writes files whose tensors are those of the network, under other names."""

    def __init__(
        self,
        policy: Policy,
        rename: Callable[[str], str],
        *,
        constants: Mapping[str, Tensor] | None = None,
        unused: tuple[str, ...] = (),
    ) -> None:
        """Take the names.

        Args:
            policy: whose weights they are.
            rename: our name within the network -> released name.
            constants: released buffers that follow from the configuration; written to files, and
                left out where a file holds them.
            unused: beginnings of released names that no forward pass reads; left out.
        """
        super().__init__(policy)
        self.rename = rename
        self.constants = dict(constants or {})
        self.unused = unused

    def parameter_name(self, name: str) -> str:
        """The released name of the policy's parameter `name`."""
        return self.rename(name.removeprefix(NETWORK))

    def export(self) -> dict[str, Tensor]:
        """The weights under their released names."""
        own = self.policy.state_dict()
        return {self.parameter_name(name): value for name, value in own.items()} | self.constants

    def load(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Replace all weights by those of a state under released names.

        Raises:
            WeightsError: a tensor is missing, unexpected or misshapen; nothing is changed.
        """
        found = {
            name: value
            for name, value in unwrapped(state).items()
            if name not in self.constants and not name.startswith(self.unused)
        }
        require_finite(found)
        own = self.policy.state_dict()
        names = {self.parameter_name(name): name for name in own}
        complaint = misfit(found, {released: own[name] for released, name in names.items()})
        if complaint:
            raise WeightsError(f"the weights do not fit the network: {complaint}")
        self.policy.load_state_dict({names[name]: value for name, value in found.items()})
        return LoadReport(loaded=list(found))
