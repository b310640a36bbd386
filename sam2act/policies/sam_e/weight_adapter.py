"""The weights of SAM-E under their released names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sam2act.core.weight_names import LoadReport, WeightsError, unwrapped
from sam2act.policies.base import Policy
from sam2act.policies.multiview.released_names import ONE_STAGE_RULES, renamed
from sam2act.policies.multiview.renamed_weights import RenamedWeights

BRANCH, ENCODER = "branch.", "encoders.0."
RELEASED_BRANCH, RELEASED_ENCODER = "mvt1.", "mvt1.sam.image_encoder."
# A tensor of the adapted encoder; what stands before it is the encoder's place in the network.
MARK = "blocks.0.attn.qkv.linear_a_q.weight"
UNUSED = ("mvt1.fusion_up.",)


class ReleasedWeights(RenamedWeights):
    """Reads and writes the released names; the image encoder may stand anywhere in a file."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, released_name, unused=UNUSED)

    def load(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Replace all weights by those of a state under released names.

        Raises:
            WeightsError: a tensor is missing, unexpected or misshapen; nothing is changed.
        """
        return super().load(with_encoder_in_place(unwrapped(state)))


def released_name(name: str) -> str:
    """The released name of our tensor `name` of the network.

    Raises:
        WeightsError: no rule covers it.
    """
    if name.startswith(ENCODER):
        return RELEASED_ENCODER + name.removeprefix(ENCODER)
    released = renamed(ONE_STAGE_RULES, name.removeprefix(BRANCH))
    if released is None:
        raise WeightsError(f"no released name for {name}: add a rule to released_names.py")
    return RELEASED_BRANCH + released


def encoder_places(state: Mapping[str, Tensor]) -> list[str]:
    """What the names of adapted encoders of SAM begin with; a shared one is there repeatedly."""
    return [name.removesuffix(MARK) for name in state if name.endswith(MARK)]


def holds_encoder(state: Mapping[str, Tensor]) -> bool:
    """Whether there is an adapted image encoder of SAM."""
    return bool(encoder_places(state))


def with_encoder_in_place(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the encoder's tensors below `RELEASED_ENCODER`.

    Raises:
        WeightsError: it holds two encoders that differ.
    """
    placed: dict[str, Tensor] = {}
    places = encoder_places(state)
    for name, value in state.items():
        place = next((place for place in places if name.startswith(place)), None)
        target = name if place is None else RELEASED_ENCODER + name.removeprefix(place)
        if target in placed and not torch.equal(placed[target], value):
            raise WeightsError(f"the file holds two different tensors {target}")
        placed[target] = value
    return placed
