"""Builds what a training run needs from its configs: stores, batches, language, run folder."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from sam2act.config.load import to_dict
from sam2act.config.schema import ConfigError, ExperimentConfig, NetworkConfig
from sam2act.config.tasks import data_folder, store_folder, task_names
from sam2act.data.dataset import KeyframeDataset, gather_batch, make_loader
from sam2act.data.frame_clouds import keep_points_inside
from sam2act.data.published_replay import ReplayRequest, import_replay, open_replay
from sam2act.data.rlbench_types import DemoError
from sam2act.data.samplers import (
    DemoUniformTemporal,
    SamplingError,
    build_sampler,
    first_chains,
)
from sam2act.data.store import KeyframeStore, StoreError
from sam2act.data.store_builder import StoreRequest, ensure_store, open_store
from sam2act.geometry.augmentation import torchvision_functional
from sam2act.language.cache import LanguageCache
from sam2act.language.text_encoder import LanguageError, build_text_encoder
from sam2act.models.attention import xformers_attention
from sam2act.models.published_weights import WeightsError
from sam2act.models.sam2act_plus import SAM2ActPlusNetwork
from sam2act.policy.checkpoint import CheckpointError, PolicyBundle, read_checkpoint, write_config
from sam2act.policy.contracts import Batch
from sam2act.policy.plus import SAM2ActPlusPolicy
from sam2act.training.distributed import World
from sam2act.training.guards import NonFiniteLossError
from sam2act.training.loop import Trainer, TrainingData
from sam2act.training.validation import ValidationData

LOGGER = logging.getLogger(__name__)
# Errors whose message says what the user can do; entry points print it without a traceback.
USER_ERRORS = (
    ConfigError,
    DemoError,
    StoreError,
    SamplingError,
    WeightsError,
    CheckpointError,
    LanguageError,
    NonFiniteLossError,
)
PUBLISHED_SAMPLES_PER_UPDATE = 256


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Command-line choices about the data."""

    refresh: bool = False
    skip_bad_episodes: bool = False


def check_available(
    experiment: ExperimentConfig, network: NetworkConfig, device: torch.device
) -> None:
    """Raise `ConfigError` where an option needs a package or a device that is not there."""
    if network.attention_backend == "xformers":
        xformers_attention()
        if device.type != "cuda":
            raise ConfigError(
                "attention_backend: xformers runs on CUDA devices only; set attention_backend: sdpa"
            )
    if experiment.peract.color_jitter:
        torchvision_functional()


def run_folder(log_dir: str, experiment: ExperimentConfig) -> Path:
    """`<log-dir>/<exp_id>_<exp_name>`."""
    return Path(log_dir) / f"{experiment.exp_id}_{experiment.exp_name}"


def open_stores(
    experiment: ExperimentConfig, world: World, options: DataOptions
) -> tuple[KeyframeStore, KeyframeStore | None]:
    """Training and validation store; the main process builds, the others wait.

    Raises:
        DemoError: demos are absent or broken.
        StoreError: a frame shows nothing inside the scene bounds.
    """
    requests = [_store_request(experiment, "train", experiment.demo, experiment.demo_start)]
    held_out = experiment.validation
    if held_out.demo:
        requests.append(
            _store_request(experiment, held_out.split, held_out.demo, held_out.demo_start)
        )
        _require_disjoint(*requests)
    tasks = task_names(experiment)
    replay = _replay_request(experiment) if experiment.replay_folder else None
    from_demos = requests[1:] if replay else requests

    def finished() -> list[KeyframeStore]:
        stores = [open_store(request, tasks) for request in from_demos]
        if replay:
            stores.insert(0, open_replay(replay, tasks, episodes=requests[0].episodes))
        return [_with_points(store, experiment, options) for store in stores]

    if world.is_main:
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


def _with_points(
    store: KeyframeStore, experiment: ExperimentConfig, options: DataOptions
) -> KeyframeStore:
    """The store, with the check that cropping to the bounds leaves points in every frame."""
    if not experiment.rvt.move_pc_in_bound:
        return store
    return keep_points_inside(
        store, experiment.scene_bounds, skip_bad_episodes=options.skip_bad_episodes
    )


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
    )


def _replay_request(experiment: ExperimentConfig) -> ReplayRequest:
    return ReplayRequest(
        replay_folder=experiment.replay_folder,
        store_folder=store_folder(experiment),
        cameras=experiment.cameras,
        image_size=experiment.image_size,
    )


def _require_disjoint(training: StoreRequest, validation: StoreRequest) -> None:
    shared = set(training.episodes) & set(validation.episodes)
    if training.split == validation.split and shared:
        raise ConfigError(
            f"validation: episodes {sorted(shared)} of split {training.split} are also trained on;"
            " change validation.demo_start, validation.split or demo"
        )


def language_table(
    instructions: list[str], experiment: ExperimentConfig, network: NetworkConfig, world: World
) -> Tensor:
    """Tokens of every instruction, (instructions, L, lang_dim) float32 on the device."""
    settings = experiment.language
    path = settings.cache or f"{store_folder(experiment)}/language_{settings.encoder}.safetensors"
    encoder = build_text_encoder(settings, network.lang_len, network.lang_dim)
    cache = LanguageCache(Path(path))
    if world.is_main:
        cache.table(instructions, encoder)
    world.barrier()
    return cache.table(instructions, encoder).to(world.device)


