"""What the benchmark scripts share: the form of their output and careful timing."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import sam2act
from sam2act.cli.arguments import DEVICE_HELP
from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.nn.linear import Linear
from sam2act.runtime.devices import choose_device

_SMALL_ENCODER = Path(__file__).resolve().parents[2] / "tests" / "small_encoder.yaml"
# Options of the published networks for `--quick`: every part is there, none has its full size.
QUICK_NETWORK = (
    f"depth 2 sam2_config {_SMALL_ENCODER} img_size 56 attn_dim 128 upsampler_channels [8,4] "
    "upsampler_hidden_multiplier 1 head_hidden [64,32]"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement beside its baseline."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    higher_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better than the baseline (above 1 = better)."""
        if not self.baseline or not self.value:
            return None
        ratio = self.baseline / self.value
        return 1 / ratio if self.higher_is_better else ratio


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repetitions")
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option `--device` of all commands; its value is the kind of device, "cpu" or "cuda"."""
    parser.add_argument("--device", default="0", type=_kind_of_device, help=DEVICE_HELP)


def _kind_of_device(flag: str) -> str:
    try:
        device = choose_device(flag)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device.type


def median_seconds(
    function: Callable[[], object], *, repeats: int, warm_up: int = 1, device: str = "cpu"
) -> float:
    """Median wall time of `function` after `warm_up` calls; waits for a GPU."""
    times = []
    for number in range(warm_up + repeats):
        _wait(device)
        started = time.perf_counter()
        function()
        _wait(device)
        if number >= warm_up:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def compare_seconds(
    functions: Sequence[Callable[[], object]], *, repeats: int, device: str = "cpu"
) -> list[float]:
    """Medians of functions that take turns: what slows the machine for a while slows all alike.

    Before each measured call stands one that is not, so that none starts with another's caches.
    """
    rounds = [
        [median_seconds(function, repeats=1, device=device) for function in functions]
        for _ in range(repeats)
    ]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def gigaflops_of(function: Callable[[], object]) -> float:
    """Billions of floating-point operations in the matrix products and convolutions of a call."""
    # The counter knows neither the products of oneDNN nor the fused attention of a CPU.
    counter, plain_products = FlopCounterMode(display=False), torch.backends.mkldnn.flags(False)
    with counter, plain_products, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.get_total_flops() / 1e9


def matrix_rate(device: str = "cpu", dtype: torch.dtype = torch.float32, side: int = 2048) -> float:
    """Billions of operations per second in a large product by the layer of the networks: what the
    machine can do."""
    layer = Linear(side, side, bias=False, device=device, dtype=dtype)
    x = torch.rand(side, side, device=device).to(dtype)
    with torch.no_grad():
        seconds = median_seconds(lambda: layer(x), repeats=5, warm_up=2, device=device)
    return 2 * side**3 / seconds / 1e9


def copy_rate(device: str = "cpu", megabytes: int = 256) -> float:
    """Gigabytes per second read and written by a large copy: what the memory can do."""
    source = torch.zeros(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), repeats=5, warm_up=2, device=device)
    return 2 * source.numel() * 4 / seconds / 1e9


def report(title: str, rows: Sequence[Row], path: Path | None) -> None:
    """Print a table and, if `path` is given, write the same as json (atomically)."""
    print(f"{title}\n")
    width = max(len(row.name) for row in rows)
    for row in rows:
        line = f"{row.name:{width}s}  {row.value:10.3f} {row.unit:10s}"
        if row.ratio is not None:
            line += f"  {row.ratio:6.2f} x  against {row.baseline:.3f} ({row.baseline_name})"
        print(line)
    if path is None:
        return
    content = {
        "title": title,
        "machine": machine(),
        "rows": [dataclasses.asdict(row) | {"ratio": row.ratio} for row in rows],
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, object]:
    """Hardware kind, versions, commit and date of a measurement."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    ).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "sam2act": sam2act.__version__,
        "commit": commit or None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
