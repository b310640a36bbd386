"""Plain C sources of this package, compiled on first use and kept for the next.

The library lands in the user's cache folder under a name made from the source, the compiler and
its flags, so an edited source or another compiler gives another file.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

LOGGER = logging.getLogger(__name__)
# No contraction into fused multiply-adds: results must round like those of the torch path.
FLAGS = ("-O3", "-std=c99", "-ffp-contract=off", "-fPIC", "-shared")
COMPILERS = ("cc", "gcc", "clang")
# Parallel loops of gcc then run on torch's OpenMP threads: the loader finds its names first.
THREADS = "-fopenmp"
CACHE_VARIABLE = "SAM2ACT_CACHE_DIR"


class CompilerError(RuntimeError):
    """There is no C compiler, or it does not accept the source."""


def load_library(source: Path, environment: Mapping[str, str] = os.environ) -> ctypes.CDLL:
    """The shared library of a C source, compiled unless an earlier call has done it.

    Args:
        source: a C file.
        environment: CC names the compiler, SAM2ACT_CACHE_DIR the folder of libraries.

    Raises:
        CompilerError: it cannot be compiled or loaded; the message says why.
    """
    command = (*find_compiler(environment), *_flags())
    folder = cache_folder(environment)
    try:
        try:
            return ctypes.CDLL(str(_compiled((*command, THREADS), source, folder)))
        except CompilerError as error:
            library = ctypes.CDLL(str(_compiled(command, source, folder)))
            LOGGER.info("%s: on one thread, without OpenMP (%s)", source.name, error)
            return library
    except OSError as error:
        raise CompilerError(f"{source.name} in {folder}: {error}") from error


def find_compiler(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The command of the C compiler: $CC, or the first of cc, gcc and clang.

    Raises:
        CompilerError: none is installed.
    """
    for command in (environment.get("CC", ""), *COMPILERS):
        words = command.split()
        found = shutil.which(words[0]) if words else None
        if found:
            return (found, *words[1:])
    raise CompilerError(f"no C compiler ({', '.join(COMPILERS)}) is installed")


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where compiled libraries are kept."""
    if environment.get(CACHE_VARIABLE):
        return Path(environment[CACHE_VARIABLE])
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sam2act"


@functools.cache
def _flags() -> tuple[str, ...]:
    """The flags, with wider vectors where this processor has them."""
    try:
        processor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return FLAGS
    return (*FLAGS, "-mavx2") if " avx2 " in processor else FLAGS


def _compiled(command: tuple[str, ...], source: Path, folder: Path) -> Path:
    """The library that `command` makes of the source, made unless it lies in the folder."""
    words = " ".join((*command, platform.machine())).encode()
    digest = hashlib.sha256(b"|".join((source.read_bytes(), words))).hexdigest()
    library = folder / f"{source.stem}_{digest[:16]}.so"
    if not library.is_file():
        _compile(command, source, library)
    return library


def _compile(command: tuple[str, ...], source: Path, library: Path) -> None:
    """Compile next to the target and rename: several processes may do so at once."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        partial = Path(folder) / library.name
        words = [*command, str(source), "-o", str(partial), "-lm"]
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode != 0:
            raise CompilerError(f"{' '.join(words)} failed: {done.stderr.strip()[-500:]}")
        os.replace(partial, library)
