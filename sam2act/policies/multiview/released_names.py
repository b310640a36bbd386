"""Names of released weights that all multi-view policies share: our name -> released name.

Names are relative to a branch. The first rule that matches the whole name applies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def renamed(rules: Rules, name: str) -> str | None:
    """The released name of `name`; None where no rule covers it."""
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None
