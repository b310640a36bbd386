"""Files of pretrained weights (SAM 2.1, CLIP, adapters) that are something else, or damaged."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.language.text_encoder import ClipTextEncoder, LanguageError
from sam2act.nn.image_encoder import Sam2ImageEncoder, build_encoders
from sam2act.nn.peft_exchange import CONFIG_FILE, WEIGHTS_FILE, AdapterError, import_adapter
from sam2act.policies.multiview.two_stage import TwoStageNetwork

NOT_WEIGHTS = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
    (b"<!DOCTYPE html><html>Not found</html>", "a web page"),
    (b"", "empty"),
    (b"PK\x03\x04 and no more", "cut off or damaged"),
]
OPTS = "sam2_config sam2.1_hiera_t.yaml depth 2 attn_dim 16 attn_heads 2 attn_dim_head 8 lora_r 4 "
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def encoder_state() -> State:
    """A SAM 2.1 file's tensors of the image encoder (tiny)."""
    network = load_network("configs/mvt/sam2act.yaml", f"{OPTS} sam2_ckpt ''")
    encoder = build_encoders(network)[0]
    assert isinstance(encoder, Sam2ImageEncoder)
    return {
        f"image_encoder.{name.replace('.qkv.qkv.', '.qkv.')}": value
        for name, value in encoder.state_dict().items()
        if "linear_" not in name and not name.startswith("conv_s")
    }


def build_from(path: Path) -> Sam2ImageEncoder:
    network = load_network("configs/mvt/sam2act.yaml", f"{OPTS} sam2_ckpt {path}")
    encoder = build_encoders(network, pretrained=True)[0]
    assert isinstance(encoder, Sam2ImageEncoder)
    return encoder


@pytest.mark.parametrize(("content", "said"), NOT_WEIGHTS)
def test_sam2_file_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "sam2.1_hiera_tiny.pt"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        build_from(path)
    message = str(caught.value)
    assert f"sam2_ckpt: {path} is" in message and said in message
    assert "download_assets.py" in message and "weights_only" not in message


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_sam2_file_with_the_prefix_of_a_wrapper(
    tmp_path: Path, encoder_state: State, prefix: str
) -> None:
    path = tmp_path / "sam2.pt"
    torch.save({"model": {prefix + name: v for name, v in encoder_state.items()}}, path)
    embed = build_from(path).trunk.pos_embed
    assert torch.equal(embed, encoder_state["image_encoder.trunk.pos_embed"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {n: v * float("nan") for n, v in s.items()}, "tensors hold NaN .* more"),
        (lambda s: {f"sam.{n}": v for n, v in s.items()}, "missing: .* and [0-9]+ more"),
        (lambda s: {n: v[:1] for n, v in s.items()}, "mismatched: .* and [0-9]+ more"),
    ],
)
def test_sam2_file_that_does_not_fit(
    tmp_path: Path, encoder_state: State, change: Callable[[State], State], said: str
) -> None:
    path = tmp_path / "sam2.pt"
    torch.save({"model": change(encoder_state)}, path)
    with pytest.raises(ConfigError, match=rf"sam2_ckpt: .*sam2\.pt.*{said}") as caught:
        build_from(path)
    assert len(str(caught.value)) < 2000


@pytest.mark.skipif(not importlib.util.find_spec("open_clip"), reason="open_clip is absent")
@pytest.mark.parametrize(
    ("content", "said"), [*NOT_WEIGHTS, (None, "does not hold CLIP RN50 .* and [0-9]+ more")]
)
def test_clip_file_that_is_none(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "RN50.pt"
    if content is None:
        torch.save({f"x{i}": torch.zeros(1) for i in range(400)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(LanguageError, match=rf"weights_path: .*RN50\.pt.*{said}") as caught:
        ClipTextEncoder(path).encode(["open the drawer"])
    message = str(caught.value)
    assert "clip-rn50" in message and "weights_only" not in message and len(message) < 2000


@pytest.mark.parametrize(("content", "said"), NOT_WEIGHTS)
def test_adapter_file_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    network = TwoStageNetwork(load_network("configs/mvt/sam2act.yaml", f"{OPTS} sam2_ckpt ''"))
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(AdapterError, match=said):
        import_adapter(network, tmp_path)
