"""Segmenters of other packages: SAM 2 and EfficientViT-SAM; both are optional and read by path.

Their predictors take prompts in one form: `set_image`, then `predict` with points, box and mask.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.processing.sam_g.interfaces import Prompt, Proposals, View

SAM2_CONFIGS = {  # beginnings of the names of released files -> their configurations
    "sam2.1_hiera_tiny": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1_hiera_small": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1_hiera_base_plus": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2.1_hiera_large": "configs/sam2.1/sam2.1_hiera_l.yaml",
}
EFFICIENTVIT_SIZES = ("xl0", "xl1", "l0", "l1", "l2")


class PredictorSegmenter:
    """A predictor of the form that Segment Anything introduced."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor

    def look(self, view: View) -> None:
        """Encode a view."""
        self.predictor.set_image(view.rgb.cpu().numpy())

    def propose(self, prompt: Prompt) -> Proposals:
        """The three masks of the decoder."""
        low = prompt.low_resolution
        masks, scores, low_masks = self.predictor.predict(
            point_coords=prompt.points.cpu().numpy().astype(np.float32),
            point_labels=prompt.labels.cpu().numpy(),
            box=None if prompt.box is None else np.array(prompt.box, np.float32),
            mask_input=None if low is None else low.cpu().numpy(),
            multimask_output=True,
            return_logits=True,
        )
        return Proposals(_tensor(masks), _tensor(scores), _tensor(low_masks))

    def describe(self, view: View, mask: Tensor) -> Tensor:
        """Nothing: it knows objects."""
        return torch.zeros(0)


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values).detach().float().cpu()


def build_sam2(path: str) -> PredictorSegmenter:
    """SAM 2.1 with the weights in `path`, whose name tells the size.

    Raises:
        ConfigError: the package or the file is absent, or its name is no released one.
    """
    file = _file(path, "sam2")
    config = next((c for name, c in SAM2_CONFIGS.items() if file.name.startswith(name)), None)
    if config is None:
        raise ConfigError(
            f"segmenter: sam2: {file.name} is none of {', '.join(SAM2_CONFIGS)}; keep the name of "
            "the released file, which tells its size"
        )
    with _installed("sam2", "sam2"):
        from sam2.build_sam import build_sam2 as build
        from sam2.sam2_image_predictor import SAM2ImagePredictor
    return PredictorSegmenter(SAM2ImagePredictor(build(config, str(file), device="cpu")))


def build_efficientvit_sam(path: str) -> PredictorSegmenter:
    """EfficientViT-SAM (the published segmenter of SAM-G is L1) with the weights in `path`.

    Raises:
        ConfigError: as `build_sam2`.
    """
    file = _file(path, "efficientvit_sam")
    size = next((s for s in EFFICIENTVIT_SIZES if f"_{s}" in file.stem), None)
    if size is None:
        raise ConfigError(
            f"segmenter: efficientvit_sam: {file.name} does not end with one of "
            f"{', '.join(EFFICIENTVIT_SIZES)}; keep the name of the released file"
        )
    with _installed("efficientsam", "efficientvit-sam"):
        from efficientsam.models.efficientvit.sam import EfficientViTSamPredictor
        from efficientsam.sam_model_zoo import create_efficientvit_sam_model as create
    model = create(f"efficientvit-sam-{size}", pretrained=True, weight_url=str(file))
    return PredictorSegmenter(EfficientViTSamPredictor(model.eval()))


class EfficientViTFeatures:
    """The output of EfficientViT-SAM's image encoder, the second feature set of SAM-G."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        """(M, S, S, 3) uint8 -> (M, 64, 64, 256)."""
        images = torch.stack([self._model.transform(image) for image in rgb.cpu().numpy()])
        maps: Tensor = self._model.image_encoder(images)
        return maps.permute(0, 2, 3, 1).to(rgb.device)


def build_efficientvit_features(path: str) -> EfficientViTFeatures:
    """Features of EfficientViT-SAM with the weights in `path`.

    Raises:
        ConfigError: as `build_sam2`.
    """
    return EfficientViTFeatures(build_efficientvit_sam(path).predictor.model)


def _file(path: str, name: str) -> Path:
    file = Path(path).expanduser()
    if not path or not file.is_file():
        raise ConfigError(
            f"segmenter: {name}: no weights at {path or 'no path'}; write {name}:PATH of the "
            "released file"
        )
    return file


@contextlib.contextmanager
def _installed(package: str, extra: str) -> Any:
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"segmenter: the package {package} cannot be imported ({error}); install the extra "
            f"{extra}"
        ) from error
