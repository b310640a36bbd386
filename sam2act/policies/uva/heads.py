"""The two heads: tokens of the transformer -> latents of the video, and actions.

Legend: B samples, F frames, S tokens of a frame, D width, C numbers of a token, H actions, A
numbers of an action. Names of modules are those of the released weights.
"""

from __future__ import annotations

from torch import Tensor, nn

from sam2act.nn.diffusion.adaln_mlp import SimpleMLPAdaLN
from sam2act.nn.diffusion.learned_variance import DiffusionLoss, LearnedVarianceDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas
from sam2act.nn.linear import Linear
from sam2act.policies.uva.config import ACTIONS, FRAMES, TransformerConfig

DIFFUSION_STEPS = 1000
POOLED_SIDE = 4  # rows and columns of what is left of a frame before the linear layers
PROCESS = LearnedVarianceDiffusion(cosine_betas(DIFFUSION_STEPS))


class VideoHead(nn.Module):
    """Denoises every token of the future by itself."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.net = SimpleMLPAdaLN(
            config.token_channels, config.size.width, config.diffloss_w, config.diffloss_d
        )

    def loss(self, condition: Tensor, clean: Tensor, step: Tensor, noise: Tensor) -> DiffusionLoss:
        """Of N tokens `clean` (N, C) under `condition` (N, D) at steps (N,)."""
        return PROCESS.loss(lambda x, t: self.net(x, t, condition), clean, step, noise)


class ActionHead(nn.Module):
    """Gathers the tokens to one feature per action, and denoises every action by itself.

    Another one does so for the states of the frames to come: these are its "actions" then.
    """

    def __init__(self, config: TransformerConfig, numbers: int, steps: int = ACTIONS) -> None:
        """For `steps` actions of so many numbers, with fresh weights."""
        super().__init__()
        width = config.size.width
        self.grid = config.grid
        self.conv, features = _pooling(config.act_model_type, width)
        self.fc = nn.Sequential(Linear(features, width), nn.ReLU(), Linear(width, width))
        self.interpolate = Linear(FRAMES, steps)
        self.refine = nn.Sequential(Linear(width, width), nn.ReLU(), Linear(width, width))
        self.net = SimpleMLPAdaLN(numbers, width, config.act_diffloss_w, config.act_diffloss_d)

    def condition(self, tokens: Tensor) -> Tensor:
        """(B, F S, D) tokens -> (B, H, D), one feature per action."""
        count = len(tokens)
        maps = tokens.reshape(count * FRAMES, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        frames = self.fc(self.conv(maps).flatten(1)).unflatten(0, (count, FRAMES))
        spread = self.interpolate(frames.transpose(1, 2)).transpose(1, 2)
        refined: Tensor = self.refine(spread)
        return refined

    def loss(self, condition: Tensor, clean: Tensor, step: Tensor, noise: Tensor) -> DiffusionLoss:
        """Of N actions `clean` (N, A) under `condition` (N, D) at steps (N,)."""
        return PROCESS.loss(lambda x, t: self.net(x, t, condition), clean, step, noise)


def _pooling(kind: str, width: int) -> tuple[nn.Module, int]:
    """The map of a frame (N, D, S/side, side) -> what is flattened, and how many numbers that is.

    `conv_fc` is the layout of the released weights.
    """
    pooled = nn.AdaptiveAvgPool2d((POOLED_SIDE, POOLED_SIDE))
    numbers = width * POOLED_SIDE**2

    def convolution(stride: int = 1) -> nn.Module:
        return nn.Conv2d(width, width, 3, stride=stride, padding=1)

    if kind == "conv_fc":
        return nn.Sequential(convolution(), nn.ReLU(), pooled), numbers
    if kind == "conv2":
        layers = (convolution(), nn.ReLU(), convolution(), nn.ReLU())
        return nn.Sequential(*layers, pooled), numbers
    if kind == "conv_ori":
        layers = (convolution(2), nn.ReLU(), convolution(2), nn.ReLU())
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d((1, 1))), width
    return nn.Sequential(pooled), numbers  # fc2
