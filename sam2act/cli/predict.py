#!/usr/bin/env python3
"""Show what a checkpoint predicts on recorded demonstrations.

For every keyframe of the chosen episodes, the page shows the rendered views of every branch with
the predicted heat map (red), the true position (green circle) and the predicted one (blue cross),
the error in centimetres and degrees, and the loss curve of the run.

    sam2act predict --checkpoint runs/tiny_test/model_last.pth --episodes 0 1 2

Writes OUTPUT/index.html (self-contained), one PNG per keyframe and OUTPUT/errors.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sam2act.cli.arguments import ArgumentParser, add_device
from sam2act.cli.status import DONE, run_command
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.tasks import data_folder, store_folder, task_names
from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import ConfigError
from sam2act.core.files import naming
from sam2act.core.run_folder import RunFolder
from sam2act.core.types import KeyframeBatch
from sam2act.data.loader import gather_batch
from sam2act.data.rlbench.demos import list_episodes
from sam2act.data.samplers import first_chain_records
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.evaluation.analysis.open_loop import (
    ErrorSummary,
    KeyframeDeviation,
    deviations,
    summarise,
)
from sam2act.policies.checkpoint import PolicyBundle, load_policy
from sam2act.policies.multiview.network import Stage
from sam2act.policies.multiview.policy import MultiviewPolicy
from sam2act.policies.multiview.prediction import Prediction
from sam2act.reports.images import data_uri, enlarge_and_mark, overlay_heatmap, side_by_side
from sam2act.reports.learning_curves import loss_charts, read_curves
from sam2act.reports.page import Page
from sam2act.runtime.devices import choose_device
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.run_data import language_table
from sam2act.training.run_log import configure_console

PICTURE_SIDE = 224
BATCH = 4
TRAINED, HELD_OUT, OTHER = "training", "held out", "other"


@dataclass(frozen=True)
class KeyframeReport:
    """One keyframe: its errors, where it belongs, its picture."""

    error: KeyframeDeviation
    group: str
    instruction: str
    picture: Path


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path, help="model_<...>.pth")
    parser.add_argument("--data", default="", help="other demos (default: the run's)")
    parser.add_argument("--split", default="train", help="split below it (default: train)")
    parser.add_argument("--task", default="", help="task (default: the first of the run)")
    parser.add_argument("--episodes", type=int, nargs="+", required=True, help="episode numbers")
    parser.add_argument("--output", type=Path, help="folder (default: beside the checkpoint)")
    add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    configure_console()
    device = choose_device(args.device)
    bundle = load_policy(args.checkpoint, device=device)
    output = args.output or args.checkpoint.with_name(f"prediction_{args.checkpoint.stem}")
    reports = predict(bundle, args, output, device)
    write_errors(output / "errors.json", reports)
    write_page(output / "index.html", args.checkpoint, reports, stage=bundle.stage)
    for group, summary in summaries(reports).items():
        print(
            f"{group:9s} {summary.count:3d} keyframes: median translation error "
            f"{summary.median_translation_cm:.2f} cm, median angle "
            f"{summary.median_rotation_degrees:.2f} degrees, gripper {summary.gripper_rate:.0%}"
        )
    print(f"page: {output / 'index.html'}")
    return DONE


# ------------------------------------------------------------------------------- prediction
def predict(
    bundle: PolicyBundle, args: argparse.Namespace, output: Path, device: torch.device
) -> list[KeyframeReport]:
    """Predict every transition of the chains that start at frame 0, and draw each."""
    experiment = bundle.experiment
    task = args.task or task_names(experiment)[0]
    episodes = tuple(dict.fromkeys(args.episodes))
    trained = trained_episodes(experiment, args.split, task)
    foreign = is_foreign(experiment, args.data)
    if args.data:
        list_episodes(args.data, args.split, task)  # an old store must not stand in for demos
    store = open_episodes(demos_of(experiment, args.data, output), args.split, task, episodes)
    world = DistributedContext(rank=0, size=1, device=device)
    spec = bundle.policy.spec
    language = language_table(list(store.instructions), experiment, spec, world)
    chains = [first_chain_records(store, episode) for episode in episodes]
    output.mkdir(parents=True, exist_ok=True)
    reports = []
    for batch, prediction in predictions(bundle, store, chains, language):
        target = prediction.frame.to_cube(batch.target_pose[:, :3].to(device))
        policy = keyframe_policy(bundle)
        stages = policy.network.stages(prediction.output, target)
        coarse = prediction.frame.to_world(stages[0].found)
        errors = deviations(prediction.action.values[:, 0], coarse, batch)
        for row, error in enumerate(errors):
            name = f"episode{error.identity.episode}_frame{error.identity.frame}.png"
            draw_keyframe(policy, stages, row, output / name)
            known = TRAINED if error.identity.episode in trained else HELD_OUT
            group = OTHER if foreign else known
            instruction = store.instructions[int(batch.instruction[row])]
            reports.append(KeyframeReport(error, group, instruction, output / name))
    return reports


def predictions(
    bundle: PolicyBundle, store: KeyframeStore, chains: Sequence[np.ndarray], language: Tensor
) -> Iterator[tuple[KeyframeBatch, Prediction]]:
    """Predictions for the records of each chain; with memory one keyframe after the other."""
    policy, label = keyframe_policy(bundle), bundle.experiment.peract.collision_label
    remembers = policy.spec.past_keyframes > 0
    steps = [np.array([record]) for chain in chains for record in chain]
    if not remembers:
        records = np.concatenate(chains)
        steps = [records[i : i + BATCH] for i in range(0, len(records), BATCH)]
    starts = {int(chain[0]) for chain in chains}
    for records in tqdm(steps, desc="predicting", unit="batch"):
        batch = gather_batch(store, records, collision_label=label).to(language.device)
        observation, tokens = batch.observation(), language[batch.instruction]
        if int(records[0]) in starts or not remembers:
            state = policy.initial_state(len(records))
        prediction, state = policy.predict_step(observation, tokens, state)
        yield batch, prediction


def keyframe_policy(bundle: PolicyBundle) -> MultiviewPolicy:
    """The policy of the checkpoint, if its predictions can be drawn.

    Raises:
        ConfigError: it is no multi-view policy of keyframes.
    """
    keyframes = bundle.policy.spec.action.mode == KEYFRAME_POSE.mode
    if not (keyframes and isinstance(bundle.policy, MultiviewPolicy)):
        raise ConfigError(
            f"predict draws heat maps of rendered views; this checkpoint holds "
            f"{type(bundle.policy).__name__}; evaluate it with sam2act eval"
        )
    return bundle.policy


def demos_of(experiment: ExperimentConfig, data: str, output: Path) -> ExperimentConfig:
    """The run's folders; for other demos that folder, and a store of its own below the output."""
    if not data:
        return experiment
    return dataclasses.replace(experiment, data_folder=data, store_folder=str(output / "store"))


