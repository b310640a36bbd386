"""Records what the commands compute, so that a rebuilding can prove that it changed nothing.

    python scripts/record_behaviour.py --output before.json          # once, before
    python scripts/record_behaviour.py --output after.json --compare before.json

Recorded: the losses and weights of 20 updates of both stages on recorded demonstrations, the rows
and actions of eight evaluated episodes, a scripted demonstration of every task, the batches that a
frame store gives, and the help of every command. Numbers are kept to the last bit (floats as
hexadecimal text, tensors and files as SHA-256), so two records are comparable on one machine with
one version of torch. Takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sam2act.runtime.console import make_output_safe  # noqa: E402

DEMOS = Path(os.environ.get("SAM2ACT_DEMOS_DIR") or ROOT.parent / "shared" / "rlbench_demos")
TINY = ("--exp_cfg_path", "configs/tiny.yaml", "--mvt_cfg_path", "configs/mvt/tiny.yaml")
TINY_PLUS = (
    *("--exp_cfg_path", "configs/tiny_plus.yaml"),
    *("--mvt_cfg_path", "configs/mvt/tiny_plus.yaml", "--mvt_cfg_opts", "num_maskmem 2"),
)
EPISODES = 4  # per checkpoint and evaluation
WALL_TIME = {"seconds", "time", "samples_per_second", "wall_time", "data_seconds", "step_seconds"}
COMMANDS = (
    *("sam2act/train.py", "sam2act/train_plus.py", "sam2act/eval.py", "sam2act/doctor.py"),
    *(f"scripts/{name}.py" for name in ("generate_demos", "play_demo", "build_store", "report")),
    *(f"scripts/{name}.py" for name in ("predict_demo", "convert_checkpoint", "download_assets")),
    *("scripts/memory_experiment.py", "scripts/compare_recordings.py"),
)


def run(*command: str) -> str:
    """Runs a command of the project on one thread and returns what it printed.

    Raises:
        RuntimeError: the command failed; the message holds what it said.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits, shortened."""
    return hashlib.sha256(content).hexdigest()[:24]


def tensor_digest(tensor: torch.Tensor) -> str:
    """Digest of shape, type and every bit of a tensor."""
    array = tensor.detach().cpu().contiguous()
    content = array.view(torch.uint8).numpy().tobytes() if array.dim() else array.numpy().tobytes()
    return digest(f"{tuple(array.shape)} {array.dtype} ".encode() + content)


# ------------------------------------------------------------------------------------ parts
def record_help(work: Path) -> dict[str, Any]:
    """The help of every command."""
    return {command: run(command, "--help") for command in COMMANDS}


def record_demos(work: Path) -> dict[str, Any]:
    """One scripted demonstration of every task: digests of its files."""
    folder = work / "demos"
    run(
        *("scripts/generate_demos.py", "--tasks", "all", "memorybench", "--episodes", "1"),
        *("--seed", "5", "--output", str(folder), "--workers", "1"),
    )
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".pkl", ".png"):
            task = path.relative_to(folder).parts[0]
            found[task] = digest(found.get(task, "").encode() + path.read_bytes())
    return found


def record_store(work: Path) -> dict[str, Any]:
    """Every batch that the store of the recorded demonstrations gives, field by field."""
    from sam2act.data.loader import gather_batch
    from sam2act.data.store.store import KeyframeStore

    folder = work / "gathered"
    run(
        *("scripts/build_store.py", "--data-folder", str(DEMOS), "--store-folder", str(folder)),
        *("--tasks", "open_drawer"),
    )
    store = KeyframeStore.open(folder, "train", ["open_drawer"])
    batch = gather_batch(store, store.valid)
    found = {
        name: tensor_digest(value)
        for name, value in vars(batch).items()
        if isinstance(value, torch.Tensor)
    }
    return found | {"identities": [list(identity) for identity in batch.identities]}


def _train(work: Path, program: str, name: str, flags: Sequence[str], opts: str) -> dict[str, Any]:
    """Losses of every update and the final weights of one run."""
    from sam2act.core.run_folder import RunFolder

    data = f"data_folder {DEMOS} store_folder {work}/store tasks open_drawer demo 3"
    schedule = "epochs 1 log_every 1 peract.warmup_steps 5 exp_name frozen seed 3"
    every = f"{data} {schedule} {opts}"
    run(program, *flags, "--exp_cfg_opts", every, "--log-dir", str(work / "runs"))
    files = RunFolder(work / "runs" / "tiny_frozen", 2 if "plus" in program else 1)
    stored = torch.load(files.last, weights_only=True)
    weights = {key: tensor_digest(value) for key, value in stored["model_state"].items()}
    return {"rows": _rows(files.metrics), "weights": weights}


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file without columns that tell the time."""
    with open(path, newline="", encoding="utf-8") as stream:
        return [
            {key: value for key, value in row.items() if key not in WALL_TIME}
            for row in csv.DictReader(stream)
        ]


