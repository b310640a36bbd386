#!/usr/bin/env python3
"""Downloads public weights to where the programs find them, and says where the rest belongs.

python scripts/download_assets.py --list
python scripts/download_assets.py sam2-base-plus clip-rn50
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sam2act.core.assets import (  # noqa: E402
    ASSETS,
    Asset,
    AssetError,
    Progress,
    UnreachableError,
    fetch,
    instructions,
    select,
)
from sam2act.core.files import report_error  # noqa: E402
from sam2act.core.weights import assets_folders  # noqa: E402
from sam2act.runtime.console import make_output_safe  # noqa: E402

DEFAULT_NAMES = ["sam2-base-plus", "clip-rn50"]
BY_HAND = 2  # exit code: something must be placed by hand


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches the named assets; 0 if all are there, 1 if one is wrong, 2 if one is left to you."""
    make_output_safe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"default: {' '.join(DEFAULT_NAMES)}")
    parser.add_argument("--list", action="store_true", help="show what is known and stop")
    parser.add_argument(
        "--output",
        type=Path,
        default=assets_folders()[0],
        help="default: the folder named by SAM2ACT_ASSETS, else assets/ of the checkout",
    )
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(describe(asset) for asset in ASSETS))
        return 0
    try:
        assets = select(options.names or DEFAULT_NAMES)
    except AssetError as error:
        parser.error(str(error))
    try:
        return max(obtain(asset, options.output) for asset in assets)
    except OSError as error:
        return report_error(error, 1)


def obtain(asset: Asset, output: Path) -> int:
    """Fetches one asset and reports on it; the exit code it deserves."""
    if not asset.url:
        print(f"By hand: {instructions(asset, output)}")
        return BY_HAND
    try:
        path = fetch(asset, output, progress_bar(asset.name))
    except UnreachableError as error:
        print(f"\nNot reachable: {error}\nBy hand: {instructions(asset, output)}")
        return BY_HAND
    except AssetError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"{asset.name}: {path} verified")
    return 0


def describe(asset: Asset) -> str:
    """One entry of the list."""
    size = f"{asset.megabytes} MB" if asset.megabytes else "by hand"
    return f"{asset.name:20} {size:>8}  {asset.purpose}\n{'':30} {asset.url or asset.page}"


def progress_bar(name: str) -> Progress:
    """A function that draws megabytes, share and remaining time on one line of a terminal."""
    start = time.monotonic()
    first: list[int] = []

    def show(done: int, total: int) -> None:
        if not sys.stdout.isatty():
            return
        first[:] = first or [done]
        rate = (done - first[0]) / max(time.monotonic() - start, 1e-9)
        left = f"{(total - done) / rate:.0f} s left" if rate and total else ""
        share = f"{done / total:4.0%}" if total else ""
        end = "\n" if done == total else ""
        print(f"\r{name}: {done / 1e6:8.1f} MB {share} {left:12}", end=end, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
