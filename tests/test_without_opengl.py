"""The embedded simulator works where no OpenGL library can be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.places import REPOSITORY

LIBRARIES = ("libGL.so.1", "libEGL.so.1", "libOSMesa.so.8", "libGLX.so.0", "libOpenGL.so.0")
PROGRAM = """
import ctypes, sys
for name in sys.argv[1:]:
    try:
        ctypes.CDLL(name)
    except OSError:
        continue
    raise SystemExit(f"{name} can still be loaded")
from sam2act.envs.base import CAMERAS, EnvConfig
from sam2act.envs.registry import make_env
env = make_env(EnvConfig("put_block_back", cameras=CAMERAS))
demo = env.get_demo(0, 0)
assert demo[0].front_rgb.std() > 10 and demo[0].wrist_depth.std() > 0.001
loaded = open("/proc/self/maps").read()
for name in ("libGL", "libEGL", "libOSMesa", "libglfw"):
    assert name not in loaded, name
print("rendered", len(demo))
"""


def test_demo_is_rendered_without_any_opengl_library(tmp_path: Path) -> None:
    for name in LIBRARIES:  # found before any real one, and of no use
        (tmp_path / name).write_bytes(b"not a library")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment.pop("DISPLAY", None)
    environment.pop("MUJOCO_GL", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *LIBRARIES],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rendered")
