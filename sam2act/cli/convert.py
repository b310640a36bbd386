#!/usr/bin/env python3
"""Converts between checkpoints of this project and the published form, and reports on either.

A sam2act file holds the weights with the configuration they belong to, so that it can be used on
its own. The published form is a run folder: yaml files with the released keys only, and beside
them a checkpoint with the released entries. The optimiser's state goes along, spread over all
parameters of the released network; --weights-only leaves it out. What the released code cannot
express is refused by name.

  # what is in a file, and which configuration fits it; writes nothing
  sam2act convert model_49.pth --dry-run
  # a downloaded file -> one that carries its configuration
  sam2act convert model_49.pth --to sam2act --output model.pth
  # a trained file -> a run folder for the released code
  sam2act convert runs/def_test/model_last.pth --to published \\
      --output released/def_test
  # the weights alone under their released names
  sam2act convert runs/def_test/model_last.pth --to published \\
      --output model_published.pth
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.status import DONE, run_command
from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_experiment, load_network
from sam2act.core.run_folder import STAGES, RunFolder
from sam2act.core.weight_names import LoadReport, WeightsError
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    build_policy,
    config_extra,
    load_average,
    read_checkpoint,
    save_checkpoint,
    stored_configs,
    write_config,
)
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.published_weights import MEMORY_TABLE
from sam2act.policies.sam2act.released_config import left_out, released_configs
from sam2act.training.optimizer_state import to_released

UP_PROJECTION = ".linear_b_"
MEMORY_LAYER = "sam2.memory_attention.layers.{}."
ENCODER = "sam2.image_encoder."


@dataclass
class Source:
    """A file that fits a network."""

    content: Mapping[str, Any]
    bundle: PolicyBundle
    network: NetworkConfig
    report: LoadReport
    fits: str  # where the configuration comes from
    averaged: bool = False  # the averaged weights of a run with EMA were taken


def main(argv: Sequence[str] | None = None) -> int:
    """Reports on a file and converts it; the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if not options.dry_run and not (options.to and options.output):
        parser.error("--to and --output are needed; or use --dry-run to write nothing")
    return run_command(lambda: _convert(options), (CheckpointError, WeightsError))


def _convert(options: argparse.Namespace) -> int:
    source = read_source(options)
    print("\n".join(describe(source)))
    if options.dry_run:
        print("nothing written (--dry-run)")
        return DONE
    written = write(source, options)
    print(f"written: {written} ({written.stat().st_size / 1e6:.1f} MB)")
    return DONE


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="the file to read (.pth)")
    add("--to", choices=("published", "sam2act"), help="form of the file to write")
    add("--output", type=Path, help="the file (.pth) to write; for --to published also a folder")
    add("--dry-run", action="store_true", help="print the report and write nothing")
    add("--force", action="store_true", help="replace OUTPUT if it is there")
    add(
        "--mvt_cfg_path",
        default="",
        help="network config of a file that carries none; default: the yaml beside the file, else "
        "the shipped one that its tensors suggest",
    )
    add("--last-weights", action="store_true", help="not the averaged weights of a run with EMA")
    add("--weights-only", action="store_true", help="no optimiser state in a published run folder")
    add("--mvt_cfg_opts", default="", help='changes to it, as "key value key value"')
    add("--exp_cfg_path", default="", help="experiment config that goes into a sam2act file")
    add("--exp_cfg_opts", default="", help="changes to it")
    return parser


def write(source: Source, options: argparse.Namespace) -> Path:
    """Write what was asked for; the checkpoint file."""
    if options.output.suffix != ".pth" and options.to == "published":
        return write_released_run(source, options)
    check_free([options.output], options.force)
    output: Path = options.output
    save_checkpoint(output, converted(source, options.to))
    return output


def write_released_run(source: Source, options: argparse.Namespace) -> Path:
    """Write a run folder of the released code; its checkpoint file.

    Raises:
        ConfigError: the released code cannot express an option of this policy.
        CheckpointError: a file is there already.
    """
    folder, bundle = options.output, source.bundle
    run = RunFolder(folder, bundle.stage)
    if "_plus_" in f"{folder}/" and run.stage == 1:
        raise CheckpointError(
            f"--output {folder}: the released evaluation takes `_plus_` in a path for the second "
            "stage; choose another name for this file of the first"
        )
    state = source.content.get("optimizer_state")
    training = bool(state) and not options.weights_only and not source.averaged
    experiment, network = released_configs(bundle.experiment, source.network, training=training)
    content = converted(source, "published")
    if training and state:
        content["optimizer_state"] = to_released(state, bundle)
        content |= {k: v for k, v in source.content.items() if k == "lr_sched_state"}
    paths, checkpoint = (run.experiment, run.network), run.last
    check_free([*paths, checkpoint], options.force)
    folder.mkdir(parents=True, exist_ok=True)
    for path, values in zip(paths, (experiment, network), strict=True):
        write_config(path, values)
    save_checkpoint(checkpoint, content)
    print(f"optimiser state: {'for all released parameters' if training else 'left out'}")
    if dropped := left_out(bundle.experiment, source.network):
        print(f"left out, since they concern training alone: {', '.join(dropped)}")
    return checkpoint


def check_free(paths: Sequence[Path], force: bool) -> None:
    """Raise `CheckpointError` where writing would destroy something."""
    for path in paths:
        if path.is_dir():
            raise CheckpointError(f"--output {path} is a folder; name a file that ends in .pth")
        if path.exists() and not force:
            raise CheckpointError(f"--output {path} is there already; --force replaces it")


