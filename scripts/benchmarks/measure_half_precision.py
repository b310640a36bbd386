#!/usr/bin/env python3
"""What the half precision of the released evaluation changes, on a CPU.

* Positions: the published soft-max of float16 heat maps (`heatmap_half: True`) beside a float32
  soft-max of the same maps. Peaked maps are the logarithm of a target map (1.5 pixels wide) with
  Gaussian noise, as a trained network gives them; flat ones are noise alone.
* Instructions: CLIP's text tower in half precision, as the released evaluation runs it on a GPU,
  beside float32, which this project and the released training use. Random weights unless
  `--weights` names an RN50 file.

    python scripts/benchmarks/measure_half_precision.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sam2act.config.load import load_experiment, load_network  # noqa: E402
from sam2act.language.text_encoder import (  # noqa: E402
    ClipTextEncoder,
    build_clip_text_tower,
    clip_token_features,
    clip_tokens,
)
from sam2act.rendering.grid_argmax import grid_argmax  # noqa: E402
from sam2act.rendering.heatmaps import gaussian_heatmaps  # noqa: E402
from sam2act.rendering.views import project  # noqa: E402
from sam2act.runtime.console import make_output_safe  # noqa: E402

TEXTS = (
    "open the top drawer",
    "put the item in the bottom drawer",
    "close the red jar",
    "move the block on the color patch to the center, then press the button, and finally move the "
    "block back to where it was placed",
)
FLOOR = 1e-8  # probability of a target map far from its peak


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the differences; 0."""
    make_output_safe()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=64, help="heat maps of each kind (64)")
    parser.add_argument("--noise", type=float, default=0.5, help="deviation of the noise (0.5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="", help="CLIP RN50 file (random weights)")
    options = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(options.seed)
    print("positions, coarse branch: share that differs, mean and largest distance")
    for kind in ("peaked", "flat"):
        share, distances = position_changes(kind, options.samples, options.noise, generator)
        print(f"  {kind:7} {share:6.1%}  {distances.mean():7.2f} mm  {distances.max():7.2f} mm")
    print("instructions, root mean square of the difference over that of the features")
    for text, difference in zip(TEXTS, feature_changes(options.weights, options.seed), strict=True):
        print(f"  {difference:.1e}  {text[:60]}")
    return 0


def position_changes(
    kind: str, samples: int, noise: float, generator: torch.Generator
) -> tuple[float, Tensor]:
    """Share of arg-max positions that the float16 soft-max moves, and distances (samples,) in mm
    of the coarse branch; those of the fine branch are `st_sca` times smaller."""
    network = load_network("configs/mvt/sam2act.yaml")
    bounds = torch.tensor(load_experiment("configs/sam2act.yaml").scene_bounds)
    millimetres = 1000 * float((bounds[3:] - bounds[:3]).max()) / 2  # per unit of the cube
    views, size = network.views, network.img_size
    distances = []
    for _ in range(samples):
        logits = noise * torch.randn(1, len(views), size, size, generator=generator)
        if kind == "peaked":
            place = 1.6 * torch.rand(1, 3, generator=generator) - 0.8
            target = gaussian_heatmaps(project(place, views, size), size, 1.5)
            logits = logits + torch.log(target + FLOOR)
        probability = logits.half().float().flatten(2).softmax(-1).view_as(logits)
        half = grid_argmax(probability.half().float(), views).point
        distances.append((half - grid_argmax(probability, views).point).norm(dim=-1) * millimetres)
    moved = torch.cat(distances)
    return float((moved > 0).float().mean()), moved


@torch.no_grad()
def feature_changes(weights: str, seed: int) -> list[float]:
    """For every text, the relative difference that half precision makes."""
    torch.manual_seed(seed)
    if weights:
        encoder = ClipTextEncoder(weights)
        exact = encoder.encode(TEXTS)
        model = encoder._model
    else:
        model = build_clip_text_tower()
        exact = clip_token_features(model, clip_tokens(TEXTS))
    half = half_features(model, clip_tokens(TEXTS))
    difference = (half - exact).square().mean((1, 2)).sqrt()
    return (difference / exact.square().mean((1, 2)).sqrt()).tolist()


def half_features(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """(N, 77, 512) with weights and activations in float16 and layer norms in float32."""
    model = model.half()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.float()
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
            module.register_forward_hook(lambda _, inputs, output: output.half())
    return clip_token_features(model, tokens).float()


if __name__ == "__main__":
    sys.exit(main())
