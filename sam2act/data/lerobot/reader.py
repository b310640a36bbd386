"""Reading LeRobot data sets of version 3, ours and other people's, as plain episodes.

Of ours everything comes back as it was written. Of others, colours, state, actions and every other
number are there by the short names of their features; depth maps in lossy video are left out.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.exchange import PlainEpisode
from sam2act.data.lerobot import layout
from sam2act.data.lerobot.layout import LeRobotError, feature_of, library, name_of, place
from sam2act.data.lerobot.video import VideoFrames
from sam2act.data.plain_source import RAW, PlainSource

_PICTURES = ("image", "video")
_TEXT = ("string",)


class LeRobotReader:
    """The episodes of one data set."""

    def __init__(self, path: Path) -> None:
        """Read its metadata.

        Raises:
            LeRobotError: they are absent or damaged, or of another version.
        """
        self.path = path
        self._pq = library("pyarrow.parquet")
        info = layout.read_json(path / layout.INFO)
        version = str(info.get("codebase_version"))
        if not version.startswith("v3."):
            raise LeRobotError(
                f"{path}: is a data set of version {version}, and only v3.0 is read; convert it "
                "with LeRobot's script convert_dataset_v21_to_v30"
            )
        self._info, self._features = info, dict(info["features"])
        self._whole = (path / layout.OURS).is_file()  # written by this package
        self.action_mode = RAW
        self._videos: dict[Path, VideoFrames] = {}
        self._facts: tuple[Path, list[Any]] | None = None

    @property
    def rate(self) -> float:
        """Frames per second."""
        return float(self._info["fps"])

    def episodes(self) -> Sequence[int]:
        """0, 1, ..."""
        return range(len(self._entries))

    def read(self, number: int) -> PlainEpisode:
        """One of them.

        Raises:
            LeRobotError: it is not there, or a file is absent or damaged.
        """
        if not 0 <= number < len(self._entries):
            raise LeRobotError(f"{self.path}: has {len(self._entries)} episodes, not {number}")
        entry = self._entries[number]
        told = self._told(number, entry)
        columns = self._table(number, entry, list(self._numbers()))
        shapes = told.get("shapes", {})
        numbers = {
            name: columns[feature].reshape(len(columns[feature]), *shapes.get(name, [-1]))
            for feature, name in self._numbers().items()
            if not self._whole or name in shapes
        }
        images = {name_of(f): f for f, of in self._features.items() if _is_picture(of)}
        pictures = _Pictures(self, number, entry)
        return PlainEpisode(
            length=int(entry["length"]),
            instructions=tuple(told.get("instructions") or entry["tasks"]),
            numbers=numbers,
            images={n: _size(self._features[f]) for n, f in images.items()},
            image=lambda name, frame: pictures(images[name], frame),
            actions=self._actions(columns, told),
            facts=told.get("facts", {}),
        )

    def digest(self, number: int) -> str:
        """Digest of size and time of the files of an episode."""
        entry = self._entries[number]
        paths = [self._file(entry, "data", self._info["data_path"])]
        paths += [self._video_file(f, entry) for f, of in self._features.items() if _is_video(of)]
        digest = hashlib.sha256(f"{entry['dataset_from_index']} {entry['length']}".encode())
        for path in paths:
            try:
                status = path.stat()
                digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns};".encode())
            except OSError:
                digest.update(b"absent;")
        return digest.hexdigest()

    def picture_table(self, number: int, entry: Mapping[str, Any], feature: str) -> list[Any]:
        """The encoded pictures of a feature in an episode."""
        return self._rows(number, entry, [feature]).column(feature).to_pylist()

    def video(self, feature: str, entry: Mapping[str, Any]) -> tuple[VideoFrames, int]:
        """The video that shows an episode, and the number of its first frame there."""
        path = self._video_file(feature, entry)
        if path not in self._videos:
            self._videos = {k: v for k, v in self._videos.items() if feature not in k.parts}
            self._videos[path] = VideoFrames(path, self.rate)
        return self._videos[path], round(entry[f"videos/{feature}/from_timestamp"] * self.rate)

    # ------------------------------------------------------------------------------------
    @cached_property
    def _entries(self) -> list[dict[str, Any]]:
        """The rows of meta/episodes, without statistics."""
        files = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        if self._whole:
            parts = layout.read_json(self.path / layout.OURS)["parts"]
            files = [self.path / place(layout.EPISODES_PATH, part) for part in range(parts)]
        rows: list[dict[str, Any]] = []
        for file in files:
            with _naming(file):
                schema = self._pq.read_schema(file)
                names = [name for name in schema.names if not name.startswith("stats/")]
                rows += self._pq.read_table(file, columns=names).to_pylist()
        if not rows:
            raise LeRobotError(f"{self.path}: meta/episodes lists no episode; copy it again")
        return rows

    def _numbers(self) -> dict[str, str]:
        """Feature -> name of everything that is neither picture, text nor index, nor, in data sets
        of this package, made from other features."""
        return {
            feature: name_of(feature)
            for feature, of in self._features.items()
            if of["dtype"] not in (*_PICTURES, *_TEXT)
            and (feature not in layout.INDICES)
            and (not self._whole or feature == feature_of(name_of(feature)))
            or feature == layout.ACTION
        }

    def _told(self, number: int, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What this package wrote of an episode besides; empty for other people's data."""
        if not self._whole:
            return {}
        path = self._file(entry, "data", layout.FACTS_PATH)
        if self._facts is None or self._facts[0] != path:
            self._facts = path, layout.read_json(path)
        files = [self._file(e, "data", layout.FACTS_PATH) for e in self._entries]
        told: dict[str, Any] = self._facts[1][number - files.index(path)]
        return told

    def _actions(
        self, columns: Mapping[str, np.ndarray], told: Mapping[str, Any]
    ) -> np.ndarray | None:
        if self._whole and told["num_actions"] is None:
            return None
        exact = layout.RECORDED + layout.ACTION
        actions = columns.get(exact, columns.get(layout.ACTION))
        return None if actions is None else actions[: told.get("num_actions")]

    def _table(
        self, number: int, entry: Mapping[str, Any], features: list[str]
    ) -> dict[str, np.ndarray]:
        """Feature -> (T, ...)."""
        table = self._rows(number, entry, features)
        found = {}
        for feature in features:
            values = np.array(table.column(feature).to_pylist(), self._features[feature]["dtype"])
            found[feature] = values.reshape(len(values), *self._features[feature]["shape"])
        return found

    def _rows(self, number: int, entry: Mapping[str, Any], features: list[str]) -> Any:
        """Columns of the frames of an episode."""
        path = self._file(entry, "data", self._info["data_path"])
        with _naming(path):
            table = self._pq.read_table(
                path, columns=features, filters=[("episode_index", "=", number)]
            )
        if len(table) != entry["length"]:
            raise LeRobotError(
                f"{path}: holds {len(table)} of the {entry['length']} frames of episode {number}; "
                "copy the data set again"
            )
        return table

    def _file(self, entry: Mapping[str, Any], kind: str, pattern: str) -> Path:
        where = {key: entry[f"{kind}/{key}"] for key in ("chunk_index", "file_index")}
        return self.path / pattern.format(**where)

    def _video_file(self, feature: str, entry: Mapping[str, Any]) -> Path:
        pattern = str(self._info["video_path"]).replace("{video_key}", feature)
        return self._file(entry, f"videos/{feature}", pattern)


