"""Encoders with public weights as choices of the key `encoder`, beside SAM 2.1."""

from __future__ import annotations

from pathlib import Path

from sam2act.core.errors import ConfigError
from sam2act.core.packaged import EFFICIENTNET_LITE0
from sam2act.core.weights import find_weights
from sam2act.nn.encoders.dinov2 import DINO_SIZES, DinoEncoder
from sam2act.nn.encoders.efficientnet_lite import LITE_SIZES, EfficientNetLiteEncoder
from sam2act.nn.encoders.sam_vit import SAM_VIT_SIZES, SamVitEncoder
from sam2act.nn.encoders.weight_forms import DEPTH_ANYTHING_V2 as DEPTH_ANYTHING_FILE
from sam2act.nn.encoders.weight_forms import DINOV2 as DINOV2_FILE
from sam2act.nn.encoders.weight_forms import VitFile
from sam2act.nn.image_encoder import EncoderKind, ImageEncoderConfig

KEY = "encoder_ckpt"
RANDOM = "random"  # value of that key: weights are not read


def _normalisation(config: ImageEncoderConfig, usual: str) -> str:
    return usual if config.encoder_normalize == "auto" else config.encoder_normalize


def _build_sam(config: ImageEncoderConfig, grid_size: int, pretrained: bool) -> SamVitEncoder:
    sizes = SAM_VIT_SIZES[config.encoder_variant or "vit_b"]
    encoder = SamVitEncoder(sizes, grid_size, _normalisation(config, "none"))
    if reads_weights(config, pretrained):
        encoder.load_pretrained(KEY, find_weights(KEY, config.encoder_ckpt, OTHERWISE))
    _finish(encoder, config)
    return encoder


def _build_dino(config: ImageEncoderConfig, pretrained: bool, form: VitFile) -> DinoEncoder:
    sizes = DINO_SIZES[config.encoder_variant or "vitb14"]
    encoder = DinoEncoder(sizes, _normalisation(config, "imagenet"))
    if reads_weights(config, pretrained):
        encoder.load_pretrained(KEY, find_weights(KEY, config.encoder_ckpt, OTHERWISE), form)
    _finish(encoder, config)
    return encoder


def _build_efficientnet(
    config: ImageEncoderConfig, grid_size: int, pretrained: bool
) -> EfficientNetLiteEncoder:
    encoder = EfficientNetLiteEncoder(
        LITE_SIZES[config.encoder_variant or "lite0"],
        _normalisation(config, "half"),
        finer_levels=config.multires_inputs,
    )
    if pretrained and config.encoder_ckpt != RANDOM:
        encoder.load_pretrained(KEY, efficientnet_weights(config.encoder_ckpt))
    encoder.checkpointing = config.activation_checkpointing
    return encoder


def efficientnet_weights(named: str = "") -> Path:
    """The file of EfficientNet-Lite0 that the key `encoder_ckpt` names; "" = that of the package.

    Raises:
        ConfigError: it is absent; the message says how to get it.
    """
    if named:
        return find_weights(KEY, named, OTHERWISE)
    return EFFICIENTNET_LITE0.require("encoder: efficientnet_lite", OTHERWISE)


OTHERWISE = f"set `{KEY} {RANDOM}` for a random encoder"


def reads_weights(config: ImageEncoderConfig, pretrained: bool) -> bool:
    """Whether a file is to be read.

    Raises:
        ConfigError: a fresh encoder is asked for, and the key names neither a file nor `random`.
    """
    if pretrained and not config.encoder_ckpt:
        raise ConfigError(
            f"{KEY} names no weights of encoder: {config.encoder}; name their file, or {OTHERWISE}"
        )
    return pretrained and config.encoder_ckpt != RANDOM


def _finish(encoder: SamVitEncoder | DinoEncoder, config: ImageEncoderConfig) -> None:
    encoder.checkpointing = config.activation_checkpointing
    if config.lora_finetune:
        encoder.insert_lora(config.lora_r)


SAM_VIT_B = EncoderKind(_build_sam, variants=tuple(SAM_VIT_SIZES))
DINOV2 = EncoderKind(
    lambda config, grid_size, pretrained: _build_dino(config, pretrained, DINOV2_FILE),
    variants=tuple(DINO_SIZES),
)
DEPTH_ANYTHING_V2 = EncoderKind(
    lambda config, grid_size, pretrained: _build_dino(config, pretrained, DEPTH_ANYTHING_FILE),
    variants=tuple(DINO_SIZES),
)
EFFICIENTNET_LITE = EncoderKind(
    _build_efficientnet, finer_levels=True, adaptable=False, variants=tuple(LITE_SIZES)
)
