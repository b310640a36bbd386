"""Segmenters: random walks, a simulator's masks, predictors of other packages, OpenCV."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.core.types import ContractError
from sam2act.processing.sam_g.components import build_features, build_segmenter
from sam2act.processing.sam_g.finder import ObjectFinder
from sam2act.processing.sam_g.interfaces import Prompt, View
from sam2act.processing.sam_g.planes import relative_heights
from tests.processing.sam_g.scenes import SIDE, overlap, reference, square_scene


def test_random_walks_find_the_object_among_others() -> None:
    finder = ObjectFinder("color", "random_walk", "nearest", 5)
    target = finder.learn(reference())
    view, mask = square_scene(26, 20, ground=90, other=(6, 6))
    assert overlap(finder.find(view, [target]), mask) > 0.8


def test_depth_tells_an_object_from_a_table_of_its_colour() -> None:
    """Only its height shows the square; random walks without depth miss its border."""
    view, mask = square_scene(26, 20)
    colours = view.rgb.clone()
    colours[20:32, 10:40] = colours[20, 26]  # the table around it has the same colour
    camouflaged = View(colours, view.depth)
    found = {}
    for name in ("random_walk", "random_walk:rgb"):
        finder = ObjectFinder("color", name, steps=5)
        found[name] = finder.find(camouflaged, [finder.learn(reference())])
    assert overlap(found["random_walk"], mask) > 0.8 > overlap(found["random_walk:rgb"], mask)


def test_heights_are_zero_on_the_largest_plane_and_where_nothing_is_measured() -> None:
    view, mask = square_scene(10, 10)
    assert view.depth is not None
    depth = view.depth.clone()
    depth[:3, :3] = 0
    heights = relative_heights(depth)
    expected = torch.where(mask, 1 / 0.96 - 1, torch.zeros(SIDE, SIDE))
    torch.testing.assert_close(heights, expected, atol=1e-4, rtol=0)
    assert relative_heights(torch.zeros(4, 4)).abs().sum() == 0


def test_masks_of_a_simulator_are_the_objects_under_the_reference_mask() -> None:
    finder = ObjectFinder("color", "simulator")
    target = finder.learn(reference())
    view, mask = square_scene(26, 20, other=(6, 6))
    assert finder.find(view, [target]).equal(mask)
    with pytest.raises(ContractError, match="needs the masks of a simulator"):
        finder.find(View(view.rgb), [target])


class Predictor:
    """Stands in for the predictors of SAM 2 and EfficientViT-SAM: remembers how it is called."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.calls: list[dict[str, Any]] = []

    def set_image(self, image: np.ndarray) -> None:
        self.image = image

    def predict(self, **prompt: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.calls.append(prompt)
        logits = np.full((3, *self.image.shape[:2]), -1, np.float32)
        logits[1, 4:8, 4:8] = 1
        return logits, np.array([0.1, 0.9, 0.5]), np.zeros((3, 256, 256), np.float32)


def install(monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> None:
    """Make packages importable that are not installed; `__` in a name stands for a dot."""
    for name, content in modules.items():
        module = types.ModuleType(name.replace("__", "."))
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)


class Model:
    """Stands in for a network."""

    def __init__(self, *built: Any, **options: Any) -> None:
        self.built = (built, options)

    def eval(self) -> Model:
        return self

    def transform(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image).permute(2, 0, 1).float()

    def image_encoder(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1].expand(-1, 256, -1, -1)[..., :64, :64]


def sam2_package(monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch,
        sam2={},
        sam2__build_sam={"build_sam2": Model},
        sam2__sam2_image_predictor={"SAM2ImagePredictor": Predictor},
    )


def efficientsam_package(monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch,
        efficientsam={},
        efficientsam__models={},
        efficientsam__models__efficientvit={},
        efficientsam__models__efficientvit__sam={"EfficientViTSamPredictor": Predictor},
        efficientsam__sam_model_zoo={"create_efficientvit_sam_model": Model},
    )


PREDICTORS = {
    "sam2": ("sam2.1_hiera_small.pt", sam2_package, "configs/sam2.1/sam2.1_hiera_s.yaml"),
    "efficientvit_sam": ("efficientvit_sam_l1.pt", efficientsam_package, "efficientvit-sam-l1"),
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictors_of_other_packages_get_the_prompts(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, package, size = PREDICTORS[name]
    package(monkeypatch)
    (tmp_path / file).write_bytes(b"weights")
    segmenter: Any = build_segmenter(f"{name}:{tmp_path / file}")
    built, options = segmenter.predictor.model.built
    assert built[0] == size and str(tmp_path / file) in (*built, *options.values())
    view, _ = square_scene(8, 10)
    segmenter.look(view)
    prompt = Prompt(
        points=torch.tensor([[5, 6], [40, 2]]),
        labels=torch.tensor([1, 0]),
        box=(3, 4, 9, 10),
        low_resolution=torch.zeros(1, 256, 256),
        likeness=torch.zeros(SIDE, SIDE),
        share=0.1,
    )
    proposals = segmenter.propose(prompt)
    (call,) = segmenter.predictor.calls
    assert call["point_coords"].tolist() == [[5, 6], [40, 2]]
    assert call["point_labels"].tolist() == [1, 0] and call["box"].tolist() == [3, 4, 9, 10]
    assert call["mask_input"].shape == (1, 256, 256)
    assert call["multimask_output"] and call["return_logits"]
    assert (proposals.logits[1] > 0).sum() == 16 and int(proposals.scores.argmax()) == 1


def test_features_of_efficientvit_sam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    efficientsam_package(monkeypatch)
    (tmp_path / "efficientvit_sam_l1.pt").write_bytes(b"weights")
    (features,) = build_features(f"efficientvit_sam:{tmp_path / 'efficientvit_sam_l1.pt'}")
    rgb = torch.randint(256, (2, 84, 84, 3), dtype=torch.uint8)
    assert features(rgb).shape == (2, 64, 64, 256)


def test_features_of_dinov2_have_the_published_grid() -> None:
    (features,) = build_features("dinov2:tiny")
    maps = features(torch.randint(256, (1, 84, 84, 3), dtype=torch.uint8))
    assert maps.shape == (1, 64, 64, 32) and not maps.requires_grad


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sam2:absent.pt", "no weights at absent.pt"),
        ("sam2", "no weights at no path"),
        ("sam3", "'sam3' is not one of"),
        ("random_walk:lab", "random_walk takes nothing but rgb"),
        ("simulator:x", "takes nothing after the colon"),
    ],
)
def test_what_cannot_be_built_says_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_segmenter(text)


def test_absent_packages_name_their_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "efficientvit_sam_l1.pt"
    file.write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "efficientsam", None)
    with pytest.raises(ConfigError, match="install the extra efficientvit-sam"):
        build_segmenter(f"efficientvit_sam:{file}")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match="opencv-python-headless"):
        build_segmenter("grabcut")


def test_grabcut_finds_the_object() -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra grabcut)")
    finder = ObjectFinder("color", "grabcut", "nearest", 5)
    target = finder.learn(reference())
    view, mask = square_scene(26, 20, other=(6, 6))
    assert overlap(finder.find(view, [target]), mask) > 0.8
