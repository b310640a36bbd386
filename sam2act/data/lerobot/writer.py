"""Writing LeRobot data sets of version 3 that lose nothing of an episode.

Episodes are collected in parts. A part is one parquet file of frames, one video per camera where
colours are videos, one parquet file of episodes and one JSON file of what LeRobot does not know.
`meta/sam2act.json`, written last, counts the parts, so that a data set whose writing was
interrupted goes on after its last whole part.

Legend: T frames of an episode.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.files import replacing
from sam2act.data.exchange import RGB, PlainEpisode
from sam2act.data.lerobot import layout
from sam2act.data.lerobot.columns import (
    arrow_column,
    for_keyframe_policies,
    for_policies,
    padded,
    pandas_index,
    png,
)
from sam2act.data.lerobot.layout import LeRobotError, feature_of, library, place
from sam2act.data.lerobot.statistics import (
    Statistics,
    of_numbers,
    of_pictures,
    sampled,
    together,
)
from sam2act.data.lerobot.video import CODECS, VideoWriter

PICTURES = "png"
COLOURS = (PICTURES, *CODECS)
PART_BYTES = 100 * 2**20  # of pictures and numbers, after which a part is finished
_VIDEO_BYTES = 200  # megabytes; LeRobot's usual limit


class LeRobotWriter:
    """Appends plain episodes to a data set."""

    def __init__(
        self,
        folder: Path,
        rate: float,
        *,
        colours: str = PICTURES,
        robot: str = "panda",
        part_bytes: int = PART_BYTES,
    ) -> None:
        """Begin a data set, or go on with one that this class began.

        Args:
            folder: where.
            rate: frames per second, a whole number.
            colours: `png` (pictures in the parquet files, lossless), `lossless` or `h264` (video).
            robot: what `robot_type` says.
            part_bytes: size after which a part is finished.

        Raises:
            LeRobotError: the rate is no whole number, the colours are no choice, or the folder
                holds something else.
        """
        if colours not in COLOURS:
            raise LeRobotError(f"colours: {colours!r} is not one of {', '.join(COLOURS)}")
        if rate != round(rate):
            raise LeRobotError(f"rate: LeRobot counts whole frames per second, not {rate:g}")
        self._pa, self._pq = library("pyarrow"), library("pyarrow.parquet")
        self._folder, self._rate, self._colours = folder, round(rate), colours
        self._robot, self._part_bytes = robot, part_bytes
        self._features: dict[str, Any] = {}
        self._tasks: dict[str, int] = {}
        self._stats: dict[str, Statistics] = {}
        self._parts = self._episodes = self._frames = 0
        self._begin_part()
        if (folder / layout.INFO).is_file() or (folder / layout.OURS).is_file():
            self._go_on()

    def written(self) -> int:
        """Episodes of finished parts."""
        return self._episodes

    def add(self, episode: PlainEpisode) -> None:
        """Append one.

        Raises:
            LeRobotError: it has other cameras or numbers than the ones before.
        """
        columns = self._columns(episode)
        features = self._described(episode, columns)
        if self._features and features != self._features:
            names = [n for n in {**features, **self._features} if _differs(n, features, self)]
            raise LeRobotError(
                f"{self._folder}: {', '.join(sorted(names))} of this episode differ from those of "
                "the episodes before; a data set holds one set of cameras and numbers"
            )
        self._features = features
        stats = {feature: of_numbers(values) for feature, values in columns.items()}
        pictures = self._pictures(episode, stats)
        self._note(episode, stats)
        self._append(columns, pictures)
        if self._bytes > self._part_bytes:
            self.finish()

    def finish(self) -> None:
        """Write the part that was collected; an empty one is none."""
        if not self._rows:
            return
        number, folder = self._parts, self._folder
        for video in self._videos.values():
            video.close()
        for feature in self._videos:
            target = folder / place(layout.VIDEO_PATH, number, video_key=feature)
            os.replace(_unfinished(target), target)
        pa = self._pa
        self._write(place(layout.DATA_PATH, number), self._rows)
        rows = [pa.Table.from_pylist(self._entries)]
        self._write(place(layout.EPISODES_PATH, number), rows)
        layout.write_json(folder / place(layout.FACTS_PATH, number), self._facts)
        self._episodes += len(self._entries)
        self._frames += sum(entry["length"] for entry in self._entries)
        self._parts += 1
        self._write_tasks()
        self._write_meta()
        self._begin_part()

    # --------------------------------------------------------------------------- a part
    def _begin_part(self) -> None:
        self._rows: list[Any] = []  # a table per episode
        self._entries: list[dict[str, Any]] = []
        self._facts: list[dict[str, Any]] = []
        self._videos: dict[str, VideoWriter] = {}
        self._bytes = 0

    def _columns(self, episode: PlainEpisode) -> dict[str, np.ndarray]:
        """Feature -> (T, ...) of everything but pictures."""
        length, pending = episode.length, sum(entry["length"] for entry in self._entries)
        frames = np.arange(length)
        number = self._episodes + len(self._entries)
        task = self._tasks.setdefault(episode.instructions[0], len(self._tasks))
        columns = {
            "timestamp": (frames / self._rate).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(length, number),
            "index": frames + self._frames + pending,
            "task_index": np.full(length, task),
        }
        columns |= for_policies(episode) | for_keyframe_policies(episode)
        for name, values in episode.numbers.items():
            flat = values if layout.is_matrix(name) else values.reshape(length, -1)
            columns[feature_of(name)] = flat[:, 0] if flat.shape[1:] == (1,) else flat
        if episode.actions is not None and episode.actions.dtype != np.float32:
            columns[layout.RECORDED + layout.ACTION] = padded(episode.actions, length)
        return columns

    def _described(
        self, episode: PlainEpisode, columns: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """The `features` of meta/info.json."""
        features: dict[str, Any] = {}
        for name, size in episode.images.items():
            video = self._is_video(name)
            features[feature_of(name)] = {
                "dtype": "video" if video else "image",
                "shape": [*size, 3],
                "names": ["height", "width", "channels"],
                **({"info": self._video_info(size)} if video else {}),
            }
        for feature, values in columns.items():
            features[feature] = {
                "dtype": layout.numpy_text(values.dtype),
                "shape": list(values.shape[1:]) or [1],
                "names": None,
            }
        return features

    def _pictures(
        self, episode: PlainEpisode, stats: dict[str, Statistics]
    ) -> dict[str, list[bytes]]:
        """Feature -> the PNGs of an episode; videos are written on, statistics noted."""
        found: dict[str, list[bytes]] = {}
        looked_at = set(sampled(episode.length))
        for name in episode.images:
            feature = feature_of(name)
            samples: list[np.ndarray] = []
            video = self._video(feature, episode.images[name]) if self._is_video(name) else None
            for frame in range(episode.length):
                pixels = episode.image(name, frame)
                if frame in looked_at:
                    samples.append(pixels)
                if video is not None:
                    video.add(pixels)
                else:
                    found.setdefault(feature, []).append(png(pixels))
            stats[feature] = of_pictures(np.stack(samples))
        return found

    def _append(
        self, columns: Mapping[str, np.ndarray], pictures: Mapping[str, list[bytes]]
    ) -> None:
        pa = self._pa
        arrays: dict[str, Any] = {}
        for feature, encoded in pictures.items():
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            arrays[feature] = pa.array([{"bytes": b, "path": None} for b in encoded], kind)
            self._bytes += sum(map(len, encoded))
        for feature, values in columns.items():
            arrays[feature] = arrow_column(pa, values)
            self._bytes += values.nbytes
        self._rows.append(pa.table(arrays))

    def _note(self, episode: PlainEpisode, stats: dict[str, Statistics]) -> None:
        """The row of an episode, and what LeRobot has no column for."""
        last = self._entries[-1]["dataset_to_index"] if self._entries else self._frames
        where = {
            "chunk_index": self._parts // layout.CHUNK,
            "file_index": self._parts % layout.CHUNK,
        }
        entry: dict[str, Any] = {
            "episode_index": self._episodes + len(self._entries),
            "tasks": [episode.instructions[0]],
            "length": episode.length,
            "dataset_from_index": last,
            "dataset_to_index": last + episode.length,
        }
        entry |= {f"data/{key}": value for key, value in where.items()}
        entry |= {f"meta/episodes/{key}": value for key, value in where.items()}
        for feature, video in self._videos.items():
            entry |= {f"videos/{feature}/{key}": value for key, value in where.items()}
            start = (video.frames - episode.length) / self._rate
            entry[f"videos/{feature}/from_timestamp"] = start
            entry[f"videos/{feature}/to_timestamp"] = video.frames / self._rate
        for feature, figures in stats.items():
            entry |= {f"stats/{feature}/{n}": v.tolist() for n, v in figures.items()}
            before = [self._stats[feature]] if feature in self._stats else []
            self._stats[feature] = together([*before, figures])
        self._entries.append(entry)
        shapes = {name: list(values.shape[1:]) for name, values in episode.numbers.items()}
        count = None if episode.actions is None else len(episode.actions)
        self._facts.append(
            {
                "instructions": list(episode.instructions),
                "shapes": shapes,
                "num_actions": count,
                "facts": dict(episode.facts),
            }
        )

    # ---------------------------------------------------------------------------- files
    def _is_video(self, name: str) -> bool:
        return self._colours != PICTURES and name.endswith(RGB)

    def _video(self, feature: str, size: tuple[int, int]) -> VideoWriter:
        """The video of a camera in this part."""
        if feature not in self._videos:
            target = self._folder / place(layout.VIDEO_PATH, self._parts, video_key=feature)
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = VideoWriter(_unfinished(target), self._colours, self._rate, size)
            self._videos[feature] = writer
        return self._videos[feature]

    def _video_info(self, size: tuple[int, int]) -> dict[str, Any]:
        return {
            "video.height": size[0],
            "video.width": size[1],
            "video.codec": "h264",
            "video.pix_fmt": CODECS[self._colours][1],
            "video.is_depth_map": False,
            "video.fps": self._rate,
            "video.channels": 3,
            "has_audio": False,
        }

    def _write(self, path: str, tables: list[Any]) -> None:
        """One parquet file, a row group per table."""
        with self._parquet(path, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)

    @contextmanager
    def _parquet(self, path: str, schema: Any) -> Iterator[Any]:
        with replacing(self._folder / path) as partial:
            with self._pq.ParquetWriter(partial, schema, compression="snappy") as writer:
                yield writer

    def _write_tasks(self) -> None:
        """The instructions as a table that pandas reads with the texts as its index."""
        pa = self._pa
        table = pa.table(
            {
                "task_index": pa.array(self._tasks.values(), pa.int64()),
                "__index_level_0__": pa.array(self._tasks, pa.string()),
            }
        )
        self._write(layout.TASKS, [table.replace_schema_metadata(pandas_index())])

    def _write_meta(self) -> None:
        info = {
            "codebase_version": layout.VERSION,
            "robot_type": self._robot,
            "total_episodes": self._episodes,
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.CHUNK,
            "data_files_size_in_mb": self._part_bytes // 2**20,
            "video_files_size_in_mb": _VIDEO_BYTES,
            "fps": self._rate,
            "splits": {"train": f"0:{self._episodes}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH if self._videos else None,
            "features": self._features,
        }
        stats = {f: {n: v.tolist() for n, v in s.items()} for f, s in self._stats.items()}
        layout.write_json(self._folder / layout.STATS, stats)
        layout.write_json(self._folder / layout.INFO, info)
        ours = {"parts": self._parts, "colours": self._colours, "info": info, "stats": stats}
        ours["tasks"] = list(self._tasks)
        layout.write_json(self._folder / layout.OURS, ours)

    def _go_on(self) -> None:
        """Take up what the last whole part left."""
        path = self._folder / layout.OURS
        if not path.is_file():
            raise LeRobotError(
                f"{self._folder}: holds a data set of somebody else; choose another folder"
            )
        ours = layout.read_json(path)
        info = ours["info"]
        if (ours["colours"], info["fps"]) != (self._colours, self._rate):
            raise LeRobotError(
                f"{self._folder}: was begun with colours {ours['colours']} at {info['fps']} frames "
                f"per second, not {self._colours} at {self._rate}; go on in the same way, or "
                "choose another folder"
            )
        self._parts, self._features = ours["parts"], info["features"]
        self._episodes, self._frames = info["total_episodes"], info["total_frames"]
        self._tasks = {text: index for index, text in enumerate(ours["tasks"])}
        self._stats = {
            feature: {name: np.array(value) for name, value in figures.items()}
            for feature, figures in ours["stats"].items()
        }


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _differs(name: str, features: Mapping[str, Any], writer: LeRobotWriter) -> bool:
    return bool(features.get(name) != writer._features.get(name))
