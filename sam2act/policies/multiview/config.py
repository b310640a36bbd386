"""Keys that multi-view keyframe policies share, and those of networks with two stages."""

from __future__ import annotations

from dataclasses import dataclass, field

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.nn.image_encoder import ImageEncoderConfig
from sam2act.nn.multiview_transformer import TransformerConfig
from sam2act.nn.upsampling import UpsamplerConfig
from sam2act.rendering.backends import AUTO, COMPARED, SOFT
from sam2act.rendering.renderer import RendererConfig
from sam2act.rendering.views import View, select_views


@dataclass(frozen=True)
class PointsConfig(ComponentConfig):
    """Subsampling of the cloud before rendering (`data.*`, added)."""

    points: int = 0  # points per cloud, drawn afresh for each sample; 0 = all

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.points >= 0, "data.points must be 0 (all points) or positive")


@dataclass(frozen=True)
class ViewsConfig(ComponentConfig):
    """The rendered images."""

    norm_corr: bool = False
    rend_three_views: bool = False
    use_point_renderer: bool = False
    # Added: images and maps lie in memory as rows of pixels with all channels, not as planes. Small
    # networks are faster so on a CPU; sums are taken in another order.
    channels_last: bool = False
    renderer: RendererConfig = field(default_factory=RendererConfig)
    data: PointsConfig = field(default_factory=PointsConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.use_point_renderer or not self.rend_three_views,
            "use_point_renderer: False names the soft renderer of RVT, which no SAM2Act checkpoint "
            "uses and which, as published, cannot draw three views; set it to True",
        )
        soft = (AUTO, SOFT, COMPARED)
        require(
            self.use_point_renderer or self.renderer.backend in soft,
            f"renderer.backend: {self.renderer.backend} does not draw softly, as "
            f"use_point_renderer: False asks; take one of {', '.join(soft)}",
        )

    @property
    def views(self) -> tuple[View, ...]:
        """The views that are rendered."""
        return select_views(self.rend_three_views, soft=not self.use_point_renderer)

    @property
    def drawing(self) -> str:
        """The renderer's backend."""
        name = self.renderer.backend
        return SOFT if name == AUTO and not self.use_point_renderer else name


@dataclass(frozen=True)
class MultiviewConfig(ViewsConfig, TransformerConfig):
    """What every network has that reads rendered views and predicts heat maps."""

    xops: bool = False
    num_rot: int = 72
    heatmap_half: bool = True  # added: heat maps and their soft-max rounded to fp16
    target_projection: str = "float16"  # added: float16 (with amp only) | float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "num_rot")
        require_choice("target_projection", self.target_projection, ("float16", "float32"))

    @property
    def pixel_shift(self) -> float:
        """Pixels that are taken off projected points where heat maps are made and read (R12)."""
        return 0.0 if self.use_point_renderer else 1 / self.img_size

    @property
    def training_window(self) -> int:
        """Consecutive rows of a training batch that are one sequence; 1 = independent samples."""
        return 1

    @property
    def zoom(self) -> float | None:
        """How much the cube of the second stage is enlarged; None = there is no second one."""
        return None


@dataclass(frozen=True)
class ActionHeadConfig(MultiviewConfig):
    """The action head, which reads tokens of all views."""

    head_hidden: tuple[int, ...] = (256, 128)  # added
    local_feature: str = "inverse_distance"  # added: inverse_distance | bilinear

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.head_hidden) == 2, "head_hidden needs two values")
        require_choice("local_feature", self.local_feature, ("inverse_distance", "bilinear"))


@dataclass(frozen=True)
class TwoStageConfig(UpsamplerConfig, ImageEncoderConfig, ActionHeadConfig):
    """The coarse and the fine branch."""

    wpt_img_aug: float = 0.01
    st_sca: float = 4.0
    st_wpt_loc_aug: float = 0.05
    st_wpt_loc_inp_no_noise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.upsampler == "cascade" or not self.multires_inputs,
            f"multires_inputs: True needs upsampler: cascade; {self.upsampler} adds no finer "
            "levels, so set multires_inputs: False",
        )

    @property
    def encodes_colors(self) -> bool:
        """Whether there is an image encoder."""
        return self.encoder != "none"

    @property
    def zoom(self) -> float | None:
        """`st_sca`."""
        return self.st_sca
