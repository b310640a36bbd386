"""Heat-map sampling, targets and the 3-D arg-max against stored results."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from sam2act.rendering.grid_argmax import grid_argmax, grid_points, grid_top_k, view_tables
from sam2act.rendering.heatmaps import corners, gaussian_heatmaps, sample_inverse_distance
from sam2act.rendering.views import THREE_VIEWS, project
from tests.golden_files import GoldenFile, golden

CLEAR_MARGIN = 1e-5  # relative distance of the two best scores above which the index is certain
TOKEN_PITCH = 14  # pixels per token of the stored feature samples
SIGMA = 1.5  # published, of the recorded sample
SUPPRESSION_DISTANCE = 0.2  # of the stored non-maximum suppression


def tensors(golden_file: GoldenFile) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in golden_file.arrays().items()}


@golden("renderer_argmax.npz")
@pytest.mark.parametrize("method", ["dense", "pruned"])
def test_grid_argmax(golden_file: GoldenFile, method: str) -> None:
    data = tensors(golden_file)
    names = [name for name in data if re.fullmatch(r"hm\d+", name)]
    assert names
    for name in names:
        peak = grid_argmax(data[name], THREE_VIEWS, method)
        clear = data[f"{name}_rel_margin"] > CLEAR_MARGIN
        assert torch.equal(peak.index[clear], data[f"{name}_index"][clear])
        assert torch.equal(peak.point[clear], data[f"{name}_point"][clear])
        torch.testing.assert_close(peak.score, data[f"{name}_score"], rtol=1e-5, atol=0)
        size = data[name].shape[-1]
        assert torch.equal(grid_points(data[f"{name}_index"], size), data[f"{name}_point"])


@golden("renderer_argmax.npz")
def test_view_scores_and_suppression(golden_file: GoldenFile) -> None:
    data = tensors(golden_file)
    name = next(name for name in data if name.endswith("_nms_points"))
    heat = data[name.removesuffix("_nms_points")]
    expected = data[name]
    peak = grid_top_k(heat, THREE_VIEWS, expected.shape[1], SUPPRESSION_DISTANCE)
    torch.testing.assert_close(peak.point, expected, rtol=0, atol=1e-6)
    name = next(name for name in data if name.endswith("_view_scores0"))
    heat, expected = data[name.removesuffix("_view_scores0")][:1], data[name]
    step = heat.shape[-1] // expected.shape[-1]
    top, front, right = view_tables(heat, THREE_VIEWS)[0, :, ::step, ::step]
    found = torch.broadcast_tensors(top[:, :, None], front[None], right[:, None])
    assert torch.equal(torch.stack(found), expected)


@golden("renderer_select.npz")
def test_inverse_distance_samples(golden_file: GoldenFile) -> None:
    data = tensors(golden_file)
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    values = sample_inverse_distance(data["pts"], data["hm"])
    torch.testing.assert_close(values, data["out"], **tolerance)
    weight = data["pt_weight"].clone()
    weighted = sample_inverse_distance(data["pts"], data["hm"], weight)
    torch.testing.assert_close(weighted, data["out_weighted"], **tolerance)
    assert torch.equal(weight, data["pt_weight"])
    height, width = data["hm"].shape[-2:]
    index, corner_weight = corners(data["pts"], height, width)
    assert torch.equal(index, data["corner_index"])
    torch.testing.assert_close(corner_weight, data["corner_weight"], **tolerance)
    tokens = sample_inverse_distance(data["token_wpt_img"] / TOKEN_PITCH, data["token_map"])
    torch.testing.assert_close(tokens, data["token_out"], **tolerance)


@golden("renderer_targets.npz")
def test_target_heatmaps(golden_file: GoldenFile) -> None:
    data = tensors(golden_file)
    cases = [match for name in data if (match := re.fullmatch(r"hm_(\w+)_sigma(\d)(\d*)", name))]
    assert cases
    for match in cases:
        points = f"pt_{match[1]}" if f"pt_{match[1]}" in data else "pt"
        expected, sigma = data[match[0]], float(f"{match[2]}.{match[3] or 0}")
        heat = gaussian_heatmaps(data[points], tuple(expected.shape[-2:]), sigma)
        edge = _on_the_edge(data[points], expected.shape[-2], expected.shape[-1], sigma)
        torch.testing.assert_close(heat[~edge], expected[~edge], rtol=0, atol=1e-6)
        assert torch.equal((heat > 0)[~edge], (expected > 0)[~edge])
    expected = next(array for name, array in data.items() if name.startswith("onehot_"))
    side = round(expected.shape[1] ** 0.5)
    onehot = gaussian_heatmaps(data["pt"][: len(expected)], side, -1)
    assert torch.equal(onehot.flatten(1), expected)


@golden("data_open_drawer.json")
def test_target_heatmaps_of_a_recorded_sample(golden_file: GoldenFile) -> None:
    stored = golden_file.json()
    arrays = golden_file.sibling(golden_file.path.stem + ".npz").arrays()
    expected = stored["heatmaps"]
    waypoint = torch.tensor([stored["heatmap_wpt_local"]])
    stored_pixels = torch.tensor(expected["pixel_xy_per_view_top_front_right"])
    size = round(2 * stored_pixels[0, 0].item() / (1 + waypoint[0, 0].item()))
    pixels = project(waypoint, THREE_VIEWS, size)[0]
    torch.testing.assert_close(pixels, stored_pixels, rtol=0, atol=2e-5)
    points = torch.tensor(expected["pts_xy"])
    heat = gaussian_heatmaps(points, size, SIGMA)
    dense = torch.zeros_like(heat)
    at = torch.from_numpy(arrays["hm_nonzero_index_n_row_col"]).long()
    dense[tuple(at.T)] = torch.from_numpy(arrays["hm_nonzero_value"])
    torch.testing.assert_close(heat, dense, rtol=0, atol=1e-5)
    torch.testing.assert_close(heat.sum((1, 2)), torch.tensor(expected["sum"]), rtol=0, atol=1e-5)
    peaks = heat.flatten(1).argmax(dim=1)
    assert [[p // size, p % size] for p in peaks.tolist()] == expected["argmax_rowcol"]
    assert (heat > 0).sum(dim=(1, 2)).tolist() == expected["nonzero"]


def _on_the_edge(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """Pixels whose distance from the point is three sigma up to rounding."""
    column = torch.arange(width, dtype=torch.float64) - points[:, 0, None].double()
    row = torch.arange(height, dtype=torch.float64) - points[:, 1, None].double()
    distance = torch.sqrt(column[:, None, :] ** 2 + row[:, :, None] ** 2)
    return (distance - 3 * sigma).abs() < 1e-5
