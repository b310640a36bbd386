"""How the steps of the memory experiment are stopped: in time, by Ctrl-C, by other signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.places import SCRIPTS

# The experiment with one step in place of its own; settings of its parts come before `main`.
DRIVER = """
import sys
sys.path.insert(0, {scripts!r})
import memory_experiment as script
step = script.Step("child", (sys.executable, "-c", {child!r}, {folder!r}))
script.Experiment.steps = lambda self: [step, step]
{settings}
sys.exit(script.main(["--output", {folder!r}, *sys.argv[1:]]))
"""
# Writes a line per signal, and ends one second after the first one.
POLITE = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
folder.joinpath("child").write_text(str(os.getpid()))
received = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: received.append(signal.Signals(number).name))
folder.joinpath("began").open("a").write("x")
while not received:
    time.sleep(0.02)
limit = time.monotonic() + {seconds}
while time.monotonic() < limit:
    time.sleep(0.02)
folder.joinpath("received").write_text(" ".join(received))
"""
# Ignores everything, and so does a process that it starts.
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
pathlib.Path(sys.argv[1], "child").write_text(str(os.getpid()))
signal.signal(signal.SIGINT, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1], "worker").write_text(str(worker.pid))
pathlib.Path(sys.argv[1], "began").touch()
time.sleep(60)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the experiment in a process group of its own and waits for its first step."""
    started = []

    def begin(child: str, *flags: str, settings: str = "", **options) -> subprocess.Popen[str]:
        program = DRIVER.format(
            scripts=str(SCRIPTS), child=child, folder=str(tmp_path), settings=settings
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, *flags],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        wait_for(tmp_path / "began")
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()
    with suppress(OSError):  # has ended, unless the test has failed
        child = int((tmp_path / "child").read_text())
        if str(tmp_path) in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(child, signal.SIGKILL)


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < limit, f"no {path}"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to_group", [False, True], ids=["process", "group"])
def test_a_signal_reaches_the_command_once_and_as_an_interrupt(
    start: Start, tmp_path: Path, number: signal.Signals, to_group: bool
) -> None:
    process = start(POLITE.format(seconds=1))
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert (tmp_path / "received").read_text() == "SIGINT"
    assert (tmp_path / "began").read_text() == "x", "the next step must not begin"
    assert errors.endswith("child: interrupted. The same command continues.\n")


def test_signals_in_quick_succession_are_one_request(start: Start, tmp_path: Path) -> None:
    settings = "from sam2act.runtime import steps; steps.BURST_SECONDS = 9"
    process = start(POLITE.format(seconds=1.5), settings=settings)
    for _ in range(2):  # as coreutils' timeout does
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.3)
    assert process.wait(20) == 130
    assert (tmp_path / "received").read_text() == "SIGINT"


def test_a_second_request_is_passed_on(start: Start, tmp_path: Path) -> None:
    settings = "from sam2act.runtime import steps; steps.BURST_SECONDS = 0.2"
    process = start(POLITE.format(seconds=2), settings=settings)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.7)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    assert (tmp_path / "received").read_text() == "SIGINT SIGINT"


SOON = "from sam2act.runtime import steps; steps.LEAST_SECONDS = 0.1"


def test_a_step_that_takes_too_long_is_interrupted(start: Start, tmp_path: Path) -> None:
    process = start(POLITE.format(seconds=0), "--minutes", "0.05", settings=SOON)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 3
    assert (tmp_path / "received").read_text() == "SIGINT"
    assert errors.endswith("child: the time is up. The same command continues.\n")
    (durations,) = tmp_path.glob("durations_*.txt")
    assert re.fullmatch(r"child\t\d+ seconds\t\d+ CPU seconds\n", durations.read_text())


def test_the_deadline_holds_where_interrupts_are_ignored(start: Start, tmp_path: Path) -> None:
    child = POLITE.format(seconds=0).replace("signal.SIGINT, ", "")  # Python's own handler

    def ignore() -> None:  # as for a background job of a shell script
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = start(child, "--minutes", "0.05", settings=SOON, preexec_fn=ignore)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 3 and "KeyboardInterrupt" in errors


def test_a_command_that_does_not_end_is_killed_with_its_processes(
    start: Start, tmp_path: Path
) -> None:
    settings = "from sam2act.runtime import steps; steps.SAVING_SECONDS = 0.5"
    process = start(STUBBORN, settings=settings)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(20) == 130
    worker = Path("/proc", (tmp_path / "worker").read_text(), "stat")
    limit = time.monotonic() + 10
    while worker.exists() and worker.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_no_step_begins_shortly_before_the_deadline(tmp_path: Path) -> None:
    program = DRIVER.format(scripts=str(SCRIPTS), child="", folder=str(tmp_path), settings="")
    done = subprocess.run(
        [sys.executable, "-c", program, "--minutes", "0.05"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 3 and "== child" not in done.stdout
    assert "child: the time is up" in done.stderr
    assert not list(tmp_path.glob("durations_*.txt"))
