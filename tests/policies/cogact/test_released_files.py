"""CogACT's checkpoints and calls, on small files of the released names; needs transformers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.core.errors import ConfigError
from sam2act.policies.cogact import load_vla, save_vla
from sam2act.policies.cogact.prismatic import PromptTokens
from sam2act.policies.cogact.vla import CogACT
from tests.policies.cogact.small_release import OTHER, TEXT, WORDS, write_release

pytest.importorskip("transformers", reason="transformers (extra vla) is not installed")

HEAD = {"action_model_type": "custom", "token_size": 64}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in its run folder, of random weights."""
    return write_release(tmp_path_factory.mktemp("run"))


def picture(value: int = 0) -> Image.Image:
    pixels = np.random.default_rng(value).integers(256, size=(48, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def predict(model: CogACT, **keys: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(3)
    keys = {"use_ddim": True, "num_ddim_steps": 4} | keys
    return model.predict_action(picture(), TEXT, generator=generator, **keys)[0]


def changed(path: Path, folder: Path, change: Any) -> Path:
    """A copy of the run with a changed checkpoint."""
    for name in ("config.json", "dataset_statistics.json"):
        (folder / name).write_text((path.parents[1] / name).read_text())
    content = torch.load(path)
    change(content["model"])
    copy = folder / "checkpoints" / path.name
    copy.parent.mkdir()
    torch.save(content, copy)
    return copy


def test_names_are_the_released_ones(released: Path) -> None:
    model = torch.load(released)["model"]
    assert list(model) == ["vision_backbone", "projector", "llm_backbone", "action_model"]
    expected = {
        "vision_backbone": ["dino_featurizer.reg_token", "siglip_featurizer.attn_pool.latent"],
        "projector": [f"projector.{n}.{x}" for n in (0, 2, 4) for x in ("weight", "bias")],
        "llm_backbone": ["llm.lm_head.weight", "llm.model.layers.1.self_attn.q_proj.weight"],
        "action_model": ["net.z_embedder.uncondition", "net.history_embedder.linear.bias"],
    }
    for part, names in expected.items():
        assert set(names) <= set(model[part])
    assert set(model["projector"]) == set(expected["projector"])
    assert model["projector"]["projector.0.weight"].shape == (4 * 64, 64)


def test_loaded_saved_and_loaded_again_it_is_equal(released: Path, tmp_path: Path) -> None:
    model = load_vla(str(released), **HEAD)
    again = tmp_path / "checkpoints" / "copy.pt"
    save_vla(model, again)
    first, second = torch.load(released)["model"], torch.load(again)["model"]
    assert {part: list(x) for part, x in first.items()} == {p: list(x) for p, x in second.items()}
    assert all(value.equal(second[p][n]) for p, x in first.items() for n, value in x.items())
    for name in ("config.json", "dataset_statistics.json"):
        assert (tmp_path / name).read_text() == (released.parents[1] / name).read_text()
    np.testing.assert_array_equal(predict(load_vla(again, **HEAD)), predict(model))
    assert not model.training and not any(x.requires_grad for x in model.parameters())
    assert not any(x.is_meta for x in (*model.parameters(), *model.buffers()))


def test_weights_go_to_the_type_asked_for_and_the_head_stays(released: Path) -> None:
    model = load_vla(released, **HEAD, vlm_dtype=torch.bfloat16)
    assert {x.dtype for x in model.vlm.parameters()} == {torch.bfloat16}
    assert {x.dtype for x in model.action_model.parameters()} == {torch.float32}
    np.testing.assert_allclose(predict(model), predict(load_vla(released, **HEAD)), atol=0.5)
    trained = load_vla(released, **HEAD, load_for_training=True)
    assert trained.training and all(x.requires_grad for x in trained.parameters())


def test_chunks_have_units_and_depend_on_picture_text_and_steps(released: Path) -> None:
    model = load_vla(released, **HEAD)
    actions, normalised = model.predict_action(picture(), TEXT, use_ddim=True)
    assert actions.shape == normalised.shape == (16, 7)
    assert np.abs(normalised).max() <= 1 and set(normalised[:, 6]) <= {0, 1}
    low, high = (np.array(model.norm_stats["bridge_orig"]["action"][q]) for q in ("q01", "q99"))
    expected = (normalised + 1) / 2 * (high - low) + low
    np.testing.assert_allclose(actions[:, :6], expected[:, :6], atol=1e-6)
    usual = predict(model)
    assert not np.array_equal(predict(model, num_ddim_steps=10), usual)
    assert not np.array_equal(predict(model, cfg_scale=1.0), usual)
    assert not np.array_equal(predict(model, use_ddim=False), usual)


def test_a_padded_batch_has_the_features_of_single_pictures(released: Path) -> None:
    model = load_vla(released, **HEAD)
    pictures, texts = [picture(0), picture(1)], [TEXT, OTHER]
    with torch.no_grad():
        together = model.cognition_features(pictures, texts)
        alone = [model.cognition_features([x], [y]) for x, y in zip(pictures, texts, strict=True)]
        swapped = model.cognition_features(pictures, texts[::-1])
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, swapped, atol=1e-3)
    actions, _ = model.predict_action_batch(pictures, texts, use_ddim=True)
    assert actions.shape == (2, 16, 7)


def test_the_feature_is_the_hidden_state_at_the_last_token(released: Path) -> None:
    model = load_vla(released, **HEAD)
    vlm, seen = model.vlm, []
    hook = vlm.llm_backbone.llm.model.register_forward_hook(
        lambda module, args, keys, out: seen.append((keys, out)), with_kwargs=True
    )
    with torch.no_grad():
        feature = model.cognition_features([picture()], [TEXT])
    hook.remove()
    ids = model.tokens.ids(TEXT)
    words = "In : What action should the robot take to pick up the cup ? Out :"
    place = {word: 5 + number for number, word in enumerate(WORDS.split())}
    assert ids == [1, *(place[word] for word in words.split()), 29871, 2]
    keys, out = seen[0]
    tokens = keys["inputs_embeds"]
    assert tokens.shape == (1, len(ids) + 16, 64)
    table = vlm.llm_backbone.llm.get_input_embeddings().weight
    assert tokens[0, 0].equal(table[1]) and tokens[0, -1].equal(table[2])
    assert tokens[0, 17].equal(table[ids[1]]), "behind BOS and 16 patches"
    assert feature[0].equal(out.last_hidden_state[0, -1])


def test_the_average_of_the_head_acts_if_asked(released: Path, tmp_path: Path) -> None:
    def with_average(model: dict[str, Any]) -> None:
        head = {name: value.clone() for name, value in model["action_model"].items()}
        head["net.final_layer.linear.bias"] += 0.3
        model["ema_diffusion"] = head

    path = changed(released, tmp_path, with_average)
    usual, average = load_vla(path, **HEAD), load_vla(path, **HEAD, use_ema=True)
    assert np.array_equal(predict(usual), predict(load_vla(released, **HEAD)))
    assert not np.array_equal(predict(average), predict(usual))
    assert np.array_equal(predict(load_vla(released, **HEAD, use_ema=True)), predict(usual))


def test_a_model_without_a_head_is_for_training(released: Path, tmp_path: Path) -> None:
    path = changed(released, tmp_path, lambda model: model.pop("action_model"))
    with pytest.raises(ConfigError, match="has no action_model.*load_for_training=True"):
        load_vla(path, **HEAD)
    head = load_vla(path, **HEAD, load_for_training=True).action_model
    assert not head.final_layer.linear.weight.any() and head.x_embedder.linear.weight.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["projector"].pop("projector.2.bias"), "projector does not fit.*1 missing"),
        (lambda m: m["llm_backbone"].update(x=torch.ones(1)), "llm_backbone.*1 unexpected: x"),
        (lambda m: m.pop("vision_backbone"), "the part vision_backbone is missing"),
        (lambda m: m["action_model"].update(y=torch.ones(1)), "y does not begin with net."),
    ],
)
def test_files_that_do_not_fit(released: Path, tmp_path: Path, change: Any, message: str) -> None:
    path = changed(released, tmp_path, change)
    with pytest.raises(ConfigError, match=message) as caught:
        load_vla(path, **HEAD)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"token_size": 4096}, "head takes 4096 numbers, but the language model gives 64"),
        ({"action_model_type": "DiT-XL"}, "'DiT-XL' is none of DiT-S"),
        ({"past_action_window_size": 1}, "leave it at 0"),
        ({"cfg": 1}, "cfg is no option; known are action_model_type"),
    ],
)
def test_options_that_cannot_be(released: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_vla(released, **HEAD | keys)


def test_paths_that_break_the_rule(released: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / released.name
    elsewhere.write_bytes(released.read_bytes())
    with pytest.raises(ConfigError, match="not of the form <run>/checkpoints/<file>.pt"):
        load_vla(elsewhere, **HEAD)
    with pytest.raises(ConfigError, match="does not exist"):
        load_vla(released.with_name("other.pt"), **HEAD)
    moved = changed(released, tmp_path, lambda model: None)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vla"]["base_vlm"] = "phi-2"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="base_vlm: phi-2 is unknown"):
        load_vla(moved, **HEAD)


def test_bad_calls_and_tokenizers(released: Path) -> None:
    model = load_vla(released, **HEAD)
    with pytest.raises(ConfigError, match="1 texts for 2 pictures"):
        model.predict_action_batch([picture(), picture()], [TEXT])
    with pytest.raises(ConfigError, match="'kitchen' is unknown"):
        model.predict_action(picture(), TEXT, unnorm_key="kitchen")
    with pytest.raises(ConfigError, match="expected a picture of Pillow, got ndarray"):
        model.predict_action(np.zeros((8, 8, 3)), TEXT)  # type: ignore[arg-type]
    sizes = dataclasses.replace(model.vlm.config, tokenizer="absent.json")
    with pytest.raises(ConfigError, match="tokenizer: absent.json cannot be read"):
        PromptTokens(sizes).ids(TEXT)