class _Pictures:
    """The pictures of one episode; the encoded ones of a feature are read when first asked for."""

    def __init__(self, reader: LeRobotReader, number: int, entry: Mapping[str, Any]) -> None:
        self._reader, self._number, self._entry = reader, number, entry
        self._encoded: dict[str, list[Any]] = {}

    def __call__(self, feature: str, frame: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        from PIL import Image

        if _is_video(self._reader._features[feature]):
            video, first = self._reader.video(feature, self._entry)
            return video(first + frame)
        if feature not in self._encoded:
            rows = self._reader.picture_table(self._number, self._entry, feature)
            self._encoded[feature] = rows
        content = self._encoded[feature][frame]["bytes"]
        try:
            with Image.open(io.BytesIO(content)) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, TypeError) as error:
            raise LeRobotError(
                f"{self._reader.path}: {feature} of episode {self._number}, frame {frame} is no "
                f"readable picture ({error}); copy the data set again"
            ) from error


class LeRobotSource(PlainSource):
    """The episodes of the data set `<folder>/<split>/<task>`, or of `<folder>` itself."""

    @staticmethod
    def problem() -> str:
        """What is lacking to read data sets; empty if nothing is."""
        return layout.lerobot_problem()

    def open(self) -> LeRobotReader:
        """The reader of the data set."""
        request = self.request
        return LeRobotReader(layout.find_data_set(request.folder, request.split, request.task))


class _naming:
    """Turns what pyarrow raises for a file into an error that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, (LeRobotError, KeyboardInterrupt)):
            return
        raise LeRobotError(
            f"{self._path}: cannot be read ({' '.join(str(error).split())}); copy the data set "
            "again"
        ) from error


def _is_video(feature: Mapping[str, Any]) -> bool:
    return bool(feature["dtype"] == "video")


def _is_picture(feature: Mapping[str, Any]) -> bool:
    depth = (feature.get("info") or {}).get("video.is_depth_map", False)
    return feature["dtype"] in _PICTURES and not depth


def _size(feature: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width."""
    shape = list(feature["shape"])
    names = feature.get("names") or []
    first = str(names[0]) if names else ""
    height, width = shape[1:] if first.startswith("channel") else shape[:2]
    return int(height), int(width)
