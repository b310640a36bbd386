"""EfficientNet-Lite as an image encoder: the stages up to stride 16, three of them as levels.

Convolutions are padded as in TensorFlow ("same"), from which the public weights were converted.
Attribute names are those of the weights without leading underscores. Legend: M images, C channels,
P tokens per side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.nn.encoders.vision_transformer import Normalisation, run_blocks
from sam2act.nn.encoders.weight_forms import load_strictly, read_tensors
from sam2act.nn.image_encoder import FeaturePyramid

TOKEN_STRIDE = 16  # input pixels per token
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01
CLASSIFIER = ("conv_head.", "bn1.", "fc.")  # beginnings of its names


class Stage(NamedTuple):
    """Blocks of one width; the first one of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


@dataclass(frozen=True)
class LiteSizes:
    """Constructor values."""

    stem: int  # channels after the first convolution
    stages: tuple[Stage, ...]
    levels: tuple[int, int, int]  # numbers of the last stages of strides 4, 8 and 16

    @property
    def channels(self) -> tuple[int, int, int]:
        """Of the levels."""
        fine, middle, coarse = (self.stages[number].width for number in self.levels)
        return fine, middle, coarse


LITE_SIZES = {
    "lite0": LiteSizes(
        32,
        (
            Stage(1, 3, 1, 1, 16),
            Stage(2, 3, 2, 6, 24),
            Stage(2, 5, 2, 6, 40),
            Stage(3, 3, 2, 6, 80),
            Stage(3, 5, 1, 6, 112),
        ),
        (1, 2, 4),
    ),
    "tiny": LiteSizes(  # for tests
        4, (Stage(1, 3, 2, 1, 4), Stage(2, 5, 2, 2, 6), Stage(1, 3, 2, 2, 8)), (0, 1, 2)
    ),
}


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has ceil(side / stride) pixels; where the padding is
    odd, the larger half lies below and to the right."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, H, W) -> (M, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        padding = []
        for side in (x.shape[-1], x.shape[-2]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding) if any(padding) else x)


class FixedNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of the weights, in training too: features of an image
    then depend on that image alone."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=NORM_EPS, momentum=NORM_MOMENTUM)

    def train(self, mode: bool = True) -> FixedNorm:
        """Stay in evaluation mode."""
        super().train(False)
        return self


class MBConv(nn.Module):
    """Expand, convolve each channel, project; added to the input where the shape allows it."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expands = stage.expansion != 1
        if self.expands:
            self.expand_conv = SameConv(inputs, hidden, 1)
            self.bn0 = FixedNorm(hidden)
        self.depthwise_conv = SameConv(hidden, hidden, stage.kernel, stride, groups=hidden)
        self.bn1 = FixedNorm(hidden)
        self.project_conv = SameConv(hidden, stage.width, 1)
        self.bn2 = FixedNorm(stage.width)
        self.skips = stride == 1 and inputs == stage.width

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, H, W) -> (M, C', H / stride, W / stride)."""
        out = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        out = F.relu6(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self.skips else out


class EfficientNetLiteEncoder(nn.Module):
    """Levels of strides 4, 8 and 16."""

    def __init__(
        self, sizes: LiteSizes, normalisation: str = "half", *, finer_levels: bool = True
    ) -> None:
        """Random weights.

        Args:
            sizes: of the network.
            normalisation: half (as it was trained), imagenet or none.
            finer_levels: give all levels, not the coarse one alone.
        """
        super().__init__()
        self.sizes, self.finer_levels = sizes, finer_levels
        self.checkpointing = False  # recompute blocks in the backward pass
        self.channels = sizes.channels if finer_levels else (0, 0, sizes.channels[-1])
        self.normalisation = Normalisation(normalisation)
        self.conv_stem = SameConv(3, sizes.stem, 3, 2)
        self.bn0 = FixedNorm(sizes.stem)
        self.blocks = nn.ModuleList()
        self.ends: list[int] = []  # blocks up to the end of each stage
        width = sizes.stem
        for stage in sizes.stages:
            for repeat in range(stage.repeats):
                self.blocks.append(MBConv(width, stage, 1 if repeat else stage.stride))
                width = stage.width
            self.ends.append(len(self.blocks))
        for module in self.modules():
            if isinstance(module, SameConv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, 16 P, 16 P) in [0, 1] -> pyramid."""
        x = F.relu6(self.bn0(self.conv_stem(self.normalisation(rgb))))
        maps, start = [], 0
        for number in self.sizes.levels:
            x = run_blocks(self.blocks[start : self.ends[number]], x, self.checkpointing)
            maps.append(x)
            start = self.ends[number]
        fine, middle, coarse = maps
        if not self.finer_levels:
            return FeaturePyramid(None, None, coarse)
        return FeaturePyramid(fine, middle, coarse)

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        return TOKEN_STRIDE * grid_size

    def load_pretrained(self, key: str, path: Path) -> None:
        """Read a file of the pip package; what lies behind stride 16 is left out.

        Args:
            key: the configuration key that names the file, for messages.
            path: the file, with the names of the package.

        Raises:
            ConfigError: the file is unreadable, or holds an encoder of other sizes or kind.
        """
        state = {
            re.sub(r"(^|\.)_", r"\1", name): value
            for name, value in read_tensors(key, path).items()
        }
        load_strictly(self, {n: v for n, v in state.items() if not self._is_behind(n)}, key, path)

    def _is_behind(self, name: str) -> bool:
        """Whether a tensor of the file is of a block behind stride 16, or of the classifier."""
        block = re.match(r"blocks\.(\d+)\.", name)
        return name.startswith(CLASSIFIER) or (block is not None and int(block[1]) >= self.ends[-1])
