"""The frame stores of a run: which recorded episodes they hold, built, checked and opened."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.tasks import (
    data_folder,
    lies_in_package,
    replay_folder,
    store_folder,
    task_names,
)
from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import ConfigError
from sam2act.core.registry import SOURCES
from sam2act.core.specs import ROBOT_STATE, PolicySpec, SpecError, require_match
from sam2act.data.peract_replay.replay import ReplayRequest, import_replay, open_replay
from sam2act.data.store.bounds_check import keep_points_inside
from sam2act.data.store.builder import ensure_tasks, open_store, open_tasks
from sam2act.data.store.checks import keep_targets_inside, warn_of_oddities
from sam2act.data.store.request import DEMOS, REPLAYS, StoreRequest
from sam2act.data.store.store import FrameStore, KeyframeStore
from sam2act.data.windows import WindowStore
from sam2act.runtime.distributed import DistributedContext

LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Command-line choices about the data."""

    refresh: bool = False
    skip_bad_episodes: bool = False


def open_stores(
    experiment: ExperimentConfig,
    spec: PolicySpec,
    world: DistributedContext,
    options: DataOptions,
) -> tuple[FrameStore, FrameStore | None]:
    """Training and validation store; the main process builds, the others wait.

    Args:
        experiment: which data.
        spec: what is learnt from them: keyframe records for a policy of mode keyframe_pose, else
            windows of frames.
        world: this process.
        options: of the command line.

    Raises:
        SpecError: the data do not hold what the policy wants.
        DemoError: demos are absent or broken.
        StoreError: a frame shows nothing, or a target lies far, outside the scene bounds.
    """
    requests = _requests(experiment, spec)
    tasks = task_names(experiment)
    replay = _replay_request(experiment, spec)
    from_demos = requests[1:] if replay else requests
    _require_fit(spec, [*from_demos, *([replay] if replay else [])], tasks)

    def finished() -> list[FrameStore]:
        stores: list[FrameStore] = [_opened(request, tasks, spec) for request in from_demos]
        if replay:
            stores.insert(0, open_replay(replay, tasks, episodes=requests[0].episodes))
        return [_within_bounds(store, spec, options) for store in stores]

    if world.is_main:
        _warn_of_package_folder(replay.replay_folder if replay else requests[0].data_folder)
        if replay:
            import_replay(replay, tasks, refresh=options.refresh)
        for request in from_demos:
            ensure_tasks(
                request,
                tasks,
                refresh=options.refresh,
                skip_bad_episodes=options.skip_bad_episodes,
            )
            if not request.dense:
                warn_of_oddities(open_store(request, tasks))
        stores = finished()
    world.barrier()
    if not world.is_main:
        stores = finished()
    return stores[0], stores[1] if len(stores) > 1 else None


def of_keyframes(spec: PolicySpec) -> bool:
    """Whether a policy learns from keyframe records; else from windows of frames."""
    return spec.action.mode == KEYFRAME_POSE.mode


def _requests(experiment: ExperimentConfig, spec: PolicySpec) -> list[StoreRequest]:
    """The stores of demos, for training and perhaps for validation."""
    found = [_store_request(experiment, spec, "train", experiment.demo, experiment.demo_start)]
    held_out = experiment.validation
    if held_out.demo:
        found.append(
            _store_request(experiment, spec, held_out.split, held_out.demo, held_out.demo_start)
        )
        _require_disjoint(*found)
    return found


def _store_request(
    experiment: ExperimentConfig, spec: PolicySpec, split: str, demo: int, demo_start: int
) -> StoreRequest:
    return StoreRequest(
        data_folder=data_folder(experiment),
        store_folder=store_folder(experiment),
        split=split,
        demo=demo,
        demo_start=demo_start,
        cameras=spec.cameras,
        image_size=spec.image_size or experiment.image_size,
        gripper_threshold=experiment.gripper_threshold,
        store_alone=not experiment.data_folder,
        assume_ignore_collisions=experiment.assume_ignore_collisions,
        wordings=experiment.language.wordings,
        source=DEMOS if experiment.source == REPLAYS else experiment.source,
        dense=not of_keyframes(spec),
        depth=of_keyframes(spec) or spec.needs_depth,
    )


def _require_fit(
    spec: PolicySpec, requests: Sequence[StoreRequest | ReplayRequest], tasks: Sequence[str]
) -> None:
    """Make sure that the data hold what the policy wants.

    Raises:
        SpecError: they do not; both sides are named.
    """
    if of_keyframes(spec) and spec.state != ROBOT_STATE:
        wanted = ", ".join(part.name for part in spec.state) or "no state"
        given = ", ".join(part.name for part in ROBOT_STATE)
        raise SpecError(f"policy wants {wanted}, data of keyframes give {given}")
    for request in requests:
        for task in tasks:
            require_match(spec, request.open_source(task).spec, "data")


def _opened(request: StoreRequest, tasks: Sequence[str], spec: PolicySpec) -> FrameStore:
    if of_keyframes(spec):
        return open_store(request, tasks, episode_length=spec.episode_length)
    return WindowStore(open_tasks(request, tasks), request.episodes, (), spec)


def _within_bounds(store: FrameStore, spec: PolicySpec, options: DataOptions) -> FrameStore:
    """The store, with the check that targets and what remains of the clouds lie in the bounds."""
    if spec.bounds is None or not spec.crop or not spec.needs_depth:
        return store
    bounds = (*spec.bounds.minimum, *spec.bounds.maximum)
    skip = options.skip_bad_episodes
    store = keep_points_inside(store, bounds, skip_bad_episodes=skip)
    if isinstance(store, KeyframeStore):
        store = keep_targets_inside(store, bounds, skip_bad_episodes=skip)
    return store


def _replay_request(experiment: ExperimentConfig, spec: PolicySpec) -> ReplayRequest | None:
    """The released replays to train on, None for demos; what was found unasked is logged.

    Raises:
        ConfigError: the source is released replays and none are there.
    """
    SOURCES.check(experiment.source)
    asked = experiment.source == REPLAYS
    if not asked and (experiment.source != DEMOS or not of_keyframes(spec)):
        return None
    folder = replay_folder(experiment)
    if not folder:
        if asked:
            raise ConfigError(
                f"source: {REPLAYS} needs replay_folder, the folder that holds one released replay "
                "per task"
            )
        return None
    if not experiment.replay_folder:
        lacking = [name for name in task_names(experiment) if not (Path(folder) / name).is_dir()]
        if lacking and not asked:
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
        cameras=spec.cameras,
        image_size=spec.image_size or experiment.image_size,
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
