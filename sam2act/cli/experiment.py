"""The memory experiment: a script of the checkout, since it runs before an installation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from sam2act.cli.status import run_command
from sam2act.core.errors import ConfigError
from sam2act.core.weights import checkout

SCRIPT = "memory_experiment"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status, 3 if the time was up."""
    return run_command(lambda: _start(argv))


def _start(argv: Sequence[str] | None) -> int:
    root = checkout()
    if root is None:
        raise ConfigError(
            f"experiment: scripts/{SCRIPT}.py is not part of an installed copy; run it in a "
            "checkout (git clone, pip install -e .)"
        )
    folder = str(root / "scripts")
    if folder not in sys.path:  # where the script finds its other part
        sys.path.append(folder)
    return int(import_module(SCRIPT).main(argv))


if __name__ == "__main__":
    sys.exit(main())
