"""One evaluation: what is evaluated on what, and who acts."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import POLICY, load_experiment, load_network, to_dict
from sam2act.core.files import sha256_of
from sam2act.core.registry import DEFAULT_POLICY, POLICIES
from sam2act.core.run_folder import RunFolder
from sam2act.core.specs import PolicySpec
from sam2act.core.types import Session
from sam2act.evaluation.actors import (
    Actor,
    DemoActor,
    KeyframeReader,
    PolicyActor,
    keyframe_actions,
)
from sam2act.evaluation.analysis.aggregate import average_tasks
from sam2act.evaluation.checkpoints import find_checkpoints
from sam2act.evaluation.folder import EvaluationFolder, batch_size
from sam2act.evaluation.options import EvaluationOptions, OptionError
from sam2act.evaluation.results import EpisodeRow
from sam2act.policies.checkpoint import load_policy
from sam2act.policies.executors import build_executor
from sam2act.policies.session import PolicySession, trained_encoder
from sam2act.runtime.distributed import DistributedContext, distributed_context

LOGGER = logging.getLogger(__name__)
GROUND_TRUTH = "ground_truth"
KEPT = 4  # policies that stay loaded between their check and their episodes


@dataclass(frozen=True, eq=False)  # equal to itself alone
class Target:
    """Whose actions are evaluated.

    Attributes:
        stem: name of the folder of its results.
        load: who acts, and what tells it from another one of the same name.
        identity: the part of that which is known before it is loaded.
        read: how keyframes of demos are read, where it needs them.
    """

    stem: str
    load: Callable[[], tuple[Actor, dict[str, Any]]]
    identity: dict[str, Any] = field(default_factory=dict)
    read: KeyframeReader | None = None


@dataclass
class Outcome:
    """What an evaluation found; empty but on the main process.

    Attributes:
        rates: success rates in percent per checkpoint, one per repeat.
        lost: episodes that failed for the simulator's sake.
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    lost: list[EpisodeRow] = field(default_factory=list)


def evaluate(
    options: EvaluationOptions,
    world: DistributedContext | None = None,
    targets: Sequence[Target] | None = None,
) -> Outcome:
    """Everything that the options ask for.

    Demos, checkpoints, language and what lies in the folders of the results are looked at before
    the first episode begins, and before anything is written.

    Args:
        options: what is evaluated and how.
        world: this process; by default one is set up on the device of the options.
        targets: who acts, in place of the checkpoints that the options name; see
            `session_target`.

    Raises:
        OptionError, SceneError, SpecError, EvaluationError and others: see their messages.
    """
    if world is None:
        with distributed_context(options.device) as world:
            return evaluate(options, world, targets)
    if targets is None:
        targets = find_targets(options, world)
    also = next((target.read for target in targets if target.read is not None), None)
    folders = [
        EvaluationFolder(options, world, name, repeat, also)
        for repeat, name in enumerate(options.log_names)
    ]
    load = functools.lru_cache(maxsize=KEPT)(lambda target: target.load())
    for target in targets:
        for folder in folders:
            folder.check(target.stem, target.identity)
    for target in reversed(targets):  # so that the first ones are kept
        for folder in _unfinished(options, folders, target):
            actor, identity = load(target)
            folder.check(target.stem, identity, actor)
    outcome = Outcome()
    for target in targets:
        unfinished = _unfinished(options, folders, target)
        if not unfinished:
            LOGGER.info("%s: complete already, skipped", target.stem)
        for folder in unfinished:
            actor, identity = load(target)
            folder.run(actor, target.stem, identity)
        if world.is_main:
            runs = [folder.rows(target.stem) for folder in folders]
            outcome.rates[target.stem] = [100 * average_tasks([rows]).rate for rows in runs]
            outcome.lost += [row for rows in runs for row in rows if row.is_lost]
    return outcome


def _unfinished(
    options: EvaluationOptions, folders: Sequence[EvaluationFolder], target: Target
) -> list[EvaluationFolder]:
    """The folders of a target that are not to be skipped."""
    return [f for f in folders if not (options.skip and f.is_complete(target.stem))]


