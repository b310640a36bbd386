"""What quickstart.sh and test.sh refuse, and what they leave alone. Nothing is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import SCRIPTS

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
STAMP = "0" * 64
# Answers like the interpreter of the tests, but makes no environment and sees no installed package.
FAKE_PYTHON = f"""#!/bin/sh
case "$*" in
    *ensurepip*) exit 0 ;;
    "-m venv"*) exit 7 ;;
esac
exec "{sys.executable}" -E -S "$@"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that holds what the scripts read before they install."""
    return _make_checkout(tmp_path / "checkout")


def _make_checkout(folder: Path) -> Path:
    (folder / "scripts").mkdir(parents=True)
    scripts = ("environment.sh", "quickstart.sh", "test.sh")
    for name in (*scripts, "memory_experiment.py"):
        shutil.copy(SCRIPTS / name, folder / "scripts")
    (folder / "sam2act").symlink_to(SCRIPTS.parent / "sam2act")
    (folder / "requirements").mkdir()
    for name in ("setup.py", "requirements/constraints-cpu.txt"):
        (folder / name).touch()
    python = folder / "fake_python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return folder


def _run(
    checkout: Path, script: str, *arguments: str | Path, **environment: str | Path
) -> subprocess.CompletedProcess[str]:
    settings = {"PYTHON": checkout / "fake_python", **environment}
    kept = {k: v for k, v in os.environ.items() if k != "SAM2ACT_VENV"}
    return subprocess.run(
        ["bash", str(checkout / "scripts" / script), *map(str, arguments)],
        cwd=checkout.parent,
        env=kept | {name: str(value) for name, value in settings.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
@pytest.mark.parametrize("stamp", [None, "installed by me"])
def test_environment_of_the_user_is_kept(checkout: Path, script: str, stamp: str | None) -> None:
    own = checkout.parent / "own"
    (own / "bin").mkdir(parents=True)
    (own / "bin" / "python").write_text("mine")
    if stamp:
        (own / "installed.txt").write_text(stamp)
    before = sorted(own.rglob("*"))
    done = _run(checkout, script, SAM2ACT_VENV=own)
    assert done.returncode == 1
    assert f"{own} exists and was not made by this script" in done.stderr
    assert "SAM2ACT_VENV" in done.stderr and done.stdout == ""
    assert sorted(own.rglob("*")) == before
    assert (own / "bin" / "python").read_text() == "mine"


@pytest.mark.parametrize(
    ("stamp", "content"), [("installed.core", STAMP), ("installed.unfinished", "unfinished")]
)
def test_environment_of_the_script_is_renewed(checkout: Path, stamp: str, content: str) -> None:
    made = checkout / ".venv"
    made.mkdir()
    (made / stamp).write_text(f"{content}\n")
    (made / "old").touch()
    done = _run(
        checkout,
        "quickstart.sh",
    )
    assert done.returncode == 7, done.stderr  # where the environment would be made
    assert [path.name for path in made.iterdir()] == ["installed.unfinished"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task",), "expected one argument"),
        (("--task", "lift"), "put_block_back"),
        (("--fast",), "unrecognized arguments: --fast"),
        (("--hel",), "unrecognized arguments: --hel"),
        (("--desc",), "unrecognized arguments: --desc"),
        (("--minutes", "0"), "not a positive number"),
        (("--seed", "-1"), "not a natural number"),
        (("--quick", "--size", "full"), "--quick is for --size tiny"),
        (("--output", "my folder"), "must not contain spaces"),
    ],
)
def test_wrong_argument_is_named_before_anything_is_installed(
    checkout: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = _run(checkout, "quickstart.sh", *arguments)
    assert done.returncode != 0 and message in done.stderr
    assert done.stdout == "" and not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("-h", "usage: memory_experiment.py"),
        ("-hh", "usage: memory_experiment.py"),
        ("--help", "usage: memory_experiment.py"),
        ("--describe", "Memory experiment on put_block_back"),
    ],
)
def test_questions_are_answered_without_an_installation(
    checkout: Path, argument: str, answer: str
) -> None:
    done = _run(checkout, "quickstart.sh", "--seed", "1", argument)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(answer) and "installation" not in done.stdout
    assert not (checkout / ".venv").exists()


def test_relative_output_is_meant_from_where_the_user_stands(checkout: Path) -> None:
    done = _run(checkout, "quickstart.sh", "--output", "here")
    assert f"written below {checkout.parent / 'here'}." in done.stdout
    done = _run(checkout, "quickstart.sh")
    assert f"written below {checkout / 'quickstart_output'}." in done.stdout


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("/bin/false", "/bin/false is not a Python interpreter"),
        ("/bin/echo", "/bin/echo is not a Python interpreter"),
        ("no-such-python", "no no-such-python; install Python"),
    ],
)
def test_wrong_python_is_named_before_anything_is_announced(
    checkout: Path, script: str, python: str, message: str
) -> None:
    done = _run(checkout, script, PYTHON=python)
    assert done.returncode == 1 and message in done.stderr
    assert done.stdout == "" and not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("script", "options", "minutes"),
    [
        ("quickstart.sh", [], "12 to 31 minutes on two cores of an AMD EPYC"),
        ("quickstart.sh", ["--quick"], "3 to 5 minutes on two cores of an AMD EPYC"),
        ("test.sh", [], "11 to 14 minutes\non two quiet cores of an AMD EPYC"),
    ],
)
def test_announcement_tells_time_and_size(
    checkout: Path, script: str, options: list[str], minutes: str
) -> None:
    hidden = checkout / "bin"  # no GPU here, whatever the machine has
    hidden.mkdir()
    (hidden / "nvidia-smi").write_text("#!/bin/sh\nexit 1\n")
    (hidden / "nvidia-smi").chmod(0o755)
    path = f"{hidden}{os.pathsep}{os.environ['PATH']}"
    done = _run(checkout, script, *options, PATH=path)
    assert done.returncode == 7, done.stderr
    assert minutes in done.stdout
    assert "1.4 GB where pip finds a CPU build of torch, else about 5 GB" in done.stdout
