"""What a run learns from: frame stores, batches, held-out samples, language tokens."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from sam2act.config.network import NetworkConfig
from sam2act.config.schema import ExperimentConfig
from sam2act.config.tasks import (
    data_folder,
    lies_in_package,
    replay_folder,
    store_folder,
    task_names,
)
from sam2act.core.errors import ConfigError
from sam2act.core.types import KeyframeBatch
from sam2act.data.loader import KeyframeDataset, gather_batch, make_loader, one_ahead
from sam2act.data.peract_replay.replay import ReplayRequest, import_replay, open_replay
from sam2act.data.samplers import (
    DemoUniformTemporal,
    build_sampler,
    first_chains,
)
from sam2act.data.store.bounds_check import keep_points_inside
from sam2act.data.store.builder import ensure_store, open_store
from sam2act.data.store.checks import keep_targets_inside
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.language.cache import LanguageCache, warn_of_equal
from sam2act.language.text_encoder import build_text_encoder
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.trainer import TrainingData
from sam2act.training.validation import ValidationData

LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Command-line choices about the data."""

    refresh: bool = False
    skip_bad_episodes: bool = False


def open_stores(
    experiment: ExperimentConfig, world: DistributedContext, options: DataOptions
) -> tuple[KeyframeStore, KeyframeStore | None]:
    """Training and validation store; the main process builds, the others wait.

    Raises:
        DemoError: demos are absent or broken.
        StoreError: a frame shows nothing, or a target lies far, outside the scene bounds.
    """
    requests = [_store_request(experiment, "train", experiment.demo, experiment.demo_start)]
    held_out = experiment.validation
    if held_out.demo:
        requests.append(
            _store_request(experiment, held_out.split, held_out.demo, held_out.demo_start)
        )
        _require_disjoint(*requests)
    tasks = task_names(experiment)
    replay = _replay_request(experiment)
    from_demos = requests[1:] if replay else requests

    def finished() -> list[KeyframeStore]:
        stores = [open_store(request, tasks) for request in from_demos]
        if replay:
            stores.insert(0, open_replay(replay, tasks, episodes=requests[0].episodes))
        return [_within_bounds(store, experiment, options) for store in stores]

    if world.is_main:
        _warn_of_package_folder(replay.replay_folder if replay else requests[0].data_folder)
        if replay:
            import_replay(replay, tasks, refresh=options.refresh)
        for request in from_demos:
            ensure_store(
                request,
                tasks,
                refresh=options.refresh,
                skip_bad_episodes=options.skip_bad_episodes,
            )
        stores = finished()
    world.barrier()
    if not world.is_main:
        stores = finished()
    return stores[0], stores[1] if len(stores) > 1 else None


def _within_bounds(
    store: KeyframeStore, experiment: ExperimentConfig, options: DataOptions
) -> KeyframeStore:
    """The store, with the check that targets and what remains of the clouds lie in the bounds."""
    if not experiment.rvt.move_pc_in_bound:
        return store
    for keep in (keep_points_inside, keep_targets_inside):
        store = keep(store, experiment.scene_bounds, skip_bad_episodes=options.skip_bad_episodes)
    return store


def _store_request(
    experiment: ExperimentConfig, split: str, demo: int, demo_start: int
) -> StoreRequest:
    return StoreRequest(
        data_folder=data_folder(experiment),
        store_folder=store_folder(experiment),
        split=split,
        demo=demo,
        demo_start=demo_start,
        cameras=experiment.cameras,
        image_size=experiment.image_size,
        gripper_threshold=experiment.gripper_threshold,
        store_alone=not experiment.data_folder,
        assume_ignore_collisions=experiment.assume_ignore_collisions,
    )


def _replay_request(experiment: ExperimentConfig) -> ReplayRequest | None:
    """The released replays to train on, None for demos; what was found unasked is logged."""
    folder = replay_folder(experiment)
    if not folder:
        return None
    if not experiment.replay_folder:
        lacking = [name for name in task_names(experiment) if not (Path(folder) / name).is_dir()]
        if lacking:
            LOGGER.info("%s lacks %s: training on demos", folder, ", ".join(lacking))
            return None
        LOGGER.info(
            "training on the released replays found in %s (replay_folder none trains on the demos "
            "of data_folder instead, replay_folder DIR on other replays)",
            folder,
        )
    return ReplayRequest(
        replay_folder=folder,
        store_folder=store_folder(experiment),
        cameras=experiment.cameras,
        image_size=experiment.image_size,
    )


