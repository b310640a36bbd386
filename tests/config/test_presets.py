"""The shipped yaml files that build upon another one: what they change, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sam2act.config.load import flat, load_experiment, load_network, to_dict

EXPERIMENTS = {
    "sam2act_corrected": "exp_id peract.zero_norm_escape peract.collision_label peract.amp_dtype",
    "sam2act_memorybench": "tasks epochs",
    "sam2act_plus": "tasks bs epochs sample_distribution_mode peract.lr",
    "sam2act_plus_paper": "tasks bs epochs sample_distribution_mode",
    "sam2act_plus_corrected": "tasks bs epochs sample_distribution_mode exp_id "
    "peract.zero_norm_escape peract.collision_label peract.amp_dtype peract.window_sampling "
    "peract.sequence_augmentation peract.upsampler_lr_scale",
    "rvt2": "exp_id bs epochs num_workers",
    "rvt2_published": "exp_id bs epochs num_workers",
    **{
        f"ablation_{name}": "exp_id"
        for name in ("no_multires", "convex14", "sam", "dinov2", "depth_anything_v2")
    },
}
TINY = ("rvt2", "no_multires", "convex14", "sam", "dinov2", "depth_anything_v2")
CORRECTIONS = "xops img_aug_2 skip_convs lora_cover heatmap_half target_projection"
MEMORY = "use_memory memory_pos memory_mask memory_init memory_tpos_std frozen_eval"
UPSAMPLING = "upsampler multires_inputs"
QUIRKS = "img_aug_2 heatmap_half target_projection local_feature"
NETWORKS = {
    ("sam2act", "sam2act_corrected"): CORRECTIONS,
    ("sam2act", "sam2act_plus"): "use_memory",
    ("sam2act", "sam2act_plus_corrected"): f"{CORRECTIONS} {MEMORY} memory_rule "
    "stage_two_freeze_skip_convs",
    ("tiny", "tiny_plus"): f"{MEMORY} memory_dim memory_layers memory_hidden memory_dropout "
    "memory_mask_size memory_fuser_kernel stage_two_freeze_skip_convs",
    **{
        (base, f"{prefix}{name}"): f"{UPSAMPLING} {encoder}"
        for base, prefix, encoder in (
            ("sam2act", "ablation_", "encoder encoder_ckpt"),
            ("tiny", "tiny_", "encoder encoder_ckpt encoder_variant"),
        )
        for name in ("dinov2", "depth_anything_v2")
    },
    ("sam2act", "ablation_sam"): f"{UPSAMPLING} encoder encoder_ckpt lora_r",
    ("sam2act", "ablation_convex14"): UPSAMPLING,
    ("sam2act", "ablation_no_multires"): "multires_inputs",
    ("tiny", "tiny_sam"): f"{UPSAMPLING} encoder encoder_ckpt encoder_variant",
    ("tiny", "tiny_convex14"): UPSAMPLING,
    ("tiny", "tiny_no_multires"): "multires_inputs",
    ("tiny", "tiny_published"): QUIRKS,
    ("tiny_plus", "tiny_plus_published"): f"{QUIRKS} memory_pos memory_mask memory_init "
    "memory_tpos_std frozen_eval stage_two_freeze_skip_convs",
    ("tiny", "tiny_chunk"): "action_head chunk.sees_state chunk.loss_weight "
    "chunk.action_model_type chunk.dit_depth chunk.dit_width chunk.repeated_diffusion_steps "
    "chunk.mask_padding chunk.sampler chunk.cfg_scale chunk.condition_dim",
}


def differences(load: Callable[[str], Any], first: str, second: str) -> set[str]:
    """The keys whose values differ."""
    one, other = (flat(to_dict(load(f"configs/{name}.yaml"))) for name in (first, second))
    return {key for key in one | other if one[key] != other[key]}


@pytest.mark.parametrize("name", TINY)
def test_tiny_twins_are_trained_alike(name: str) -> None:
    assert differences(load_experiment, "tiny", f"tiny_{name}") == {"exp_id"}


def test_tiny_published_training_differs_in_these_keys() -> None:
    assert differences(load_experiment, "tiny", "tiny_published") == {
        "exp_id",
        "peract.collision_label",
    }
    assert differences(load_experiment, "tiny_plus", "tiny_plus_published") == {
        "exp_id",
        "peract.collision_label",
        "peract.upsampler_lr_scale",
        "peract.cache_frozen_features",
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_change_these_keys_of_the_published_one(name: str) -> None:
    assert differences(load_experiment, "sam2act", name) == set(EXPERIMENTS[name].split())


@pytest.mark.parametrize("names", NETWORKS, ids="-".join)
def test_networks_change_these_keys_of_their_base(names: tuple[str, str]) -> None:
    first, second = (f"mvt/{name}" for name in names)
    assert differences(load_network, first, second) == set(NETWORKS[names].split())
