"""The transformer that joins video and actions (a masked autoregressive model, Li et al. 2024).

Every position holds one token of the future, the token of the history at its place and the
features of one action, joined on channels. Legend: B samples, F frames, S tokens of a frame,
N = F S, D width, C numbers of a token, H actions, A numbers of an action. Names of modules are
those of the released weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam2act.nn.linear import Linear, initialise_linears
from sam2act.nn.vit_block import NORM_EPS, Block
from sam2act.policies.uva.config import (
    ACTIONS,
    FRAMES,
    TEXT_WIDTH,
    TransformerConfig,
)
from sam2act.policies.uva.heads import ActionHead, VideoHead

INITIAL_STD = 0.02


@dataclass(frozen=True)
class Clip:
    """What the transformer may see of B samples; None = nothing of that kind.

    Attributes:
        history: (B, N, C) tokens of the frames seen.
        future: (B, N, C) tokens of the frames to come.
        mask: (B, N) bool, which of them are hidden.
        actions: (B, H, A) normalised.
        text: (B, 512) features of the instruction.
        text_dropped: (B,) bool, where it is left out all the same.
        state: (B, F, P) of the robot at the frames seen.
    """

    history: Tensor | None = None
    future: Tensor | None = None
    mask: Tensor | None = None
    actions: Tensor | None = None
    text: Tensor | None = None
    text_dropped: Tensor | None = None
    state: Tensor | None = None

    @property
    def samples(self) -> int:
        """B."""
        given = (self.history, self.future, self.actions)
        return next(len(value) for value in given if value is not None)


class JointTransformer(nn.Module):
    """Encoder and decoder, and the heads of video and actions."""

    def __init__(self, config: TransformerConfig) -> None:
        """With fresh weights."""
        super().__init__()
        self.config = config
        width, before, behind, heads = config.size
        dropouts = (config.attn_dropout, config.proj_dropout)
        self.fake_latent_x = _table(1, width)
        self.fake_action_latent = _table(1, width)
        self.z_proj_cond = Linear(config.token_channels, width)
        self.z_proj = Linear(config.token_channels, width)
        self.action_proj_cond = Linear(config.action_dim, width)
        joined = 3
        if config.use_proprioception:
            self.proprio_proj_cond = Linear(sum(config.state.values()), width)
            joined = 4
        self.proj_cond_x_layer = Linear(joined * width, width)
        if config.use_language:
            self.fake_latent = _table(1, width)
            self.text_proj_cond = Linear(TEXT_WIDTH, width)
            self.text_pos_embed = _table(1, config.text_tokens, width)
            self.decoder_text_pos_embed = _table(1, config.text_tokens, width)
        for part in ("temporal_pos", "decoder_temporal_pos", "diffusion_temporal"):
            self.register_parameter(f"{part}_embed", _table(1, FRAMES, width))
        for part in ("spatial_pos", "decoder_spatial_pos", "diffusion_spatial"):
            self.register_parameter(f"{part}_embed", _table(1, config.frame_tokens, width))
        self.z_proj_ln = nn.LayerNorm(width, eps=NORM_EPS)
        self.encoder_blocks = nn.ModuleList(Block(width, heads, *dropouts) for _ in range(before))
        self.encoder_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.decoder_embed = Linear(width, width)
        self.decoder_blocks = nn.ModuleList(Block(width, heads, *dropouts) for _ in range(behind))
        self.decoder_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.reset_parameters()
        self.diffloss = VideoHead(config)
        self.diffactloss = ActionHead(config, config.action_dim)
        if config.predict_proprioception:
            self.diffproploss = ActionHead(config, len(config.predicted_columns), FRAMES)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published initial values of the transformer."""
        initialise_linears(self)
        for table in self.parameters(recurse=False):
            nn.init.normal_(table, std=INITIAL_STD)

    def forward(self, clip: Clip) -> Tensor:
        """(B, N, D): what the heads are told of every token of the future."""
        x, texts = self._joined(clip), 0
        x = x + self._positions("temporal_pos", "spatial_pos")
        if self.config.use_language:
            front = self._text(clip, len(x)) + self.text_pos_embed
            texts = front.shape[1]
            x = torch.cat([front, x], dim=1)
        x = self.z_proj_ln(x)
        for block in self.encoder_blocks:
            x = block(x)
        x = self.decoder_embed(self.encoder_norm(x))
        positions = self._positions("decoder_temporal_pos", "decoder_spatial_pos")
        if texts:
            positions = torch.cat([self.decoder_text_pos_embed, positions], dim=1)
        x = x + positions
        for block in self.decoder_blocks:
            x = block(x)
        out: Tensor = self.decoder_norm(x)[:, texts:]
        return out + self._positions("diffusion_temporal", "diffusion_spatial")

    def _joined(self, clip: Clip) -> Tensor:
        """(B, N, D): future, history and actions at every position."""
        count, tokens = clip.samples, FRAMES * self.config.frame_tokens
        nothing = self.fake_latent_x.expand(count, tokens, -1)
        future = nothing
        if clip.future is not None:
            future = self.z_proj(clip.future)
            if clip.mask is not None:
                future = torch.where(clip.mask[..., None], self.fake_latent_x.to(future), future)
        history = nothing if clip.history is None else self.z_proj_cond(clip.history)
        actions = self.fake_action_latent.expand(count, ACTIONS, -1)
        if clip.actions is not None:
            actions = self.action_proj_cond(clip.actions)
        spread = actions.repeat_interleave(tokens // ACTIONS, dim=1)
        parts = [future, history, spread]
        if self.config.use_proprioception:
            assert clip.state is not None, "the state of the robot is absent"
            state = self.proprio_proj_cond(clip.state)
            parts.append(state.repeat_interleave(self.config.frame_tokens, dim=1))
        joined: Tensor = self.proj_cond_x_layer(torch.cat(parts, dim=-1))
        return joined

    def _text(self, clip: Clip, count: int) -> Tensor:
        """(B, T, D), the sentence feature in every one of the text tokens."""
        if clip.text is None:
            feature = self.fake_latent.expand(count, -1)
        else:
            feature = self.text_proj_cond(clip.text)
            if clip.text_dropped is not None:
                dropped = clip.text_dropped[:, None]
                feature = torch.where(dropped, self.fake_latent.to(feature), feature)
        return feature[:, None].expand(-1, self.config.text_tokens, -1)

    def _positions(self, temporal: str, spatial: str) -> Tensor:
        """(1, N, D), frame after frame."""
        frames, places = (getattr(self, f"{name}_embed") for name in (temporal, spatial))
        table: Tensor = frames[:, :, None] + places[:, None]
        return table.flatten(1, 2)


def _table(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


def tokens_of(latents: Tensor, patch: int) -> Tensor:
    """Latents (B, F, c, h, w) -> tokens (B, N, c p p), frame after frame, row after row."""
    count, frames, channels, height, width = latents.shape
    parts = latents.reshape(count, frames, channels, height // patch, patch, width // patch, patch)
    ordered = parts.permute(0, 1, 3, 5, 2, 4, 6)
    return ordered.reshape(count, frames * (height // patch) * (width // patch), -1)


def latents_of(tokens: Tensor, patch: int, side: int) -> Tensor:
    """The inverse of `tokens_of` for square latents of `side` rows."""
    grid = side // patch
    parts = tokens.reshape(len(tokens), FRAMES, grid, grid, -1, patch, patch)
    return parts.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(tokens), FRAMES, -1, side, side)
