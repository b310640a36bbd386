#!/usr/bin/env python3
"""Downloads public weights to where the programs find them, and says where the rest belongs.

sam2act assets --list
sam2act assets sam2-base-plus clip-rn50
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.status import DONE, USER_ERROR, run_command
from sam2act.core.assets import (
    ASSETS,
    Asset,
    AssetError,
    Progress,
    UnreachableError,
    fetch,
    instructions,
    select,
)
from sam2act.core.weights import assets_folders

DEFAULT_NAMES = ["sam2-base-plus", "clip-rn50"]


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches the named assets; 0 if all are there, 2 if something is left to you."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: {' '.join(DEFAULT_NAMES)}")
    parser.add_argument("--list", action="store_true", help="show what is known and stop")
    parser.add_argument(
        "--output",
        type=Path,
        default=assets_folders()[0],
        help="default: the folder named by SAM2ACT_ASSETS, else assets/ of the checkout",
    )
    options = parser.parse_args(argv)
    if options.list:
        return run_command(_list)
    try:
        assets = select(options.names or DEFAULT_NAMES)
    except AssetError as error:
        parser.error(str(error))
    return run_command(lambda: max(obtain(asset, options.output) for asset in assets))


def _list() -> int:
    print("\n".join(describe(asset) for asset in ASSETS))
    return DONE


def obtain(asset: Asset, output: Path) -> int:
    """Fetches one asset and reports on it; the exit code it deserves."""
    if not asset.url:
        print(f"By hand: {instructions(asset, output)}")
        return USER_ERROR
    try:
        path = fetch(asset, output, progress_bar(asset.name))
    except UnreachableError as error:
        print(f"\nNot reachable: {error}\nBy hand: {instructions(asset, output)}")
        return USER_ERROR
    except AssetError as error:
        print(f"\n{error}", file=sys.stderr)
        return USER_ERROR
    print(f"{asset.name}: {path} verified")
    return DONE


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
