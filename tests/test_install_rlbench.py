"""What install_rlbench.sh asks for, keeps and refuses. Nothing is downloaded or installed here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.places import REPOSITORY

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "tar", "xz", "sha256sum"))) or sys.platform != "linux",
    reason="needs bash, tar, xz and sha256sum on Linux",
)
COMMITS = {"sam2act": "1" * 40, "RLBench": "2" * 40, "fork": "4" * 40}
PUBLISHED = "https://github.com/sam2act/sam2act.git"
# Notes what pip is asked to install; lines of a requirement file appear with their variables.
FAKE_PYTHON = f"""#!/usr/bin/env bash
here="$(dirname "$0")"
case "$*" in
    "-m pip --version") exit 0 ;;
    "-m pip freeze") cat "$here/freeze" ;;
    "-m pip install"*)
        echo "$*" >>"$here/pip.log"
        if [[ "$*" == *" -r "* ]]; then
            [ ! -e "$here/refuse" ] || exit 1
            eval "echo \\"$(cat "${{@: -1}}")\\"" >>"$here/freeze"
        fi ;;
    "-m sam2act.doctor") echo "COPPELIASIM_ROOT=$COPPELIASIM_ROOT LD=$LD_LIBRARY_PATH" ;;
    *) exec "{sys.executable}" "$@" ;;
esac
"""
FAKE_GIT = f"""#!/usr/bin/env bash
case "$2" in
    */sam2act.git) echo "{COMMITS["sam2act"]}	HEAD" ;;
    */RLBench.git) echo "{COMMITS["RLBench"]}	HEAD" ;;
    */fork.git) echo "{COMMITS["fork"]}	HEAD" ;;
    *) exit 128 ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with interpreters that only take notes."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, source in (("python", FAKE_PYTHON), ("git", FAKE_GIT), ("cc", "#!/bin/sh\n")):
        (folder / name).write_text(source)
        (folder / name).chmod(0o755)
    (folder / "freeze").touch()
    (folder / "pip.log").touch()
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive laid out like CoppeliaSim's."""
    return make_archive(tmp_path, "libcoppeliaSim.so")


def make_archive(folder: Path, member: str) -> Path:
    source = folder / "CoppeliaSim_Edu"
    source.mkdir()
    (source / member).write_text("library")
    path = folder / "archive.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.add(source, source.name)
    return path


