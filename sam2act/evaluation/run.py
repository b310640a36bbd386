"""One call of eval.py: what is evaluated on what, and who acts."""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.config.network import NetworkConfig
from sam2act.config.schema import ExperimentConfig
from sam2act.core.files import sha256_of
from sam2act.core.run_folder import RunFolder
from sam2act.core.tasks import expand_tasks
from sam2act.evaluation.actors import (
    Actor,
    DemoActor,
    KeyframeReader,
    PolicyActor,
    keyframe_actions,
)
from sam2act.evaluation.analysis.aggregate import average_tasks
from sam2act.evaluation.checkpoints import find_checkpoints
from sam2act.evaluation.folder import EvaluationFolder, OptionError, batch_size
from sam2act.evaluation.results import EpisodeRow
from sam2act.language.text_encoder import build_text_encoder
from sam2act.policies.checkpoint import load_policy
from sam2act.policies.executors import build_executor
from sam2act.policies.multiview.quantisation_bound import QuantisedDecoder
from sam2act.policies.session import KeyframePolicy
from sam2act.runtime.distributed import DistributedContext

LOGGER = logging.getLogger(__name__)
GROUND_TRUTH = "ground_truth"


@dataclass(frozen=True, eq=False)  # equal to itself alone
class Target:
    """A checkpoint, or the demos themselves.

    Attributes:
        stem: name of the folder of its results.
        checkpoint: its file, None for ground truth.
        identity: what tells it from another one of the same name, as far as the file says.
    """

    stem: str
    checkpoint: Path | None = None
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What an evaluation found; empty but on the main process.

    Attributes:
        rates: success rates in percent per checkpoint, one per repeat.
        lost: episodes that failed for the simulator's sake.
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    lost: list[EpisodeRow] = field(default_factory=list)


def evaluate(args: argparse.Namespace, world: DistributedContext) -> Outcome:
    """Everything that the flags ask for.

    Demos, checkpoints, language and what lies in the folders of the results are looked at before
    the first episode begins, and before anything is written.

    Raises:
        OptionError, SceneError, EvaluationError and others: see their messages.
    """
    check_options(args)
    tasks = task_list(args.tasks)
    targets = find_targets(args)
    also = _keyframe_reader(_ground_truth_configs(args)[0]) if args.ground_truth else None
    plans = [
        EvaluationFolder(args, world, tasks, name, repeat, also)
        for repeat, name in enumerate(log_names(args))
    ]
    # Kept for one target: of several, each is loaded once to be checked and once to act.
    load = functools.lru_cache(maxsize=1)(functools.partial(_make_actor, args, world))
    for target in targets:
        for plan in plans:
            plan.check(target.stem, target.identity)
    for target in targets:
        for plan in _unfinished(args, plans, target):
            actor, identity = load(target)
            plan.check(target.stem, identity, actor)
    outcome = Outcome()
    for target in targets:
        unfinished = _unfinished(args, plans, target)
        if not unfinished:
            LOGGER.info("%s: complete already, skipped", target.stem)
        for plan in unfinished:
            actor, identity = load(target)
            plan.run(actor, target.stem, identity)
        if world.is_main:
            runs = [plan.rows(target.stem) for plan in plans]
            outcome.rates[target.stem] = [100 * average_tasks([rows]).rate for rows in runs]
            outcome.lost += [row for rows in runs for row in rows if row.is_lost]
    return outcome


def _unfinished(
    args: argparse.Namespace, plans: Sequence[EvaluationFolder], target: Target
) -> list[EvaluationFolder]:
    """The plans of a target that are not to be skipped."""
    return [plan for plan in plans if not (args.skip and plan.is_complete(target.stem))]


