"""Data sets in RLDS's form as a source of episodes; needs tensorflow_datasets (extra `rlds`).

`<data_folder>/<task>/<version>` is what tensorflow_datasets wrote, for example
`custom_finetuning/1.0.0`; of several versions the newest counts. A camera is an entry of the
observation, or one of the names of `CAMERAS`. Legend: T steps of an episode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam2act.core.actions import EE_DELTA_RPY
from sam2act.core.specs import EnvSpec, square_cameras
from sam2act.core.types import Frame
from sam2act.core.wording import listing
from sam2act.data.rlds.actions import seven_numbers
from sam2act.data.source import AbsentError, EpisodeFacts, SourceError, SourceRequest

INFO = "dataset_info.json"  # in every folder that tensorflow_datasets wrote
# What cameras of published data sets are called, the first one that is there.
CAMERAS = {
    "primary": ("image", "image_0", "rgb", "image_primary"),
    "wrist": ("wrist_image", "hand_image", "image_wrist"),
}
INSTRUCTIONS = ("language_instruction", "natural_language_instruction")


class RLDSSource:
    """The episodes of one data set."""

    def __init__(self, request: SourceRequest) -> None:
        self.request = request
        self._latest: tuple[int, list[dict[str, Any]]] | None = None

    @property
    def spec(self) -> EnvSpec:
        """Colour images and actions; whether a camera is there shows when its images are read."""
        request = self.request
        cameras = square_cameras(request.cameras, request.image_size, depth=False)
        return EnvSpec(cameras, state=(), actions=(EE_DELTA_RPY,))

    @property
    def rate(self) -> None:
        """Not recorded."""
        return None

    def episodes(self) -> range:
        """Numbers from 0 on.

        Raises:
            AbsentError: the data set is not there.
            SourceError: it has not the part that is asked for.
        """
        splits = self._builder.info.splits
        if self.request.split not in splits:
            raise SourceError(
                f"{self._folder}: has no part {self.request.split}; there are {listing(splits)}"
            )
        return range(splits[self.request.split].num_examples)

    def facts(self, number: int) -> EpisodeFacts:
        """The number of steps."""
        return EpisodeFacts(len(self._steps(number)))

    def instruction(self, number: int) -> str:
        """That of the first step.

        Raises:
            SourceError: it has none.
        """
        step = self._steps(number)[0]
        for place in (step, step["observation"]):
            for name in INSTRUCTIONS:
                if name in place:
                    return _text(place[name])
        raise SourceError(f"{self._place(number)}: has none of {', '.join(INSTRUCTIONS)}")

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        """None: what is recorded of it differs between data sets."""
        return {}

    def actions(self, number: int) -> np.ndarray:
        """(T, 7) translation, roll-pitch-yaw, 1 = open.

        Raises:
            SourceError: they have another form.
        """
        actions = [step["action"] for step in self._steps(number)]
        return seven_numbers(actions, self._place(number))

    def frame(self, number: int, index: int) -> Frame:
        """The images of one step, scaled to the wanted size without regard to the aspect."""
        observation = self._steps(number)[index]["observation"]
        side = self.request.image_size
        images = {}
        for camera in self.request.cameras:
            image = np.asarray(observation[self._entry(camera, observation, number)])
            if image.shape[:2] != (side, side):
                picture = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
                image = np.asarray(picture)
            images[camera] = image
        return Frame(rgb=images, state={})

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        """Digest of what the data set says of its files, and of the number."""
        content = (self._folder / INFO).read_bytes()
        return hashlib.sha256(content + f" {self.request.split} {number}".encode()).hexdigest()

    # --------------------------------------------------------------------------------- reading
    @cached_property
    def _folder(self) -> Path:
        root = self.request.folder / self.request.task
        found = [path.parent for path in root.glob(f"*/{INFO}")]
        if not found:
            raise AbsentError(
                f"{root}: holds no <version>/{INFO}; data_folder must hold the data set as "
                "tensorflow_datasets wrote it"
            )
        return max(found, key=_version)

    @cached_property
    def _builder(self) -> Any:
        folder = self._folder
        return import_tfds().builder_from_directory(str(folder))

    def _steps(self, number: int) -> list[dict[str, Any]]:
        """All steps of an episode; those of the latest one are kept."""
        if self._latest is None or self._latest[0] != number:
            part = f"{self.request.split}[{number}:{number + 1}]"
            episodes = import_tfds().as_numpy(self._builder.as_dataset(split=part))
            steps = [dict(step) for episode in episodes for step in episode["steps"]]
            if not steps:
                raise SourceError(f"{self._place(number)}: has no step")
            self._latest = number, steps
        return self._latest[1]

    def _entry(self, camera: str, observation: Mapping[str, Any], number: int) -> str:
        for name in (camera, *CAMERAS.get(camera, ())):
            if name in observation:
                return name
        raise SourceError(
            f"{self._place(number)}: has no camera {camera}; there are {listing(observation)}"
        )

    def _place(self, number: int) -> str:
        return f"{self._folder}: episode {number}"


def import_tfds() -> Any:
    """tensorflow_datasets.

    Raises:
        SourceError: it is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise SourceError(
            'source rlds needs the package tensorflow_datasets: pip install "sam2act[rlds]" '
            f"({error})"
        ) from error
    return tensorflow_datasets


def _version(folder: Path) -> list[int]:
    return [int(part) if part.isdigit() else -1 for part in folder.name.split(".")]


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
