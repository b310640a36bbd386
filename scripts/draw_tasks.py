"""Starter of `sam2act draw-tasks`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sam2act.cli.draw_tasks import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