def _warn_of_package_folder(folder: str | Path) -> None:
    if lies_in_package(str(folder)):
        LOGGER.warning(
            "%s lies among the source files of the package, where every copy and search of them "
            "meets it; better kept beside the folder sam2act, where it is found as well, or "
            "anywhere else with data_folder or replay_folder naming the place",
            folder,
        )


def _require_disjoint(training: StoreRequest, validation: StoreRequest) -> None:
    shared = set(training.episodes) & set(validation.episodes)
    if training.split == validation.split and shared:
        raise ConfigError(
            f"validation: episodes {sorted(shared)} of split {training.split} are also trained on;"
            " change validation.demo_start, validation.split or demo"
        )


def language_table(
    instructions: list[str],
    experiment: ExperimentConfig,
    network: NetworkConfig,
    world: DistributedContext,
) -> Tensor:
    """Tokens of every instruction, (instructions, L, lang_dim) float32 on the device."""
    settings = experiment.language
    path = settings.cache or f"{store_folder(experiment)}/language_{settings.encoder}.safetensors"
    encoder = build_text_encoder(settings, network.lang_len, network.lang_dim)
    cache = LanguageCache(Path(path))
    if world.is_main:
        warn_of_equal(instructions, cache.table(instructions, encoder))
    world.barrier()
    return cache.table(instructions, encoder).to(world.device)


def build_training_data(
    experiment: ExperimentConfig,
    network: NetworkConfig,
    world: DistributedContext,
    options: DataOptions,
) -> TrainingData:
    """Stores, batches and language of a run.

    Raises:
        ConfigError, DemoError, SamplingError: the data cannot serve this configuration.
    """
    training, validation = open_stores(experiment, world, options)
    instructions = list(training.instructions)
    sampler = build_sampler(
        experiment.sample_distribution_mode,
        training,
        bs=experiment.bs,
        seed=experiment.seed,
        num_maskmem=network.num_maskmem,
        window_sampling=experiment.peract.window_sampling,
    )
    label = experiment.peract.collision_label
    dataset = KeyframeDataset(
        training, sampler, bs=experiment.bs, rank=world.rank, collision_label=label
    )

    def training_batches(start: int, count: int) -> Iterator[KeyframeBatch]:
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
        held_out = _validation_data(
            validation, instructions, experiment, _window(experiment, network), world
        )
    language = language_table(instructions, experiment, network, world)
    return TrainingData(training_batches, held_out, language, training.fingerprints())


def _window(experiment: ExperimentConfig, network: NetworkConfig) -> int:
    """Consecutive rows of a batch that belong together."""
    temporal = experiment.sample_distribution_mode == "demo_uniform_temporal"
    return network.num_maskmem + 1 if temporal else 1


def _validation_data(
    store: KeyframeStore,
    instructions: list[str],
    experiment: ExperimentConfig,
    window: int,
    world: DistributedContext,
) -> ValidationData:
    """What held-out demos show, dealt out to the processes in turn: the first chain of every demo,
    or every window of consecutive keyframes (`window` > 1)."""
    rows = torch.tensor([instructions.index(text) for text in store.instructions])
    if window > 1:
        sampler = DemoUniformTemporal(store, 0, window=window, window_sampling="all_windows")
        records = sampler.all_windows().reshape(-1)
    else:
        records = first_chains(store)
    numbers = torch.arange(len(records)).view(-1, window)[world.rank :: world.size].flatten()

    def batches() -> Iterator[tuple[Tensor, KeyframeBatch]]:
        for part in numbers.split(experiment.bs) if len(numbers) else ():
            batch = gather_batch(
                store, records[part.numpy()], collision_label=experiment.peract.collision_label
            )
            yield part, dataclasses.replace(batch, instruction=rows[batch.instruction])

    return ValidationData(len(records), batches)
