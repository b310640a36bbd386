"""Names of released weights that all multi-view policies share: our name -> released name.

Names are relative to a branch. The first rule that matches the whole name applies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sam2act.core.weight_names import WeightsError

Rules = Sequence[tuple[str, str]]

TOKEN_RULES: Rules = (
    (r"tokenizer\.fusion\.(\w+)", r"fusion.conv2d.\1"),
    (r"tokenizer\.patch_projection\.(\w+)", r"patchify.conv2d.\1"),
    (r"tokenizer\.patch_norm\.(\w+)", r"patchify.norm.\1"),
    (r"tokenizer\.proprio_projection\.(\w+)", r"proprio_preprocess.linear.\1"),
    (r"tokenizer\.proprio_norm\.(\w+)", r"proprio_preprocess.norm.\1"),
    (r"tokenizer\.language_projection\.(\w+)", r"lang_preprocess.linear.\1"),
    (r"tokenizer\.language_norm\.(\w+)", r"lang_preprocess.norm.\1"),
    (r"tokenizer\.position_encoding", r"pos_encoding"),
)
TRANSFORMER_RULES: Rules = (
    (r"transformer\.input_projection\.(\w+)", r"fc_bef_attn.linear.\1"),
    (r"transformer\.output_projection\.(\w+)", r"fc_aft_attn.linear.\1"),
    (r"transformer\.layers\.(\d+)\.attention_norm\.(\w+)", r"layers.\1.0.norm.\2"),
    (r"transformer\.layers\.(\d+)\.attention\.to_query\.(\w+)", r"layers.\1.0.fn.to_q.\2"),
    (r"transformer\.layers\.(\d+)\.attention\.to_key_value\.(\w+)", r"layers.\1.0.fn.to_kv.\2"),
    (r"transformer\.layers\.(\d+)\.attention\.to_out\.(\w+)", r"layers.\1.0.fn.to_out.\2"),
    (r"transformer\.layers\.(\d+)\.feed_forward_norm\.(\w+)", r"layers.\1.1.norm.\2"),
    (r"transformer\.layers\.(\d+)\.feed_forward\.expand\.(\w+)", r"layers.\1.1.fn.net.0.\2"),
    (r"transformer\.layers\.(\d+)\.feed_forward\.contract\.(\w+)", r"layers.\1.1.fn.net.2.\2"),
)
ONE_STAGE_RULES: Rules = (
    *TOKEN_RULES,
    *TRANSFORMER_RULES,
    (r"preprocess\.(\w+)", r"input_preprocess.conv2d.\1"),
    (r"decoder\.before\.(\w+)", r"up0.conv_up.0.conv2d.\1"),
    (r"decoder\.after\.(\w+)", r"up0.conv_up.2.conv2d.\1"),
    (r"decoder\.join\.(\w+)", r"final.conv2d.\1"),
    (r"decoder\.to_heatmap\.(\w+)", r"trans_decoder.conv2d.\1"),
    (r"head\.layers\.(.+)", r"feat_fc.\1"),
)
TWO_STAGE_RULES: Rules = (
    *TOKEN_RULES,
    *TRANSFORMER_RULES,
    (r"upsampler\.step\.values\.(.+)", r"up0.net_out.\1"),
    (r"upsampler\.step\.weights\.(.+)", r"up0.net_mask.\1"),
    (r"upsampler\.first\.values\.(.+)", r"up0.0.net_out.\1"),
    (r"upsampler\.first\.weights\.(.+)", r"up0.0.net_mask.\1"),
    (r"upsampler\.first_norm\.(\w+)", r"up0.1.\1"),
    (r"upsampler\.second\.values\.(.+)", r"up0.3.net_out.\1"),
    (r"upsampler\.second\.weights\.(.+)", r"up0.3.net_mask.\1"),
    (r"upsampler\.second_norm\.(\w+)", r"up0.4.\1"),
    (r"upsampler\.third\.values\.(.+)", r"up0.7.net_out.\1"),
    (r"upsampler\.third\.weights\.(.+)", r"up0.7.net_mask.\1"),
    (r"head\.gripper_collision\.(.+)", r"feat_fc_ex_rot.\1"),
    (r"head\.norm\.(\w+)", r"feat_fc_init_bn.\1"),
    (r"head\.rotation_([xyz])\.(.+)", r"feat_fc_\1.\2"),
)
BRANCHES = {"coarse": "mvt1", "fine": "mvt2"}


def branch_name(name: str) -> str:
    """The released name of our tensor `name` of a network with two stages.

    Names of other modules, for example of image encoders, stay as they are.

    Raises:
        WeightsError: a tensor of a branch that no rule covers (a module without a mapping).
    """
    branch, _, rest = name.partition(".")
    if branch not in BRANCHES:
        return name
    released = renamed(TWO_STAGE_RULES, rest)
    if released is None:
        raise WeightsError(f"no released name for {name}: add a rule to released_names.py")
    return f"{BRANCHES[branch]}.{released}"


def renamed(rules: Rules, name: str) -> str | None:
    """The released name of `name`; None where no rule covers it."""
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None
