"""What every multi-view network is made of: views that are rendered, encoded and read again.

Legend: B batch, N point, V view, S side of a rendered view. Positions are in the unit cube
[-1, 1]^3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.core.errors import ConfigError
from sam2act.nn.image_encoder import FeaturePyramid, ImageEncoder
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.policies.multiview.heads import ActionLogits
from sam2act.rendering.backends import COMPARED, SOFT, works
from sam2act.rendering.grid_argmax import grid_argmax
from sam2act.rendering.renderer import DRAWN_CHANNELS, render
from sam2act.rendering.views import project, project_half

RGB = slice(3, 6)


@dataclass(frozen=True)
class Cloud:
    """Coloured point clouds in the unit cube, padded to a common length."""

    points: Tensor  # (B, N, 3)
    rgb: Tensor  # (B, N, 3) in [0, 1]
    valid: Tensor  # (B, N) bool


@dataclass(frozen=True)
class TeacherForcing:
    """Ground truth that steers the forward pass in training, and nothing else.

    A network takes what it needs of it: one without a zoom only the strength of the noise.
    """

    waypoint: Tensor  # (B, 3) true position
    zoom_noise: Tensor  # (B, 3) uniform in [-1, 1]
    teacher_bins: Tensor  # (B, 2) x and y rotation bins to condition on
    image_noise: float = 0.0
    half_projection: bool = False  # fp16 roundings of the waypoint's pixels (renderer quirk R9)


class Stage(NamedTuple):
    """What one stage saw and predicted. Positions are in the cube that it renders."""

    images: Tensor  # (B, V, 10, S, S)
    heatmaps: Tensor  # (B, V, S, S) logits
    target: Tensor  # (B, 3) where their maximum should be
    found: Tensor  # (B, 3) where the network looks or acts next


class KeyframeOutput(Protocol):
    """What a forward pass predicts; each network has a form of its own."""

    @property
    def waypoint(self) -> Tensor:
        """(B, 3) predicted position in the unit cube (the true one in training)."""
        ...

    @property
    def action(self) -> ActionLogits:
        """Scores of rotation, gripper and collision flag."""
        ...


class MultiviewNetwork(nn.Module):
    """Renders a cloud, encodes the colours, finds the peak of heat maps.

    Subclasses predict (`forward`) and say what their heat maps should show (`stages`).
    """

    encoders: nn.ModuleList  # of the images; may be empty

    def __init__(self, config: MultiviewConfig) -> None:
        """Choose views and renderer.

        Raises:
            ConfigError: the renderer is not installed.
        """
        super().__init__()
        self.config = config
        self.views = config.views
        self.renderer = config.drawing
        if self.renderer == COMPARED and not works(COMPARED, "cpu"):
            raise ConfigError(
                f"renderer.backend: {COMPARED} needs PyTorch3D, which is not installed; leave the "
                f"key out, or take {SOFT}, which draws the same"
            )

    # ------------------------------------------------------------------ what a subclass offers
    def forward(
        self,
        cloud: Cloud,
        proprio: Tensor,
        language: Tensor,
        teacher: TeacherForcing | None = None,
    ) -> KeyframeOutput:
        """Predict from a cloud.

        Args:
            cloud: points in the unit cube.
            proprio: (B, 4).
            language: (B, L, lang_dim).
            teacher: ground truth in training; None in evaluation.
        """
        raise NotImplementedError

    def stages(self, output: Any, waypoint: Tensor) -> list[Stage]:
        """All stages of an output of `forward`, in order, for a true `waypoint` (B, 3)."""
        raise NotImplementedError

    def parts(self) -> dict[str, nn.Module]:
        """Components whose parameters are counted for people, by name."""
        raise NotImplementedError

    def costly_parts(self) -> list[nn.Module]:
        """Modules that take the time; each is compiled on its own."""
        raise NotImplementedError

    # -------------------------------------------------------------------------- images and maps
    @torch.no_grad()
    def render(self, cloud: Cloud, image_noise: float = 0.0) -> Tensor:
        """Rendered views of `cloud` with pixel-location channels: (B, V, 10, S, S) float32."""
        with torch.autocast(cloud.points.device.type, enabled=False):
            images = render(
                cloud.points,
                cloud.rgb,
                cloud.valid,
                views=self.views,
                size=self.config.img_size,
                radius=self.config.renderer.radius,
                normalize_xyz=self.config.norm_corr,
                backend=self.renderer,
                pixel_location=True,
            )
            if image_noise:
                drawn = images[:, :, :DRAWN_CHANNELS]
                strength = image_noise * torch.rand((), device=images.device)
                noise = strength * (2 * torch.rand(drawn.shape, device=images.device) - 1)
                drawn.add_(noise).clamp_(-1, 1)
            return images

    def encode(self, images: Tensor, encoder: ImageEncoder) -> FeaturePyramid:
        """Image features of all views of a batch; colours are resized, not normalised (N2)."""
        rgb = images[:, :, RGB].flatten(0, 1)
        side = encoder.input_size(self.config.grid_size)
        if side != rgb.shape[-1]:
            rgb = F.interpolate(rgb, size=(side, side), mode="bilinear", align_corners=True)
        if self.config.channels_last:
            rgb = rgb.contiguous(memory_format=torch.channels_last)
        return encoder(rgb)

    @torch.no_grad()
    def peak(self, heatmaps: Tensor) -> Tensor:
        """(B, V, S, S) logits -> (B, 3) grid point of the highest mean probability.

        The published soft-max is one of float16 heat maps, so its probabilities are rounded too.
        """
        probability = heatmaps.flatten(2).softmax(-1).view_as(heatmaps)
        if self.config.heatmap_half:
            probability = probability.half().float()
        shift = self.config.pixel_shift
        return grid_argmax(probability, self.views, shift=shift).point

    def pixels(self, position: Tensor, *, half: bool = False) -> Tensor:
        """Where maps show positions (B, 3): (B, V, 2), column and row.

        `half` rounds as half-precision autocast does (renderer quirk R9).
        """
        where = (project_half if half else project)(position, self.views, self.config.img_size)
        return where - self.config.pixel_shift
