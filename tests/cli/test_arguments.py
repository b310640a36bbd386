"""What all command lines have in common: spellings, devices, exit statuses."""

from __future__ import annotations

import argparse
import ast
import errno
from importlib import import_module
from pathlib import Path

import pytest

from sam2act.cli import status
from sam2act.cli.arguments import DEVICE_HELP, ArgumentParser, add_device
from sam2act.cli.evaluate import build_parser as eval_parser
from sam2act.cli.main import COMMANDS
from sam2act.cli.status import run_command
from sam2act.cli.training import build_parser as training_parser
from sam2act.core.errors import ConfigError

CLI = Path(status.__file__).parent


@pytest.mark.parametrize("spelling", ["--exp_cfg_path", "--exp-cfg-path", "--exp_cfg-path"])
@pytest.mark.parametrize("joined", [True, False])
def test_published_options_take_dashes(spelling: str, joined: bool) -> None:
    given = [f"{spelling}=a_b-c.yaml"] if joined else [spelling, "a_b-c.yaml"]
    for parser in (training_parser(""), eval_parser()):
        assert parser.parse_args(given).exp_cfg_path == "a_b-c.yaml"


def test_our_options_take_underscores() -> None:
    args = eval_parser().parse_args(
        ["--model_folder", "runs/x_y", "--model_name", "a_1.pth", "--no_clip_targets"]
    )
    assert (str(args.model_folder), args.model_name) == ("runs/x_y", ["a_1.pth"])
    assert args.clip_targets is False


def test_abbreviations_take_both_spellings() -> None:
    parser = training_parser("")
    assert parser.parse_args(["--refresh-rep"]).refresh_replay
    assert parser.parse_args(["--log_d", "x"]).log_dir == "x"


def test_without_abbreviations_only_whole_options_are_respelt() -> None:
    parser = ArgumentParser(allow_abbrev=False)
    parser.add_argument("--stage-one")
    assert parser.parse_args(["--stage_one", "a"]).stage_one == "a"
    with pytest.raises(SystemExit):
        parser.parse_args(["--stage_o", "a"])


def test_an_exact_option_wins_over_a_longer_one() -> None:
    parser = ArgumentParser()
    parser.add_argument("--demo_data")
    parser.add_argument("--demo-data-start")
    args = parser.parse_args(["--demo-data", "a", "--demo_data_start", "b"])
    assert (args.demo_data, args.demo_data_start) == ("a", "b")


def test_values_and_what_follows_two_dashes_stay() -> None:
    parser = ArgumentParser()
    parser.add_argument("--log-name")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args(["--log_name", "x_y", "--", "--log_name"])
    assert (args.log_name, args.files) == ("x_y", ["--log_name"])


def test_help_keeps_the_published_spelling() -> None:
    text = training_parser("").format_help()
    assert "--exp_cfg_path" in text and "--exp-cfg-path EXP" not in text
    assert "--log-dir" in text and "--log_dir" not in text


def test_every_command_uses_the_shared_parser() -> None:
    for path in CLI.glob("*.py"):
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        assert "argparse.ArgumentParser" not in calls, path


def test_every_device_option_says_the_same() -> None:
    found = [
        action
        for parser in (training_parser(""), eval_parser(), _predict_parser())
        for action in parser._actions
        if action.dest == "device"
    ]
    assert {(action.default, action.help) for action in found} == {("0", DEVICE_HELP)}
    assert len(found) == 3
    uses = [path.name for path in CLI.glob("*.py") if '"--device"' in path.read_text("utf-8")]
    assert uses == ["arguments.py"]
    parser = ArgumentParser()
    add_device(parser)
    assert parser.parse_args([]).device == "0"


def _predict_parser() -> argparse.ArgumentParser:
    parser = import_module("sam2act.cli.predict").build_parser()
    assert isinstance(parser, ArgumentParser)
    return parser


def _raise(error: BaseException) -> int:
    raise error


def test_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    class OwnError(RuntimeError):
        pass

    assert run_command(lambda: 0) == 0
    assert run_command(lambda: 1) == 1
    assert run_command(lambda: _raise(ConfigError("bs: mend it"))) == 2
    assert capsys.readouterr().err == "ConfigError: bs: mend it\n"
    assert run_command(lambda: _raise(OwnError("and this")), (OwnError,)) == 2
    assert run_command(lambda: _raise(FileNotFoundError(2, "No such file", "x.yaml"))) == 2
    assert "x.yaml: No such file" in capsys.readouterr().err
    assert run_command(lambda: _raise(KeyboardInterrupt()), (), "Stopped; go on.") == 130
    assert capsys.readouterr().err == "\nStopped; go on.\n"


@pytest.mark.parametrize("fault", [KeyError("x"), ValueError("x"), OSError("no number")])
def test_a_fault_of_the_program_keeps_its_traceback(fault: Exception) -> None:
    with pytest.raises(type(fault)):
        run_command(lambda: _raise(fault))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_ends_with_two(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if COMMANDS[name].module in ("compare_recordings", "fidelity"):
        pytest.importorskip("mujoco")
    module = import_module(f"sam2act.cli.{COMMANDS[name].module}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--no-such-option"])
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_broken_pipe_that_is_not_the_output_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(lambda: _raise(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 2
    assert "Broken pipe" in capsys.readouterr().err
