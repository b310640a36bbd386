"""CogACT as its users call it: a picture and an instruction -> a chunk of actions in their units.

Legend: B pictures, H actions of a chunk, A numbers of an action, D width of the cognition feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from sam2act.core.errors import ConfigError
from sam2act.nn.diffusion.dit import DiT, DiTConfig
from sam2act.nn.diffusion.process import GaussianDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas
from sam2act.policies.cogact.dataset_statistics import (
    GRIPPER_DIM,
    Statistics,
    action_entry,
    bounded,
    unnormalised,
)
from sam2act.policies.cogact.prismatic import PrismaticVLM, PromptTokens

DIFFUSION_STEPS = 100
Actions = NDArray[np.floating]


class CogACT(nn.Module):
    """Vision-language model, diffusion head and the statistics of the actions.

    Attributes:
        vlm: the vision-language model; `model.vlm.to(torch.bfloat16)` halves its memory.
        action_model: the head.
        ema_diffusion: the moving average of the head; None if there is none.
        norm_stats: content of `dataset_statistics.json`.
        use_ema: act with the average.
        gripper_dim: entry of an action that becomes 0 or 1; None for none.
        autocast: let the vision-language model compute in bfloat16 on a GPU, as published.
    """

    def __init__(
        self,
        vlm: PrismaticVLM,
        head: DiTConfig,
        norm_stats: Statistics,
        tokens: PromptTokens,
        *,
        use_ema: bool = False,
    ) -> None:
        """With a fresh head.

        Raises:
            ConfigError: the feature of the vision-language model has not the width that the head
                takes.
        """
        super().__init__()
        if vlm.config.llm_width != head.condition_dim:
            raise ConfigError(
                f"token_size: the head takes {head.condition_dim} numbers, but the language model "
                f"gives {vlm.config.llm_width}; set it to that"
            )
        self.vlm, self.action_model = vlm, DiT(head)
        self.ema_diffusion: DiT | None = None
        self.head, self.norm_stats, self.tokens, self.use_ema = head, norm_stats, tokens, use_ema
        with torch.device("cpu"):  # also where the parameters are built on the device `meta`
            self.diffusion = GaussianDiffusion(cosine_betas(DIFFUSION_STEPS))
        self.gripper_dim: int | None = GRIPPER_DIM
        self.autocast = True

    def predict_action(
        self,
        image: Image.Image,
        instruction: str,
        unnorm_key: str | None = None,
        cfg_scale: float = 1.5,
        use_ddim: bool = False,
        num_ddim_steps: int = 5,
        generator: torch.Generator | None = None,
    ) -> tuple[Actions, Actions]:
        """A chunk for one picture: (H, A) in units of the data set, and the same normalised.

        See `predict_action_batch`.
        """
        actions, normalised = self.predict_action_batch(
            [image], [instruction], unnorm_key, cfg_scale, use_ddim, num_ddim_steps, generator
        )
        return actions[0], normalised[0]

    @torch.inference_mode()
    def predict_action_batch(
        self,
        image: Sequence[Image.Image],
        instruction: Sequence[str],
        unnorm_key: str | None = None,
        cfg_scale: float = 1.5,
        use_ddim: bool = False,
        num_ddim_steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> tuple[Actions, Actions]:
        """Chunks for B pictures: (B, H, A) in units of the data set, and the same normalised.

        Args:
            image: B pictures of any size.
            instruction: B texts.
            unnorm_key: data set whose units the actions get; None if the model knows one only.
            cfg_scale: strength of guidance; up to 1 there is none.
            use_ddim: DDIM with `num_ddim_steps` instead of DDPM with all 100.
            num_ddim_steps: steps of DDIM.
            generator: of the noise, on the CPU; None = torch's own.

        Raises:
            ConfigError: another number of texts than of pictures, an unknown `unnorm_key`, or so
                many steps cannot be taken.
        """
        if len(image) != len(instruction) or not image:
            raise ConfigError(
                f"instruction: {len(instruction)} texts for {len(image)} pictures; give one each"
            )
        entry = action_entry(self.norm_stats, unnorm_key)
        feature = self.cognition_features(image, instruction)
        head = self._acting_head()
        condition = feature[:, None].to(next(head.parameters()).dtype)
        predict = head.predictor(condition, cfg_scale)

        def draw(step: int = 0) -> Tensor:
            shape = (len(image), self.head.chunk, self.head.action_dim)
            return torch.randn(shape, generator=generator).to(condition)

        if use_ddim:
            values = self.diffusion.sample_ddim(predict, draw(), num_ddim_steps)
        else:
            values = self.diffusion.sample(predict, draw(), draw)
        normalised = bounded(values.float().cpu().numpy(), self.gripper_dim)
        return unnormalised(normalised, entry), normalised

    def cognition_features(
        self, image: Sequence[Image.Image], instruction: Sequence[str]
    ) -> Tensor:
        """(B, D), what the vision-language model says of each picture and text."""
        device = next(self.vlm.parameters()).device
        side = self.vlm.config.vlm_image_side
        rgb = torch.stack([pixels(picture, side) for picture in image])
        ids, mask = self.tokens(instruction)
        with self._precision(device):
            feature: Tensor = self.vlm(rgb.to(device), ids.to(device), mask.to(device))
        return feature

    def get_action_dim(self, unnorm_key: str | None = None) -> int:
        """Numbers of an action of a data set."""
        return len(action_entry(self.norm_stats, unnorm_key)["q01"])

    def _acting_head(self) -> DiT:
        average = self.ema_diffusion if self.use_ema else None
        return self.action_model if average is None else average

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        if self.autocast and device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()


def pixels(image: Image.Image, side: int) -> Tensor:
    """(3, side, side) in [0, 1], scaled without regard to the aspect (bicubic).

    Raises:
        ConfigError: it is no picture of Pillow.
    """
    if not isinstance(image, Image.Image):
        raise ConfigError(f"image: expected a picture of Pillow, got {type(image).__name__}")
    scaled = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(scaled)).movedim(-1, 0).float() / 255
