"""Memory attention, memory encoder and temporal encoding behind two calls: recall and encode.

Legend: B environments or sequences, V views, M = B * V, P tokens per side, N = P * P, T = V * N, C
token width, D memory width, R memory slots, S side of a heat map.
"""

from __future__ import annotations

import contextlib

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from sam2act.policies.sam2act.memory.attention import MemoryAttention
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.memory.config import MemoryConfig
from sam2act.policies.sam2act.memory.encoder import MemoryEncoder, mask_from_heatmap

LOCAL_BIAS = 5.0  # makes a token look at its own cell first: RoPE scores peak at zero offset
GENTLE_STD = 1e-3  # small rather than zero: the published optimiser cannot move zero tensors


class Memory(nn.Module):
    """What SAM2Act+ adds to the coarse branch."""

    def __init__(self, config: MemoryConfig, views: int) -> None:
        super().__init__()
        self.config, self.views = config, views
        width, grid = config.token_width, config.grid_size
        self.attention = MemoryAttention(
            width,
            config.memory_dim,
            grid_size=grid,
            layers=config.memory_layers,
            hidden=config.memory_hidden,
            dropout=config.memory_dropout,
        )
        self.encoder = MemoryEncoder(
            width,
            config.memory_dim,
            grid_size=grid,
            mask_size=config.memory_mask_size,
            kernel=config.memory_fuser_kernel,
        )
        self.temporal_encoding = nn.Parameter(
            torch.empty(config.num_maskmem, 1, 1, config.memory_dim)
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initial values beyond the modules' own; see the keys `memory_init`, `memory_tpos_std`."""
        nn.init.trunc_normal_(self.temporal_encoding, std=self.config.memory_tpos_std)
        if self.config.memory_init == "local":
            self.attention.start_local(LOCAL_BIAS, GENTLE_STD)

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        """Gentle start: the last norm gives back the scale of unconditioned `tokens` (M, C, P, P),
        so that the trained upsampler is not disturbed."""
        self.attention.norm.weight.copy_(tokens.std(dim=(0, 2, 3)))
        self.attention.norm.bias.copy_(tokens.mean(dim=(0, 2, 3)))

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(V, N, D): one memory of one environment."""
        return (self.views, self.config.grid_size**2, self.config.memory_dim)

    def recall(self, tokens: Tensor, bank: MemoryBank, query_position: Tensor) -> Tensor:
        """Tokens conditioned on the memories.

        Environments without memories keep their tokens as they are, without attention and without
        the final norm (quirk N11).

        Args:
            tokens: (M, C, P, P) of the current frame.
            bank: memories of B environments.
            query_position: (M, N, C).

        Returns:
            (M, C, P, P) float32.
        """
        if bank.slots == 0:
            return tokens
        grid = tokens.shape[-1]
        filled = bank.filled()
        if filled is not None:
            filled = repeat(filled, "b r -> (b v) 1 (r n)", v=self.views, n=grid**2)
        memory = rearrange(bank.frames, "b r v n d -> (b v) (r n) d")
        with self._evaluation_autocast(tokens):
            conditioned: Tensor = self.attention(
                tokens.flatten(2).transpose(1, 2),
                query_position,
                memory,
                self._memory_position(bank.slots),
                filled,
            )
        conditioned = rearrange(conditioned, "m (h w) c -> m c h w", h=grid).to(tokens)
        if bank.count is None:
            return conditioned
        remembers = repeat(bank.count > 0, "b -> (b v) 1 1 1", v=self.views)
        return torch.where(remembers, conditioned, tokens)

    def encode(self, tokens: Tensor, heatmaps: Tensor) -> Tensor:
        """The memory of a frame.

        Args:
            tokens: (M, C, P, P) before conditioning.
            heatmaps: (B, V, S, S) logits predicted for this frame.

        Returns:
            (B, V, N, D).
        """
        with self._evaluation_autocast(tokens):
            mask = mask_from_heatmap(
                heatmaps.flatten(0, 1)[:, None],
                self.config.memory_mask_size,
                self.config.memory_mask,
            )
            memory = self.encoder(tokens, mask)
        by_view: Tensor = memory.unflatten(0, (-1, self.views))
        return by_view

    def query_position(self, table: Tensor, frames: Tensor, batch_frames: int) -> Tensor:
        """Position encoding of the queries.

        The published code reshapes the branch's position table instead of transposing it, so the
        row depends on a frame's slot in the batch (quirk N14): view v of frame b, position p takes
        row `(V * B * p + V * b + v) mod T`. `memory_pos: consistent` takes row `N * v + p`.

        Args:
            table: (1, T, C) learned position encoding of the coarse branch.
            frames: (F,) slot b of every frame within its batch.
            batch_frames: B, frames in that batch (1 in evaluation).

        Returns:
            (F * V, N, C).
        """
        tokens = table.shape[1] // self.views
        view = torch.arange(self.views, device=table.device)[None, :, None]
        place = torch.arange(tokens, device=table.device)[None, None]
        if self.config.memory_pos == "consistent":
            row = (tokens * view + place).expand(len(frames), -1, -1)
        else:
            slot = self.views * frames[:, None, None] + view
            row = (self.views * batch_frames * place + slot) % table.shape[1]
        return table[0][row.flatten(0, 1)]

    def _memory_position(self, slots: int) -> Tensor:
        """(1, R * N, D): sine encoding plus the temporal row of the slot."""
        temporal = self.temporal_encoding[:slots, 0]
        return (self.encoder.position + temporal).flatten(0, 1)[None]

    def _evaluation_autocast(self, like: Tensor) -> contextlib.AbstractContextManager[object]:
        """On a GPU the published evaluation runs memory in float16; elsewhere nothing changes."""
        if self.training or not like.is_cuda:
            return contextlib.nullcontext()
        return torch.autocast("cuda", torch.float16)
