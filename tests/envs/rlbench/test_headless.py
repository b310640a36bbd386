"""What is said where CoppeliaSim cannot start."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import MissingSimulatorError, make_env
from sam2act.envs.rlbench import headless
from sam2act.envs.rlbench.env import prepare_process
from tests.envs.conftest import forget, make, simulator_error


# ----------------------------------------------------------------------------------- display
def display_problem(is_headless: bool = True, **environment: str) -> str:
    return headless.display_problem(environment, headless=is_headless)


@pytest.fixture
def one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headless, "display_answers", lambda display: display == ":77")


@pytest.mark.parametrize("is_headless", [True, False])
def test_display_is_needed_with_and_without_window(one_display: None, is_headless: bool) -> None:
    assert display_problem(is_headless, DISPLAY=":77") == ""
    problem = display_problem(is_headless)
    assert "DISPLAY is not set" in problem and "xvfb-run -a" in problem
    assert ("window needs" in problem) is not is_headless
    problem = display_problem(is_headless, DISPLAY=":78")
    assert "no X server answers on DISPLAY=:78" in problem and "xvfb-run -a" in problem


def test_platform_without_pictures_is_refused(one_display: None) -> None:
    for platform in ("offscreen", "minimal:enable_fonts"):
        assert "black images" in display_problem(DISPLAY=":77", QT_QPA_PLATFORM=platform)
    assert display_problem(DISPLAY=":77", QT_QPA_PLATFORM="xcb") == ""
    assert display_problem(QT_QPA_PLATFORM="eglfs") == ""  # the user knows better


def test_xvfb_that_is_missing_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headless.shutil, "which", lambda name: None)
    assert "apt install xvfb" in display_problem()
    monkeypatch.setattr(headless.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "install" not in display_problem()


def test_server_on_a_socket_file_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headless, "X_SOCKETS", tmp_path)
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("X5")
        server.listen()
        assert headless.display_answers(":5") and headless.display_answers("unix:5.0")
        assert not headless.display_answers(":6")
    assert not headless.display_answers(":5")


def test_server_in_the_abstract_space_answers(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(headless, "X_SOCKETS", tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{tmp_path}/X5")
        server.listen()
        assert headless.display_answers(":5.0")


def test_server_on_a_network_port_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(headless, "_FIRST_PORT", server.getsockname()[1] - 10)
        assert headless.display_answers("127.0.0.1:10.0")
    assert not headless.display_answers("127.0.0.1:10.0")


@pytest.mark.parametrize("display", ["", "0", "host:", ":x", "host"])
def test_malformed_display_does_not_answer(display: str) -> None:
    assert not headless.display_answers(display)


# ------------------------------------------------------------------------------------ folder
def test_folder_is_checked(coppeliasim: Path) -> None:
    environment = {"COPPELIASIM_ROOT": str(coppeliasim)}
    assert headless.folder_problem(environment) == ""
    (coppeliasim / headless.LIBRARY).unlink()
    assert "ln -s libcoppeliaSim.so" in headless.folder_problem(environment)
    (coppeliasim / "libcoppeliaSim.so").unlink()
    assert "no libcoppeliaSim.so" in headless.folder_problem(environment)
    assert "COPPELIASIM_ROOT is not set" in headless.folder_problem({})


def test_library_path_is_checked(coppeliasim: Path) -> None:
    root = str(coppeliasim)
    for path in (root, f"/a:{root}/", f"{coppeliasim.parent}/./CoppeliaSim:/b"):
        assert headless.loader_problem({"COPPELIASIM_ROOT": root, "LD_LIBRARY_PATH": path}) == ""
    for path in ("", "/a", f"{root}/sub"):
        problem = headless.loader_problem({"COPPELIASIM_ROOT": root, "LD_LIBRARY_PATH": path})
        assert "libcoppeliaSim.so.1" in problem and "export LD_LIBRARY_PATH" in problem
    assert headless.loader_problem({"LD_LIBRARY_PATH": "/a"}) == ""


# ----------------------------------------------------------------------------------- process
def test_display_is_checked_before_the_simulator_starts(world: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("DISPLAY")
    for is_headless, words in ((True, "even without window"), (False, "a window needs one")):
        with pytest.raises(MissingSimulatorError, match=f"{words}.*xvfb-run -a"):
            make(headless=is_headless)
    assert world.calls == []


def test_folder_is_checked_before_the_simulator_starts(world: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("COPPELIASIM_ROOT")
    with pytest.raises(MissingSimulatorError, match=r"COPPELIASIM_ROOT.*install_rlbench\.sh"):
        make()
    assert world.calls == []


def test_qt_finds_the_plugin_of_coppeliasim(coppeliasim: Path, stand_ins: Path) -> None:
    prepare_process(headless_mode=True)
    assert os.environ[headless.PLUGIN_VARIABLE] == str(coppeliasim)
    del os.environ[headless.PLUGIN_VARIABLE]
    prepare_process(headless_mode=True)
    assert os.environ[headless.PLUGIN_VARIABLE] == str(coppeliasim)


def test_library_that_is_not_found_names_the_variable(
    tmp_path: Path, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyRep fails when the loader does not know the folder."""
    text = "libcoppeliaSim.so.1: cannot open shared object file"
    (tmp_path / "broken/pyrep/backend").mkdir(parents=True)
    (tmp_path / "broken/pyrep/__init__.py").write_text(f"raise ImportError({text!r})")
    monkeypatch.syspath_prepend(str(tmp_path / "broken"))
    forget("pyrep")
    with pytest.raises(MissingSimulatorError, match=rf"{text}.*QT_QPA_PLATFORM_PLUGIN_PATH"):
        make_env(EnvConfig("open_drawer", backend="rlbench"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    with pytest.raises(MissingSimulatorError, match=rf"{text}.*export LD_LIBRARY_PATH"):
        make_env(EnvConfig("open_drawer", backend="rlbench"))


def test_simulator_that_does_not_start_names_everything_it_needs(world: Any) -> None:
    for failure in (RuntimeError("no GL"), simulator_error("pyrep.errors.PyRepError", "no GL")):
        world.launch_error = failure
        with pytest.raises(MissingSimulatorError, match="no GL") as caught:
            make()
        for name in ("COPPELIASIM_ROOT", headless.LIBRARY, headless.PLUGIN_VARIABLE, "xvfb-run -a"):
            assert name in str(caught.value)
    world.launch_error = TypeError("a fault of the program")
    with pytest.raises(TypeError):
        make()
