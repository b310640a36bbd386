"""The key `policy` of the network file chooses whose keys the file holds."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from sam2act.config import load
from sam2act.config.component import ComponentConfig
from sam2act.config.load import (
    changed,
    dump,
    from_dict,
    load_network,
    network_from_dict,
    policy_config,
    to_dict,
)
from sam2act.core.errors import ConfigError, require
from sam2act.core.registry import Registry
from sam2act.policies.sam2act.config import NetworkConfig


@dataclass(frozen=True)
class Encoder(ComponentConfig):
    """A section."""

    layers: int = 2
    widths: tuple[tuple[int, ...], ...] = ((1, 2), (3,))


@dataclass(frozen=True)
class ReachConfig(ComponentConfig):
    """Keys of a policy that the package does not know."""

    NOTE: ClassVar[str] = "no key"
    policy: str = "reach"
    batch: int = 4
    seed: int | None = None
    sizes: tuple[int, ...] = field(default_factory=lambda: (8, 8))
    encoder: Encoder = field(default_factory=Encoder)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch >= 1, "batch must be at least 1")


class Reach:
    """A policy as far as the configuration is concerned."""

    Config = ReachConfig


@pytest.fixture(autouse=True)
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """`reach` is registered, and `keyless`, which has no `Config`."""
    module = types.ModuleType("reach_plugin")
    module.Reach, module.Keyless = Reach, object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reach_plugin", module)
    known = Registry("policy", {"sam2act": "sam2act.policies.sam2act.policy:SAM2ActPolicy"})
    known.add("reach", "reach_plugin:Reach")
    known.add("keyless", "reach_plugin:Keyless")
    monkeypatch.setattr(load, "POLICIES", known)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A network file of the plug-in, and task files."""
    contents = {
        "network": {"policy": "reach", "batch": 8, "encoder": {"widths": [[1], [2, 3]]}},
        "other_task": {"network": {"policy": "sam2act"}},
        "task": {"network": {"policy": "reach", "batch": 2}},
    }
    for name, values in contents.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return {name: tmp_path / f"{name}.yaml" for name in contents}


def test_the_file_names_the_policy(files: dict[str, Path]) -> None:
    assert load_network(files["network"]) == ReachConfig(
        batch=8, encoder=Encoder(widths=((1,), (2, 3)))
    )
    assert isinstance(load_network(), NetworkConfig)


def test_task_file_and_opts_win_over_the_network_file(files: dict[str, Path]) -> None:
    assert load_network("", "", files["task"]) == ReachConfig(batch=2)
    assert load_network("", "policy reach batch 3", files["other_task"]) == ReachConfig(batch=3)
    with pytest.raises(ConfigError, match="network.yaml: unknown key batch"):
        load_network(files["network"], "", files["other_task"])


def test_a_stored_configuration_keeps_its_policy(files: dict[str, Path], tmp_path: Path) -> None:
    config = load_network(files["network"], "sizes [1,2,3] seed 5")
    assert config.sizes == (1, 2, 3) and config.seed == 5
    assert network_from_dict(to_dict(config)) == config == from_dict(ReachConfig, to_dict(config))
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(config))
    assert load_network(copy) == config
    assert changed(config, "batch 1 encoder.layers 9").encoder.layers == 9


def test_a_stored_configuration_without_the_key_is_sam2act() -> None:
    values = to_dict(load_network("configs/mvt/sam2act.yaml"))
    del values["policy"]
    assert network_from_dict(values) == load_network("configs/mvt/sam2act.yaml")


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ("policy rech", "policy: 'rech' is not one of sam2act, .*did you mean reach"),
        ("policy keyless", "policy: keyless has no `Config`"),
        ("policy.name reach", "the command line: policy: expected str"),
        ("policy reach batchs 3", "unknown key batchs; did you mean batch"),
        ("policy reach NOTE x", "unknown key NOTE"),
        ("policy reach encoder 3", "encoder is a section"),
        ("policy reach batch 0", "batch must be at least 1"),
        ("policy reach depth 3", "unknown key depth; did you mean depth of the network config"),
    ],
)
def test_wrong_names_and_values_are_named(opts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_network("", opts)


def test_the_dataclass_of_a_policy() -> None:
    assert policy_config("sam2act") is NetworkConfig and policy_config("reach") is ReachConfig
