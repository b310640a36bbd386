"""The command `sam2act`: finds the subcommand, imports its module and hands the rest over."""

from __future__ import annotations

import difflib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from threading import current_thread, main_thread

from sam2act import __version__
from sam2act.cli.status import DONE, INTERRUPTED, USER_ERROR, with_reader
from sam2act.runtime.console import make_output_safe


@dataclass(frozen=True)
class Command:
    """A subcommand: the module whose `main` it is, and what it does in a few words."""

    module: str
    purpose: str


GROUPS: dict[str, dict[str, Command]] = {
    "train and act": {
        "train": Command("train", "train SAM2Act (stage 1)"),
        "train-plus": Command("train_plus", "train SAM2Act+ (stage 2, the memory)"),
        "rl-train": Command("rl_train", "train DrQ-v2 or SVEA from pixels (DMControl, Adroit)"),
        "rl-eval": Command("rl_eval", "evaluate such an agent at levels of changed pictures"),
        "eval": Command("evaluate", "evaluate checkpoints in closed loop in a simulator"),
        "serve": Command("serve", "let a policy act for robots over a network"),
        "predict": Command("predict", "show what a checkpoint predicts on recorded demos"),
        "imagine": Command("imagine", "compare frames that UVA imagines with recorded ones"),
        "experiment": Command("experiment", "run the memory experiment from demos to report"),
        "mask-experiment": Command(
            "mask_experiment", "train plain and masked agents, evaluate them on perturbed scenes"
        ),
        "rl-experiment": Command(
            "rl_experiment", "train plain and masked agents of DMControl, evaluate them at levels"
        ),
        "compare": Command("compare", "train and evaluate presets on tasks: one table, one page"),
        "report": Command("report", "make one HTML page of evaluated run folders"),
    },
    "demonstrations": {
        "demos": Command("demos", "make scripted demos in the embedded simulator"),
        "play": Command("play", "film a scripted demo or a policy"),
        "replay": Command("replay", "replay scripted demos frame by frame, in closed loop"),
        "store": Command("store", "build, check and list the frame stores that training reads"),
        "mask-reference": Command("mask_reference", "make reference images and masks of SAM-G"),
        "mask-report": Command("mask_report", "make a page of what masked agents see"),
        "mask-demos": Command("mask_demos", "make the masks of demos before training"),
        "convert-data": Command(
            "convert_data", "convert episodes between RLBench, LeRobot and zarr, without loss"
        ),
        "check-recording": Command(
            "check_recording", "make a page that checks calibration and keyframes of a recording"
        ),
        "crop-demos": Command("crop_demos", "make recorded images smaller"),
        "compare-recordings": Command(
            "compare_recordings", "compare the embedded simulator with recorded RLBench demos"
        ),
        "fidelity": Command(
            "fidelity", "compare the embedded scenes with facts of the published ones"
        ),
    },
    "files and installation": {
        "assets": Command("assets", "download public weights"),
        "convert": Command("convert", "convert checkpoints from and to the released form"),
        "export": Command("export", "write a policy as a folder of a model hub"),
        "doctor": Command("doctor", "say what is installed, what it enables, how to get the rest"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
EXAMPLES = (
    "sam2act demos --tasks put_block_back --episodes 100 --output data_memory/train",
    "sam2act eval --model-folder runs/x --model-name model_last.pth --tasks put_block_back",
)


def help_text() -> str:
    """All subcommands, by group, one line each."""
    width = max(map(len, COMMANDS))
    lines = ["usage: sam2act COMMAND [options]", ""]
    for title, group in GROUPS.items():
        lines.append(f"{title}:")
        lines += [f"  {name:{width}}  {command.purpose}" for name, command in group.items()]
        lines.append("")
    lines += ["examples:", *(f"  {line}" for line in EXAMPLES), ""]
    lines += [
        "sam2act COMMAND --help says more; sam2act --version says which version this is.",
        "Options may be written with dashes or underscores. A command ends with 0 if it is done,",
        "2 if there is something for you to mend, 130 if it was interrupted, else with 1.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    make_output_safe()
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    return with_reader(lambda: _run(name, rest))


def _run(name: str, rest: Sequence[str]) -> int:
    """The exit status of the subcommand `name`."""
    if name in ("-h", "--help", "help"):
        print(help_text())
        return DONE
    if name == "--version":
        print(f"sam2act {__version__}")
        return DONE
    command = COMMANDS.get(name.replace("_", "-"))
    if command is None:
        print(_unknown(name), file=sys.stderr)
        return USER_ERROR
    # What the parser of the subcommand shows as the name of the program.
    sys.argv[0] = f"sam2act {name.replace('_', '-')}"
    with _ending_at_once():
        module = import_module(f"sam2act.cli.{command.module}")
    return int(module.main(rest))


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """Let Ctrl-C end the program without a traceback while there is nothing to clean up.

    An exception would not do: compiled modules turn it into an error of their import.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or current_thread() is not main_thread():
        yield  # somebody has decided otherwise
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(*_: object) -> None:
    os.write(2, b"\nInterrupted.\n")
    os._exit(INTERRUPTED)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), COMMANDS, 1, 0.5)
    guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}."
    return f"sam2act: no command {name!r}; {guess} See sam2act --help."


if __name__ == "__main__":
    sys.exit(main())
