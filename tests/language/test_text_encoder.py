"""Text encoders: the dependency-free one in full, CLIP with random weights."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sam2act.config.experiment import LanguageConfig
from sam2act.language import pooled
from sam2act.language.text_encoder import (
    ClipTextEncoder,
    HashedTextEncoder,
    LanguageError,
    build_clip_text_tower,
    build_text_encoder,
    clip_token_features,
    clip_tokens,
)
from tests.language.wordings import WORDINGS
from tests.places import REPOSITORY

needs_open_clip = pytest.mark.skipif(
    find_spec("open_clip") is None, reason="open_clip is not installed (extra clip)"
)
TEXTS = ("open the top drawer", "open the bottom drawer", "put the red block on the blue block")


def test_hashed_shape_type_and_padding() -> None:
    features = HashedTextEncoder(6, 20).encode(TEXTS[:2])
    assert features.shape == (2, 6, 20) and features.dtype == torch.float32
    assert (features[:, 4:] == 0).all() and (features[:, :4] != 0).all()


def test_hashed_words_are_told_apart() -> None:
    features = HashedTextEncoder(8, 32).encode(TEXTS)
    same = (features[0] == features[1]).all(-1)
    assert same.tolist() == [True, True, False, True, True, True, True, True]
    swapped = HashedTextEncoder(8, 32).encode(["red on blue", "blue on red"])
    assert not torch.equal(swapped[0].sum(0), swapped[1].sum(0))  # the position counts


def test_hashed_has_unit_scale() -> None:
    words = " ".join(f"word{i}" for i in range(200))
    features = HashedTextEncoder(200, 64).encode([words])
    assert abs(features.mean()) < 0.05 and abs(features.std() - 1) < 0.02


def test_hashed_ignores_case_and_punctuation() -> None:
    encoder = HashedTextEncoder(5, 8)
    assert torch.equal(*encoder.encode(["Open the drawer.", "open the  drawer"]))


def test_hashed_features_of_the_tasks_never_change() -> None:
    """Checkpoints were trained with them; the digest is that of the first version."""
    features = HashedTextEncoder(40, 16).encode(WORDINGS)
    digest = hashlib.sha256(features.numpy().tobytes()).hexdigest()
    assert digest == "583e1b9bc73b7e79cf2620cdbb16d0d461f18995991873ff5483e0a3c50ad1b9"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("move +5 cm", "move -5 cm"),
        ("move +5 cm", "move 5 cm"),
        ("move - 5 cm", "move 5 cm"),
        ("move \u22125 cm", "move 5 cm"),
        ("move 0.5 cm", "move 0 5 cm"),
        ("move 1,5 cm", "move 1.5 cm"),
        ("turn 50 %", "turn 50"),
        ("turn 50°", "turn 50"),
        ("press a+b", "press a b"),
        ("wait 1:30", "wait 1 30"),
        ("push the \u2660 card", "push the \u2665 card"),
    ],
)
def test_hashed_signs_and_symbols_count(one: str, other: str) -> None:
    features = HashedTextEncoder(8, 16).encode([one, other])
    assert not torch.equal(features[0], features[1])


def test_encoders_refuse_what_is_no_instruction(tmp_path: Path) -> None:
    for encoder in (HashedTextEncoder(5, 8), ClipTextEncoder(str(tmp_path / "none.pt"))):
        for texts, reason in ((["open", " "], "no word"), ([None], "NoneType"), ("open", "a list")):
            with pytest.raises(LanguageError, match=reason):
                encoder.encode(texts)
    read = HashedTextEncoder(5, 8).encode([b"open it", np.str_("open it")])
    assert torch.equal(read[0], read[1])


@needs_open_clip
def test_clip_cuts_nothing_off() -> None:
    fits = " ".join(["open"] * 75)
    assert clip_tokens([fits]).shape == (1, 77) and (clip_tokens([fits]) != 0).all()
    with pytest.raises(LanguageError, match=r"has 78 CLIP tokens, but CLIP reads 77; shorten it"):
        clip_tokens(["short", fits + " it"])


def test_hashed_long_texts_stay_distinct() -> None:
    encoder = HashedTextEncoder(2, 8)
    features = encoder.encode(["put the red block away", "put the blue block away", "put"])
    assert not torch.equal(features[0], features[1])
    assert (features[2, 1] == 0).all()


def test_hashed_is_the_same_in_another_process() -> None:
    code = (
        "from sam2act.language.text_encoder import HashedTextEncoder\n"
        f"print(HashedTextEncoder(3, 5).encode([{TEXTS[0]!r}]).flatten().tolist())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout
    here = HashedTextEncoder(3, 5).encode([TEXTS[0]]).flatten().tolist()
    assert printed.strip() == str(here)


def test_hashed_value_is_fixed() -> None:
    """Features are part of trained checkpoints, so the rule must never change."""
    features = HashedTextEncoder(1, 3).encode(["open"])[0, 0]
    assert features.tolist() == pytest.approx([-1.3640798, -0.4021172, -1.3424081], abs=1e-6)


def test_builder_chooses_the_encoder() -> None:
    assert isinstance(build_text_encoder(LanguageConfig(encoder="hashed"), 4, 8), HashedTextEncoder)
    assert isinstance(build_text_encoder(LanguageConfig(), 77, 512), ClipTextEncoder)
    with pytest.raises(LanguageError, match=r"language\.encoder.*lang_len 4.*hashed"):
        build_text_encoder(LanguageConfig(), 4, 512)


def test_missing_weights_name_keys_and_remedy(tmp_path: Path) -> None:
    config = LanguageConfig(weights_path=str(tmp_path / "RN50.pt"))
    encoder = build_text_encoder(config, 77, 512)
    with pytest.raises(LanguageError) as caught:
        encoder.encode(TEXTS)
    message = str(caught.value)
    for part in ("RN50.pt", "language.weights_path", "download_assets.py clip-rn50"):
        assert part in message
    with pytest.raises(LanguageError, match=r"language\.encoder to hashed"):
        encoder.name  # noqa: B018


def test_missing_package_names_extra(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    path = tmp_path / "RN50.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(LanguageError, match=r"language\.encoder.*open_clip_torch.*\[clip\]"):
        ClipTextEncoder(path).encode(TEXTS)


def test_name_follows_the_weights(tmp_path: Path) -> None:
    names = []
    for value in (0.0, 1.0):
        path = tmp_path / "RN50.safetensors"
        save_file({"x": torch.full((1,), value)}, path)
        names.append(ClipTextEncoder(path).name)
    assert names[0] != names[1] and all(name.startswith("clip-RN50") for name in names)


@pytest.fixture(scope="module")
def tower():
    """A CLIP text tower with random weights."""
    torch.manual_seed(0)
    return build_clip_text_tower()


@needs_open_clip
@torch.no_grad()
def test_clip_features_precede_the_projection(tower) -> None:
    tokens = clip_tokens(TEXTS)
    features = clip_token_features(tower, tokens)
    assert features.shape == (3, 77, 512) and features.dtype == torch.float32
    pooled = features[torch.arange(3), tokens.argmax(-1)] @ tower.text_projection
    torch.testing.assert_close(pooled, tower.encode_text(tokens), atol=1e-5, rtol=1e-5)
    assert not hasattr(tower, "visual")


@needs_open_clip
def test_the_pooled_feature_is_that_of_the_whole_text(
    monkeypatch: pytest.MonkeyPatch, tower, tmp_path: Path
) -> None:
    """At the end of the text, projected; the tower stands in for a ViT-B/32, which is as wide."""
    path = tmp_path / "ViT-B-32.pt"
    torch.save(tower.state_dict(), path)
    monkeypatch.setattr(pooled, "MODEL", "RN50-quickgelu")
    encoder = pooled.build_pooled_encoder(LanguageConfig("clip_pooled", str(path)), 1, 512)
    texts = ["open the drawer", "close it"]
    features = encoder.encode(texts)
    tokens = clip_tokens(texts)
    with torch.no_grad():
        last = clip_token_features(tower, tokens)[[0, 1], tokens.argmax(1)]
    width = tower.text_projection.shape[1]
    assert features.shape == (2, 1, width)
    torch.testing.assert_close(features[:, 0], last @ tower.text_projection, atol=1e-5, rtol=1e-4)
    with pytest.raises(
        LanguageError, match="gives 1 x 512 features, but the network takes 77 x 512"
    ):
        pooled.build_pooled_encoder(LanguageConfig("clip_pooled"), 77, 512)


class _ScriptedWeights(torch.nn.Module):
    """Stands in for the TorchScript archive: its state dict has these nested names."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, value in state.items():
            *path, leaf = name.split(".")
            module: torch.nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module._modules[part]  # type: ignore[assignment]
            module.register_buffer(leaf, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@needs_open_clip
@pytest.mark.parametrize("form", ["torchscript", "state_dict", "safetensors"])
def test_clip_weights_of_every_form(tower, tmp_path: Path, form: str) -> None:
    """Half-precision weights and the archive's extra entries, as in the original file."""
    state = {name: value.half() for name, value in tower.state_dict().items()}
    extra = {"visual.conv1.weight": torch.zeros(2), "context_length": torch.tensor(77)}
    path = tmp_path / ("RN50.safetensors" if form == "safetensors" else "RN50.pt")
    if form == "torchscript":
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(_ScriptedWeights({**state, **extra})).save(str(path))
    elif form == "state_dict":
        torch.save({**state, **extra}, path)
    else:
        save_file({name: value.contiguous().clone() for name, value in state.items()}, path)
    features = ClipTextEncoder(path).encode(TEXTS[:2])
    assert features.dtype == torch.float32 and not features.requires_grad
    exact = clip_token_features(tower, clip_tokens(TEXTS[:2])).detach()
    assert (features - exact).abs().max() < 0.05  # half-precision weights
    assert not torch.equal(features[0], features[1])


@needs_open_clip
def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "RN50.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(LanguageError, match=r"RN50\.pt does not hold CLIP RN50"):
        ClipTextEncoder(path).encode(TEXTS)
    path.write_bytes(b"no weights at all")
    with pytest.raises(LanguageError, match=r"language\.weights_path.*a text, not weights"):
        ClipTextEncoder(path).encode(TEXTS)
