"""C sources are compiled once, kept, and complained about in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sam2act.core.c_library import CompilerError, cache_folder, find_compiler, load_library

SOURCE = "int answer(void) { return 42; }\n"

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "SAM2ACT_CACHE_DIR": str(tmp_path / "cache"), "CC": ""}


def write(folder: Path, text: str) -> Path:
    path = folder / "answer.c"
    path.write_text(text)
    return path


@needs_compiler
def test_library_is_compiled_once_per_source(tmp_path: Path, environment: dict[str, str]) -> None:
    cache = tmp_path / "cache"
    source = write(tmp_path, SOURCE)
    assert load_library(source, environment).answer() == 42
    (library,) = cache.iterdir()
    made = library.stat().st_mtime_ns
    load_library(source, environment)
    assert [library] == list(cache.iterdir()) and library.stat().st_mtime_ns == made
    assert load_library(write(tmp_path, SOURCE.replace("42", "43")), environment).answer() == 43
    assert len(list(cache.iterdir())) == 2


@needs_compiler
def test_processes_may_compile_at_the_same_time(tmp_path: Path, environment) -> None:
    source = write(tmp_path, SOURCE)
    program = (
        "import sys; from pathlib import Path; from sam2act.core.c_library import load_library; "
        "sys.exit(load_library(Path(sys.argv[1])).answer() != 42)"
    )
    command = [sys.executable, "-c", program, str(source)]
    running = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".so"]


@needs_compiler
def test_a_source_that_does_not_compile_is_named(tmp_path: Path, environment) -> None:
    with pytest.raises(CompilerError, match=r"(?s)answer.c.* failed: .*error"):
        load_library(write(tmp_path, "int answer(void) { return }\n"), environment)
    assert list((tmp_path / "cache").iterdir()) == []


@needs_compiler
def test_a_compiler_without_openmp_will_do(tmp_path: Path, environment) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    environment["CC"] = str(compiler)
    assert load_library(write(tmp_path, SOURCE), environment).answer() == 42


@needs_compiler
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, environment) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(CompilerError, match="file"):
        load_library(write(tmp_path, SOURCE), {**environment, "SAM2ACT_CACHE_DIR": f"{blocked}/x"})


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2act.core.c_library.COMPILERS", ("no-such-compiler",))
    with pytest.raises(CompilerError, match=r"no C compiler \(no-such-compiler\) is installed"):
        find_compiler({})


def test_compiler_of_the_environment_comes_first() -> None:
    assert find_compiler({"CC": "env -i"}) == (shutil.which("env"), "-i")


def test_folder_of_libraries() -> None:
    assert cache_folder({"SAM2ACT_CACHE_DIR": "/a/b"}) == Path("/a/b")
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/sam2act")
    assert cache_folder({}) == Path.home() / ".cache" / "sam2act"
