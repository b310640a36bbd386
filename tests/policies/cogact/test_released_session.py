"""A released model as a session, with a stand-in for the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.core.types import ContractError, Observation
from sam2act.policies.cogact.released_session import ReleasedSession
from sam2act.policies.cogact.simpler import AdaptiveEnsembler
from sam2act.policies.executors import build_executor
from sam2act.policies.observations import validate_observation


class StandIn:
    """Gives chunks that depend on the colour of the picture and the length of the text."""

    vlm = SimpleNamespace(config=SimpleNamespace(vlm_image_side=4))
    head = SimpleNamespace(chunk=16)

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def get_action_dim(self, key: str | None) -> int:
        return 7

    def predict_action_batch(
        self, images: list[Image.Image], texts: list[str], key: str | None, **sampling: Any
    ) -> Any:
        self.asked.append((key, sampling))
        return np.stack([chunk(*pair) for pair in zip(images, texts, strict=True)]), None


def chunk(image: Image.Image, text: str) -> np.ndarray:
    rng = np.random.default_rng(np.asarray(image).sum() + len(text))
    return rng.normal(size=(16, 7))


def seen(*colours: int) -> Observation:
    rgb = [np.full((1, 4, 4, 3), colour, np.uint8) for colour in colours]
    return Observation(torch.from_numpy(np.stack(rgb)), proprioception=torch.zeros(len(rgb), 0))


def test_chunks_are_those_of_the_model_row_by_row() -> None:
    model = StandIn()
    session = ReleasedSession(model, "bridge_orig", cfg_scale=1.5)  # type: ignore[arg-type]
    validate_observation(seen(1, 2), session.spec, ["a", "bb"])
    values = session.act(seen(1, 2), ["a", "bb"]).values
    assert values.shape == (2, 16, 7) and session.spec.action.size == 7
    expected = [chunk(Image.new("RGB", (4, 4), (c, c, c)), t) for c, t in ((1, "a"), (2, "bb"))]
    np.testing.assert_array_equal(values.numpy(), np.stack(expected))
    assert model.asked == [("bridge_orig", {"cfg_scale": 1.5})]
    with pytest.raises(ContractError, match="takes texts"):
        session.act(seen(1), torch.zeros(1, 1, 1))


def test_the_ensemble_executor_is_the_published_ensemble() -> None:
    executor = build_executor("adaptive_ensemble(2, 0.1)", ReleasedSession(StandIn()))  # type: ignore[arg-type]
    ensembler = AdaptiveEnsembler(2, 0.1)
    for colour in range(4):
        found = executor.act(seen(colour), ["a"]).values[0, 0].numpy()
        picture = Image.new("RGB", (4, 4), (colour, colour, colour))
        np.testing.assert_allclose(
            found, ensembler.ensemble_action(chunk(picture, "a")), atol=1e-12
        )
