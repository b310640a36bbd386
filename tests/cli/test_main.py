"""The command `sam2act`: what it lists, what it imports, what it says of a wrong name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam2act import __version__
from sam2act.cli import main as program
from sam2act.cli.main import COMMANDS, EXAMPLES, main
from sam2act.cli.status import INTERRUPTED, READER_LEFT
from tests.in_process import run_main
from tests.places import REPOSITORY

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy", "scipy", "mujoco", "PIL"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
from sam2act.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def start(*arguments: str, blocked: bool = False) -> subprocess.CompletedProcess[str]:
    program = ["-c", BLOCK] if blocked else ["-m", "sam2act"]
    return subprocess.run(
        [sys.executable, *program, *arguments], cwd=REPOSITORY, capture_output=True, text=True
    )


def test_help_lists_every_command_once() -> None:
    lines = program.help_text().splitlines()
    for name, command in COMMANDS.items():
        assert [line for line in lines if line.startswith(f"  {name} ")] == [
            f"  {name:{max(map(len, COMMANDS))}}  {command.purpose}"
        ]
    assert sum(line.strip() in EXAMPLES for line in lines) == 2
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["doctor"]])
@pytest.mark.parametrize("buffering", [[], ["-u"]])
def test_output_that_nobody_reads_ends_a_command_quietly(
    arguments: list[str], buffering: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, *buffering, "-m", "sam2act", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == "" and done.returncode in (0, READER_LEFT)


def test_ctrl_c_while_a_command_is_imported_leaves_no_traceback() -> None:
    code = (
        "import os, signal, sys; from sam2act.cli import main\n"
        "main.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(main.main(['train']))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "\nInterrupted.\n")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"], ["--version"], []])
def test_help_and_version_need_the_standard_library_only(arguments: list[str]) -> None:
    done = start(*arguments, blocked=True)
    expected = f"sam2act {__version__}" if "--version" in arguments else program.help_text()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")


def test_a_subcommand_is_imported_when_it_runs() -> None:
    done = start("predict", "--help", blocked=True)
    assert done.returncode == 1 and "is blocked" in done.stderr


@pytest.mark.parametrize(
    ("name", "nearest"), [("trian", "train"), ("train-pluss", "train-plus"), ("evaluate", "eval")]
)
def test_an_unknown_command_names_the_nearest(
    name: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 2
    assert f"no command {name!r}; did you mean {nearest}?" in capsys.readouterr().err


def test_a_name_like_no_other_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert ", ".join(COMMANDS) in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_under_its_name(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sam2act"])
    if COMMANDS[name].module in ("compare_recordings", "demos", "fidelity", "play"):
        pytest.importorskip("mujoco")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: sam2act {name} ")


def test_underscores_in_the_name_of_a_command_are_dashes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sam2act"])
    with pytest.raises(SystemExit):
        main(["crop_demos", "--help"])
    assert "usage: sam2act crop-demos" in capsys.readouterr().out


def test_module_starts_the_command_and_passes_its_status_on(tmp_path: Path) -> None:
    done = start("store", "--data-folder", str(tmp_path / "none"), "--store-folder", str(tmp_path))
    assert done.returncode == 2 and "--data-folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_experiment_needs_a_checkout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["sam2act"])
    assert main(["experiment", "--describe", "--output", str(tmp_path / "out")]) == 0
    assert "Memory experiment on put_block_back" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("sam2act.cli.experiment.checkout", lambda: None)
    assert main(["experiment", "--describe"]) == 2
    assert "not part of an installed copy" in capsys.readouterr().err


def test_the_installed_command_is_this_one() -> None:
    text = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    assert '"console_scripts": ["sam2act = sam2act.cli.main:main"]' in text


@pytest.mark.parametrize(
    "start_of",
    [
        ["sam2act/train.py"],
        ["sam2act/train_plus.py"],
        ["sam2act/eval.py"],
        ["-m", "sam2act.train"],
        ["-m", "sam2act.train_plus"],
        ["-m", "sam2act.eval"],
        ["-m", "sam2act.doctor"],
        ["sam2act/doctor.py"],
    ],
    ids=" ".join,
)
def test_published_entry_points_are_the_same_commands(
    start_of: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sam2act"])
    monkeypatch.setenv("COLUMNS", "100")
    stem = Path(start_of[-1].rpartition("sam2act.")[2] if "-m" in start_of else start_of[-1]).stem
    command = COMMANDS[stem.replace("_", "-")]
    done = subprocess.run(
        [sys.executable, *start_of, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    same = run_main(program.main, stem, "--help")
    assert done.returncode == same.returncode == 0, done.stderr
    assert done.stdout.partition("\n\n")[2] == same.stdout.partition("\n\n")[2]
    assert command.module in ("train", "train_plus", "evaluate", "doctor")
