"""Plain C sources of this package, compiled on first use and kept for the next.

The library lands in the user's cache folder under a name made from the source, the compiler and
its flags, so an edited source or another compiler gives another file.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

# No contraction into fused multiply-adds: results must round like those of the torch path.
FLAGS = ("-O3", "-std=c99", "-ffp-contract=off", "-fPIC", "-shared")
COMPILERS = ("cc", "gcc", "clang")
# Parallel loops then run on the threads of torch's OpenMP, whose names the loader finds first.
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
    compiler = find_compiler(environment)
    library = cache_folder(environment) / _library_name(source, compiler)
    try:
        if not library.is_file():
            _compile(compiler, source, library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompilerError(f"{library}: {error}") from error


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
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        return FLAGS
    return (*FLAGS, "-mavx2") if " avx2 " in processor else FLAGS


def _library_name(source: Path, compiler: tuple[str, ...]) -> str:
    words = (*compiler, *_flags(), THREADS, platform.machine())
    parts = (source.read_bytes(), " ".join(words).encode())
    return f"{source.stem}_{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.so"


def _compile(compiler: tuple[str, ...], source: Path, library: Path) -> None:
    """Compile next to the target and rename: several processes may do so at once."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        partial = Path(folder) / library.name
        command = [*compiler, *_flags(), str(source), "-o", str(partial), "-lm"]
        # A compiler without OpenMP gives a library of one thread.
        if _complaint([*command, THREADS]) and (complaint := _complaint(command)):
            raise CompilerError(f"{' '.join(command)} failed: {complaint[-500:]}")
        os.replace(partial, library)


def _complaint(command: list[str]) -> str:
    """What the compiler says if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"
