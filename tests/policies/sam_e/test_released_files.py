"""Files in the layout of released SAM-E weights: names, shapes, strict loading by path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.core.weight_names import WeightsError
from sam2act.policies.base import BuildOptions
from sam2act.policies.checkpoint import build_policy, load_policy
from sam2act.policies.sam_e.policy import SamEPolicy

LAYERS, WIDTH, TOKEN, PIXELS, RANK = 8, 512, 128, 64, 4
BLOCKS, EMBED, GRID = 12, 768, 20
GLOBAL_BLOCKS = (2, 5, 8, 11)
FUSION = (48, 256, 1, 1)
MODULES = {
    "fusion.conv2d": FUSION,
    "fusion_up.conv2d": FUSION,  # no forward pass uses it
    "patchify.conv2d": (48, 10, 11, 11),
    "patchify.norm": (48,),
    "proprio_preprocess.linear": (32, 4),
    "proprio_preprocess.norm": (32,),
    "lang_preprocess.linear": (TOKEN, 512),
    "lang_preprocess.norm": (TOKEN,),
    "fc_bef_attn.linear": (WIDTH, TOKEN),
    "fc_aft_attn.linear": (TOKEN, WIDTH),
    "up0.conv_up.0.conv2d": (PIXELS, TOKEN, 9, 9),
    "up0.conv_up.2.conv2d": (PIXELS, PIXELS, 9, 9),
    "final.conv2d": (5 * PIXELS, PIXELS + 10, 3, 3),
    "trans_decoder.conv2d": (1, PIXELS, 3, 3),
    "feat_fc.0": (192, 960),
    "feat_fc.2": (96, 192),
    "feat_fc.4": (220, 96),
}
LAYER_MODULES = {
    "0.norm": (WIDTH,),
    "0.fn.to_out": (WIDTH, WIDTH),
    "1.norm": (WIDTH,),
    "1.fn.net.0": (8 * WIDTH, WIDTH),
    "1.fn.net.2": (WIDTH, 4 * WIDTH),
}
BLOCK_MODULES = {
    "norm1": (EMBED,),
    "attn.qkv.qkv": (3 * EMBED, EMBED),
    "attn.proj": (EMBED, EMBED),
    "norm2": (EMBED,),
    "mlp.lin1": (4 * EMBED, EMBED),
    "mlp.lin2": (EMBED, 4 * EMBED),
}

Shapes = dict[str, tuple[int, ...]]


def with_biases(modules: Shapes) -> Shapes:
    shapes: Shapes = {}
    for name, shape in modules.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return shapes


def encoder_shapes() -> Shapes:
    """SAM's ViT-B for 320 pixels, with adapters."""
    shapes: Shapes = {"pos_embed": (1, GRID, GRID, EMBED)}
    shapes |= with_biases({"patch_embed.proj": (EMBED, 3, 16, 16)})
    for i in range(BLOCKS):
        rows = 2 * (GRID if i in GLOBAL_BLOCKS else 14) - 1
        shapes |= with_biases({f"blocks.{i}.{n}": shape for n, shape in BLOCK_MODULES.items()})
        for axis in ("h", "w"):
            shapes[f"blocks.{i}.attn.rel_pos_{axis}"] = (rows, 64)
        for part in ("q", "v"):
            shapes[f"blocks.{i}.attn.qkv.linear_a_{part}.weight"] = (RANK, EMBED)
            shapes[f"blocks.{i}.attn.qkv.linear_b_{part}.weight"] = (EMBED, RANK)
    shapes |= {"neck.0.weight": (256, EMBED, 1, 1), "neck.2.weight": (256, 256, 3, 3)}
    return shapes | with_biases({"neck.1": (256,), "neck.3": (256,)})


def released_shapes(encoder: str = "mvt1.sam.image_encoder.") -> Shapes:
    """Every tensor of the released network."""
    modules = dict(MODULES)
    for i in range(LAYERS):
        modules |= {f"layers.{i}.{name}": shape for name, shape in LAYER_MODULES.items()}
    shapes = with_biases(modules) | {"pos_encoding": (1, 2000, TOKEN)}
    for i in range(LAYERS):
        shapes[f"layers.{i}.0.fn.to_q.weight"] = (WIDTH, WIDTH)
        shapes[f"layers.{i}.0.fn.to_kv.weight"] = (2 * WIDTH, WIDTH)
    found = {f"mvt1.{name}": shape for name, shape in shapes.items()}
    return found | {encoder + name: shape for name, shape in encoder_shapes().items()}


def write_released(path: Path, encoder: str) -> None:
    """A file of a release; every tensor holds one number, so that the file is small."""
    numbers = torch.linspace(-1, 1, 600)
    state = {
        name: numbers[i : i + 1].clone().expand(shape)
        for i, (name, shape) in enumerate(released_shapes(encoder).items())
    }
    torch.save({"epoch": 14, "model_state": state, "optimizer_state": {}}, path)


@pytest.mark.parametrize("encoder", ["mvt1.sam.image_encoder.", "mvt1.image_encoder."])
def test_released_file_loads_strictly_by_path(tmp_path: Path, encoder: str) -> None:
    path = tmp_path / "model_14.pth"
    write_released(path, encoder)
    policy = load_policy(path).policy
    assert isinstance(policy, SamEPolicy)
    stored, loaded = torch.load(path)["model_state"], policy.weight_adapter.export()
    named = {name.replace(encoder, "mvt1.sam.image_encoder."): v for name, v in stored.items()}
    named = {name: value for name, value in named.items() if "fusion_up" not in name}
    assert loaded.keys() == named.keys()
    assert all(torch.equal(loaded[name], value) for name, value in named.items())


def test_published_numbers_of_parameters() -> None:
    """The released code counts the unused `fusion_up`, too."""
    network = load_network("configs/mvt/sam_e.yaml")
    with torch.device("meta"):
        policy = SamEPolicy.build(network, load_experiment("configs/sam_e.yaml"), BuildOptions())
    unused = 256 * 48 + 48
    every = sum(p.numel() for p in policy.parameters())
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    assert every + unused == 122_517_165 and trained + unused == 35_729_837
    released = sum(torch.Size(shape).numel() for shape in released_shapes().values())
    assert released == 122_517_165


def tiny_policy() -> SamEPolicy:
    experiment = load_experiment("configs/tiny_sam_e.yaml")
    opts = "depth 2 encoder_trainable lora lora_finetune True lora_r 2"
    return build_policy(experiment, load_network("configs/mvt/tiny_sam_e.yaml", opts)).policy


def test_shared_encoder_may_stand_in_a_file_twice() -> None:
    policy = tiny_policy()
    state = policy.weight_adapter.export()
    start = "mvt1.sam.image_encoder."
    again = {n.removeprefix("mvt1."): v for n, v in state.items() if n.startswith(start)}
    assert policy.weight_adapter.load(state | again).complete
    name = "sam.image_encoder.neck.0.weight"
    with pytest.raises(WeightsError, match="two different tensors mvt1.sam.*neck.0.weight"):
        policy.weight_adapter.load(state | again | {name: again[name] + 1})


def test_files_that_do_not_fit_are_refused_by_name() -> None:
    policy = tiny_policy()
    state = policy.weight_adapter.export()
    del state["mvt1.final.conv2d.bias"]
    state["mvt1.extra"] = torch.zeros(1)
    with pytest.raises(WeightsError, match="missing: mvt1.final.conv2d.bias.*mvt1.extra"):
        policy.weight_adapter.load(state)