def read_source(options: argparse.Namespace) -> Source:
    """The file with the network that it fits.

    Raises:
        CheckpointError, ConfigError: the file or a config cannot be read.
        WeightsError: no network fits; the message lists the tensors concerned.
    """
    content = read_checkpoint(options.checkpoint)
    experiment, network, fits = configs_of(options, content)
    if not isinstance(network, NetworkConfig):
        raise CheckpointError(
            f"{options.checkpoint} holds the policy {network.policy}; this command converts files "
            "of sam2act; released files of other policies load as they are (docs/policies.md)"
        )
    bundle = build_policy(experiment, network)
    bundle.stage = 2 if network.use_memory else 1
    try:
        report = bundle.policy.weight_adapter.load(content["model_state"])
    except WeightsError as error:
        raise WeightsError(
            f"{options.checkpoint}: {error}\n(tried with {fits}; --mvt_cfg_path names another)"
        ) from error
    average = content.get("extra", {}).get("average")
    if average is not None and not options.last_weights:
        load_average(bundle, average["average"], options.checkpoint)
        fits += "; averaged weights taken (--last-weights takes the others)"
        return Source(content, bundle, network, report, fits, averaged=True)
    return Source(content, bundle, network, report, fits)


def configs_of(
    options: argparse.Namespace, content: Mapping[str, Any]
) -> tuple[ExperimentConfig, PolicyConfig, str]:
    """The configs of a file and where they come from."""
    if options.mvt_cfg_path:
        network = load_network(options.mvt_cfg_path, options.mvt_cfg_opts)
        experiment = load_experiment(options.exp_cfg_path, options.exp_cfg_opts)
        return experiment, network, str(options.mvt_cfg_path)
    folder, inside = options.checkpoint.parent, "experiment" in content.get("extra", {})
    if inside or any(RunFolder(folder, stage).network.is_file() for stage in STAGES):
        where = "inside the file" if inside else "beside the file"
        return *stored_configs(options.checkpoint, content), f"the config {where}"
    state = content["model_state"]
    name = shipped_config(state)
    table = state.get(MEMORY_TABLE)
    opts = "" if table is None else f"num_maskmem {len(table)} "
    experiment = load_experiment(
        options.exp_cfg_path or f"configs/{name}.yaml", options.exp_cfg_opts
    )
    network = load_network(f"configs/mvt/{name}.yaml", opts + options.mvt_cfg_opts)
    return experiment, network, f"configs/mvt/{name}.yaml {opts}{options.mvt_cfg_opts}".strip()


def shipped_config(state: Mapping[str, Tensor]) -> str:
    """The shipped config that a bare file belongs to, from the tensors it holds.

    Released files of both stages hold the same names; where the memory was never trained, as in
    stage 1, its layers are still the copies of one another that they start as (quirk N10).
    """
    first, second = MEMORY_LAYER.format(0), MEMORY_LAYER.format(1)
    memory = {name.removeprefix(first): v for name, v in state.items() if name.startswith(first)}
    if not any(name.startswith(ENCODER) for name in state):
        return "tiny_plus" if memory else "tiny"
    trained = any(not torch.equal(v, state.get(second + name, v)) for name, v in memory.items())
    return "sam2act_plus" if trained else "sam2act"


def describe(source: Source) -> list[str]:
    """The report, line by line."""
    bundle, report, content = source.bundle, source.report, source.content
    parameters = list(bundle.policy.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    lines = [
        f"network: SAM2Act{'+' if source.network.use_memory else ''}, fits {source.fits}",
        f"epoch: {content.get('epoch', 'not recorded')}",
        *(f"{title}: {len(names)}{_examples(names)}" for title, names in _lists(report)),
        f"zero LoRA B tensors: {_zero_adapters(bundle.model_state())}",
        f"parameters: {sum(p.numel() for p in parameters):,} in {len(parameters)} tensors, "
        f"trained in this stage: {sum(p.numel() for p in trained):,} in {len(trained)} tensors",
        f"num_maskmem: {source.network.num_maskmem}"
        + ("" if source.network.use_memory else " (this network does not use it)"),
    ]
    ours = sorted(content.get("extra", {}))
    return [*lines, f"entries of sam2act: {', '.join(ours) or 'none (a bare file)'}"]


def converted(source: Source, form: str) -> dict[str, Any]:
    """The content of the new file."""
    content: dict[str, Any] = {
        "epoch": source.content.get("epoch", 0),
        "model_state": source.bundle.model_state(),
    }
    if form == "sam2act":
        content["extra"] = config_extra(source.bundle) | {"stage": source.bundle.stage}
    return content


def _lists(report: LoadReport) -> list[tuple[str, list[str]]]:
    return [
        ("loaded", report.loaded),
        ("carried unused", report.carried),
        ("absent unused", report.absent),
        ("missing", report.missing),
        ("unexpected", report.unexpected),
    ]


def _examples(names: list[str]) -> str:
    """Up to three names in brackets."""
    if not names:
        return ""
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _zero_adapters(state: Mapping[str, Tensor]) -> str:
    up = [v for name, v in state.items() if name.startswith(ENCODER) and UP_PROJECTION in name]
    if not up:
        return "no LoRA in this network"
    zero = sum(not value.any() for value in up)
    return f"yes, {zero} of {len(up)}: these adapters change nothing" if zero else "no"


if __name__ == "__main__":
    sys.exit(main())
