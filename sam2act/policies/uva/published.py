"""UVA as its users call it: a dictionary of observations -> a dictionary of actions.

Legend: B environments, T = 16 steps of the history, C = 3 colours, H W image size, A numbers of an
action.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig, LanguageConfig
from sam2act.core.errors import ConfigError
from sam2act.core.types import ContractError, Observation
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import misfit
from sam2act.policies.base import BuildOptions
from sam2act.policies.checkpoint import PolicyBundle, load_policy
from sam2act.policies.session import PolicySession, trained_encoder
from sam2act.policies.uva.config import HISTORY, SIZES, Size, UVAConfig
from sam2act.policies.uva.noise import SHOWN
from sam2act.policies.uva.policy import UVAPolicy
from sam2act.policies.uva.pretrained import MODEL, load_autoencoder
from sam2act.policies.uva.released_files import STATES, action_scaling, read_released

NORMALISER = "normalise_actions('limits')"
HEAD_WIDTH = 64  # of the attention of all published sizes but the smallest two


class UnifiedVideoActionPolicy:
    """A trained policy behind the published call."""

    def __init__(self, bundle: PolicyBundle) -> None:
        """Act with a loaded policy.

        Raises:
            ConfigError: it is not UVA.
        """
        if not isinstance(bundle.policy, UVAPolicy):
            raise ConfigError(f"{type(bundle.policy).__name__} is not UVA; name another checkpoint")
        self.bundle, self.policy = bundle, bundle.policy
        self.camera = bundle.policy.spec.cameras[0]
        self.session = PolicySession(bundle, text_encoder=trained_encoder(bundle))

    def predict_action(
        self,
        obs_dict: Mapping[str, Tensor],
        language_goal: Sequence[str] | Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The next actions, in the units of the data.

        Every call is the first one of an episode: the noise is the same each time.

        Args:
            obs_dict: `image`, or the name of the camera (`agentview`, `agentview_rgb`,
                `agentview_image`) -> (B, T, C, H, W), colours from 0 to 1 or uint8; parts of the
                state that it reads -> (B, T, numbers).
            language_goal: B texts, or features (B, 512); None where it takes no instruction.

        Returns:
            `action` (B, n_action_steps, A), what is executed, and `action_pred` (B, 16, A).

        Raises:
            ContractError: a picture or a part of the state is absent, or has another form.
        """
        rgb = self._pictures(obs_dict)
        seen = Observation(
            rgb=rgb[:, :, None],
            proprioception=self._state(obs_dict, rgb),
            cameras=(self.camera,),
        )
        goal = language_goal
        if isinstance(goal, Tensor):
            goal = goal.reshape(len(rgb), 1, -1)
        self.session.reset()
        chunk = self.session.act(seen, [""] * len(rgb) if goal is None else goal)
        return {
            "action": chunk.values[:, : self.policy.config.n_action_steps],
            "action_pred": chunk.values,
        }

    def _pictures(self, obs_dict: Mapping[str, Tensor]) -> Tensor:
        """(B, frames, H, W, C) uint8, those that the policy looks at."""
        names = ("image", *(self.camera + suffix for suffix in ("", "_rgb", "_image")))
        pictures = next((obs_dict[name] for name in names if name in obs_dict), None)
        if pictures is None:
            raise ContractError(f"obs_dict: expected image, got {', '.join(obs_dict) or 'nothing'}")
        if pictures.dim() != 5 or tuple(pictures.shape[1:3]) != (HISTORY, 3):
            raise ContractError(
                f"obs_dict: expected image (B, {HISTORY}, 3, H, W), got {tuple(pictures.shape)}"
            )
        if pictures.is_floating_point():
            pictures = (pictures * 255).round().clamp(0, 255).to(torch.uint8)
        return self._shown(pictures.movedim(2, -1))

    def _state(self, obs_dict: Mapping[str, Tensor], rgb: Tensor) -> Tensor:
        """(B, frames, numbers) of the robot, as it is recorded."""
        parts = [torch.zeros(*rgb.shape[:2], 0)]
        for part in self.session.spec.state:
            values, form = obs_dict.get(part.name), (len(rgb), HISTORY, part.size)
            if values is None or tuple(values.shape) != form:
                found = "nothing" if values is None else f"{tuple(values.shape)}"
                raise ContractError(f"obs_dict: expected {part.name} {form}, got {found}")
            parts.append(self._shown(values.float()))
        return torch.cat(parts, dim=-1)

    def _shown(self, values: Tensor) -> Tensor:
        """Of 16 steps (B, 16, ...) those that the policy looks at."""
        return values if self.policy.config.different_history_freq else values[:, list(SHOWN)]


