"""How commands end: one meaning of every exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sam2act.core.errors import UserError
from sam2act.core.files import report_error
from sam2act.runtime.console import drop_output, make_output_safe, reader_left

DONE = 0
FAULT = 1  # of the program or of a simulator, not of the user
USER_ERROR = 2  # as argparse ends, too
INTERRUPTED = 130  # Ctrl-C, as shells use it
READER_LEFT = 141  # the output went to a program that has ended, such as `head`; as shells use it


def run_command(
    work: Callable[[], int],
    user_errors: tuple[type[Exception], ...] = (),
    interrupted: str = "Interrupted.",
) -> int:
    """The exit status of `work`, or that of the error with which it ended.

    Args:
        work: does what the command is for and returns its status.
        user_errors: beside `UserError` and what the operating system refuses, the errors whose
            one line tells the user what to mend.
        interrupted: what is said after Ctrl-C.
    """
    make_output_safe()
    theirs: tuple[type[Exception], ...] = (UserError, OSError, *user_errors)
    try:
        return with_reader(work)
    except theirs as error:
        return report_error(error, USER_ERROR)
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return INTERRUPTED


def with_reader(work: Callable[[], int]) -> int:
    """The exit status of `work`; a quiet `READER_LEFT` if the output's reader ended before it."""
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not reader_left():
            raise  # another pipe
        drop_output()
        return READER_LEFT
