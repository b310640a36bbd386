"""The two-stage network: coarse branch -> zoom -> fine branch (paper section IV-A).

Legend: B batch, N point, V view, S side of a rendered view. Positions are in the unit cube
[-1, 1]^3 unless they say `zoom` (the cube of the fine branch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.core.errors import ConfigError
from sam2act.nn.image_encoder import FeaturePyramid, ImageEncoder, build_encoders
from sam2act.policies.multiview.branch import Branch, BranchOutput
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.rendering.backends import SOFT, works
from sam2act.rendering.grid_argmax import grid_argmax
from sam2act.rendering.renderer import DRAWN_CHANNELS, render
from sam2act.rendering.views import project, project_half, select_views

RGB = slice(3, 6)


@dataclass(frozen=True)
class Cloud:
    """Coloured point clouds in the unit cube, padded to a common length."""

    points: Tensor  # (B, N, 3)
    rgb: Tensor  # (B, N, 3) in [0, 1]
    valid: Tensor  # (B, N) bool


@dataclass(frozen=True)
class TeacherForcing:
    """Ground truth that steers the forward pass in training, and nothing else."""

    waypoint: Tensor  # (B, 3) true position
    zoom_noise: Tensor  # (B, 3) uniform in [-1, 1]
    teacher_bins: Tensor  # (B, 2) x and y rotation bins to condition on
    image_noise: float = 0.0
    half_projection: bool = False  # fp16 roundings of the waypoint's pixels (renderer quirk R9)


@dataclass(frozen=True)
class TwoStageOutput:
    """Predictions of both branches and where they look."""

    coarse: BranchOutput
    fine: BranchOutput
    zoom_center: Tensor  # (B, 3) centre of the fine cube
    waypoint: Tensor  # (B, 3) predicted position (the true one in training)
    coarse_images: Tensor  # (B, V, 10, S, S)
    fine_images: Tensor  # (B, V, 10, S, S)


class TwoStageNetwork(nn.Module):
    """SAM2Act without memory."""

    def __init__(self, config: MultiviewConfig, *, pretrained: bool = False) -> None:
        """Build with random weights; `pretrained` reads the image encoder from `sam2_ckpt`.

        Raises:
            ConfigError: impossible sizes, or the pretrained file is absent or does not fit.
        """
        super().__init__()
        self.config = config
        self.views = select_views(config.rend_three_views)
        self.renderer = config.renderer.backend if config.use_point_renderer else SOFT
        if self.renderer == SOFT and not works(SOFT, "cpu"):
            raise ConfigError(
                "use_point_renderer: False needs PyTorch3D, which is not installed; set it to "
                "True, as --mvt_cfg_path configs/mvt/sam2act.yaml does and as all SAM2Act "
                "checkpoints need it"
            )
        self.encoders = build_encoders(config, pretrained=pretrained)
        channels, views = self.coarse_encoder.channels, len(self.views)
        config.check_skip_widths(channels)
        self.coarse = Branch(config, feature_channels=channels[2], views=views, with_head=False)
        self.fine = Branch(config, feature_channels=channels[2], views=views, with_head=True)

    @property
    def coarse_encoder(self) -> ImageEncoder:
        """The image encoder of the coarse branch."""
        return cast(ImageEncoder, self.encoders[0])

    @property
    def fine_encoder(self) -> ImageEncoder:
        """The image encoder of the fine branch (with SAM2 the same one)."""
        return cast(ImageEncoder, self.encoders[-1])

    def forward(
        self,
        cloud: Cloud,
        proprio: Tensor,
        language: Tensor,
        teacher: TeacherForcing | None = None,
    ) -> TwoStageOutput:
        """Predict from a cloud.

        Args:
            cloud: points in the unit cube.
            proprio: (B, 4).
            language: (B, L, lang_dim).
            teacher: ground truth in training; None in evaluation.
        """
        if teacher is not None:
            return self._forward_training(cloud, proprio, language, teacher)
        coarse, coarse_images = self.run_coarse(cloud, proprio, language)
        center = self.peak(coarse.heatmaps)
        fine_images = self.render(self.zoom(cloud, center))
        fine, in_zoom = self.run_fine(fine_images, proprio, language)
        assert in_zoom is not None
        waypoint = self.from_zoom(in_zoom, center)
        return TwoStageOutput(coarse, fine, center, waypoint, coarse_images, fine_images)

    def _forward_training(
        self, cloud: Cloud, proprio: Tensor, language: Tensor, teacher: TeacherForcing
    ) -> TwoStageOutput:
        noise = teacher.image_noise
        coarse, coarse_images = self.run_coarse(cloud, proprio, language, image_noise=noise)
        center = teacher.waypoint + 2 * self.config.st_wpt_loc_aug * teacher.zoom_noise
        fine_images = self.render(self.zoom(cloud, center), noise)
        target = self.to_zoom(teacher.waypoint, center)
        if not self.config.st_wpt_loc_inp_no_noise:
            target = torch.zeros_like(target)  # as if the zoom were centred on the waypoint
        fine, _ = self.run_fine(
            fine_images,
            proprio,
            language,
            waypoint_px=self._target_pixels(target, teacher.half_projection),
            teacher_bins=teacher.teacher_bins,
        )
        return TwoStageOutput(coarse, fine, center, teacher.waypoint, coarse_images, fine_images)

    # ------------------------------------------------------------------------------- branches
    def run_coarse(
        self, cloud: Cloud, proprio: Tensor, language: Tensor, image_noise: float = 0.0
    ) -> tuple[BranchOutput, Tensor]:
        """Coarse heat maps and the rendered images (B, V, 10, S, S)."""
        images = self.render(cloud, image_noise)
        pyramid = self.encode(images, self.coarse_encoder)
        tokens = self.coarse.tokens(images, pyramid, proprio, language)
        return BranchOutput(self.coarse.heatmaps(tokens, pyramid), None), images

    def run_fine(
        self,
        images: Tensor,
        proprio: Tensor,
        language: Tensor,
        *,
        waypoint_px: Tensor | None = None,
        teacher_bins: Tensor | None = None,
    ) -> tuple[BranchOutput, Tensor | None]:
        """Fine heat maps, action logits and the branch's own position in the zoomed cube.

        Args:
            images: (B, V, 10, S, S) of the zoomed cloud.
            proprio: (B, 4).
            language: (B, L, lang_dim).
            waypoint_px: (B, V, 2) pixels to read the action features at; None = those of the
                branch's own arg-max, which is then the returned position (B, 3).
            teacher_bins: (B, 2) bins to condition on; None = the head's own arg-max.
        """
        pyramid = self.encode(images, self.fine_encoder)
        tokens = self.fine.tokens(images, pyramid, proprio, language)
        heatmaps = self.fine.heatmaps(tokens, pyramid)
        position = None
        if waypoint_px is None:
            position = self.peak(heatmaps)
            waypoint_px = project(position, self.views, self.config.img_size)
        assert self.fine.head is not None
        action = self.fine.head(tokens, waypoint_px, teacher_bins)
        return BranchOutput(heatmaps, action), position

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
        return grid_argmax(probability, self.views).point

    def _target_pixels(self, position: Tensor, half_projection: bool) -> Tensor:
        """Pixels of the true waypoint, noisy by `wpt_img_aug` and clamped into the image."""
        size = self.config.img_size
        pixels = (project_half if half_projection else project)(position, self.views, size)
        if self.config.wpt_img_aug and self.training:
            noise = 2 * torch.rand_like(pixels) - 1
            pixels = pixels + noise * self.config.wpt_img_aug * size
        return pixels.clamp(0, size - 1)

    # -------------------------------------------------------------------------------- zoom
    def zoom(self, cloud: Cloud, center: Tensor) -> Cloud:
        """The cloud in the cube of the fine branch, `st_sca` times enlarged about `center`."""
        points = self.config.st_sca * (cloud.points - center[:, None])
        return Cloud(points, cloud.rgb, cloud.valid)

    def to_zoom(self, position: Tensor, center: Tensor) -> Tensor:
        """(B, 3) cube position -> (B, 3) in the zoomed cube."""
        return to_zoom(position, center, self.config.st_sca)

    def from_zoom(self, position: Tensor, center: Tensor) -> Tensor:
        """The inverse of `to_zoom`."""
        return from_zoom(position, center, self.config.st_sca)


def to_zoom(position: Tensor, center: Tensor, scale: float) -> Tensor:
    """(B, 3) cube position -> (B, 3) in the cube that is `scale` times enlarged about `center`."""
    return scale * (position - center)


def from_zoom(position: Tensor, center: Tensor, scale: float) -> Tensor:
    """The inverse of `to_zoom`."""
    return position / scale + center
