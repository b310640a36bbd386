"""What the command lines of all commands have in common; needs the standard library alone."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sam2act.runtime.console import make_output_safe

DEVICE_HELP = (
    "cpu, cuda, cuda:N, auto (a GPU if there is one, else the CPU), or N: GPU N where there are "
    "GPUs, else auto; under torchrun every process takes its own (default: 0)"
)
TASKS_HELP = (
    "task names, `all` for the 18 of RLBench, `memorybench` for its three (both together are 21), "
    "`colosseum` for its six, `colosseum_2` for those under its index 2"
)


class ArgumentParser(argparse.ArgumentParser):
    """A parser whose options may be written with dashes or underscores alike.

    The help shows the spelling with which an option was added, and keeps the layout of the
    description.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)

    def _print_message(self, message: str, file: Any = None) -> None:
        make_output_safe()
        super()._print_message(message, file)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args(self._in_known_spelling(given), namespace)

    def _in_known_spelling(self, args: Sequence[str]) -> list[str]:
        """`args` with every long option spelt as it was added; nothing after `--` is touched."""
        args = list(args)
        end = args.index("--") if "--" in args else len(args)
        return [self._respelt(arg) for arg in args[:end]] + args[end:]

    def _respelt(self, arg: str) -> str:
        name, equals, value = arg.partition("=")
        if not name.startswith("--") or " " in name:
            return arg
        known = [option for option in self._option_string_actions if option.startswith("--")]
        exact = [option for option in known if _plain(option) == _plain(name)]
        begun = [option for option in known if _plain(option).startswith(_plain(name))]
        # Both spellings are of one length, so an abbreviation is the beginning of its option.
        spellings = {option[: len(name)] for option in exact or begun * self.allow_abbrev}
        if name in spellings or len(spellings) != 1:
            return arg
        return spellings.pop() + equals + value


def _plain(option: str) -> str:
    return option.replace("_", "-")


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """`message` with the flags of a command in place of the configuration keys that it names.

    Args:
        message: of an error.
        flags: what messages call a setting -> its flag.
    """
    for key, flag in flags.items():
        message = re.sub(rf"(?<![\w/.-]){re.escape(key)}(?![\w/.-])", flag, message)
    return message


def positive_number(text: str) -> int:
    """A whole number above 0.

    Raises:
        argparse.ArgumentTypeError: `text` is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def add_device(
    to: argparse.ArgumentParser | argparse._ArgumentGroup, default: str | None = "0"
) -> None:
    """The option `--device`, to be read by `runtime.devices.choose_device`."""
    to.add_argument("--device", default=default, help=DEVICE_HELP)
