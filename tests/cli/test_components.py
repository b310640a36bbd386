"""What the doctor says of policies, simulators and other components, and of plug-ins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sam2act.cli.components import KINDS, examine_components, examine_plugins
from sam2act.cli.diagnosis import Finding
from sam2act.core import registry
from sam2act.core.registry import Plugins, Registry

MODULES = {
    "sound_part": "",
    "broken_part": "raise ImportError('libfoo is gone')",
    "honest_part": "def problem():\n    return 'no arm is connected; plug it in'",
}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Components of an outsider, each a module."""
    for name, source in MODULES.items():
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry("part", {name: name for name in MODULES}, Plugins("sam2act.no_such_group"))


def test_components_say_what_they_lack(parts: Registry) -> None:
    found = {f.name: f for f in examine_components([], {"parts": parts})["parts"]}
    assert list(found) == list(MODULES)
    assert (found["sound_part"].state, found["sound_part"].detail) == ("ok", "sound_part")
    broken = found["broken_part"]
    assert broken.state == "broken" and "ImportError: libfoo is gone" in broken.detail
    honest = found["honest_part"]
    assert (honest.state, honest.detail) == ("lacking", "no arm is connected")
    assert honest.remedy == "plug it in"


def test_own_components_lack_what_the_installation_lacks() -> None:
    absent = [Finding("RN50.pt", "missing", "", remedy="download it"), Finding("triton", "ok", "3")]
    found = examine_components(absent)
    clip, hashed = (
        next(f for f in found["encoders"] if f.name == name) for name in ("clip", "hashed")
    )
    assert (clip.name, clip.state, clip.remedy) == ("clip", "lacking", "download it")
    assert clip.detail == "lacks RN50.pt"
    assert (hashed.name, hashed.state) == ("hashed", "ok")
    assert [f.name for f in found["transforms"]] == list(KINDS["transforms"].names())
    assert all(f.state == "ok" for f in found["transforms"] + found["executors"])


def test_every_registry_is_listed() -> None:
    known = [value for value in vars(registry).values() if isinstance(value, Registry)]
    assert sorted(map(id, known)) == sorted(map(id, KINDS.values()))


def test_plugins_that_fail_are_told_with_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "outsider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sam2act.doctor_test]\nfine = outsider_fine\nbad = outsider_bad:register\n"
    )
    (tmp_path / "outsider_fine.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    fine, bad = examine_plugins(Plugins("sam2act.doctor_test"))
    assert (fine.name, fine.state, fine.detail) == ("fine", "ok", "outsider 1.0")
    assert (bad.name, bad.state) == ("bad", "broken")
    assert "outsider_bad:register) of outsider cannot be loaded" in bad.detail
    assert bad.remedy == "repair or uninstall it"