def open_episodes(
    experiment: ExperimentConfig, split: str, task: str, episodes: Sequence[int]
) -> KeyframeStore:
    """The store of the episodes, built if it is not there.

    Raises:
        DemoError: an episode is absent or broken.
    """
    request = StoreRequest(
        data_folder=data_folder(experiment),
        store_folder=store_folder(experiment),
        split=split,
        numbers=tuple(episodes),
        cameras=experiment.cameras,
        image_size=experiment.image_size,
        gripper_threshold=experiment.gripper_threshold,
        assume_ignore_collisions=experiment.assume_ignore_collisions,
        store_alone=True,  # the run's; for other demos `predict` has looked for them
    )
    return ensure_store(request, [task])


def is_foreign(experiment: ExperimentConfig, data: str) -> bool:
    """Whether demo folder `data` ("": the run's) is another one than that of the run."""
    of_run = data_folder(experiment)
    return Path(data or of_run).resolve() != Path(of_run).resolve()


def trained_episodes(experiment: ExperimentConfig, split: str, task: str) -> range:
    """Numbers of the episodes in the run's demo folder that it trained on."""
    if split != "train" or task not in task_names(experiment):
        return range(0)
    return range(experiment.demo_start, experiment.demo_start + experiment.demo)


# --------------------------------------------------------------------------------- pictures
def draw_keyframe(policy: MultiviewPolicy, stages: Sequence[Stage], row: int, path: Path) -> None:
    """One row of pictures: the views of every stage."""
    pictures = [
        _draw_view(
            stage.images[row, view],
            stage.heatmaps[row, view],
            _pixels(policy, stage.target)[row, view],
            _pixels(policy, stage.found)[row, view],
        )
        for stage in stages
        for view in range(stage.images.shape[1])
    ]
    side_by_side(pictures).save(path, optimize=True)


