"""The transform `sam_g`: what does not matter is black, or absent from the point cloud.

Legend: B samples or environments, T frames of an observation, K cameras, H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sam2act.core.described import whole_number
from sam2act.core.errors import ConfigError, require, require_choice
from sam2act.core.specs import PolicySpec
from sam2act.core.types import Batch, ContractError, KeyframeBatch, Observation, WindowBatch
from sam2act.processing.sam_g.finder import ObjectFinder
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.mask_weights import STEPS
from sam2act.processing.sam_g.reference_files import read_references
from sam2act.processing.sam_g.stored_masks import StoredMasks
from sam2act.processing.sam_g.target import MATCHES, Target
from sam2act.processing.transforms import Transform

MODES = ("black", "drop_points")
STORED = "stored:"


class SamG(Transform):
    """Masks the images of all cameras.

    `sam_g('references',features='dinov2:a.pth+efficientvit_sam:b.pt',segmenter='sam2:c.pt')` finds
    the objects of the reference images in a folder; what it remembers of them is kept in the
    checkpoint, so that acting needs the weights of the networks, and no reference image.
    """

    def __init__(
        self,
        spec: PolicySpec,
        references: str,
        features: str = "efficientnet_lite",
        segmenter: str = "random_walk",
        mode: str = "black",
        match: str = "pooled",
        masks: str = "",
        steps: int = STEPS,
    ) -> None:
        """See docs/sam_g.md.

        Args:
            spec: of the policy behind.
            references: folder of reference images and masks, read by `fit` alone.
            features: feature sets, joined by `+`, in which objects are found.
            segmenter: makes masks of points.
            mode: black: other pixels are black (as published); drop_points: they also have no
                depth, so that nothing of them is in the cloud.
            match: pooled (as published), nearest or contrast, see `find_points`.
            masks: folder that keeps the masks of training images; empty = memory alone. With
                `stored:` before it, all of them are there already, and none is made.
            steps: updates of the weights of a segmenter's masks on the reference.

        Raises:
            ConfigError: a name or value is unknown, or weights are absent.
        """
        require_choice("sam_g: mode", mode, MODES)
        require_choice("sam_g: match", match, MATCHES)
        whole_number("sam_g", "steps", steps)
        stored, kept_in = masks.startswith(STORED), masks.removeprefix(STORED)
        self.cameras = spec.cameras
        self.references = Path(references)
        self._drops, self._stored = mode == "drop_points", stored
        self.finder = ObjectFinder(features, segmenter, match, steps)
        how = {"references": references, "features": features, "segmenter": segmenter}
        self.masks = StoredMasks(Path(kept_in) if kept_in else None, how | {"match": match})
        self.targets: dict[str, list[Target]] = {}

    @property
    def needs_fit(self) -> bool:
        """Whether it knows no object yet."""
        return not self.targets

    def wanted(self, spec: PolicySpec) -> PolicySpec:
        """The same, with a simulator's masks where these take the place of a segmenter."""
        if self.finder.prompted:
            return spec
        cameras = tuple(dataclasses.replace(c, mask=True) for c in spec.camera_specs)
        return dataclasses.replace(spec, camera_specs=cameras)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Remember the objects of the reference images; training data are not looked at.

        Raises:
            ConfigError: a camera has no reference, or a file cannot be used.
        """
        self.targets = {
            camera: [self.finder.learn(one) for one in read_references(self.references, camera)]
            for camera in self.cameras
        }

    def state_dict(self) -> dict[str, Tensor]:
        """What is remembered of every object, as `<camera>/<number>/<part>`."""
        return {
            f"{camera}/{number}/{name}": value
            for camera, targets in self.targets.items()
            for number, target in enumerate(targets)
            for name, value in target.state().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state_dict` gave.

        Raises:
            ConfigError: it is of other cameras.
        """
        parts: dict[str, dict[int, dict[str, Tensor]]] = {}
        for key, value in state.items():
            camera, number, name = key.rsplit("/", 2)
            parts.setdefault(camera, {}).setdefault(int(number), {})[name] = value
        require(
            set(parts) == set(self.cameras),
            f"transforms: sam_g knows objects of the cameras {', '.join(parts) or 'none'}, the "
            f"policy sees {', '.join(self.cameras)}",
        )
        self.targets = {
            camera: [Target.of_state(found[number]) for number in sorted(found)]
            for camera, found in parts.items()
        }

    # ------------------------------------------------------------------------------ changing
    def observation(self, observation: Observation) -> Observation:
        """The same with masked images; masks are made anew."""
        return self._masked(observation, training=False)

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """The same with masked images; masks of images that come again are made once."""
        if isinstance(batch, WindowBatch):
            return dataclasses.replace(batch, observed=self._masked(batch.observed, training=True))
        assert isinstance(batch, KeyframeBatch), type(batch)
        keep = self._keep(batch.observation(), self.cameras, training=True)
        code = batch.depth_code * keep[..., None] if self._drops else batch.depth_code
        return dataclasses.replace(batch, rgb=batch.rgb * keep[..., None], depth_code=code)

    def _masked(self, observation: Observation, *, training: bool) -> Observation:
        names = observation.cameras or self.cameras
        keep = self._keep(observation, names, training=training)
        depth = observation.depth
        if depth is not None and self._drops:
            depth = depth * keep
        others = {
            name: dataclasses.replace(
                self._masked(dataclasses.replace(one, cameras=(name,)), training=training),
                cameras=one.cameras,
            )
            for name, one in observation.others.items()
        }
        return dataclasses.replace(
            observation, rgb=observation.rgb * keep[..., None], depth=depth, others=others
        )

    def _keep(self, observation: Observation, names: tuple[str, ...], *, training: bool) -> Tensor:
        """(B, [T,] K, H, W) bool, where an object is."""
        if self.needs_fit:
            raise ContractError("transforms: sam_g knows no object; fit it, or load a checkpoint")
        lead, side = observation.rgb.shape[:-4], observation.rgb.shape[-3:-1]
        flat = _flat_views(observation)
        keep = torch.zeros(len(flat), len(names), *side, dtype=torch.bool)
        for row, views in enumerate(flat):
            for column, (name, view) in enumerate(zip(names, views, strict=True)):
                if name not in self.targets:
                    continue
                if training:
                    keep[row, column] = self.training_mask(name, view)
                else:
                    keep[row, column] = self.finder.find(view, self.targets[name])
        return keep.view(*lead, len(names), *side).to(observation.rgb.device)

    def training_mask(self, camera: str, view: View) -> Tensor:
        """(H, W) bool, the mask of a training image: a kept one, else a new one, which is kept.

        Raises:
            ConfigError: none is kept, and none may be made.
        """
        pixels = view.rgb.cpu().numpy()
        known = self.masks.get(camera, pixels)
        if known is not None:
            return known
        if self._stored:
            raise ConfigError(
                f"sam_g: a training image of camera {camera} has no stored mask; make them with "
                "`sam2act mask-demos`, for the same demonstrations and image size"
            )
        mask = self.finder.find(view, self.targets[camera])
        self.masks.put(camera, pixels, mask)
        return mask


def _flat_views(observation: Observation) -> list[list[View]]:
    """One list of K views per sample and frame."""

    def flat(values: Tensor | None, axes: int) -> Tensor | None:
        return None if values is None else values.reshape(-1, *values.shape[-axes:])

    rgb = flat(observation.rgb, 4)
    depth, objects = flat(observation.depth, 3), flat(observation.mask, 3)
    assert rgb is not None
    return [
        [
            View(
                rgb[row, column],
                None if depth is None else depth[row, column],
                None if objects is None else objects[row, column],
            )
            for column in range(rgb.shape[1])
        ]
        for row in range(len(rgb))
    ]