def run(
    tools: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    names = ("COPPELIASIM_ROOT", "COPPELIASIM_ARCHIVE", "COPPELIASIM_SHA256", "LD_LIBRARY_PATH")
    ours = ("PYREP", "RLBENCH", "YARR")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in names and not name.startswith(ours)
    }
    kept |= {"PATH": f"{tools}{os.pathsep}{kept['PATH']}", "PYTHON": str(tools / "python")}
    return subprocess.run(
        ["bash", str(REPOSITORY / "scripts/install_rlbench.sh"), *map(str, arguments)],
        cwd=tools.parent,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def installed(tools: Path) -> list[str]:
    return (tools / "freeze").read_text().split("\n")[:-1]


def expected(name: str) -> str:
    """By default the fork of package `name` in the SAM2Act repository, in a form that pip reads."""
    text = f"{name.lower()} @ git+{PUBLISHED}@{COMMITS['sam2act']}#subdirectory=sam2act/libs/{name}"
    assert Requirement(text).url == text.split(" @ ")[1]
    return text


def test_help_names_every_setting(tools: Path) -> None:
    done = run(tools, "--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in ("--coppeliasim", "--prefix", "--without-yarr", "COPPELIASIM_SHA256"):
        assert name in done.stdout
    for name in ("PYREP", "RLBENCH", "YARR"):
        for setting in ("REPOSITORY", "SUBDIRECTORY", "COMMIT"):
            assert f"{name}_{setting}" in done.stdout
    assert installed(tools) == []


def test_everything_is_installed_in_order(tools: Path, archive: Path) -> None:
    done = run(tools, "--coppeliasim", archive.name, "--prefix", "my place")
    assert done.returncode == 0, done.stderr
    root = tools.parent / "my place/CoppeliaSim"
    assert (root / "libcoppeliaSim.so.1").resolve() == (root / "libcoppeliaSim.so").resolve()
    assert installed(tools) == [expected("PyRep"), expected("RLBench"), expected("YARR")]
    calls = (tools / "pip.log").read_text().splitlines()
    assert ".[rlbench]" in calls[0] and len(calls) == 4
    assert all("--no-deps --no-build-isolation" in call for call in calls[1:])
    assert f"COPPELIASIM_ROOT={root} LD={root}" in done.stdout
    assert f"source {root.parent}/rlbench.env" in done.stdout


def test_notes_set_up_a_shell(tools: Path, archive: Path) -> None:
    run(tools, "--coppeliasim", archive, "--prefix", "my place")
    script = 'set -eu; source "$1"; printf "%s\n" "$COPPELIASIM_ROOT" "$LD_LIBRARY_PATH" '
    script += '"$QT_QPA_PLATFORM_PLUGIN_PATH" "$RLBENCH_SUBDIRECTORY" "$RLBENCH_COMMIT"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(tools.parent / "my place/rlbench.env")],
        env={"LD_LIBRARY_PATH": "/a"},
        capture_output=True,
        text=True,
        check=True,
    )
    root = str(tools.parent / "my place/CoppeliaSim")
    fork = ["sam2act/libs/RLBench", COMMITS["sam2act"]]
    assert done.stdout.splitlines() == [root, f"/a:{root}", root, *fork]


def test_second_run_changes_nothing(tools: Path, archive: Path) -> None:
    prefix = tools.parent / "place"
    assert run(tools, "--coppeliasim", archive, "--prefix", prefix).returncode == 0
    before, notes = installed(tools), (prefix / "rlbench.env").read_text()
    (prefix / "CoppeliaSim/mine").touch()
    (tools / "git").write_text("#!/bin/sh\nexit 128\n")  # a newer commit would not be looked for
    done = run(tools, "--prefix", prefix)
    assert done.returncode == 0, done.stderr
    assert installed(tools) == before and (prefix / "CoppeliaSim/mine").exists()
    assert (prefix / "rlbench.env").read_text() == notes
    assert done.stdout.count("is installed from") == 3


def test_fork_replaces_the_noted_repository_and_commit(tools: Path, archive: Path) -> None:
    prefix = tools.parent / "place"
    run(tools, "--coppeliasim", archive, "--prefix", prefix, "--without-yarr")
    assert installed(tools) == [expected("PyRep"), expected("RLBench")]
    fork = "https://example.org/fork.git"
    run(tools, "--prefix", prefix, "--without-yarr", RLBENCH_REPOSITORY=fork)
    found = f"rlbench @ git+{fork}@{COMMITS['fork']}#subdirectory=."
    assert installed(tools)[2:] == [found] and Requirement(found).name == "rlbench"
    run(tools, "--prefix", prefix, "--without-yarr", RLBENCH_COMMIT="5" * 40)
    assert installed(tools)[3:] == [f"rlbench @ git+{fork}@{'5' * 40}#subdirectory=."]
    run(tools, "--prefix", prefix, "--without-yarr", RLBENCH_SUBDIRECTORY="libs/bench")
    assert installed(tools)[4:] == [f"rlbench @ git+{fork}@{'5' * 40}#subdirectory=libs/bench"]
    run(tools, "--prefix", prefix, "--without-yarr")
    assert len(installed(tools)) == 5, "what was chosen is noted"


@pytest.mark.parametrize("address", [PUBLISHED, PUBLISHED[: -len(".git")] + "/"])
def test_the_published_repository_is_known_by_other_spellings(
    tools: Path, archive: Path, address: str
) -> None:
    commit = "6" * 40
    arguments = ("--prefix", "place", "--coppeliasim", archive, "--without-yarr")
    run(tools, *arguments, RLBENCH_REPOSITORY=address, RLBENCH_COMMIT=commit)
    wanted = f"rlbench @ git+{address}@{commit}#subdirectory=sam2act/libs/RLBench"
    assert installed(tools)[1:] == [wanted]


def test_a_note_without_folders_keeps_to_its_repository(tools: Path, archive: Path) -> None:
    """As earlier versions of the script wrote it."""
    place, upstream = tools.parent / "place", "https://github.com/stepjam/RLBench.git"
    place.mkdir()
    noted = {"RLBENCH_REPOSITORY": upstream, "RLBENCH_COMMIT": COMMITS["RLBench"]}
    text = "".join(f"export {name}={value}\n" for name, value in noted.items())
    (place / "rlbench.env").write_text(text)
    run(tools, "--prefix", place, "--coppeliasim", archive, "--without-yarr")
    wanted = f"rlbench @ git+{upstream}@{COMMITS['RLBench']}#subdirectory=."
    assert installed(tools) == [expected("PyRep"), wanted]


def test_own_coppeliasim_is_used_in_place(tools: Path) -> None:
    own = tools.parent / "own"
    own.mkdir()
    done = run(tools, "--prefix", "place", COPPELIASIM_ROOT=str(own))
    assert done.returncode == 1 and "no libcoppeliaSim.so in" in done.stderr
    (own / "libcoppeliaSim.so").touch()
    done = run(tools, "--prefix", "place", COPPELIASIM_ROOT=str(own))
    assert done.returncode == 0 and f"COPPELIASIM_ROOT={own}" in done.stdout
    assert not (tools.parent / "place/CoppeliaSim").exists()


def test_missing_archive_is_asked_for(tools: Path) -> None:
    done = run(tools, "--prefix", "place")
    assert done.returncode == 1 and installed(tools) == []
    assert "CoppeliaSim_Edu_V4_1_0_Ubuntu20_04.tar.xz" in done.stderr
    assert "--coppeliasim" in done.stderr
    done = run(tools, "--prefix", "place", "--coppeliasim", "nowhere.tar.xz")
    assert done.returncode == 1 and "nowhere.tar.xz: no such file" in done.stderr
    done = run(tools, "--prefix", "place", "--coppeliasim", "http://127.0.0.1:9/a.tar.xz")
    assert done.returncode == 1 and "cannot be downloaded" in done.stderr


def test_damaged_or_other_archive_leaves_nothing(tools: Path, tmp_path: Path) -> None:
    archive = make_archive(tmp_path, "something_else")
    for content, message in ((archive.read_bytes(), "no libcoppeliaSim.so"), (b"x", "unpacked")):
        archive.write_bytes(content)
        done = run(tools, "--prefix", "place", "--coppeliasim", archive)
        assert done.returncode == 1 and message in done.stderr
        assert not (tmp_path / "place/CoppeliaSim").exists()


def test_digest_is_compared(tools: Path, archive: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    arguments = ("--prefix", "place", "--coppeliasim", archive)
    done = run(tools, *arguments, COPPELIASIM_SHA256="0" * 64)
    assert done.returncode == 1 and f"SHA-256 is {digest}, not {'0' * 64}" in done.stderr
    assert not (tools.parent / "place/CoppeliaSim").exists()
    assert run(tools, *arguments, COPPELIASIM_SHA256=digest).returncode == 0


def test_unreachable_repository_is_named(tools: Path, archive: Path) -> None:
    arguments = ("--prefix", "place", "--coppeliasim", archive)
    done = run(tools, *arguments, YARR_REPOSITORY="https://example.org/gone.git")
    assert done.returncode == 1 and "gone.git cannot be reached" in done.stderr
    assert "YARR_REPOSITORY" in done.stderr and installed(tools) == []


def test_failing_build_stops(tools: Path, archive: Path) -> None:
    (tools / "refuse").touch()
    done = run(tools, "--prefix", "place", "--coppeliasim", archive)
    assert done.returncode == 1 and "pyrep cannot be installed from git+" in done.stderr
    assert "PYREP_SUBDIRECTORY" in done.stderr
    assert "RLBench" not in (tools / "freeze").read_text()


def test_unrelated_package_is_to_be_removed_first(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign/pyrep").mkdir(parents=True)
    (tmp_path / "foreign/pyrep/__init__.py").touch()
    done = run(tools, PYTHONPATH=str(tmp_path / "foreign"))
    assert done.returncode == 1 and "pip uninstall pyrep" in done.stderr
    assert "another project" in done.stderr and installed(tools) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fast"], "unknown argument --fast"),
        (["--prefix"], "--prefix needs a value"),
        (["--coppeliasim", "--prefix"], "--coppeliasim needs a value"),
    ],
)
def test_wrong_arguments_are_named(tools: Path, arguments: list[str], message: str) -> None:
    done = run(tools, *arguments)
    assert done.returncode == 1 and message in done.stderr and done.stdout == ""