def build_training_data(
    experiment: ExperimentConfig, network: NetworkConfig, world: World, options: DataOptions
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

    def training_batches(start: int, count: int) -> Iterator[Batch]:
        loader = make_loader(
            dataset,
            start,
            count,
            num_workers=experiment.num_workers,
            pin_memory=world.device.type == "cuda",
        )
        return iter(loader)

    held_out = None
    if validation is not None:
        instructions += [text for text in validation.instructions if text not in instructions]
        held_out = _validation_data(
            validation, instructions, experiment, _window(experiment, network), world
        )
    language = language_table(instructions, experiment, network, world)
    return TrainingData(training_batches, held_out, language)


def _window(experiment: ExperimentConfig, network: NetworkConfig) -> int:
    """Consecutive rows of a batch that belong together."""
    temporal = experiment.sample_distribution_mode == "demo_uniform_temporal"
    return network.num_maskmem + 1 if temporal else 1


def _validation_data(
    store: KeyframeStore,
    instructions: list[str],
    experiment: ExperimentConfig,
    window: int,
    world: World,
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

    def batches() -> Iterator[tuple[Tensor, Batch]]:
        for part in numbers.split(experiment.bs) if len(numbers) else ():
            batch = gather_batch(
                store, records[part.numpy()], collision_label=experiment.peract.collision_label
            )
            yield part, dataclasses.replace(batch, instruction=rows[batch.instruction])

    return ValidationData(len(records), batches)


def write_run_configs(
    folder: Path, bundle: PolicyBundle, arguments: dict[str, object], suffix: str = ""
) -> None:
    """`exp_cfg.yaml`, `mvt_cfg.yaml` and `args.yaml` of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder / f"exp_cfg{suffix}.yaml", to_dict(bundle.experiment))
    write_config(folder / f"mvt_cfg{suffix}.yaml", to_dict(bundle.network))
    write_config(folder / f"args{suffix}.yaml", arguments)


def checkpoint_to_resume(folder: Path, experiment: ExperimentConfig, prefix: str) -> Path | None:
    """The file a run continues from: `resume`, else `<prefix>_last.pth` of its folder."""
    if experiment.resume:
        return Path(experiment.resume)
    last = folder / f"{prefix}_last.pth"
    return last if last.is_file() else None


@contextmanager
def _naming(path: str | Path, remedy: str) -> Iterator[None]:
    """Adds the file and the remedy to complaints about weights."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{path}: {remedy}. {error}") from error


def resume_run(trainer: Trainer, path: Path) -> None:
    """Continue a run from its last checkpoint."""
    LOGGER.info("resuming %s", path)
    with _naming(path, "use another exp_name, remove that run, or restore its configuration"):
        trainer.resume(read_checkpoint(path))


def start_from_weights(trainer: Trainer, path: str | Path) -> None:
    """Take only the weights of a checkpoint."""
    with _naming(path, "its network configuration must equal that of this run"):
        report = trainer.start_from(read_checkpoint(path))
    LOGGER.info("starting from the weights of %s: %s", path, report)


def start_stage_two(trainer: Trainer, path: str | Path) -> None:
    """Take the weights of a stage-1 checkpoint; the memory starts fresh."""
    with _naming(path, "use the network values of stage 1"):
        report = trainer.start_from(read_checkpoint(path), stage_one=True)
    LOGGER.info("starting from stage 1, %s: %s", path, report)


def prepare_memory(trainer: Trainer, batches: int = 2) -> None:
    """With `memory_init: local`, fit the memory's last norm to the tokens of stage 1."""
    policy = trainer.bundle.policy
    if trainer.bundle.network.memory_init != "local" or not isinstance(policy, SAM2ActPlusPolicy):
        return
    tokens = []
    for batch in trainer.data.training(0, batches):
        batch = batch.to(trainer.world.device)
        tokens.append(policy.frozen_features(batch, trainer.data.language[batch.instruction])[0])
    policy.plus.memory.calibrate(torch.cat(tokens))
    trainer.world.copy_from_main(policy.plus.memory.attention.norm.parameters())


def describe_run(trainer: Trainer) -> None:
    """Print what will be trained, and how far the batch is from the published one."""
    plan = trainer.plan
    if trainer.bundle.network.xops and trainer.bundle.network.attention_backend == "sdpa":
        LOGGER.info("xops: True is served by scaled_dot_product_attention, which computes the same")
    for name, (total, trainable) in parameter_counts(trainer.bundle).items():
        LOGGER.info("%-24s %12s parameters, %12s trained", name, f"{total:,}", f"{trainable:,}")
    LOGGER.info(
        "%d epochs of %d updates, %d samples per update, learning rate %.3g",
        plan.epochs,
        plan.updates_per_epoch,
        plan.samples_per_update,
        max(trainer.schedule.base_lrs),
    )
    if plan.samples_per_update != PUBLISHED_SAMPLES_PER_UPDATE:
        LOGGER.info(
            "the published run used %d samples per update; peract.lr is per sample, so the rate "
            "follows the batch",
            PUBLISHED_SAMPLES_PER_UPDATE,
        )


def parameter_counts(bundle: PolicyBundle) -> dict[str, tuple[int, int]]:
    """Parameters in all and trained, per component."""
    network = bundle.policy.network
    parts: dict[str, nn.Module] = {
        "image encoder": network.encoders,
        "coarse branch": network.coarse,
    }
    parts |= {"fine branch": network.fine}
    if isinstance(network, SAM2ActPlusNetwork):
        parts["memory"] = network.memory
    parts["total"] = network
    return {
        name: (
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in parts.items()
    }
