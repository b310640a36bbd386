"""What a run learns from: batches, held-out samples, language tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.tasks import store_folder
from sam2act.core.mixtures import read_mixture
from sam2act.core.specs import PolicySpec
from sam2act.core.types import Batch
from sam2act.data.loader import (
    BatchTransform,
    KeyframeDataset,
    SampleDataset,
    gather_batch,
    make_loader,
    one_ahead,
)
from sam2act.data.samplers import DemoUniformTemporal, Sampler, build_sampler, first_chains
from sam2act.data.store.store import FrameStore, KeyframeStore
from sam2act.data.windows import WindowDataset, WindowStore
from sam2act.language.cache import LanguageCache, warn_of_equal
from sam2act.language.text_encoder import build_text_encoder
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.stores import DataOptions, open_stores
from sam2act.training.trainer import TrainingData
from sam2act.training.validation import ValidationData

ROWS = 256  # samples that are read at once for statistics


def language_table(
    instructions: list[str],
    experiment: ExperimentConfig,
    spec: PolicySpec,
    world: DistributedContext,
) -> Tensor:
    """Tokens of every instruction, (instructions, L, D) float32 on the device.

    A policy that takes no instruction gets zeros.
    """
    if spec.language is None:
        return torch.zeros(len(instructions), *spec.token_shape, device=world.device)
    settings = experiment.language
    path = settings.cache or f"{store_folder(experiment)}/language_{settings.encoder}.safetensors"
    encoder = build_text_encoder(settings, *spec.language_shape)
    cache = LanguageCache(Path(path))
    if world.is_main:
        warn_of_equal(instructions, cache.table(instructions, encoder))
    world.barrier()
    return cache.table(instructions, encoder).to(world.device)


def build_training_data(
    experiment: ExperimentConfig,
    spec: PolicySpec,
    world: DistributedContext,
    options: DataOptions,
    transform: BatchTransform | None = None,
) -> TrainingData:
    """Stores, batches and language of a run.

    Args:
        experiment: which data, and how they are sampled.
        spec: what the policy wants to see and gives.
        world: this process.
        options: of the command line.
        transform: changes every batch before it is used; held-out ones without a seed.

    Raises:
        ConfigError, DemoError, SamplingError, SpecError: the data cannot serve this configuration.
    """
    training, validation = open_stores(experiment, spec, world, options)
    instructions = list(training.instructions)
    sampler = build_sampler(
        experiment.sample_distribution_mode,
        training,
        bs=experiment.bs,
        seed=experiment.seed,
        window=spec.keyframe_window,
        window_sampling=experiment.peract.window_sampling,
        weights=read_mixture(experiment.data_mix) if experiment.data_mix else None,
    )
    dataset = _dataset(training, sampler, experiment, spec, world, transform)

    def training_batches(start: int, count: int) -> Iterator[Batch]:
        loader = make_loader(
            dataset,
            start,
            count,
            num_workers=experiment.num_workers,
            pin_memory=world.device.type == "cuda",
        )
        return one_ahead(loader, world.device) if loader.pin_memory else iter(loader)

    held_out = None
    if validation is not None:
        instructions += [text for text in validation.instructions if text not in instructions]
        held_out = _validation_data(validation, instructions, experiment, spec, world, transform)
    language = language_table(instructions, experiment, spec, world)
    return TrainingData(
        *(training_batches, held_out, language, training.fingerprints()),
        samples=partial(_samples, dataset),
    )


def _samples(dataset: SampleDataset) -> Iterator[Batch]:
    """Every training sample once, before any transform; of windows only states and actions."""
    store = dataset.store
    numbers = store.covering() if isinstance(store, WindowStore) else store.valid
    gather = store.without_images if isinstance(store, WindowStore) else dataset.gather
    for first in range(0, len(numbers), ROWS):
        yield gather(numbers[first : first + ROWS])


def _dataset(
    store: FrameStore,
    sampler: Sampler,
    experiment: ExperimentConfig,
    spec: PolicySpec,
    world: DistributedContext,
    transform: BatchTransform | None,
) -> SampleDataset:
    """The batches of this process."""
    if isinstance(store, WindowStore):
        return WindowDataset(store, sampler, bs=experiment.bs, rank=world.rank, transform=transform)
    assert isinstance(store, KeyframeStore)
    return KeyframeDataset(
        store,
        sampler,
        bs=experiment.bs,
        rank=world.rank,
        collision_label=experiment.peract.collision_label,
        future_keyframes=spec.action.horizon,
        preview=spec.next_keyframe,
        transform=transform,
    )


def _held_out(
    store: FrameStore, experiment: ExperimentConfig, spec: PolicySpec
) -> tuple[np.ndarray, int, Callable[[np.ndarray], Batch]]:
    """The numbers of the held-out samples, how many in a row belong together, and their gathering.

    Samples are the first keyframe chain of every demo, or every window of consecutive keyframes
    where those are trained on; of windows of frames those that share no action.
    """
    if isinstance(store, WindowStore):
        return store.separate(), 1, store.gather
    assert isinstance(store, KeyframeStore)

    def gather(records: np.ndarray) -> Batch:
        return gather_batch(
            store,
            records,
            collision_label=experiment.peract.collision_label,
            future_keyframes=spec.action.horizon,
            preview=spec.next_keyframe,
        )

    window = spec.keyframe_window
    if window == 1 or experiment.sample_distribution_mode != "demo_uniform_temporal":
        return first_chains(store), 1, gather
    sampler = DemoUniformTemporal(store, 0, window=window, window_sampling="all_windows")
    return sampler.all_windows().reshape(-1), window, gather


def _validation_data(
    store: FrameStore,
    instructions: list[str],
    experiment: ExperimentConfig,
    spec: PolicySpec,
    world: DistributedContext,
    transform: BatchTransform | None,
) -> ValidationData:
    """What held-out demos show, dealt out to the processes in turn."""
    rows = torch.tensor([instructions.index(text) for text in store.instructions])
    records, window, gather = _held_out(store, experiment, spec)
    numbers = torch.arange(len(records)).view(-1, window)[world.rank :: world.size].flatten()

    def batches() -> Iterator[tuple[Tensor, Batch]]:
        for part in numbers.split(experiment.bs) if len(numbers) else ():
            batch = gather(records[part.numpy()])
            batch = dataclasses.replace(batch, instruction=rows[batch.instruction])
            yield part, batch if transform is None else transform(batch, None)

    return ValidationData(len(records), batches)
