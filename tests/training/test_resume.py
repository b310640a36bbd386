"""A request is compared with the run that it would continue or start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.core.tasks import RLBENCH_TASKS
from sam2act.policies.checkpoint import read_checkpoint
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from sam2act.training.resume import (
    MAY_CHANGE,
    SEEN_BY_THE_NETWORK,
    check_earlier_stage,
    check_resume,
    requested,
)
from tests.golden_files import plain_id
from tests.training import tiny_run

ONE_EPOCH = "epochs 1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with demonstrations and a run of one epoch."""
    folder = tmp_path_factory.mktemp("finished")
    tiny_run.write_demos(folder)
    assert tiny_run.run(folder, ONE_EPOCH) == 0
    return folder


@pytest.fixture
def folder(finished: Path):
    """The finished run; what a test makes of it is undone."""
    run = tiny_run.run_folder(finished)
    shutil.copytree(run, finished / "kept")
    yield finished
    shutil.rmtree(run)
    (finished / "kept").rename(run)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("more", "network", "said"),
    [
        ("tasks close_jar", "", "tasks open_drawer -> close_jar"),
        ("bs 2", "", "bs 4 -> 2"),
        ("seed 5", "", "seed 0 -> 5"),
        ("demo 1", "", "demo 2 -> 1"),
        ("cameras [front]", "", "cameras [front,wrist] -> [front]"),
        ("image_size 32", "", "image_size 16 -> 32"),
        ("peract.lr 1e-6", "", "peract.lr 0.00025 -> 1e-06"),
        ("peract.optimizer_type lamb", "", "peract.optimizer_type adamw -> lamb"),
        ("train_iter 24", "", "train_iter 12 -> 24"),
        ("", "activation relu", "activation lrelu -> relu"),
        ("", "data.points 100", "data.points 0 -> 100"),
    ],
    ids=plain_id,
)
@pytest.mark.parametrize("epochs", [1, 3])
def test_other_values_are_refused_and_nothing_is_written(
    folder: Path, capsys, more: str, network: str, said: str, epochs: int
) -> None:
    before = _contents(folder)
    assert tiny_run.run(folder, f"epochs {epochs} {more}", network) == 2
    message = capsys.readouterr().err
    assert said in message and "model_last.pth" in message
    assert "exp_name" in message and "--init-from" in message and message.count("\n") == 1
    assert _contents(folder) == before


def test_finished_run_is_left_as_it_is(folder: Path, caplog) -> None:
    before = _contents(tiny_run.run_folder(folder))
    assert tiny_run.run(folder, f"{ONE_EPOCH} log_every 2") == 0
    assert "log_every 1 -> 2" in caplog.text and "nothing to do" in caplog.text
    assert _contents(tiny_run.run_folder(folder)) == before


def test_more_epochs_continue_and_are_told(folder: Path, caplog) -> None:
    assert tiny_run.run(folder, "epochs 2") == 0
    assert "epochs 1 -> 2" in caplog.text and "cosine of 2 epochs" in caplog.text
    run = tiny_run.run_folder(folder)
    assert yaml.safe_load((run / "exp_cfg.yaml").read_text())["epochs"] == 2
    assert read_checkpoint(run / "model_last.pth")["extra"]["step"] == 6
    assert tiny_run.run(folder, ONE_EPOCH) == 2  # fewer than are done


def test_config_is_written_with_the_first_own_checkpoint(folder: Path, monkeypatch) -> None:
    run = tiny_run.run_folder(folder)
    before = (run / "exp_cfg.yaml").read_text()

    def fail(*_args, **_options) -> None:
        raise OSError(28, "No space left on device", "model_1.pth")

    monkeypatch.setattr("sam2act.training.checkpointer.save_checkpoint", fail)
    assert tiny_run.run(folder, "epochs 2") == 2
    assert (run / "exp_cfg.yaml").read_text() == before


def test_equal_samples_per_update_may_be_divided_otherwise(folder: Path, caplog) -> None:
    assert tiny_run.run(folder, "epochs 2 bs 2 peract.grad_accumulation 2") == 0
    assert "bs 4 -> 2" in caplog.text


def test_other_number_of_processes_is_compared(finished: Path) -> None:
    path = tiny_run.run_folder(finished) / "model_last.pth"
    content = read_checkpoint(path)
    configs = tiny_run.configs(finished, ONE_EPOCH)
    assert check_resume(path, content, *configs, processes=1) == []
    with pytest.raises(ConfigError, match="processes 1 -> 2"):
        check_resume(path, content, *configs, processes=2)
    half = tiny_run.configs(finished, f"{ONE_EPOCH} bs 2")
    check_resume(path, content, *half, processes=2)


def test_other_demonstrations_are_refused(folder: Path, tmp_path: Path, capsys) -> None:
    tiny_run.write_demos(tmp_path, seed=77)
    more = f"epochs 2 data_folder {tmp_path}/demos store_folder {tmp_path}/store"
    assert tiny_run.run(folder, more) == 2
    assert "other demonstrations of open_drawer" in capsys.readouterr().err


def test_lost_last_checkpoint_is_replaced_by_the_latest(folder: Path, caplog) -> None:
    run = tiny_run.run_folder(folder)
    (run / "model_last.pth").unlink()
    assert tiny_run.run(folder, f"{ONE_EPOCH} seed 4") == 2
    assert tiny_run.run(folder, "epochs 2") == 0
    assert "resuming" in caplog.text and "model_0.pth" in caplog.text


