"""The installation report."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sam2act.cli import diagnosis, doctor
from sam2act.cli.diagnosis import Finding, Package
from sam2act.core import weights
from tests.places import REPOSITORY


def named(module: str) -> Package:
    return next(package for package in diagnosis.PACKAGES if package.module == module)


def make_module(folder: Path, *files: str, source: str = "") -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


@pytest.fixture
def path_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the head of the import path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("module", "right"),
    [
        ("pyrep", "pyrep/backend/__init__.py"),
        ("rlbench", "rlbench/tasks/__init__.py"),
        ("yarr", "yarr/agents/agent.py"),
    ],
)
def test_unrelated_package_of_the_same_name_is_recognised(
    path_with: Path, module: str, right: str
) -> None:
    make_module(path_with, f"{module}/__init__.py", source="raise SystemExit('imported')")
    finding = diagnosis.examine(named(module))
    assert finding.state == "wrong"
    assert f"pip uninstall {module}" in finding.remedy
    assert "bash scripts/install_rlbench.sh" in finding.remedy
    make_module(path_with, right)
    assert diagnosis.examine(named(module)).state == "ok"


def test_missing_package_names_its_extra() -> None:
    package = replace(named("open_clip"), module="certainly_not_installed")
    finding = diagnosis.examine(package)
    assert (finding.state, finding.detail) == ("missing", "")
    assert '".[clip]"' in finding.remedy


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2act.core.c_library.COMPILERS", ("no-such-compiler",))
    findings = {finding.name: finding for finding in diagnosis.examine_system({})}
    found = findings["C compiler"]
    assert (found.state, found.enables) == ("missing", "fast rendering on a CPU")
    assert found.remedy == "install gcc or clang"


def test_installed_package_shows_its_version_and_no_remedy() -> None:
    finding = diagnosis.examine(named("numpy"))
    assert finding.state == "ok" and finding.detail[0].isdigit() and finding.remedy == ""


@pytest.mark.parametrize(
    ("source", "state", "text"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "ok", "repaired"),
        ("raise ImportError('libjpeg is gone')", "broken", "libjpeg is gone"),
        ("", "ok", ""),
    ],
)
def test_torchvision_is_tried(
    path_with: Path, monkeypatch: pytest.MonkeyPatch, source: str, state: str, text: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    make_module(path_with, "torchvision/__init__.py", source=source)
    finding = diagnosis.examine(named("torchvision"))
    sys.modules.pop("torchvision", None)
    assert finding.state == state and text in finding.detail


def coppeliasim(**environment: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnosis.examine_coppeliasim(environment)}


def test_coppeliasim_is_checked(tmp_path: Path) -> None:
    absent = coppeliasim()["CoppeliaSim"]
    assert (absent.state, absent.enables) == ("missing", "backend rlbench")
    assert "bash scripts/install_rlbench.sh" in absent.remedy
    root = str(tmp_path)
    assert coppeliasim(COPPELIASIM_ROOT=root)["CoppeliaSim"].state == "wrong"
    (tmp_path / "libcoppeliaSim.so").touch()
    assert "ln -s" in coppeliasim(COPPELIASIM_ROOT=root)["CoppeliaSim"].remedy
    (tmp_path / "libcoppeliaSim.so.1").touch()
    found = coppeliasim(COPPELIASIM_ROOT=root)
    assert (found["CoppeliaSim"].state, found["CoppeliaSim"].detail) == ("ok", root)
    assert found["LD_LIBRARY_PATH"].state == "missing"
    assert "export LD_LIBRARY_PATH" in found["LD_LIBRARY_PATH"].remedy
    found = coppeliasim(
        COPPELIASIM_ROOT=root, LD_LIBRARY_PATH=root, QT_QPA_PLATFORM_PLUGIN_PATH="/plugins"
    )
    assert found["LD_LIBRARY_PATH"].state == "ok" and found["Qt plugins"].detail == "/plugins"


def test_display_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "xvfb-run -a" in coppeliasim()["display"].remedy
    monkeypatch.setattr(diagnosis.headless, "display_answers", lambda display: True)
    found = coppeliasim(DISPLAY=":3")["display"]
    assert (found.state, found.detail, found.remedy) == ("ok", ":3", "")
    assert coppeliasim(DISPLAY=":3", QT_QPA_PLATFORM="offscreen")["display"].state == "missing"


def test_system_report_has_python_device_compiler_and_size() -> None:
    findings = {finding.name: finding for finding in diagnosis.examine_system({"CC": "no-such-cc"})}
    assert findings["Python"].detail == sys.version.split()[0]
    expected = {"CUDA", "C compiler", "CPU cores", "memory", "CoppeliaSim", "display"}
    assert expected <= set(findings)
    assert int(findings["CPU cores"].detail) >= 1


def test_compiler_of_the_environment_wins(tmp_path: Path) -> None:
    compiler = tmp_path / "mycc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    findings = diagnosis.examine_system({"CC": f"{compiler} -O3"})
    assert str(compiler) in [finding.detail for finding in findings]


def test_only_core_packages_decide() -> None:
    good = Finding("numpy", "ok", "2", core=True)
    optional = Finding("wandb", "missing", "")
    assert doctor.core_complete([good, optional])
    assert not doctor.core_complete([good, Finding("torch", "missing", "", core=True)])


def test_exit_code_tells_whether_the_core_is_complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present = named("numpy")
    absent = replace(present, module="certainly_not_installed")
    for packages, code in (((present,), 0), ((present, absent), 2)):
        monkeypatch.setattr(doctor, "PACKAGES", packages)
        assert doctor.main(["--json"]) == code
        report = json.loads(capsys.readouterr().out)
        assert report["complete"] == (code == 0)
        assert report["findings"][-1]["name"] == packages[-1].module
        assert "sam2act" in [policy["name"] for policy in report["components"]["policies"]]


def test_core_packages_are_those_of_the_installation() -> None:
    source = (REPOSITORY / "setup.py").read_text()
    core = source[source.index("CORE = [") : source.index("]", source.index("CORE = ["))]
    required = {line.split('"')[1] for line in core.splitlines() if '"' in line}
    examined = {f"{p.distribution}>={p.minimum}" for p in diagnosis.PACKAGES if p.core}
    assert required == examined


def test_old_core_package_is_wrong() -> None:
    finding = diagnosis.examine(replace(named("numpy"), minimum="999.1"))
    assert finding.state == "wrong" and "older than 999.1" in finding.detail
    finding = diagnosis.examine(replace(named("numpy"), minimum="1.24", distribution="no-such"))
    assert (finding.state, finding.detail) == ("ok", "unknown version")


def test_command_prints_a_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sam2act.doctor"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The core is complete." in done.stdout
    assert done.stdout.splitlines()[0].split()[:2] == ["name", "state"]
    assert "backend rlbench" in done.stdout
    for kind in (
        "policies",
        "simulators",
        "sources",
        "encoders",
        "renderers",
        "executors",
        "transforms",
    ):
        assert f"\n{kind} " in done.stdout


def test_weights_are_looked_for_as_training_does(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAM2ACT_ASSETS", str(tmp_path))
    (tmp_path / "RN50.pt").touch()
    findings = {finding.name: finding for finding in diagnosis.examine_system({})}
    assert findings["RN50.pt"].detail == str(tmp_path / "RN50.pt")
    monkeypatch.setattr(weights, "checkout", lambda: None)
    (tmp_path / "RN50.pt").unlink()
    missing = {finding.name: finding for finding in diagnosis.examine_system({})}["RN50.pt"]
    assert (missing.state, missing.core) == ("missing", False)
    assert f"-o {tmp_path}/RN50.pt https://" in missing.remedy
