"""The weight rule of golden files against published spot values; selection of files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests import golden_files
from tests.golden_files import GoldenFile, find, find_part, golden_value, plain_id

SPOT_VALUES = {  # key: (shape, first three values)
    "mvt1.pos_encoding": ((1, 768, 128), (-1.155231, -0.6905767, -0.2937649)),
    "sam2.image_encoder.trunk.patch_embed.proj.weight": (
        (112, 3, 7, 7),
        (-0.07267034, 0.09300946, -0.07873783),
    ),
    "sam2.image_encoder.trunk.blocks.2.attn.qkv.linear_b_q.weight": (
        (112, 16),
        (-0.03400976, 0.1662513, -0.1017901),
    ),
    "sam2.memory_encoder.fuser.layers.0.gamma": ((128,), (0.4043972, 0.6847358, 0.5314047)),
    "mvt2.feat_fc_init_bn.running_var": ((768,), (1.008183, 1.051229, 1.077609)),
    "mvt1.up0.7.net_out.4.weight": ((1, 64, 3, 3), (0.1277388, 0.05071884, -0.06952213)),
    "sam2.memory_attention.layers.1.cross_attn_image.k_proj.weight": (
        (128, 64),
        (-0.1179224, 0.6210809, 0.3848044),
    ),
    "sam2.maskmem_tpos_enc": ((9, 1, 1, 64), (0.7112002, -0.4885037, -1.140765)),
    "mvt1.patchify.norm.weight": ((48,), (0.8602515, 1.171163, 0.9115402)),
    "mvt2.feat_fc_x.4.bias": ((72,), (0.06688561, -0.09594592, 0.06465357)),
}


@pytest.mark.parametrize("key", SPOT_VALUES, ids=plain_id)
def test_weight_rule_gives_published_spot_values(key: str) -> None:
    shape, expected = SPOT_VALUES[key]
    value = golden_value(key, shape)
    assert value is not None and value.dtype == np.float32 and value.shape == shape
    np.testing.assert_allclose(value.reshape(-1)[:3], expected, rtol=1e-6)


def test_duplicated_names_share_values_and_salt_changes_them() -> None:
    shared = golden_value("sam2.a.weight", (4, 3))
    np.testing.assert_array_equal(golden_value("mvt2.sam2.a.weight", (4, 3)), shared)
    assert not np.array_equal(golden_value("sam2.a.weight", (4, 3), salt="x"), shared)


def test_constructed_values_stay_for_counters() -> None:
    assert golden_value("mvt2.feat_fc_init_bn.num_batches_tracked", ()) is None
    assert golden_value("mvt2.feat_fc_pe.div_term", (10,)) is None


def test_find_prefers_one_of_two_identical_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, external = tmp_path / "committed", tmp_path / "external"
    for folder in (committed, external):
        folder.mkdir()
        (folder / "a.npz").write_bytes(b"same")
    monkeypatch.setattr(golden_files, "COMMITTED_FOLDER", committed)
    monkeypatch.setenv("SAM2ACT_GOLDEN_DIR", str(external))
    monkeypatch.setenv("SAM2ACT_GOLDEN_SALT", "")
    assert "identical" in find("a.npz", "committed")[1]
    assert find("a.npz", "external") == (GoldenFile(external / "a.npz"), "")
    assert "b.npz is absent" in find("b.npz", "external")[1]
    monkeypatch.setenv("SAM2ACT_GOLDEN_SALT", "s")
    assert find("a.npz", "committed") == (GoldenFile(committed / "a.npz"), "")
    assert find("a.npz", "external")[0].salt == "s"


def test_parts_of_arrays_are_found_and_hold_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.arange(60.0).reshape(3, 4, 5)
    stored = {"x[..., ::3]": whole[..., ::3], "x_other": whole, "y": whole[1:]}
    for name, expected in (("x", whole[..., ::3]), ("x_other", whole)):
        index, part = find_part(stored, name)
        np.testing.assert_array_equal(part, expected)
        np.testing.assert_array_equal(whole[index], expected)
    np.testing.assert_array_equal(
        whole[find_part({"x[1:, ::2, 0:2]": whole}, "x")[0]][0, 1], [30, 31]
    )
    with pytest.raises(KeyError, match="z is not among x"):
        find_part(stored, "z")
    committed, external = tmp_path / "committed", tmp_path / "external"
    for folder in (committed, external):
        folder.mkdir()
    monkeypatch.setattr(golden_files, "COMMITTED_FOLDER", committed)
    monkeypatch.setenv("SAM2ACT_GOLDEN_DIR", str(external))
    monkeypatch.setenv("SAM2ACT_GOLDEN_SALT", "")
    for name, values in (("same", whole), ("other", whole + 1), ("lacking", None)):
        np.savez(committed / f"{name}.npz", **{"x[..., ::3]": whole[..., ::3]})
        arrays = {"y": whole} if values is None else {"x": values}
        np.savez_compressed(external / f"{name}.npz", **arrays)
    assert "holds more of it" in find("same.npz", "committed")[1]
    assert find("other.npz", "committed")[1] == find("lacking.npz", "committed")[1] == ""


def test_compressed_lists_are_read_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, external = tmp_path / "committed", tmp_path / "external"
    for folder in (committed, external):
        folder.mkdir()
    monkeypatch.setattr(golden_files, "COMMITTED_FOLDER", committed)
    monkeypatch.setenv("SAM2ACT_GOLDEN_DIR", str(external))
    monkeypatch.setenv("SAM2ACT_GOLDEN_SALT", "")
    content = b'{"a.weight": {"shape": [2]}}'
    (committed / "official_state_dict_x.json.gz").write_bytes(gzip.compress(content))
    assert golden_files.published_list("x") == {"a.weight": {"shape": [2]}}
    assert find("official_state_dict_x.json", "committed")[1] == ""
    (external / "official_state_dict_x.json").write_bytes(content)
    assert "identical" in find("official_state_dict_x.json", "committed")[1]


def test_demos_folder_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2ACT_DEMOS_DIR", str(tmp_path))
    assert golden_files.demos_dir() == tmp_path
    monkeypatch.setenv("SAM2ACT_DEMOS_DIR", str(tmp_path / "nothing"))
    with pytest.raises(pytest.skip.Exception, match="SAM2ACT_DEMOS_DIR"):
        golden_files.demos_dir()


def test_sibling_keeps_the_salt_or_skips(tmp_path: Path) -> None:
    (tmp_path / "b.npz").touch()
    file = GoldenFile(tmp_path / "a.npz", "s")
    assert file.sibling("b.npz") == GoldenFile(tmp_path / "b.npz", "s")
    with pytest.raises(pytest.skip.Exception, match=r"c\.npz is absent"):
        file.sibling("c.npz")
