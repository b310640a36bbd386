"""The network of SAM2Act: two stages, of which the coarse one may remember earlier keyframes.

Legend: B environments, F = frames of a training batch (sequences * W consecutive keyframes), V
view, M = frames * V, P tokens per side, S side of a rendered view.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam2act.core.errors import ConfigError
from sam2act.core.wording import uneven_windows
from sam2act.nn.image_encoder import FeaturePyramid, Sam2ImageEncoder
from sam2act.policies.multiview.branch import BranchOutput
from sam2act.policies.multiview.network import Cloud
from sam2act.policies.multiview.two_stage import TwoStageNetwork, TwoStageOutput
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.memory.memory import Memory


@dataclass(frozen=True)
class CoarseStep:
    """One keyframe seen by the coarse branch of every environment."""

    heatmaps: Tensor  # (B, V, S, S) logits
    bank: MemoryBank  # with this keyframe added


class SAM2ActNetwork(TwoStageNetwork):
    """Two stages; with `use_memory` (SAM2Act+) the coarse branch has a memory."""

    config: NetworkConfig

    def __init__(self, config: NetworkConfig, *, pretrained: bool = False) -> None:
        """As `TwoStageNetwork`; with memory only the published set of parameters is trainable."""
        super().__init__(config, pretrained=pretrained)
        self.memory = Memory(config, len(self.views)) if config.use_memory else None
        if config.use_memory:
            self.freeze_stage_one()

    # ------------------------------------------------------------------------------- freezing
    def freeze_stage_one(self) -> None:
        """Train the memory, the coarse upsampler and the skip convolutions, nothing else.

        The skip convolutions are shared with the frozen fine branch, which thereby changes
        (quirk N16); `stage_two_freeze_skip_convs` keeps them.
        """
        self.requires_grad_(False)
        for module in (self._memory(), self.coarse.upsampler):
            module.requires_grad_(True)
        if not self.config.stage_two_freeze_skip_convs:
            for encoder in self.encoders:
                if isinstance(encoder, Sam2ImageEncoder):
                    for convolution in encoder.skip_convolutions.values():
                        convolution.requires_grad_(True)

    def train(self, mode: bool = True) -> SAM2ActNetwork:
        """Training mode; in stage 2 dropout of frozen layers stays active (quirk N15) unless
        `frozen_eval`."""
        super().train(mode)
        if mode and self.memory is not None and self.config.frozen_eval:
            coarse = self.coarse
            for frozen in (self.encoders, coarse.tokenizer, coarse.transformer, self.fine):
                frozen.eval()
        return self

    def parts(self) -> dict[str, nn.Module]:
        """Image encoder, both branches and the memory, where there is one."""
        return super().parts() | ({"memory": self.memory} if self.memory is not None else {})

    # ------------------------------------------------------------------------------ evaluation
    def empty_bank(self, batch: int) -> MemoryBank:
        """No memories for `batch` environments at the start of their episodes."""
        memory = self._memory()
        like = memory.temporal_encoding.detach()
        return MemoryBank.for_environments(batch, self.config.num_maskmem, memory.frame_shape, like)

    def step(
        self, cloud: Cloud, proprio: Tensor, language: Tensor, bank: MemoryBank
    ) -> tuple[TwoStageOutput, MemoryBank]:
        """Predict one keyframe of every environment, each with its own past.

        Args:
            cloud: B clouds in the unit cube.
            proprio: (B, 4).
            language: (B, L, lang_dim).
            bank: memories of the B environments.

        Returns:
            the prediction and the bank with this keyframe added.
        """
        coarse_images = self.render(cloud)
        coarse = self.coarse_step(coarse_images, proprio, language, bank)
        center = self.peak(coarse.heatmaps)
        fine_images = self.render(self.zoom(cloud, center))
        fine, in_zoom = self.run_fine(fine_images, proprio, language)
        assert in_zoom is not None
        output = TwoStageOutput(
            BranchOutput(coarse.heatmaps, None),
            fine,
            center,
            self.from_zoom(in_zoom, center),
            coarse_images,
            fine_images,
        )
        return output, coarse.bank

    def coarse_step(
        self, images: Tensor, proprio: Tensor, language: Tensor, bank: MemoryBank
    ) -> CoarseStep:
        """Heat maps of one keyframe per environment from images (B, V, 10, S, S)."""
        tokens, pyramid = self.coarse_tokens(images, proprio, language)
        slots = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        position = self._query_position(slots, batch_frames=1)
        heatmaps, frame = self._remember(tokens, pyramid, position, bank)
        return CoarseStep(heatmaps, bank.push(frame, self.config.memory_rule))

    # -------------------------------------------------------------------------------- training
    def forward_windows(self, cloud: Cloud, proprio: Tensor, language: Tensor) -> Tensor:
        """Coarse heat maps of windows of consecutive keyframes.

        Args:
            cloud: F clouds; every run of W = num_maskmem + 1 is one sequence in temporal order.
            proprio: (F, 4).
            language: (F, L, lang_dim).

        Returns:
            (F, V, S, S) logits; gradients run back through the memories of the whole window.
        """
        return self.window_heatmaps(self.render(cloud), proprio, language)

    def window_heatmaps(self, images: Tensor, proprio: Tensor, language: Tensor) -> Tensor:
        """As `forward_windows`, from rendered images (F, V, 10, S, S)."""
        tokens, pyramid = self.coarse_tokens(images, proprio, language)
        return self.window_heatmaps_of_tokens(tokens, pyramid)

    def window_heatmaps_of_tokens(self, tokens: Tensor, pyramid: FeaturePyramid) -> Tensor:
        """As `window_heatmaps`, from tokens (M, C, P, P) and image features of all F frames.

        Raises:
            ConfigError: the frames are not a whole number of windows.
        """
        frames, window = len(tokens) // len(self.views), self.config.window
        if frames % window:
            raise ConfigError(uneven_windows(frames, window))
        sequences = frames // window
        bank = MemoryBank.for_windows(
            sequences, self.config.num_maskmem, self._memory().frame_shape, tokens
        )
        maps = []
        for time in range(window):  # frames depend on each other; sequences and views do not
            slots = torch.arange(sequences, device=tokens.device) * window + time
            arguments = (
                self._frames(tokens, slots),
                pyramid.changed(partial(self._frames, slots=slots)),
                self._query_position(slots, frames),
                bank,
            )
            if self.config.memory_checkpointing and torch.is_grad_enabled():
                heatmaps, frame = checkpoint(self._remember, *arguments, use_reentrant=False)
            else:
                heatmaps, frame = self._remember(*arguments)
            bank = bank.push(frame, self.config.memory_rule)
            maps.append(heatmaps)
        return torch.stack(maps, dim=1).flatten(0, 1)

    # --------------------------------------------------------------------------------- shared
    def _memory(self) -> Memory:
        """The memory of a network that has one."""
        assert self.memory is not None, "this network has no memory (use_memory: False)"
        return self.memory

    def coarse_tokens(
        self, images: Tensor, proprio: Tensor, language: Tensor
    ) -> tuple[Tensor, FeaturePyramid]:
        """Unconditioned tokens (M, C, P, P) and image features of images (F, V, 10, S, S)."""
        pyramid = self.encode(images, self.coarse_encoder)
        return self.coarse.tokens(images, pyramid, proprio, language), pyramid

    def _remember(
        self, tokens: Tensor, pyramid: FeaturePyramid, position: Tensor, bank: MemoryBank
    ) -> tuple[Tensor, Tensor]:
        """Heat maps (B, V, S, S) of one keyframe per environment, and its memory (B, V, N, D)."""
        memory = self._memory()
        conditioned = memory.recall(tokens.float(), bank, position)
        heatmaps = self.coarse.heatmaps(conditioned, pyramid)
        return heatmaps, memory.encode(tokens, heatmaps)

    def _query_position(self, slots: Tensor, batch_frames: int) -> Tensor:
        table = self.coarse.tokenizer.position_encoding
        return self._memory().query_position(table, slots, batch_frames)

    def _frames(self, values: Tensor, slots: Tensor) -> Tensor:
        """The rows (F * V, ...) of some frames."""
        rows: Tensor = values.unflatten(0, (-1, len(self.views)))[slots].flatten(0, 1)
        return rows
