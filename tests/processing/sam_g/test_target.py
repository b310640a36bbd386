"""References, points, the three rounds of decoding, learned weights."""

from __future__ import annotations

import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.processing.sam_g.colors import ColorFeatures, lab_of
from sam2act.processing.sam_g.correspondence import least, on_grid
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.mask_weights import learn_weights
from sam2act.processing.sam_g.target import (
    MATCHES,
    ReferenceImage,
    Target,
    box_of,
    combined,
    decode,
    feature_maps,
    find_points,
    remember,
)
from tests.processing.sam_g.scenes import SIDE, Discs, reference, square_scene

FEATURES = (ColorFeatures(),)


def test_colours_are_those_of_the_cie() -> None:
    """White, sRGB's red and blue: values of the standard."""
    rgb = torch.tensor([[255, 255, 255], [255, 0, 0], [0, 0, 255]], dtype=torch.uint8)
    expected = torch.tensor([[100.0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]])
    torch.testing.assert_close(lab_of(rgb), expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("match", MATCHES)
def test_the_positive_point_lies_on_the_object_and_the_negative_one_beside_it(match: str) -> None:
    target = remember(reference(), FEATURES, Discs())
    view, mask = square_scene(28, 5, other=(5, 30))
    found = find_points(feature_maps(view, FEATURES), target, view.side, match)
    (x, y), (x_not, y_not) = found.points.tolist()
    assert mask[y, x] and not mask[y_not, x_not]
    assert found.labels.tolist() == [1, 0]


def test_every_part_and_every_extra_point_gives_a_positive_point() -> None:
    view, mask = square_scene(8, 10, other=(30, 30))
    green = view.objects == 8
    known = ReferenceImage(view, mask, parts=(green,), points=((33.0, 33.0), (10.0, 12.0)))
    target = remember(known, FEATURES, Discs())
    new, on_red = square_scene(30, 6, other=(4, 28))
    found = find_points(feature_maps(new, FEATURES), target, new.side)
    assert found.labels.tolist() == [1, 0, 1, 1, 1]
    on = [new.objects[y, x].item() for x, y in found.points.tolist()]  # type: ignore[index]
    assert on[0] == 7 and on[2:] == [8, 8, 7]


def test_three_rounds_add_the_published_negative_points_boxes_and_logits() -> None:
    segmenter = Discs()
    target = remember(reference(), FEATURES, segmenter)
    view, _ = square_scene(20, 16)
    found = find_points(feature_maps(view, FEATURES), target, view.side)
    segmenter.look(view)
    mask = decode(segmenter, found, target)
    first, second, third = segmenter.prompts
    assert first.box is None and first.low_resolution is None
    proposals = segmenter.propose(first)
    rough = combined(proposals.logits, target.weights) > 0
    assert second.box == box_of(rough)
    low = combined(proposals.low_resolution, target.weights)
    assert second.low_resolution is not None and second.low_resolution[0].equal(low)
    assert second.points[-1].equal(least(found.likeness, box_of(rough))[0])
    assert third.box == box_of(proposals.logits[1] > 0)
    assert third.points[-1].equal(found.points[1]) and third.labels.tolist() == [1, 0, 0, 0]
    assert mask.equal(proposals.logits[1] > 0)


def test_box_of_an_empty_mask_is_nearly_the_whole_image() -> None:
    assert box_of(torch.zeros(84, 84, dtype=torch.bool)) == (1, 1, 83, 83)


def test_weights_of_the_masks_are_learned_and_fit_better() -> None:
    known = reference()
    segmenter = Discs()
    before = remember(known, FEATURES, segmenter)
    after = learn_weights(known, before, FEATURES, segmenter, steps=300)
    segmenter.look(known.view)
    points = find_points(feature_maps(known.view, FEATURES), before, known.view.side)
    segmenter.prompts.clear()
    decode(segmenter, points, before)
    logits = segmenter.propose(segmenter.prompts[0]).logits
    wrong = [((combined(logits, t.weights) > 0) != known.mask).sum() for t in (before, after)]
    assert wrong[1] < wrong[0]
    assert not after.weights.requires_grad


def test_extra_points_are_disturbed_while_weights_are_learned() -> None:
    segmenter = Discs()
    known = reference(points=((12.0, 14.0),))
    target = remember(known, FEATURES, segmenter)
    learned = learn_weights(known, target, FEATURES, segmenter, steps=3)
    assert learned.parts[0].equal(target.parts[0])
    assert not learned.weights.equal(target.weights)


def test_a_target_comes_back_from_its_state() -> None:
    target = remember(reference(points=((12.0, 14.0),)), FEATURES, Discs())
    again = Target.of_state(target.state())
    assert again.share == target.share and again.weights.equal(target.weights)
    for kind in ("vectors", "parts", "around"):
        assert getattr(again, kind)[0].equal(getattr(target, kind)[0])


def test_small_objects_keep_a_cell_and_empty_masks_are_refused() -> None:
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[3, 5] = True
    assert on_grid(mask, (64, 64)).nonzero().tolist() == [[1, 2]]
    view, _ = square_scene(8, 10)
    with pytest.raises(ConfigError, match="covers no cell"):
        remember(ReferenceImage(view, torch.zeros(SIDE, SIDE).bool()), FEATURES, Discs())


def test_images_that_are_not_square_are_padded_for_the_features() -> None:
    view, mask = square_scene(28, 5)
    wide = View(view.rgb[:32])
    target = remember(reference(), FEATURES, Discs())
    found = find_points(feature_maps(wide, FEATURES), target, wide.side)
    assert found.likeness.shape == (32, SIDE)
    x, y = found.points[0].tolist()
    assert mask[y, x]