def load_uva(
    path: str | Path, device: str | torch.device = "cpu", *, vae_weights: str = "", **changes: Any
) -> UnifiedVideoActionPolicy:
    """The policy of a checkpoint of this project or of a released one.

    Args:
        path: the file.
        device: where it computes.
        vae_weights: of the autoencoder, which released checkpoints may lack.
        changes: keys of the network of a released checkpoint that its weights do not tell, such as
            `different_history_freq`.

    Raises:
        ConfigError, CheckpointError, WeightsError: the file cannot be used; the message says why.
    """
    try:
        content = read_weight_file(path, objects=True)
    except WeightFileError as error:
        raise ConfigError(str(error)) from error
    if not (isinstance(content, Mapping) and STATES in content):
        return UnifiedVideoActionPolicy(load_policy(path, device=device))
    bundle = released_bundle(path, vae_weights=vae_weights, **changes)
    bundle.policy.to(device).eval()
    return UnifiedVideoActionPolicy(bundle)


def released_bundle(path: str | Path, *, vae_weights: str = "", **changes: Any) -> PolicyBundle:
    """A released checkpoint with the configuration that its weights tell.

    Raises:
        ConfigError: a tensor is missing, or has another shape than the configuration says.
    """
    state = read_released(path)["state"]
    weights = {n: v for n, v in state.items() if n.startswith(MODEL)}
    network = dataclasses.replace(sizes_of(weights, str(path)), **changes)
    experiment = ExperimentConfig(
        cameras=("image",),
        transforms=(NORMALISER,),
        language=LanguageConfig("clip_pooled"),
    )
    policy = UVAPolicy.build(network, experiment, BuildOptions())
    own = {n: v for n, v in policy.state_dict().items() if n.startswith(MODEL)}
    complaint = misfit(weights, own)
    if complaint:
        raise ConfigError(f"{path} does not fit the network that it tells: {complaint}")
    policy.load_state_dict(weights, strict=False)
    if vae_weights:
        load_autoencoder(policy, vae_weights)
    bundle = PolicyBundle(policy, experiment, network)
    bundle.transforms.load_state_dict(
        {"texts": [NORMALISER], "statistics": [action_scaling(state)]}
    )
    return bundle


def sizes_of(state: Mapping[str, Tensor], path: str) -> UVAConfig:
    """The sizes of a network from the shapes of its released weights.

    Raises:
        ConfigError: they are not those of UVA.
    """

    def shape(name: str) -> torch.Size:
        value = state.get(MODEL + name)
        if value is None:
            raise ConfigError(f"{path}: has no {MODEL}{name}; is it a checkpoint of UVA?")
        return value.shape

    def blocks(part: str) -> int:
        start = f"{MODEL}{part}."
        return 1 + max(
            (int(name[len(start) :].split(".")[0]) for name in state if name.startswith(start)),
            default=-1,
        )

    width, channels = shape("z_proj.weight")
    depths = (blocks("encoder_blocks"), blocks("decoder_blocks"))
    own = Size(width, *depths, max(width // HEAD_WIDTH, 1))
    published = {size[:3]: name for name, size in SIZES.items()}
    side = round(shape("spatial_pos_embed")[1] ** 0.5)
    return UVAConfig(
        autoregressive_model=published.get(own[:3], "custom"),
        encoder_embed_dim=own.width,
        encoder_depth=own.encoder_depth,
        decoder_depth=own.decoder_depth,
        num_heads=own.heads,
        vae_embed_dim=channels,
        latent_side=side,
        image_side=16 * side,
        action_dim=shape("action_proj_cond.weight")[1],
        use_language=f"{MODEL}text_proj_cond.weight" in state,
        diffloss_w=shape("diffloss.net.input_proj.weight")[0],
        diffloss_d=blocks("diffloss.net.res_blocks"),
        act_diffloss_w=shape("diffactloss.net.input_proj.weight")[0],
        act_diffloss_d=blocks("diffactloss.net.res_blocks"),
        vae="kl16" if channels == 16 else "small",
    )
