"""The vision-language model without transformers, and sizes that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.policies.cogact import prismatic
from sam2act.policies.cogact.prismatic import FusedVision, PrismaticConfig, Projector


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prismatic, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package transformers; install .*\[vla\]"):
        prismatic.Llama(PrismaticConfig())


def test_full_size_has_the_published_widths() -> None:
    config = PrismaticConfig()
    with torch.device("meta"):
        vision = FusedVision(config)
        both = config.dino_width + config.siglip_width
        projector = Projector(both, config.llm_width)
    positions = [vision.dino_featurizer.pos_embed, vision.siglip_featurizer.pos_embed]
    assert [tuple(x.shape) for x in positions] == [(1, 256, 1024), (1, 256, 1152)]
    shapes = [tuple(projector.projector[index].weight.shape) for index in (0, 2, 4)]
    assert shapes == [(8704, 2176), (4096, 8704), (4096, 4096)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"llm_heads": 0}, "llm_heads must be at least 1"),
        ({"dino_heads": 5}, "dino_width 1024 is no multiple of 5 heads"),
        ({"prompt": "Go"}, r"prompt: it must hold \{instruction\}"),
        ({"pad_id": 99999}, "pad_id: 99999 is no token of a vocabulary of 32064"),
    ],
)
def test_sizes_that_cannot_be(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrismaticConfig(**keys)
