"""The masks of a simulator in the place of a segmenter: an upper bound, and a source of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.types import ContractError
from sam2act.processing.sam_g.interfaces import Prompt, Proposals, View

LOGIT = 10.0
MOSTLY = 0.5  # share of an object's pixels in the reference mask from which on it belongs to it


class SimulatorMasks:
    """The objects that the reference mask covers, by their numbers."""

    prompted = False  # it needs no points

    def __init__(self) -> None:
        self._objects = torch.zeros(0, 0, dtype=torch.int64)

    def look(self, view: View) -> None:
        """Take the objects of a view.

        Raises:
            ContractError: it has none.
        """
        if view.objects is None:
            raise ContractError(
                "mask: segmenter simulator needs the masks of a simulator, the observation has "
                "none; for training, store them first (`sam2act mask-demos`)"
            )
        self._objects = view.objects

    def propose(self, prompt: Prompt) -> Proposals:
        """The same mask three times."""
        wanted = prompt.description.to(self._objects.device, torch.int64)
        inside = torch.isin(self._objects.long(), wanted)
        logits = (inside.float() * 2 - 1)[None].expand(3, -1, -1) * LOGIT
        return Proposals(logits, torch.ones(3), logits)

    def describe(self, view: View, mask: Tensor) -> Tensor:
        """(N,) the numbers of the objects in the mask.

        Raises:
            ConfigError: the reference has no objects, or none lies mostly in the mask.
        """
        if view.objects is None:
            raise ConfigError(
                "sam_g: segmenter simulator needs references with <camera>_objects_<n>.png; make "
                "them in the simulator with `sam2act mask-reference`"
            )
        numbers, counts = view.objects[mask].unique(return_counts=True)
        whole = torch.stack([(view.objects == number).sum() for number in numbers])
        chosen = numbers[counts > MOSTLY * whole]
        if not len(chosen):
            raise ConfigError("sam_g: the reference mask covers no object of the simulator")
        description: Tensor = chosen.float()
        return description
