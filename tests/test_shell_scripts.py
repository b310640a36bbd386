"""What quickstart.sh and test.sh refuse, and what they leave alone. Nothing is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
STAMP = "0" * 64
# Answers like the interpreter of the tests, but makes no environment.
FAKE_PYTHON = f"""#!/bin/sh
case "$*" in
    *ensurepip*) exit 0 ;;
    "-m venv"*) exit 7 ;;
esac
exec "{sys.executable}" "$@"
"""


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    """The folders of two demos, as far as the scripts look at them."""
    for number in range(2):
        (tmp_path / f"demos/train/lift/all_variations/episodes/episode{number}").mkdir(parents=True)
    return tmp_path / "demos"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that holds what the scripts read before they install."""
    return _make_checkout(tmp_path / "checkout")


def _make_checkout(folder: Path) -> Path:
    (folder / "scripts").mkdir(parents=True)
    for name in ("environment.sh", "quickstart.sh", "test.sh"):
        shutil.copy(SCRIPTS / name, folder / "scripts")
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
    kept = {k: v for k, v in os.environ.items() if k not in ("SAM2ACT_VENV", "SAM2ACT_DEMOS_DIR")}
    return subprocess.run(
        ["bash", str(checkout / "scripts" / script), *map(str, arguments)],
        cwd=checkout.parent,
        env=kept | {name: str(value) for name, value in settings.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _arguments(script: str, demos: Path) -> list[str | Path]:
    return ["--data", demos] if script == "quickstart.sh" else []


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
@pytest.mark.parametrize("stamp", [None, "installed by me"])
def test_environment_of_the_user_is_kept(
    checkout: Path, demos: Path, script: str, stamp: str | None
) -> None:
    own = checkout.parent / "own"
    (own / "bin").mkdir(parents=True)
    (own / "bin" / "python").write_text("mine")
    if stamp:
        (own / "installed.txt").write_text(stamp)
    before = sorted(own.rglob("*"))
    done = _run(checkout, script, *_arguments(script, demos), SAM2ACT_VENV=own)
    assert done.returncode == 1
    assert f"{own} exists and was not made by this script" in done.stderr
    assert "SAM2ACT_VENV" in done.stderr and done.stdout == ""
    assert sorted(own.rglob("*")) == before
    assert (own / "bin" / "python").read_text() == "mine"


@pytest.mark.parametrize(
    ("stamp", "content"), [("installed.core", STAMP), ("installed.unfinished", "unfinished")]
)
def test_environment_of_the_script_is_renewed(
    checkout: Path, demos: Path, stamp: str, content: str
) -> None:
    made = checkout / ".venv"
    made.mkdir()
    (made / stamp).write_text(f"{content}\n")
    (made / "old").touch()
    done = _run(checkout, "quickstart.sh", "--data", demos)
    assert done.returncode == 7, done.stderr  # where the environment would be made
    assert [path.name for path in made.iterdir()] == ["installed.unfinished"]


@pytest.mark.parametrize("flag", ["--data", "--output"])
@pytest.mark.parametrize("rest", [[], [""], ["--quick"]])
def test_flag_without_its_value_stops(
    checkout: Path, demos: Path, flag: str, rest: list[str]
) -> None:
    done = _run(checkout, "quickstart.sh", flag, *rest, SAM2ACT_DEMOS_DIR=demos)
    assert done.returncode == 1 and f"{flag} needs a folder" in done.stderr
    assert done.stdout == "" and not (checkout / ".venv").exists()


def test_unknown_argument_shows_the_usage(checkout: Path) -> None:
    done = _run(checkout, "quickstart.sh", "--fast")
    assert done.returncode == 1
    assert "usage:" in done.stderr and "unknown argument --fast" in done.stderr


def test_without_demos_it_says_where_to_get_them(checkout: Path) -> None:
    nowhere = checkout.parent / "nowhere"
    done = _run(checkout, "quickstart.sh", "--data", nowhere)
    assert done.returncode == 2
    assert f"No demonstrations in {nowhere}" in done.stderr
    assert "download_assets.py --list" in done.stderr
    assert not (checkout / ".venv").exists()


def test_split_folder_given_as_data_is_recognised(checkout: Path, demos: Path) -> None:
    done = _run(checkout, "quickstart.sh", "--data", demos / "train")
    assert done.returncode == 2 and f"--data {demos}\n" in done.stderr


@pytest.mark.parametrize("flag", ["--data", "--output"])
def test_space_in_a_path_names_the_flag(checkout: Path, demos: Path, flag: str) -> None:
    done = _run(checkout, "quickstart.sh", flag, "my folder", SAM2ACT_DEMOS_DIR=demos)
    assert done.returncode == 1
    assert f"the path of {flag} must not contain spaces: {checkout.parent}/my folder" in done.stderr


def test_space_in_other_paths_names_them(tmp_path: Path, demos: Path) -> None:
    checkout = _make_checkout(tmp_path / "my checkout")
    done = _run(checkout, "quickstart.sh", "--data", demos)
    assert done.returncode == 1 and "the path of the checkout must not" in done.stderr
    done = _run(checkout, "quickstart.sh", SAM2ACT_DEMOS_DIR=tmp_path / "my demos")
    assert done.returncode == 1 and "the path of SAM2ACT_DEMOS_DIR must not" in done.stderr


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
    checkout: Path, demos: Path, script: str, python: str, message: str
) -> None:
    done = _run(checkout, script, *_arguments(script, demos), PYTHON=python)
    assert done.returncode == 1 and message in done.stderr
    assert done.stdout == "" and not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("script", "options", "minutes"),
    [
        ("quickstart.sh", [], "4 to 8 minutes"),
        ("quickstart.sh", ["--quick"], "1 to 3 minutes"),
        ("test.sh", [], "2 to 8 minutes"),
    ],
)
def test_announcement_tells_time_and_size(
    checkout: Path, demos: Path, script: str, options: list[str], minutes: str
) -> None:
    hidden = checkout / "bin"  # no GPU here, whatever the machine has
    hidden.mkdir()
    (hidden / "nvidia-smi").write_text("#!/bin/sh\nexit 1\n")
    (hidden / "nvidia-smi").chmod(0o755)
    path = f"{hidden}{os.pathsep}{os.environ['PATH']}"
    done = _run(checkout, script, *_arguments(script, demos), *options, PATH=path)
    assert done.returncode == 7, done.stderr
    assert minutes in done.stdout
    assert "1.4 GB where pip finds a CPU build of torch, else about 5 GB" in done.stdout
