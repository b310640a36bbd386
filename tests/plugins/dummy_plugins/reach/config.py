"""The keys of the policy, and what it wants with them: anything, so that misfits can be tried."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.config.schema import ExperimentConfig
from sam2act.core.actions import ActionSpec, Component
from sam2act.core.specs import TIME, CameraSpec, LanguageSpec, PolicySpec

CHUNK = 4  # actions


@dataclass(frozen=True)
class ChunkerConfig:
    """The network keys of the policy."""

    policy: str = "chunker"
    width: int = 64
    scale: float = 0.1  # metres of a step, per unit of the network's output
    camera: str = "top"
    side: int = 32  # pixels
    depth: bool = False
    state: str = "xy"
    time: bool = False
    episode_length: int = 25
    mode: str = "raw"
    unit: str = "m"
    rate: float | None = 10.0  # Hz
    offsets: tuple[int, ...] = (0,)
    language: bool = False


def spec_of(config: ChunkerConfig, experiment: ExperimentConfig) -> PolicySpec:
    """What the policy wants and gives."""
    state = Component(config.state, 2, "m", "world")
    step = Component("step", 2, config.unit, "world")
    return PolicySpec(
        camera_specs=(CameraSpec(config.camera, config.side, config.side, config.depth),),
        language=LanguageSpec(experiment.language.encoder, 4, 8) if config.language else None,
        state=(state, TIME) if config.time else (state,),
        action=ActionSpec(config.mode, (step,), CHUNK, config.rate),
        offsets=config.offsets,
        episode_length=config.episode_length,
    )