# ------------------------------------------------------------------------------- options
def check_options(args: argparse.Namespace) -> None:
    """Raise `OptionError` where flags contradict each other."""
    if args.peract_official:
        raise OptionError("--peract_official: the PerAct baseline is not part of this project")
    if args.model_folder is None:
        raise OptionError("--model-folder is missing: the folder of the run, or for --ground-truth")
    if not args.model_name and not args.ground_truth:
        raise OptionError(
            "--model-name is missing: a checkpoint of --model-folder such as model_last.pth, or all"
        )
    log_name = Path(args.log_name)
    if log_name.is_absolute() or not log_name.parts or ".." in log_name.parts:
        raise OptionError(
            f"--log-name {args.log_name!r}: needs a folder below eval/ of the run, such as test"
        )
    if args.model_name and args.ground_truth:
        raise OptionError("--ground-truth uses no checkpoint: leave --model-name out")
    if args.seed is not None and args.ground_truth:
        raise OptionError("--ground-truth replays recorded demos: leave --seed out")
    if args.seed is not None and args.backend == "auto":
        raise OptionError("--seed has no demos to tell the simulator: add --backend embedded")
    if args.use_input_place_with_mean:
        LOGGER.warning("--use-input-place-with-mean has no effect on two-stage networks")


def task_list(names: Sequence[str]) -> list[str]:
    """Task names; `all` and `memorybench` stand for sets.

    Raises:
        OptionError: a task twice.
    """
    tasks = list(expand_tasks(names))
    if len(set(tasks)) < len(tasks):
        raise OptionError(f"--tasks {' '.join(names)}: a task is named twice")
    return tasks


def log_names(args: argparse.Namespace) -> list[str]:
    """Folders below eval/, one per repeat."""
    if args.repeats == 1:
        return [args.log_name]
    return [f"{args.log_name}/{number}" for number in range(1, args.repeats + 1)]


# -------------------------------------------------------------------------------- actors
def find_targets(args: argparse.Namespace) -> list[Target]:
    """What is evaluated, in order."""
    if args.ground_truth:
        return [Target(GROUND_TRUTH)]
    return [
        Target(path.stem, path, {"name": path.name, "sha256": sha256_of(path)})
        for path in find_checkpoints(args.model_folder, args.model_name)
    ]


def _make_actor(
    args: argparse.Namespace, world: DistributedContext, target: Target
) -> tuple[Actor, dict[str, Any]]:
    """Who acts, and what identifies it; its text encoder has worked once."""
    if target.checkpoint is None:
        experiment, network = _ground_truth_configs(args)
        grid = {"img_size": network.img_size, "st_sca": network.st_sca, "num_rot": network.num_rot}
        identity = {"name": GROUND_TRUTH, **grid, "config": config_digest(experiment, network)}
        return DemoActor(
            QuantisedDecoder(experiment, network), _keyframe_reader(experiment)
        ), identity
    bundle = load_policy(
        target.checkpoint,
        device=world.device,
        experiment_file=args.exp_cfg_path,
        network_file=args.mvt_cfg_path,
        experiment_opts=args.exp_cfg_opts,
    )
    network = bundle.network
    encoder = build_text_encoder(bundle.experiment.language, network.lang_len, network.lang_dim)
    encoder.encode(["open the drawer"])  # its weights are read at first need
    policy = KeyframePolicy(bundle, batch_size=batch_size(args, world), text_encoder=encoder)
    identity = target.identity | {
        "step": bundle.step,
        "config": config_digest(bundle.experiment, network),
    }
    return PolicyActor(build_executor(args.executor, policy), policy.spec), identity


def _keyframe_reader(experiment: ExperimentConfig) -> KeyframeReader:
    """How the keyframes of demos are read under `experiment`."""
    return functools.partial(
        keyframe_actions,
        gripper_threshold=experiment.gripper_threshold,
        assume_ignore_collisions=experiment.assume_ignore_collisions,
    )


def _ground_truth_configs(args: argparse.Namespace) -> tuple[ExperimentConfig, NetworkConfig]:
    """The configs as given, else of the run folder, else the published ones."""
    given = (args.exp_cfg_path, args.mvt_cfg_path)
    run = RunFolder(args.model_folder)
    experiment, network = (
        path or (str(file) if file.is_file() else "")
        for path, file in zip(given, (run.experiment, run.network), strict=True)
    )
    return (
        load_experiment(experiment, args.exp_cfg_opts),
        load_network(network or "configs/mvt/sam2act.yaml"),
    )


def config_digest(experiment: ExperimentConfig, network: NetworkConfig) -> str:
    """A short digest of the configs that a policy acts with."""
    text = json.dumps([to_dict(experiment), to_dict(network)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
