"""The two-stage network: coarse branch -> zoom -> fine branch (paper section IV-A).

Legend: B batch, N point, V view, S side of a rendered view. Positions are in the unit cube
[-1, 1]^3 unless they say `zoom` (the cube of the fine branch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from sam2act.nn.image_encoder import ImageEncoder, build_encoders
from sam2act.policies.multiview.branch import Branch, BranchOutput
from sam2act.policies.multiview.config import TwoStageConfig
from sam2act.policies.multiview.heads import ActionLogits
from sam2act.policies.multiview.network import (
    Cloud,
    MultiviewNetwork,
    Stage,
    TeacherForcing,
)


@dataclass(frozen=True)
class TwoStageOutput:
    """Predictions of both branches and where they look."""

    coarse: BranchOutput
    fine: BranchOutput
    zoom_center: Tensor  # (B, 3) centre of the fine cube
    waypoint: Tensor  # (B, 3) predicted position (the true one in training)
    coarse_images: Tensor  # (B, V, 10, S, S)
    fine_images: Tensor  # (B, V, 10, S, S)

    @property
    def action(self) -> ActionLogits:
        """Scores of the fine branch."""
        assert self.fine.action is not None
        return self.fine.action


class TwoStageNetwork(MultiviewNetwork):
    """RVT-2, and SAM2Act without memory."""

    config: TwoStageConfig
    predicts_bins: ClassVar[bool] = True  # False: something else reads the fine branch's features

    def __init__(self, config: TwoStageConfig, *, pretrained: bool = False) -> None:
        """Build with random weights; `pretrained` reads the public weights of the encoder.

        Raises:
            ConfigError: impossible sizes, or the pretrained file is absent or does not fit.
        """
        super().__init__(config)
        self.encoders = build_encoders(config, config.grid_size, pretrained=pretrained)
        channels, views = self.coarse_encoder.channels, len(self.views)
        if config.multires_inputs:
            config.check_skip_widths(channels)
        self.coarse = Branch(config, feature_channels=channels[2], views=views, with_head=False)
        self.fine = Branch(
            config, feature_channels=channels[2], views=views, with_head=self.predicts_bins
        )

    @property
    def coarse_encoder(self) -> ImageEncoder:
        """The image encoder of the coarse branch."""
        return cast(ImageEncoder, self.encoders[0])

    @property
    def fine_encoder(self) -> ImageEncoder:
        """The image encoder of the fine branch (with SAM2 the same one)."""
        return cast(ImageEncoder, self.encoders[-1])

    def parts(self) -> dict[str, nn.Module]:
        """Image encoder, where there is one, and both branches."""
        branches: dict[str, nn.Module] = {"coarse branch": self.coarse, "fine branch": self.fine}
        if self.config.encodes_colors:
            return {"image encoder": self.encoders, **branches}
        return branches

    def costly_parts(self) -> list[nn.Module]:
        """Encoders, transformers, upsamplers."""
        branches = (self.coarse, self.fine)
        upsamplers = [branch.upsampler for branch in branches]
        return [*self.encoders, *(b.transformer for b in branches), *upsamplers]

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

    def stages(self, output: TwoStageOutput, waypoint: Tensor) -> list[Stage]:
        """The coarse branch, and the fine one in its zoomed cube."""
        center = output.zoom_center
        target, found = self.to_zoom(waypoint, center), self.to_zoom(output.waypoint, center)
        return [
            Stage(output.coarse_images, output.coarse.heatmaps, waypoint, center),
            Stage(output.fine_images, output.fine.heatmaps, target, found),
        ]

    # ------------------------------------------------------------------------------- branches
    def run_coarse(
        self, cloud: Cloud, proprio: Tensor, language: Tensor, image_noise: float = 0.0
    ) -> tuple[BranchOutput, Tensor]:
        """Coarse heat maps and the rendered images (B, V, 10, S, S)."""
        images = self.render(cloud, image_noise)
        pyramid = self.encode(images, self.coarse_encoder)
        tokens = self.coarse.tokens(images, pyramid, proprio, language)
        return BranchOutput(self.coarse.heatmaps(tokens, pyramid), None, tokens), images

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
            waypoint_px = self.pixels(position)
        return self.read(tokens, heatmaps, waypoint_px, teacher_bins), position

    def read(
        self, tokens: Tensor, heatmaps: Tensor, waypoint_px: Tensor, teacher_bins: Tensor | None
    ) -> BranchOutput:
        """What the fine branch tells at a waypoint; arguments as of `run_fine`."""
        assert self.fine.head is not None
        return BranchOutput(heatmaps, self.fine.head(tokens, waypoint_px, teacher_bins))

    def _target_pixels(self, position: Tensor, half_projection: bool) -> Tensor:
        """Pixels of the true waypoint, noisy by `wpt_img_aug` and clamped into the image."""
        size = self.config.img_size
        pixels = self.pixels(position, half=half_projection)
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
