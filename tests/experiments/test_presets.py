"""Presets are found by the names of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.config import files
from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.experiments import presets
from sam2act.experiments.presets import Preset, choose_presets, image_size, preset_names, read


def test_pairs_of_files_are_presets() -> None:
    names = preset_names()
    assert {"tiny", "tiny_plus", "sam2act", "sam2act_plus", "sam2act_corrected"} <= set(names)
    assert "sam2act_plus_paper" not in names, "it has no network file of its own"


def test_a_second_stage_names_the_first_one_and_its_task_files() -> None:
    plain, plus = choose_presets(["tiny", "tiny_plus"])
    assert (plain.first_stage, plain.stage, plain.task_file("put_block_back")) == ("", 1, "")
    assert (plus.first_stage, plus.stage) == ("tiny", 2)
    assert plus.task_file("put_block_back") == "configs/tasks/tiny_put_block_back.yaml"
    assert plus.task_file("close_jar") == ""
    corrected = read("sam2act_plus_corrected")
    assert corrected.first_stage == "sam2act_corrected", "over that of the file it builds upon"
    assert corrected.task_file("rearrange_block") == "configs/tasks/rearrange_block.yaml"


def test_the_first_task_file_that_exists_is_taken() -> None:
    plus = choose_presets(["sam2act_plus"])[0]
    assert plus.task_file("reopen_drawer") == "configs/tasks/reopen_drawer_v1.yaml"
    assert plus.task_file("put_block_back") == "configs/tasks/put_block_back.yaml"
    assert plus.task_file("close_jar") == ""


def test_every_second_stage_is_known_as_one() -> None:
    for preset in choose_presets(["*"]):
        assert (preset.stage == 2) == ("_plus" in preset.name), preset


def test_policies_of_frames_say_so_and_keep_their_image_size() -> None:
    for preset in choose_presets(["*"]):
        network = load_network(f"configs/mvt/{preset.name}.yaml")
        of_frames = network.policy == "cogact" or getattr(network, "gives_chunks", False)
        assert preset.of_frames == of_frames, preset
    small = read("small_cogact")
    assert (small.images, small.image_size) == ("all", 96), "over those of the file it builds upon"
    assert read("tiny").image_size == 0
    assert image_size([small]) == image_size([small, read("tiny")]) == 64, "of the others alone"


def test_other_sources_are_left_out_of_patterns() -> None:
    assert not {"cogact", "uva_pusht", "tiny_state_pusht"} & set(preset_names())
    with pytest.raises(ConfigError, match="--presets tiny_uva_pusht: .* learn from source zarr"):
        choose_presets(["tiny_uva_pusht"])


def test_an_executor_follows_the_name() -> None:
    plain, ensemble, again = choose_presets(
        ["tiny_cogact", "tiny_cogact@adaptive_ensemble(7, alpha=0.1)", "tiny_*unk@open_loop(k=8)"]
    )
    assert plain.label == "tiny_cogact" and plain.mark == ""
    assert ensemble.name == plain.name and ensemble.executor == "adaptive_ensemble(7,alpha=0.1)"
    assert ensemble.label == "tiny_cogact@adaptive_ensemble(7,alpha=0.1)"
    assert ensemble.mark == "@adaptive_ensemble_7_alpha=0.1"
    assert (again.name, again.mark) == ("tiny_chunk", "@open_loop_k=8")
    for executor in ("", "opn_loop(8)", "adaptive_ensemble", "open_loop(k=8", "open_loop(n=8)"):
        with pytest.raises(ConfigError, match="executor"):
            choose_presets([f"tiny_cogact@{executor}"])


def test_the_section_is_no_key_of_the_experiment() -> None:
    assert load_experiment("configs/tiny_plus.yaml").epochs == 10


def test_patterns_choose_each_preset_once() -> None:
    names = [preset.name for preset in choose_presets(["tiny_plus", "tiny*"])]
    assert names[:2] == ["tiny_plus", "tiny"] and len(set(names)) == len(names)
    with pytest.raises(ConfigError, match="--presets tinny: no pair .* there are .*tiny_plus"):
        choose_presets(["tinny"])


def test_cameras_are_as_large_as_the_widest_views_need() -> None:
    assert image_size(choose_presets(["tiny", "tiny_plus"])) == 64
    assert image_size([read("tiny"), read("sam2act")]) == 128


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configurations of its own."""
    (tmp_path / "mvt").mkdir()
    for module in (files, presets):
        monkeypatch.setattr(module, "config_folders", lambda: [tmp_path])
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    for path in (folder / f"{name}.yaml", folder / "mvt" / f"{name}.yaml"):
        path.write_text(text if path.parent == folder else "")


def test_a_new_pair_needs_no_table(folder: Path) -> None:
    write(folder, "mine", "bs: 2\n")
    assert choose_presets(["mine"]) == [Preset("mine")] and preset_names() == ["mine"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset:\n  first_stages: mine\n", "unknown key preset.first_stages; there are first_st"),
        ("preset:\n  executor: single\n", "unknown key preset.executor"),
        ("preset:\n  images: some\n", "preset.images: 'some' is not one of 'keyframes', 'all'"),
        ("source: zarr\n", "learn from source zarr, and demonstrations are recorded in the emb"),
        ("preset: mine\n", "preset is a section"),
        ("preset:\n  first_stage: second\n", "preset.first_stage second is itself a second stage"),
        ("preset:\n  first_stage: wrong\n", "preset.first_stage names itself"),
        ("preset:\n  first_stage: absent\n", "no config file absent.yaml"),
    ],
)
def test_mistakes_name_the_file_or_key(folder: Path, text: str, message: str) -> None:
    write(folder, "mine", "")
    write(folder, "second", "preset:\n  first_stage: mine\n")
    write(folder, "wrong", text)
    with pytest.raises(ConfigError, match=message):
        choose_presets(["wrong"])