def test_weights_asked_for_must_be_those_the_run_started_from(folder: Path, capsys) -> None:
    first = tiny_run.run_folder(folder) / "model_last.pth"
    flags = (f"--init-from={first}",)
    assert tiny_run.run(folder, "epochs 2", flags=flags) == 2
    assert "started from fresh weights" in capsys.readouterr().err
    try:
        assert tiny_run.run(folder, f"{ONE_EPOCH} exp_name tuned", flags=flags) == 0
        assert tiny_run.run(folder, "epochs 2 exp_name tuned", flags=flags) == 0
    finally:
        shutil.rmtree(tiny_run.run_folder(folder, "tuned"))


def test_resume_from_elsewhere_does_not_replace_another_run(folder: Path, capsys) -> None:
    other = "exp_name other seed 3 epochs 1"
    assert tiny_run.run(folder, other) == 0
    path = tiny_run.run_folder(folder, "other") / "model_last.pth"
    assert tiny_run.run(folder, f"seed 3 epochs 2 resume {path}") == 2
    assert "seed 0 -> 3" in capsys.readouterr().err
    shutil.rmtree(path.parent)


def test_released_checkpoint_is_compared_with_the_yaml_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model_5.pth"
    content = {"model_state": {"a": torch.zeros(1)}, "epoch": 5}
    experiment = load_experiment("configs/sam2act.yaml")
    network = load_network("configs/mvt/sam2act.yaml")
    check_resume(path, content, experiment, network, processes=8)  # nothing is known
    (tmp_path / "exp_cfg.yaml").write_text("tasks: close_jar\nseed: 0\nperact:\n  lr: 1.0e-3\n")
    (tmp_path / "mvt_cfg.yaml").write_text(Path("configs/mvt/sam2act.yaml").read_text())
    with pytest.raises(ConfigError, match=r"tasks close_jar -> all, peract.lr 0.001") as raised:
        check_resume(path, content, experiment, network, processes=8)
    assert "depth" not in str(raised.value)
    (tmp_path / "exp_cfg.yaml").write_text(f"tasks: {', '.join(RLBENCH_TASKS)}\n")
    check_resume(path, content, experiment, network, processes=8)  # the request says: all


def test_checkpoint_of_another_stage_is_refused(folder: Path, capsys) -> None:
    path = tiny_run.run_folder(folder) / "model_last.pth"
    content = torch.load(path, weights_only=True)
    assert content["extra"]["stage"] == 1
    other = path.with_name("model_7.pth")  # its name does not tell the stage
    torch.save(content | {"extra": content["extra"] | {"stage": 2}}, other)
    try:
        assert tiny_run.run(folder, f"epochs 2 resume {other}") == 2
    finally:
        other.unlink()
    message = capsys.readouterr().err
    assert f"{other}: is a checkpoint of stage 2, this is stage 1; continue it with" in message


def test_stage_two_needs_the_network_and_inputs_of_stage_one(finished: Path) -> None:
    path = tiny_run.run_folder(finished) / "model_last.pth"
    content = read_checkpoint(path)
    memory = "use_memory True num_maskmem 3 memory_mask_size 4"
    experiment, network = tiny_run.configs(finished, "epochs 9 bs 8 peract.lr 1e-6", memory)
    assert check_earlier_stage(path, content, experiment, network, same_run=True) == []
    for more, more_network, said in (
        ("cameras [front]", "", "cameras"),
        ("scene_bounds [0,0,0,1,1,1]", "", "scene_bounds"),
        ("", "st_sca 2.0", "st_sca 4.0 -> 2.0"),
    ):
        configs = tiny_run.configs(finished, more, f"{memory} {more_network}")
        with pytest.raises(ConfigError, match=said):
            check_earlier_stage(path, content, *configs, same_run=False)
    others = tiny_run.configs(finished, "tasks close_jar", memory)
    with pytest.raises(ConfigError, match="tasks open_drawer -> close_jar"):
        check_earlier_stage(path, content, *others, same_run=True)
    (said,) = check_earlier_stage(path, content, *others, same_run=False)
    assert said.key == "tasks"


def test_shipped_stage_two_configs_fit_those_of_stage_one() -> None:
    for name in ("sam2act", "sam2act_corrected", "tiny"):
        plus = name.replace("sam2act", "sam2act_plus") if "sam2act" in name else "tiny_plus"
        first = load_experiment(f"configs/{name}.yaml", "tasks put_block_back")
        content = {
            "model_state": {},
            "extra": {
                "experiment": yaml.safe_load(yaml.safe_dump(_plain(first))),
                "network": _plain(load_network(f"configs/mvt/{name}.yaml")),
            },
        }
        experiment = load_experiment(f"configs/{plus}.yaml")
        network = load_network(f"configs/mvt/{plus}.yaml")
        found = check_earlier_stage(Path("x.pth"), content, experiment, network, same_run=True)
        assert found == [], name


def _plain(config):
    from sam2act.config.load import to_dict

    return to_dict(config)


def test_tables_name_real_keys() -> None:
    from fnmatch import fnmatch

    keys = requested(load_experiment(), load_network("configs/mvt/sam2act.yaml"))
    own = (*SAM2ActPolicy.may_change, *SAM2ActPolicy.may_change_between_stages)
    for pattern in (*MAY_CHANGE, *own, *SEEN_BY_THE_NETWORK):
        assert any(fnmatch(key, pattern) for key in keys), pattern
