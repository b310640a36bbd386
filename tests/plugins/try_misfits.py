"""Runs commands that must be refused, one after the other in one process; prints what came.

python try_misfits.py '{"name": ["train", ...], ...}'
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

from sam2act.cli.main import main


def files() -> list[str]:
    """All files below the working folder."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def tried(arguments: list[str]) -> dict[str, object]:
    """Status and messages of a command, and the files that it wrote."""
    before, errors = files(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
        try:
            status = main(arguments)
        except SystemExit as error:
            status = error.code
    written = [path for path in files() if path not in before]
    return {"status": status, "text": errors.getvalue(), "written": written}


print(json.dumps({name: tried(command) for name, command in json.loads(sys.argv[1]).items()}))
