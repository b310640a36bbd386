"""Configurations as the released code reads them: its keys, its types, nothing else.

The released code merges yaml files strictly, so a key that it does not know stops it. What this
project added is left out where it changes nothing that the weights compute, and refused by name
where it does.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from typing import Any

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.wording import listing
from sam2act.policies.sam2act.config import NetworkConfig

EXPERIMENT_KEYS = (
    *("agent", "tasks", "exp_id", "exp_name", "resume", "bs", "epochs", "num_workers"),
    *("sample_distribution_mode", "train_iter", "demo", "wandb"),
    *("peract.lambda_weight_l2", "peract.lr", "peract.optimizer_type", "peract.warmup_steps"),
    *("peract.lr_cos_dec", "peract.add_rgc_loss", "peract.num_rotation_classes", "peract.amp"),
    *("peract.bnb", "peract.transform_augmentation", "peract.transform_augmentation_xyz"),
    *("peract.transform_augmentation_rpy", "peract.same_trans_aug_per_seq"),
    *("rvt.gt_hm_sigma", "rvt.img_aug", "rvt.place_with_mean", "rvt.move_pc_in_bound"),
    "peract_official.cfg_path",
)
NETWORK_KEYS = (
    *("depth", "img_size", "img_patch_size", "add_proprio", "proprio_dim", "add_lang"),
    *("lang_dim", "lang_len", "img_feat_dim", "feat_dim", "im_channels", "attn_dim"),
    *("attn_heads", "attn_dim_head", "activation", "weight_tie_layers", "attn_dropout"),
    *("decoder_dropout", "final_dim", "self_cross_ver", "add_corr", "norm_corr"),
    *("add_pixel_loc", "add_depth", "rend_three_views", "use_point_renderer", "pe_fix"),
    *("feat_ver", "wpt_img_aug", "inp_pre_pro", "inp_pre_con", "cvx_up", "xops", "rot_ver"),
    *("num_rot", "stage_two", "st_sca", "st_wpt_loc_aug", "st_wpt_loc_inp_no_noise"),
    *("img_aug_2", "ifSAM2", "lora_finetune", "lora_r", "ifsep", "resize_rgb", "use_memory"),
    *("num_maskmem", "sam2_config", "sam2_ckpt"),
)
# Added keys that change neither what the weights compute nor how training goes on.
WITHOUT_EFFECT = (
    *("demo_start", "seed", "log_every", "data_folder", "store_folder", "replay_folder"),
    *(
        "peract.amp_dtype",
        "peract.skip_dead_lora",
        "peract.sharding",
        "peract.compile",
        "peract.cache_frozen_features",
    ),
    *("language.weights_path", "language.cache", "eval.precision", "eval.compile"),
    *("validation.split", "validation.demo", "validation.demo_start", "validation.every"),
    *("renderer.backend", "activation_checkpointing", "attention_backend"),
    *("memory_init", "memory_tpos_std", "memory_checkpointing"),  # only of fresh weights
)
# Added keys that change training alone: weights may go, the optimiser's state may not.
TRAINING_ALONE = (
    *("peract.zero_norm_escape", "peract.betas", "peract.grad_accumulation", "peract.grad_clip"),
    *("peract.ema", "peract.color_jitter", "peract.collision_label", "peract.window_sampling"),
    *("peract.sequence_augmentation", "peract.upsampler_lr_scale", "rvt.point_color_noise"),
    *("encoder_trainable", "skip_convs", "target_projection", "frozen_eval"),
    *("stage_two_freeze_skip_convs", "gripper_threshold", "assume_ignore_collisions"),
    *("auxiliary", "auxiliary_weight", "peract.ema_power"),
)
OPTIMIZERS = ("lamb", "adam")
PRETRAINED = NetworkConfig.sam2_ckpt


def released_configs(
    experiment: ExperimentConfig, network: NetworkConfig, *, training: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both configurations with released keys only, as nested plain values.

    Args:
        experiment: of the policy.
        network: of the policy.
        training: training is to go on there with the optimiser's state, so that options of
            training matter too.

    Raises:
        ConfigError: the released code cannot express an option; the message names all of them.
    """
    leaves = [*_leaves(experiment), *_leaves(network)]
    harmless = WITHOUT_EFFECT if training else (*WITHOUT_EFFECT, *TRAINING_ALONE)
    known = {*EXPERIMENT_KEYS, *NETWORK_KEYS, *harmless}
    if not network.use_memory:
        known |= {key for key, *_ in leaves if key.startswith("memory_")}
    foreign = [x for x in leaves if x[0] not in known and x[1] != x[2]]
    peract = experiment.peract
    if peract.optimizer_type not in OPTIMIZERS:
        foreign.append(("peract.optimizer_type", peract.optimizer_type, " or ".join(OPTIMIZERS)))
    if network.st_sca != int(network.st_sca):
        foreign.append(("st_sca", network.st_sca, "a whole number"))
    if foreign:
        text = listing(
            sorted(f"{key} {_plain(value)} (there: {_plain(only)})" for key, value, only in foreign)
        )
        remedy = "; --weights-only leaves out the optimiser's state and what concerns it"
        trained = all(key in TRAINING_ALONE for key, _, _ in foreign)
        raise ConfigError(
            f"the released code cannot do what this policy does: {text}{remedy if trained else ''}"
        )
    values = {key: _for_yacs(_plain(value)) for key, value, _ in leaves}
    values |= {"resume": "", "st_sca": int(network.st_sca)}
    values["sam2_ckpt"] = network.sam2_ckpt or PRETRAINED  # that code always reads one first
    return _nested(values, EXPERIMENT_KEYS), _nested(values, NETWORK_KEYS)


def left_out(experiment: ExperimentConfig, network: NetworkConfig) -> list[str]:
    """Options of training, as `key value`, that released files of these weights do not mention."""
    leaves = [*_leaves(experiment), *_leaves(network)]
    return [f"{k} {_plain(v)}" for k, v, default in leaves if k in TRAINING_ALONE and v != default]


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, value and published default of every option."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, item.default


def _nested(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key in keys:
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = values[key]
    return tree


def _for_yacs(value: Any) -> Any:
    """A text that yacs would evaluate (2024_11_28, None) in quotes of its own, others as is."""
    if not isinstance(value, str):
        return value
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
