"""LoRA weights in the file format of peft, both ways."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.nn.lora import adapter_parameters
from sam2act.nn.peft_exchange import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterError,
    export_adapter,
    import_adapter,
)
from sam2act.policies.multiview.two_stage import TwoStageNetwork

NARROW = "sam2_ckpt '' sam2_config sam2.1_hiera_t.yaml depth 2 attn_dim 32 attn_heads 2 "
NARROW += "attn_dim_head 16 im_channels 16 lora_r 4 "


def build(opts: str = "", seed: int = 0) -> TwoStageNetwork:
    """A narrow network whose adapters do something."""
    torch.manual_seed(seed)
    network = TwoStageNetwork(load_network("configs/mvt/sam2act.yaml", NARROW + opts))
    for parameter in adapter_parameters(network):
        torch.nn.init.normal_(parameter)
    return network


@pytest.fixture(scope="module")
def network() -> TwoStageNetwork:
    return build()


@pytest.fixture
def folder(network: TwoStageNetwork, tmp_path: Path) -> Path:
    export_adapter(network, tmp_path / "adapter")
    return tmp_path / "adapter"


def matrices(network: TwoStageNetwork) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in adapter_parameters(network)]


def edit(folder: Path, change) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)


def test_written_files_have_the_form_of_peft(network: TwoStageNetwork, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 4)
    tensors = load_file(folder / WEIGHTS_FILE)
    assert len(tensors) == len(adapter_parameters(network))
    name = "base_model.model.image_encoder.trunk.blocks.0.attn.qkv.lora_{}.weight"
    layer = network.encoders[0].trunk.blocks[0].attn.qkv
    assert torch.equal(tensors[name.format("A_q")], layer.linear_a_q.weight)
    assert torch.equal(tensors[name.format("B_v")], layer.linear_b_v.weight)
    for path in {name.rpartition(".lora_")[0] for name in tensors}:
        assert re.fullmatch(config["target_modules"], path)


def test_round_trip_restores_the_adapter_and_nothing_else(
    network: TwoStageNetwork, folder: Path
) -> None:
    other = build(seed=1)
    before = other.encoders[0].trunk.blocks[0].attn.qkv.qkv.weight.clone()
    names = import_adapter(other, folder)
    restored = matrices(other)
    assert len(names) == len(restored)
    assert all(torch.equal(a, b) for a, b in zip(restored, matrices(network), strict=True))
    assert torch.equal(other.encoders[0].trunk.blocks[0].attn.qkv.qkv.weight, before)


@pytest.mark.parametrize(
    ("settings", "factor"), [({"lora_alpha": 8}, 2.0), ({"lora_alpha": 8, "use_rslora": True}, 4.0)]
)
def test_factor_of_the_file_is_applied(
    network: TwoStageNetwork, folder: Path, settings: dict, factor: float
) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | settings))
    other = build(seed=1)
    import_adapter(other, folder)
    here, there = (n.encoders[0].trunk.blocks[0].attn.qkv for n in (network, other))
    update = here.linear_b_q.weight @ here.linear_a_q.weight
    torch.testing.assert_close(there.linear_b_q.weight @ there.linear_a_q.weight, factor * update)


def test_unfitting_files_are_refused_and_change_nothing(folder: Path) -> None:
    other = build(seed=1)
    before = matrices(other)
    name = "base_model.model.image_encoder.trunk.blocks.0.attn.qkv.lora_A_q.weight"

    def rename(tensors: dict[str, Tensor]) -> None:
        tensors["strange"] = tensors.pop(name)

    edit(folder, rename)
    with pytest.raises(AdapterError) as caught:
        import_adapter(other, folder)
    assert f"1 missing: {name}" in str(caught.value)
    assert "1 unexpected: strange" in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(matrices(other), before, strict=True))


def test_adapter_of_another_size_is_refused(folder: Path) -> None:
    with pytest.raises(AdapterError, match="rank 4, the network has lora_r 2"):
        import_adapter(build("lora_r 2"), folder)
    with pytest.raises(AdapterError, match=r"lora_B_q.weight \(96, 4\), not \(192, 4\)"):
        import_adapter(build("lora_cover full"), folder)


def test_other_faults_are_named(network: TwoStageNetwork, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter configuration"):
        import_adapter(network, tmp_path / "nowhere")
    plain = build("encoder_trainable none lora_finetune False")
    with pytest.raises(AdapterError, match="encoder_trainable: lora"):
        export_adapter(plain, tmp_path)
    (folder / WEIGHTS_FILE).write_bytes(b"no tensors")
    with pytest.raises(AdapterError, match="cannot be read"):
        import_adapter(network, folder)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(AdapterError, match="no adapter weights"):
        import_adapter(network, folder)
    (folder / CONFIG_FILE).write_text("{}")
    with pytest.raises(AdapterError, match="does not describe a LoRA adapter"):
        import_adapter(network, folder)


def test_peft_reads_the_configuration(folder: Path) -> None:
    from sam2act.core.torchvision_cpu import ensure_torchvision_importable

    ensure_torchvision_importable()
    peft = pytest.importorskip("peft")
    config = peft.PeftConfig.from_pretrained(str(folder))
    assert isinstance(config, peft.LoraConfig)
    assert (config.r, config.lora_alpha, config.bias) == (4, 4, "none")
    assert re.fullmatch(config.target_modules, "image_encoder.trunk.blocks.0.attn.qkv")
