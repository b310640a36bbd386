"""A policy of sam2act behind LeRobot's interface, with a memory per row of the batch.

LeRobot's `reset()` names no environment. The rule here: row i of every batch is environment i; a
row starts an episode after `reset()`, and when `is_first` of that row is set, as
`observation.is_first` or in `observation.robot_state`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from lerobot_policy_sam2act.batches import first_rows, frames_of
from lerobot_policy_sam2act.configuration_sam2act import SAM2ActConfig
from lerobot_policy_sam2act.samples import check_features, joined, keyframe_samples
from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import UserError
from sam2act.core.types import KeyframeBatch
from sam2act.core.weight_names import WeightsError
from sam2act.evaluation.actors import PolicyActor, Turn
from sam2act.evaluation.scenes import EpisodeStart
from sam2act.policies.base import StartData, policy_class
from sam2act.policies.checkpoint import (
    PolicyBundle,
    build_policy,
    load_transforms,
    read_checkpoint,
)
from sam2act.policies.executors import build_executor
from sam2act.policies.hub_folder import hub_config, write_hub_weights
from sam2act.policies.session import InstructionCache, PolicySession, trained_encoder

TRAIN = "use `sam2act train`, then `sam2act export`"


class SAM2ActPolicy(PreTrainedPolicy):
    """See the module; `network` is the policy of sam2act."""

    config_class = SAM2ActConfig
    name = "sam2act"

    def __init__(self, config: SAM2ActConfig, dataset_meta: Any = None, **_: Any) -> None:
        """A policy with fresh weights.

        Args:
            config: names its configurations; its features become those of the policy.
            dataset_meta: of the data set to train on; None = the policy acts only.

        Raises:
            UserError: it cannot be trained on this data set, or not by LeRobot at all.
        """
        super().__init__(config)
        config.validate_features()
        experiment, network = config.experiment_config(), config.network_config()
        self._fresh = dataset_meta is not None and not config.pretrained_path
        public = self._fresh and not config.init_from
        self._bundle = build_policy(experiment, network, pretrained=public, seed=experiment.seed)
        if self._fresh:
            config.stage = 2 if config.keyframe_window > 1 else 1
        self._bundle.stage, self._bundle.step = config.stage, config.step
        self.network = self._bundle.policy
        features = hub_config(self._bundle)
        config.input_features = _features(features["input_features"])
        config.output_features = _features(features["output_features"])
        self._actor: PolicyActor | None = None
        self._steps: dict[int, int] = {}  # row -> actions of its episode so far
        self._begun = False  # whether a loss was asked for
        self._spare: tuple[KeyframeBatch, list[str]] | None = None  # a sample of the last batch
        if dataset_meta is not None:
            check_trainable(self._bundle, fresh=self._fresh)
            spec = self._bundle.transforms.spec.sized(experiment.image_size)
            check_features(dataset_meta.features, spec, experiment.peract.collision_label)
        if self._fresh and config.init_from:
            load_start(self._bundle, config.init_from)
            config.init_from = ""  # what is saved begins with its own weights

    # ------------------------------------------------------------------------------- acting
    def reset(self) -> None:
        """All rows start episodes."""
        self._steps = {}

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, A): the next action of every row.

        Args:
            batch: `observation.images.<camera>` (B, 3, H, W) in 0..1, `observation.state` (B, 17),
                `task` (B texts), `depth`, `intrinsics` and `extrinsics` per camera.

        Raises:
            ContractError: something that the policy wants is absent.
        """
        actor = self._acting()
        frames = list(frames_of(batch))
        first = first_rows(batch, len(frames))
        for row in range(len(frames)):
            if first[row] or row not in self._steps:
                actor.begin(row, EpisodeStart("", row))
                self._steps[row] = 0
        texts = batch.get("task") or [""] * len(frames)
        turns = [Turn(i, frame, texts[i], self._steps[i]) for i, frame in enumerate(frames)]
        actions = np.stack([np.asarray(action) for action in actor.act(turns)])
        for row in range(len(frames)):
            self._steps[row] += 1
        return torch.from_numpy(actions).float().to(self.config.device)

    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, 1, A): the action of `select_action`; memories take up the observation."""
        return self.select_action(batch)[:, None]

    def _acting(self) -> PolicyActor:
        if self._actor is None:
            session = PolicySession(
                self._bundle,
                batch_size=self.config.rows_per_pass,
                text_encoder=trained_encoder(self._bundle),
            )
            spec = session.spec.sized(self._bundle.experiment.image_size)
            self._actor = PolicyActor(build_executor(spec.executor, session), spec)
        return self._actor

    # ----------------------------------------------------------------------------- training
    def get_optim_params(self) -> list[dict[str, Any]]:
        """Trainable parameters, in the groups of the policy."""
        return self.network.parameter_groups()

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch of LeRobot's data loader, and its terms.

        Random numbers come from torch's global generator, whose state LeRobot saves and restores.

        Raises:
            DataSetError: the batch lacks something; the message names the feature and the remedy.
        """
        experiment, transforms = self._bundle.experiment, self._bundle.transforms
        samples, texts = self._filled(*keyframe_samples(batch, experiment, transforms.spec))
        if transforms:
            samples = transforms.batch(samples, torch.randint(2**62, (len(samples),)))
        language = self._instructions.features(texts)
        if not self._begun:
            self._begin(samples, language)
        noise = self.network.sample_noise(len(samples), torch.default_generator)
        output = self.network.loss(samples.to(language.device), language, noise.to(language.device))
        return output.total, {name: float(value) for name, value in output.terms.items()}

    def update(self) -> None:
        """LeRobot calls this after every update; config.json counts them."""
        self._bundle.step = self.config.step = (self.config.step or 0) + 1

    def _begin(self, samples: KeyframeBatch, language: Tensor) -> None:
        """What the policy does before its first update; a fresh memory is fitted to this batch."""
        rows = dataclasses.replace(samples, instruction=torch.arange(len(samples)))
        start = StartData(lambda first, count: iter([rows]), language, language.device, share)
        self.network.on_start(start, fresh=self._fresh)
        self._begun = True

    def _filled(self, samples: KeyframeBatch, texts: list[str]) -> tuple[KeyframeBatch, list[str]]:
        """A remainder of one sample, which cannot be normalised over, with one of the batch before.

        Raises:
            UserError: there was no batch before.
        """
        if len(samples) == 1:
            if self._spare is None:
                raise UserError("batch_size: 1 cannot train, because BatchNorm needs two; set 2")
            samples = joined(samples, self._spare[0])
            texts = [*texts, *self._spare[1]]
        self._spare = samples.select([0]), texts[:1]
        return samples, texts

    @cached_property
    def _instructions(self) -> InstructionCache:
        device = next(self.network.parameters()).device
        return InstructionCache(self.network.spec, trained_encoder(self._bundle), device)

    # -------------------------------------------------------------------------------- files
    def _save_pretrained(self, save_directory: Path) -> None:
        self.config._save_pretrained(save_directory)
        write_hub_weights(Path(save_directory), self._bundle)

    @classmethod
    def _load_as_safetensor(
        cls, model: SAM2ActPolicy, model_file: str, map_location: str, strict: bool
    ) -> SAM2ActPolicy:
        """Every tensor must be there, whatever `strict` says."""
        content = read_checkpoint(model_file)
        model.network.weight_adapter.load(content["model_state"])
        load_transforms(model._bundle, content, model_file)
        model.network.check_weights()
        return model.to(map_location)


