"""Where things lie in the repository, for tests that read files or start programs."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS, CONFIGS, PACKAGE = (REPOSITORY / name for name in ("scripts", "configs", "sam2act"))
