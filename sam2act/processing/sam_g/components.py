"""Feature sets and segmenters by name, written `name` or `name:path`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sam2act.core.errors import ConfigError
from sam2act.core.registry import DENSE_FEATURES, SEGMENTERS
from sam2act.processing.sam_g.colors import ColorFeatures
from sam2act.processing.sam_g.interfaces import DenseFeatures, PromptSegmenter
from sam2act.processing.sam_g.random_walk import RandomWalk
from sam2act.processing.sam_g.simulator_masks import SimulatorMasks

SEPARATOR = "+"  # between feature sets


def build_features(text: str) -> tuple[DenseFeatures, ...]:
    """The feature sets of a text such as `dinov2:dinov2_vitb14.pth+efficientvit_sam:l1.pt`.

    Raises:
        ConfigError: an unknown name, or weights that are absent.
    """
    return tuple(_build(DENSE_FEATURES, one) for one in text.split(SEPARATOR))


def build_segmenter(text: str) -> PromptSegmenter:
    """The segmenter of a text such as `sam2:sam2.1_hiera_base_plus.pt`.

    Raises:
        ConfigError: an unknown name, or weights that are absent.
    """
    return cast(PromptSegmenter, _build(SEGMENTERS, text))


def build_color(path: str) -> ColorFeatures:
    """Colours alone; there is nothing to read."""
    _no_path("color", path)
    return ColorFeatures()


def build_random_walk(path: str) -> RandomWalk:
    """Random walks; `random_walk:rgb` ignores depth."""
    _no_path("random_walk", path, ("rgb",))
    return RandomWalk(depth=not path)


def build_simulator(path: str) -> SimulatorMasks:
    """The masks of a simulator; there is nothing to read."""
    _no_path("simulator", path)
    return SimulatorMasks()


def _no_path(name: str, path: str, known: Sequence[str] = ()) -> None:
    if path and path not in known:
        allowed = f" but {', '.join(known)}" if known else ""
        raise ConfigError(f"sam_g: {name} takes nothing{allowed} after the colon, got {path!r}")


def _build(registry: object, text: str) -> DenseFeatures:
    name, _, path = text.strip().partition(":")
    return cast(DenseFeatures, registry.get(name)(path))  # type: ignore[attr-defined]