def record_training(work: Path) -> dict[str, Any]:
    """20 updates of stage 1, then 20 of stage 2 with memory of two keyframes."""
    stage_1 = _train(work, "sam2act/train.py", "one", TINY, "bs 4 train_iter 80")
    stage_2 = _train(work, "sam2act/train_plus.py", "two", TINY_PLUS, "bs 6 train_iter 120")
    return {"stage_1": stage_1, "stage_2": stage_2}


@contextlib.contextmanager
def _recorded_actions(into: list[list[str]]) -> Iterator[None]:
    """While open, every action that a policy chooses is also appended to `into`."""
    from sam2act.evaluation.actors import PolicyActor

    original: Callable[..., Any] = PolicyActor.act

    def act(self: PolicyActor, *args: Any, **kwargs: Any) -> Any:
        actions = original(self, *args, **kwargs)
        into.extend([[float(x).hex() for x in a] for a in actions if a is not None])
        return actions

    with mock.patch.object(PolicyActor, "act", act):
        yield


def record_evaluation(work: Path) -> dict[str, Any]:
    """Rows and actions of four episodes of each of the two runs of `record_training`."""
    from sam2act.cli import evaluate as program

    found: dict[str, Any] = {}
    for model in ("model_last.pth", "model_plus_last.pth"):
        actions: list[list[str]] = []
        folder = work / "runs" / "tiny_frozen"
        with _recorded_actions(actions), contextlib.redirect_stdout(io.StringIO()):
            program.main(
                [
                    *("--model-folder", str(folder), "--model-name", model, "--device", "cpu"),
                    *("--tasks", "put_block_back", "open_drawer", "--backend", "embedded"),
                    *("--seed", "7000", "--eval-episodes", str(EPISODES // 2), "--workers", "1"),
                    *("--episode-length", "5"),
                ]
            )
        rows = _rows(next(folder.glob(f"eval/*/{Path(model).stem}/episodes.csv")))
        found[model] = {"rows": rows, "actions": actions}
    return found


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "help": record_help,
    "store": record_store,
    "training": record_training,
    "evaluation": record_evaluation,
    "demos": record_demos,
}


# -------------------------------------------------------------------------------- comparison
def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Where two records differ, one line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in sorted({*before, *after})
            for line in differences(before.get(key), after.get(key), f"{place}/{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for i, (b, a) in pairs for line in differences(b, a, f"{place}/{i}")]
    if before == after:
        return []
    return [f"{place}: {str(before)[:60]!r} -> {str(after)[:60]!r}"]


def main(arguments: list[str] | None = None) -> int:
    """Record, store and compare."""
    make_output_safe()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="json file to write")
    parser.add_argument("--compare", type=Path, help="earlier record; any difference is an error")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what")
    args = parser.parse_args(arguments)
    if not DEMOS.is_dir():
        parser.error(f"no recorded demonstrations in {DEMOS}; set SAM2ACT_DEMOS_DIR")
    torch.set_num_threads(1)
    record = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            print(f"recording {part}", flush=True)
            record[part] = PARTS[part](Path(folder))
            args.output.write_text(json.dumps(record, indent=1), encoding="utf-8")
    if args.compare is None:
        return 0
    before = json.loads(args.compare.read_text(encoding="utf-8"))
    found = differences({part: before.get(part) for part in args.parts}, record)
    print("\n".join(found[:40]) or "no difference")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