# ------------------------------------------------------------------------------- targets
def find_targets(options: EvaluationOptions, world: DistributedContext) -> list[Target]:
    """What the options name, in order.

    Raises:
        OptionError: they name nothing.
    """
    if options.ground_truth:
        return [_ground_truth_target(options)]
    if not options.model_name:
        raise OptionError(
            "--model-name is missing: a checkpoint of --model-folder such as model_last.pth, or all"
        )
    return [
        _checkpoint_target(options, world, path)
        for path in find_checkpoints(options.model_folder, options.model_name)
    ]


def session_target(name: str, session: Session, executor: str = "") -> Target:
    """A session, whatever acts behind it; its results go to the folder `name`.

    `executor` chooses what is executed; "" = as its spec says.
    """
    actor = _policy_actor(session, session.spec, executor)
    return Target(name, lambda: (actor, {"name": name}), {"name": name})


def _policy_actor(session: Session, spec: PolicySpec, executor: str) -> PolicyActor:
    """Acts with `session`; what it executes may be of another mode than what it predicts."""
    spec = dataclasses.replace(spec, executor=executor or spec.executor)
    built = build_executor(spec.executor, session)
    return PolicyActor(built, dataclasses.replace(spec, action=built.policy.spec.action))


def _checkpoint_target(options: EvaluationOptions, world: DistributedContext, path: Path) -> Target:
    known = {"name": path.name, "sha256": sha256_of(path)}

    def load() -> tuple[Actor, dict[str, Any]]:
        bundle = load_policy(
            path,
            device=world.device,
            experiment_file=options.exp_cfg_path,
            network_file=options.mvt_cfg_path,
            experiment_opts=options.exp_cfg_opts,
        )
        network = bundle.network
        encoder = trained_encoder(bundle)
        if encoder is not None:
            encoder.encode(["open the drawer"])  # its weights are read at first need
        session = PolicySession(bundle, batch_size=batch_size(options, world), text_encoder=encoder)
        digest = config_digest(bundle.experiment, network)
        spec = session.spec.sized(bundle.experiment.image_size)
        actor = _policy_actor(session, spec, options.executor)
        identity = {"policy": policy_name(network), "stage": bundle.stage, "step": bundle.step}
        return actor, known | identity | {"config": digest}

    return Target(path.stem, load, known)


def _ground_truth_target(options: EvaluationOptions) -> Target:
    experiment, network = _ground_truth_configs(options)
    name = policy_name(network)
    decoder = POLICIES.get(name).ground_truth(experiment, network)
    if decoder is None:
        raise OptionError(
            f"--ground-truth: policy {name} has no decoding of keyframes that could be measured"
        )
    read = functools.partial(
        keyframe_actions,
        gripper_threshold=experiment.gripper_threshold,
        assume_ignore_collisions=experiment.assume_ignore_collisions,
    )
    digest = config_digest(experiment, network)
    identity = {"name": GROUND_TRUTH, **decoder.identity, "config": digest}
    return Target(GROUND_TRUTH, lambda: (DemoActor(decoder, read), identity), read=read)


def _ground_truth_configs(
    options: EvaluationOptions,
) -> tuple[ExperimentConfig, PolicyConfig]:
    """The configs as given, else of the run folder, else the published ones."""
    given = (options.exp_cfg_path, options.mvt_cfg_path)
    run = RunFolder(options.model_folder)
    experiment, network = (
        path or (str(file) if file.is_file() else "")
        for path, file in zip(given, (run.experiment, run.network), strict=True)
    )
    return (
        load_experiment(experiment, options.exp_cfg_opts),
        load_network(network or "configs/mvt/sam2act.yaml"),
    )


def policy_name(network: PolicyConfig) -> str:
    """The name of the policy that a network config describes."""
    return str(getattr(network, POLICY, DEFAULT_POLICY))


def config_digest(experiment: Any, network: PolicyConfig) -> str:
    """A short digest of the configs that a policy acts with.

    The name of the default policy is left out: older folders of results know no other policy.
    """
    of_network = to_dict(network)
    if of_network.get(POLICY) == DEFAULT_POLICY:
        del of_network[POLICY]
    text = json.dumps([to_dict(experiment), of_network], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