def check_trainable(bundle: PolicyBundle, *, fresh: bool) -> None:
    """Make sure that LeRobot's training does what the configurations say.

    Args:
        bundle: the policy.
        fresh: it has no weights and statistics yet.

    Raises:
        UserError: it cannot; the message names the key and the remedy.
    """
    experiment, spec = bundle.experiment, bundle.policy.spec
    if spec.action != KEYFRAME_POSE or spec.next_keyframe:
        raise UserError(
            f"policy: {getattr(bundle.network, 'policy', 'this policy')} learns from more than the "
            f"next keyframe of a frame, which batches of LeRobot do not hold; {TRAIN}"
        )
    if fresh and bundle.transforms.needs_fit:
        raise UserError(
            f"transforms: {', '.join(experiment.transforms)} take statistics of the training data, "
            f"which LeRobot does not offer; leave them out, or {TRAIN}"
        )
    if experiment.peract.ema:
        raise UserError(
            f"peract.ema: {experiment.peract.ema} averages weights, which LeRobot's training does "
            f"not; set --policy.experiment_opts='peract.ema 0', or {TRAIN}"
        )
    policy_class(bundle.network).check_stage(bundle.stage, experiment, bundle.network)


def load_start(bundle: PolicyBundle, path: str) -> None:
    """Take the weights that a new training begins with.

    Raises:
        UserError: there are none, or they do not fit.
    """
    adapter, state = bundle.policy.weight_adapter, read_checkpoint(path)["model_state"]
    try:
        if bundle.stage == 2:
            adapter.load_earlier_stage(state)
        else:
            adapter.load(state)
    except WeightsError as error:
        raise WeightsError(f"init_from: {path}: does not fit the policy. {error}") from error


def share(tensors: Iterator[Tensor]) -> None:
    """Make tensors equal in all processes of a training, those of the main one."""
    for tensor in tensors:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast(tensor.data, 0)


def _features(described: dict[str, Any]) -> dict[str, PolicyFeature]:
    return {
        name: PolicyFeature(FeatureType[of["type"]], tuple(of["shape"]))
        for name, of in described.items()
    }
