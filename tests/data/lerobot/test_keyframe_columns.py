"""What LeRobot's tables say of the next keyframe, and data sets of keyframes alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2act.cli.convert_data import main
from sam2act.data.exchange import PlainEpisode
from sam2act.data.keyframes_only import keyframes_only
from sam2act.data.lerobot import layout
from sam2act.data.lerobot.columns import for_keyframe_policies, for_policies
from sam2act.data.lerobot.reader import LeRobotReader, LeRobotSource
from sam2act.data.rlbench.demos import frame_labels, read_episode
from sam2act.data.rlbench.exchange import DemoReader
from sam2act.data.source import SourceError, SourceRequest
from sam2act.data.transitions import build_transitions
from sam2act.envs.recorded import RECORDED_STATE
from tests.data.synthetic_demos import write_synthetic_task

pytest.importorskip("pyarrow.parquet", reason="LeRobot data sets need pyarrow")
pytest.importorskip("av", reason="LeRobot data sets need av")

TASK, KEYFRAMES = "open_drawer", (6, 12, 17)
TABLE = {  # column of our training table -> feature
    "keyframe_index": layout.KEYFRAME_INDEX,
    "target_frame": layout.KEYFRAME_FRAME,
    "pose": layout.KEYFRAME_POSE,
    "gripper_open": layout.KEYFRAME_GRIPPER,
    "collision_next": layout.KEYFRAME_FLAG,
    "collision_current": layout.FLAG,
}


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demos")
    options = {"images": "all", "keyframes": KEYFRAMES, "cameras": ("front",), "image_size": 4}
    write_synthetic_task(folder, task=TASK, episodes=1, **options)
    return folder


def _episode(demos: Path) -> PlainEpisode:
    return DemoReader(demos, "train", TASK).read(0)


def _first_chain(demos: Path) -> np.ndarray:
    """The records of frame 0 and the keyframes in the table that `sam2act train` draws from."""
    labels = frame_labels(read_episode(next(demos.rglob("episode0"))))
    table = build_transitions(0, labels, KEYFRAMES)
    return table[(table["initial_frame"] == 0) & (table["terminal"] >= 0)]


def test_columns_say_what_our_training_table_says(demos: Path) -> None:
    columns, chain = for_keyframe_policies(_episode(demos)), _first_chain(demos)
    for column, feature in TABLE.items():
        assert np.array_equal(columns[feature][chain["sample_frame"]], chain[column]), feature
    expected = [0] * 6 + [1] * 6 + [2] * 5 + [-1]
    assert columns[layout.KEYFRAME_INDEX].tolist() == expected


def test_keyframes_alone_keep_the_flag_of_the_motion(demos: Path) -> None:
    """The recorded frame before a keyframe is left out, but not what it says."""
    episode, chain = keyframes_only(_episode(demos), "episode 0"), _first_chain(demos)
    columns = for_keyframe_policies(episode)
    assert episode.length == 4 and episode.facts["keyframes"] == [1, 2, 3]
    for column in ("keyframe_index", "pose", "gripper_open", "collision_next", "collision_current"):
        assert np.array_equal(columns[TABLE[column]][:3], chain[column]), column
    whole = _episode(demos)
    for number, frame in enumerate((0, *KEYFRAMES)):
        seen, wanted = (e.image("front_rgb", n) for e, n in ((episode, number), (whole, frame)))
        assert np.array_equal(seen, wanted)
    unmarked = PlainEpisode(2, ("push",), {}, {}, lambda name, frame: np.zeros(0))
    with pytest.raises(SourceError, match="episode 7: nothing tells its keyframes"):
        keyframes_only(unmarked, "episode 7")


def test_such_data_sets_are_for_lerobot(demos: Path, tmp_path: Path) -> None:
    options = ["--from", "rlbench", "--input", str(demos), "--tasks", TASK, "--frames", "keyframes"]
    assert main([*options, "--to", "lerobot", "--output", str(tmp_path)]) == 0
    reader = LeRobotReader(tmp_path / "train" / TASK)
    assert reader.read(0).length == 4
    assert not [name for name in reader.read(0).numbers if name.startswith("keyframe")]
    source = LeRobotSource(SourceRequest(tmp_path, "train", TASK, ("front",), 4))
    with pytest.raises(SourceError, match="keyframes alone, which are for trainings in LeRobot"):
        source.facts(0)
    with pytest.raises(SystemExit):
        main([*options, "--to", "zarr", "--output", str(tmp_path)])


def test_state_is_what_environments_report(demos: Path) -> None:
    """So that policies that LeRobot trains on recordings act in our environments."""
    episode, random = _episode(demos), np.random.default_rng(0)
    numbers = {p.name: random.normal(size=(episode.length, p.size)) for p in RECORDED_STATE}
    state = for_policies(PlainEpisode(episode.length, ("push",), numbers, {}, episode.image))[
        layout.STATE
    ]
    assert np.array_equal(state, np.concatenate(list(numbers.values()), axis=1).astype(np.float32))
    without = {name: values for name, values in numbers.items() if name != "finger_joints"}
    state = for_policies(PlainEpisode(episode.length, ("push",), without, {}, episode.image))
    assert state[layout.STATE].shape == (episode.length, 8)
