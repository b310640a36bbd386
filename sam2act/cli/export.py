#!/usr/bin/env python3
"""Writes a policy as a folder for a model hub: weights as safetensors, configuration, model card.

  sam2act export runs/x_test/model_plus_last.pth --output hub/put_block_back
  sam2act eval --model-folder hub/put_block_back --model-name model.safetensors \\
      --tasks put_block_back --backend embedded --seed 7000

LeRobot reads the folder with the distribution lerobot_policy_sam2act. Averaged weights are taken
where a checkpoint has them; the optimiser's state is left out. After writing, the folder is read
back and compared with the policy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from sam2act import __version__
from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.status import DONE, run_command
from sam2act.core.registry import DEFAULT_POLICY
from sam2act.core.weight_names import WeightsError
from sam2act.policies.checkpoint import CheckpointError, PolicyBundle, load_policy
from sam2act.policies.hub_folder import CARD, CONFIG, WEIGHTS, write_hub_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the folder; the exit status."""
    options = build_parser().parse_args(argv)
    return run_command(lambda: _export(options), (CheckpointError, WeightsError))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="the file to read (.pth), or an exported folder")
    add("--output", type=Path, required=True, help="the folder to write")
    add("--name", default="", help="title of the model card (default: name of the folder)")
    add("--license", default="", help="licence named in the model card")
    add("--force", action="store_true", help="replace the files of an exported folder")
    return parser


def _export(options: argparse.Namespace) -> int:
    folder: Path = options.output
    there = [name for name in (WEIGHTS, CONFIG, CARD) if (folder / name).exists()]
    if there and not options.force:
        raise CheckpointError(f"--output {folder} holds {', '.join(there)}; --force replaces them")
    bundle = load_policy(options.checkpoint)
    card = model_card(bundle, options.name or folder.resolve().name, options.license)
    write_hub_folder(folder, bundle, card)
    _compare(bundle, load_policy(folder), folder)
    print(f"written and read back: {folder} ({(folder / WEIGHTS).stat().st_size / 1e6:.1f} MB)")
    return DONE


def _compare(bundle: PolicyBundle, again: PolicyBundle, folder: Path) -> None:
    """Make sure that a folder gives the policy back to the last bit.

    Raises:
        CheckpointError: it does not.
    """
    before, after = bundle.model_state(), again.model_state()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    if changed or bundle.network != again.network or bundle.experiment != again.experiment:
        named = ", ".join(changed[:3]) or "its configuration"
        raise CheckpointError(f"{folder}: {named} came back changed; check the disk and try again")


def model_card(bundle: PolicyBundle, name: str, license_name: str = "") -> str:
    """README.md of the folder: the head that hubs read, what the policy is, how to use it."""
    spec = bundle.transforms.spec.sized(bundle.experiment.image_size)
    head = ["---", "library_name: lerobot", "pipeline_tag: robotics"]
    head += [f"license: {license_name}"] if license_name else []
    head += ["tags:", "- robotics", "- lerobot", "- sam2act", "---"]
    cameras = ", ".join(
        f"{camera.name} {camera.width}x{camera.height}{' with depth' if camera.depth else ''}"
        for camera in spec.camera_specs
    )
    memory = f"{spec.past_keyframes} keyframes" if spec.past_keyframes else "none"
    language = spec.language.encoder if spec.language else "none"
    parameters = sum(parameter.numel() for parameter in bundle.policy.parameters())
    rows = {
        "policy": f"{getattr(bundle.network, 'policy', DEFAULT_POLICY)}, stage {bundle.stage}",
        "trained on": ", ".join(_tasks(bundle)) or "not recorded",
        "updates": str(bundle.step or "not recorded"),
        "parameters": f"{parameters:,}",
        "cameras": cameras,
        "instruction encoder": language,
        "memory": memory,
        "action": f"{spec.action.mode}: {spec.action.describe()}",
        "written by": f"sam2act {__version__}",
    }
    table = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join(
        [
            *head,
            "",
            f"# {name}",
            "",
            "| | |",
            "|---|---|",
            *table,
            "",
            "Cameras need depth in metres, intrinsics and extrinsics (camera to world).",
            "",
            "```python",
            "from sam2act.policies.session import PolicySession",
            "",
            'session = PolicySession.from_checkpoint("FOLDER")',
            "```",
            "",
            "With LeRobot and the distribution lerobot_policy_sam2act: `--policy.path=FOLDER`.",
            "",
        ]
    )


def _tasks(bundle: PolicyBundle) -> list[str]:
    tasks = bundle.experiment.tasks
    return [tasks] if isinstance(tasks, str) else list(tasks)


if __name__ == "__main__":
    sys.exit(main())
