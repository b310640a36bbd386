"""Writing files whole, and what the operating system refuses, in one line."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sam2act.core.files import naming, one_line, replacing, report_error
from sam2act.policies.checkpoint import save_checkpoint
from tests.places import REPOSITORY
from tests.training import tiny_run


def test_replaced_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with replacing(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("second")
        raise ZeroDivisionError
    assert path.read_text() == "first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_errors_without_a_name_get_one_and_a_remedy(tmp_path: Path, capsys, number: int) -> None:
    with pytest.raises(OSError) as raised, naming(tmp_path / "weights.pth"):
        raise OSError(number, "refused")
    assert report_error(raised.value) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'weights.pth'}: refused; " in line and len(line.split("; ")[1]) > 10


def test_file_in_place_of_a_folder_is_the_one_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as raised:
        (tmp_path / "file" / "run" / "deeper").mkdir(parents=True)
    assert f"{tmp_path / 'file'}: is a file where a folder is needed" in one_line(raised.value)
    with pytest.raises(OSError) as raised:
        (tmp_path / "file").mkdir(exist_ok=True)
    assert f"{tmp_path / 'file'}: is a file where a folder is needed" in one_line(raised.value)


def test_faults_of_the_program_stay_visible(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no refusal"):
        report_error(OSError("no refusal"))
    with pytest.raises(RuntimeError, match="shape"), naming(tmp_path):
        raise RuntimeError("shape")


def test_libraries_that_write_by_themselves_are_understood(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, naming(tmp_path / "absent" / "arrays"):
        save_file({"a": np.zeros(3)}, tmp_path / "absent" / "arrays")
    assert raised.value.errno == errno.ENOENT and raised.value.filename.endswith("arrays")


def test_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"epoch": 0})
    code = (
        "import torch, sys; from sam2act.policies.checkpoint import save_checkpoint\n"
        "from sam2act.core.files import report_error\n"
        "try: save_checkpoint(__import__('pathlib').Path(sys.argv[1]), {'a': torch.zeros(10**6)})\n"
        "except OSError as error: sys.exit(report_error(error))"
    )
    done = _limited(100, "-c", code, path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and f"{path}: File too large; " in done.stderr
    assert torch.load(path, weights_only=True) == {"epoch": 0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pth"]


@pytest.mark.parametrize(
    ("kilobytes", "more", "named"),
    [
        (8, "", "frames.u8: File too large"),
        (60, "", "model_0.pth: File too large"),
        (10**6, "store_folder {}/file", "file: is a file where a folder is needed"),
        (10**6, "store_folder {}/" + "x" * 300, "File name too long"),
    ],
)
def test_training_says_in_one_line_what_cannot_be_written(
    tmp_path: Path, kilobytes: int, more: str, named: str
) -> None:
    tiny_run.write_demos(tmp_path, episodes=2)
    (tmp_path / "file").write_text("")
    arguments = tiny_run.arguments(tmp_path, f"epochs 1 {more.format(tmp_path)}")
    done = _limited(kilobytes, "-m", "sam2act.train", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and named in done.stderr.splitlines()[-1]
    assert not list(tmp_path.rglob("*.part*")) and not list(tmp_path.rglob("*.building"))


def _limited(kilobytes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python with a limit of the size of files that it writes."""
    script = f'ulimit -f {kilobytes}; exec "$0" "$@"'
    return subprocess.run(
        ["bash", "-c", script, sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
