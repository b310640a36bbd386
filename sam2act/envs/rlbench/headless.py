"""Whether CoppeliaSim can start here: its folder, its library, its display.

Checked beforehand, because CoppeliaSim ends the whole process where it finds no display. Every
function gives the trouble in words, "" if there is none. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

LIBRARY = "libcoppeliaSim.so.1"
PLUGIN_VARIABLE = "QT_QPA_PLATFORM_PLUGIN_PATH"
X_SOCKETS = Path("/tmp/.X11-unix")
_FIRST_PORT = 6000  # of the X protocol
_BLIND_PLATFORMS = ("offscreen", "minimal")  # Qt without OpenGL
_USE_XVFB = "start the program under a virtual display: xvfb-run -a <command>"


def folder_problem(environment: Mapping[str, str]) -> str:
    """Whether COPPELIASIM_ROOT names a CoppeliaSim folder."""
    root = environment.get("COPPELIASIM_ROOT", "")
    if not root:
        return "COPPELIASIM_ROOT is not set"
    if not any(Path(root).glob("libcoppeliaSim.so*")):
        return f"COPPELIASIM_ROOT: no libcoppeliaSim.so in {root}"
    if not (Path(root) / LIBRARY).exists():
        return (
            f"COPPELIASIM_ROOT: no {LIBRARY} in {root}; make the link: "
            f"ln -s libcoppeliaSim.so {root}/{LIBRARY}"
        )
    return ""


def loader_problem(environment: Mapping[str, str]) -> str:
    """Whether the loader of this process looks into COPPELIASIM_ROOT."""
    root = environment.get("COPPELIASIM_ROOT", "")
    folders = environment.get("LD_LIBRARY_PATH", "").split(":")
    if not root or os.path.realpath(root) in map(os.path.realpath, filter(None, folders)):
        return ""
    return (
        f"LD_LIBRARY_PATH does not hold COPPELIASIM_ROOT, where {LIBRARY} lies; before starting "
        "Python: export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$COPPELIASIM_ROOT"
    )


def display_problem(environment: Mapping[str, str], *, headless: bool) -> str:
    """Whether there is a display on which cameras can be rendered; headless needs one too."""
    platform = environment.get("QT_QPA_PLATFORM", "xcb").partition(":")[0]
    if platform in _BLIND_PLATFORMS:
        return f"QT_QPA_PLATFORM={platform} renders black images; unset it and {_xvfb_remedy()}"
    if platform != "xcb":
        return ""
    display = environment.get("DISPLAY", "")
    if not display:
        need = "cameras need a display even without window" if headless else "a window needs one"
        return f"DISPLAY is not set, and {need}; {_xvfb_remedy()}"
    if not display_answers(display):
        return f"no X server answers on DISPLAY={display}; {_xvfb_remedy()}"
    return ""


def _xvfb_remedy() -> str:
    if shutil.which("xvfb-run"):
        return _USE_XVFB
    return f"install Xvfb (Debian, Ubuntu: apt install xvfb) and {_USE_XVFB}"


def display_answers(display: str) -> bool:
    """Whether something listens on `display`, [host]:number[.screen]; no X client is needed."""
    host, colon, rest = display.rpartition(":")
    number = rest.partition(".")[0]
    if not colon or not number.isdigit():
        return False
    if host not in ("", "unix"):
        return _connects(socket.AF_INET, (host, _FIRST_PORT + int(number)))
    path = f"{X_SOCKETS}/X{number}"
    # The server listens on a file and on a name in the abstract space; either will do.
    return _connects(socket.AF_UNIX, path) or _connects(socket.AF_UNIX, f"\0{path}")


def _connects(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(address)
        except OSError:
            return False
    return True


START_HELP = (
    "check that COPPELIASIM_ROOT names its folder, that LD_LIBRARY_PATH holds it "
    f"({LIBRARY}), that {PLUGIN_VARIABLE} is the same folder, and that there is a display "
    "(xvfb-run -a <command>); `sam2act doctor` looks at all of them"
)