def _pixels(policy: MultiviewPolicy, position: Tensor) -> np.ndarray:
    return policy.network.pixels(position).cpu().numpy()


def _draw_view(
    image: Tensor, heatmap: Tensor, target: np.ndarray, position: np.ndarray
) -> Image.Image:
    logits = heatmap.float()
    probability = logits.flatten().softmax(0).view_as(logits).cpu().numpy()
    pixels = image.cpu().numpy()
    picture = overlay_heatmap(pixels[3:6], pixels[6] != -1, probability)
    return enlarge_and_mark(picture, PICTURE_SIDE, target=target, prediction=position)


# ------------------------------------------------------------------------------------ output
def summaries(reports: Sequence[KeyframeReport]) -> dict[str, ErrorSummary]:
    """Errors of the trained and of the held-out keyframes, where there are any."""
    groups: dict[str, list[KeyframeDeviation]] = {TRAINED: [], HELD_OUT: [], OTHER: []}
    for report in reports:
        groups[report.group].append(report.error)
    return {group: summarise(errors) for group, errors in groups.items() if errors}


def write_errors(path: Path, reports: Sequence[KeyframeReport]) -> None:
    """All figures of the page as json."""
    content = {
        "summary": {g: dataclasses.asdict(s) for g, s in summaries(reports).items()},
        "keyframes": [
            {
                **report.error.identity._asdict(),
                **{k: v for k, v in vars(report.error).items() if k != "identity"},
                "group": report.group,
            }
            for report in reports
        ],
    }
    with naming(path):
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_page(
    path: Path, checkpoint: Path, reports: Sequence[KeyframeReport], *, stage: int
) -> None:
    """The self-contained page."""
    page = Page(f"Predictions of {checkpoint.parent.name}/{checkpoint.name}")
    page.text(
        "Median errors over the transitions of the chain that starts at frame 0 of each demo "
        "(one transition per keyframe, no augmentation)."
    )
    page.table(
        ["demos", "keyframes", "translation", "rotation", "gripper right", "collision right"],
        [
            [
                f"{group} demos",
                str(s.count),
                f"{s.median_translation_cm:.2f} cm",
                f"{s.median_rotation_degrees:.2f}°",
                f"{s.gripper_rate:.0%}",
                f"{s.collision_rate:.0%}",
            ]
            for group, s in summaries(reports).items()
        ],
    )
    page.heading("Every keyframe")
    page.table(
        ["keyframe", "demos", "final", "coarse only", "rotation", "gripper", "collision"],
        [_row(report) for report in reports],
    )
    add_losses(page, RunFolder(checkpoint.parent, stage).metrics)
    page.heading("What the network sees and predicts")
    page.text(
        "Per keyframe: coarse branch (top, front, right view), then fine branch, zoomed about the "
        "coarse prediction. Red: predicted heat map. Blue cross: predicted position. Green circle: "
        "recorded position."
    )
    for report in reports:
        with Image.open(report.picture) as picture:
            uri = data_uri(picture)
        caption = f"{_name(report)}: “{report.instruction}”, {report.error.translation_cm:.1f} cm, "
        caption += f"{report.error.rotation_degrees:.1f}° ({report.group})"
        page.picture(uri, caption, "six rendered views with heat maps")
    page.write(path)


def _name(report: KeyframeReport) -> str:
    identity = report.error.identity
    return f"episode {identity.episode}, frame {identity.frame} to {identity.target_frame}"


def _row(report: KeyframeReport) -> list[str]:
    error = report.error
    return [
        _name(report),
        report.group,
        f"{error.translation_cm:.2f} cm",
        f"{error.coarse_translation_cm:.2f} cm",
        f"{error.rotation_degrees:.2f}°",
        "right" if error.gripper_correct else "wrong",
        "right" if error.collision_correct else "wrong",
    ]


def add_losses(page: Page, path: Path) -> None:
    """Charts of the run's `metrics.csv`; nothing without the file."""
    charts = loss_charts(read_curves(path))
    if charts:
        page.heading("Losses of the run")
    for caption, chart in charts.items():
        page.text(f"{caption}:")
        page.markup(chart)


if __name__ == "__main__":
    sys.exit(main())
