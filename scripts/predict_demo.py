"""Starter of `sam2act predict`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sam2act.cli.predict import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
