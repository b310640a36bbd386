"""The facts to compare with: those that come with the package, or a folder of files like them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.core.errors import UserError
from sam2act.envs.embedded.kit.facts import pose_matrix

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Document:
    """A file of facts, read apart from the code that builds scenes.

    Attributes:
        task: name of the task.
        content: of the JSON file.
    """

    task: str
    content: Mapping[str, Any]

    @property
    def entries(self) -> dict[str, Entry]:
        """The objects by name."""
        return {entry["name"]: entry for entry in self.content["objects"]}

    @property
    def root(self) -> str:
        """Name of the base."""
        return next(name for name, entry in self.entries.items() if entry["parent"] is None)

    @property
    def sampling(self) -> Mapping[str, Any]:
        """How the base is placed: asked and accepted yaw, ranges of its place."""
        return dict(self.content["base_sampling"])

    @property
    def is_static(self) -> bool:
        """Whether the base stays where it is."""
        return bool(self.sampling.get("static", False))

    @property
    def variations(self) -> int:
        """Their number."""
        rules = self.content.get("rules", self.content)
        return int(rules["variations"])

    def in_base(self) -> dict[str, np.ndarray]:
        """(4, 4) of every object in the base frame at loading."""
        entries, found = self.entries, {self.root: np.eye(4)}

        def pose(name: str) -> np.ndarray:
            if name not in found:
                entry = entries[name]
                if "in_base" in entry:
                    found[name] = pose_matrix(entry["in_base"])
                else:
                    above = entries[entry["parent"]]
                    motion = _joint_motion(above.get("joint"))
                    found[name] = pose(above["name"]) @ motion @ pose_matrix(entry["in_parent"])
            return found[name]

        return {name: pose(name) for name in entries}


def _joint_motion(joint: Entry | None) -> np.ndarray:
    motion = np.eye(4)
    if joint is not None and joint["kind"] == "prismatic":
        motion[2, 3] = joint["position"]
    elif joint is not None:
        motion[:3, :3] = Rotation.from_euler("z", joint["position"]).as_matrix()
    return motion


def read_documents(folder: Path | None = None) -> dict[str, Document]:
    """The decoded scenes by task.

    Args:
        folder: with one JSON file per task; None = the facts that come with the package.

    Raises:
        UserError: the folder holds no scene, or a file of it is not JSON.
    """
    if folder is None:
        root = resources.files(f"{__package__.rpartition('.')[0]}.facts")
        texts = {path.name: path.read_text(encoding="utf-8") for path in root.iterdir()
                 if path.name.endswith(".json")}  # fmt: skip
    else:
        texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    documents = {}
    for name in sorted(texts):
        content = _parsed(name, texts[name])
        if content.get("objects") and "task" in content:
            documents[content["task"]] = Document(content["task"], content)
    if not documents:
        raise UserError(
            f"{folder}: no scenes in it; --scenes (or SAM2ACT_SCENES_DIR) names a folder of "
            "<task>.json files with objects"
        )
    return documents


def _parsed(name: str, text: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}: not a JSON file ({error}); take it out of the folder") from error
    return content if isinstance(content, dict) else {}
