"""The annotation of a key decides what its text means; the released files keep their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import changed, dump, from_dict, load_experiment, load_network, to_dict
from sam2act.config.tasks import run_name
from sam2act.config.values import read_value
from sam2act.core.errors import ConfigError

WORDS = [
    "2024_11_28",
    "2024-11-28",
    "1e3",
    "123e45",
    "007",
    "0x10",
    "12:30",
    "yes",
    "no",
    "On",
    "True",
    "None",
    "null",
    "~",
    "1.10",
    "run.1",
    "a,b",
    "(1)",
    "1_1_1",
    "+1",
    "-1",
    ".5",
    "1.",
    "=",
    "<<",
    "1:2:3",
    "0b1",
    "0o7",
    ".inf",
    "nan",
    "été",
    "'a",
]
YAML_ONLY_QUOTED = ["[a]", "{a}", "a: b", "- a", "*a", "@a", "#a", "%a", "a #b", "", " a "]


@pytest.mark.parametrize("word", WORDS)
def test_names_stay_as_typed(word: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    assert load_experiment("", f"exp_name {word}").exp_name == word
    if not word.startswith("'"):
        path.write_text(f"exp_name: {word}\n", encoding="utf-8")
        assert load_experiment(path).exp_name == word
    path.write_text(f'exp_name: "{word}"\ncameras: ["{word}", front]\n', encoding="utf-8")
    config = load_experiment(path)
    assert (config.exp_name, config.cameras) == (word, (word, "front"))
    path.write_text(dump(config), encoding="utf-8")
    assert load_experiment(path) == config == from_dict(ExperimentConfig, to_dict(config))
    assert changed(config, "bs 8").exp_name == word


@pytest.mark.parametrize("word", YAML_ONLY_QUOTED)
def test_quoted_text_stays_as_it_is(word: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"exp_name: '{word}'\n")
    assert load_experiment(path).exp_name == word


def test_quotation_marks_around_an_option_are_taken_off() -> None:
    config = load_experiment("", "exp_name '007' data_folder \"\" cameras ['1e3',\"b\"]")
    assert (config.exp_name, config.data_folder, config.cameras) == ("007", "", ("1e3", "b"))


@pytest.mark.parametrize(
    "text", ["[007,1e3,None]", "(007,1e3,None)", "007,1e3,None", "[007,1e3,None,]"]
)
def test_lists_of_names_stay_as_typed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"cameras: {text}\n")
    assert load_experiment(path).cameras == ("007", "1e3", "None")
    assert load_experiment("", f"cameras {text}").cameras == ("007", "1e3", "None")


@pytest.mark.parametrize("text", ["[1e3, b]", "1e3,b", "(1e3,b)", "\n  - 1e3\n  - b"])
def test_tasks_may_be_a_list(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"tasks: {text}\n")
    assert load_experiment(path).tasks == "1e3,b"
    assert load_experiment("", "tasks [1e3,b]").tasks == "1e3,b"


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("1e-4", float, 1e-4),
        ("1.25e-5", float, 1.25e-5),
        ("3", float, 3.0),
        (3, float, 3.0),
        ("+8", int, 8),
        ("160_000", int, 160000),
        ("True", bool, True),
        ("yes", bool, True),
        ("OFF", bool, False),
        ("None", bool | None, None),
        ("", bool | None, None),
        ("false", bool | None, False),
        (None, bool | None, None),
        ("[0., 0, 45]", tuple[float, ...], [0.0, 0.0, 45.0]),
        ("7", tuple[int, ...], [7]),
        (["1", 2], tuple[int, ...], [1, 2]),
    ],
)
def test_numbers_truth_and_nothing(value: object, annotation: object, expected: object) -> None:
    read = read_value(value, annotation)
    assert read == expected and type(read) is type(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bs: many", r"a\.yaml: bs: expected int \(a whole number\), got 'many'"),
        ("bs: 8.0", "bs: expected int"),
        ("bs: True", "bs: expected int"),
        ("bs:", "bs: expected int"),
        (f"bs: 1{'0' * 400}", "bs: expected int"),  # beyond what a float can hold
        ("bs: {a: 1}", "bs: expected int.*a section"),
        ("wandb: 1", r"wandb: expected bool \(True or False\), got '1'"),
        ("peract: {lr: fast}", r"peract\.lr: expected float"),
        ("peract: {lr: nan}", r"peract\.lr: expected float"),
        ("peract: {lr: inf}", r"peract\.lr: expected float"),
        ("peract: {betas: 3:4}", r"peract\.betas: expected float"),
        ("peract: {betas: [0.9, [0.99]]}", r"peract\.betas: expected float.*the list"),
        ("peract: 3", "peract is a section, got the value '3'"),
        ("exp_name: [a]", r"exp_name: expected str \(text\), got the list.*quotation marks"),
        ("tasks: [a, [b]]", r"tasks: expected str"),
        ("eval: {force_ignore_collisions: maybe}", "force_ignore_collisions: expected bool"),
        ("1: 2", "unknown key 1"),
    ],
)
def test_what_does_not_fit_names_the_key_and_what_was_expected(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment(path)
    assert "\n" not in str(caught.value)


def test_section_after_a_value_is_no_traceback() -> None:
    with pytest.raises(ConfigError, match="peract is a section"):
        load_experiment("", "peract 3 peract.lr 1")
    with pytest.raises(ConfigError, match="bs: expected int"):
        load_experiment("", "bs.x 3")
    with pytest.raises(ConfigError, match="unknown key"):
        load_experiment("", ". 3")


def test_empty_section_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("peract:\n  # lr: 1\nbs: 8\n")
    assert load_experiment(path) == load_experiment("", "bs 8")
    path.write_text("experiment: 3\n")
    with pytest.raises(ConfigError, match="experiment is a section"):
        load_experiment("", "", path)


# ------------------------------------------------------------------------------- names of runs
@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/a", "../a", "a\\b", "a\0b", "a\nb", "x" * 300]
)
@pytest.mark.parametrize("key", ["exp_id", "exp_name"])
def test_name_that_is_no_folder_is_refused(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        run_name(ExperimentConfig(**{key: name}))


def test_run_is_named_as_typed() -> None:
    assert run_name(load_experiment("", "exp_id 007 exp_name 2024_11_28")) == "007_2024_11_28"
    assert run_name(load_experiment("", "exp_name Prüfung-1")) == "def_Prüfung-1"


# ------------------------------------------------------------------------------ text encodings
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_yaml_with_accents_is_read_under_any_locale(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("# données\nexp_name: été\n".encode(encoding))
    assert load_experiment(path).exp_name == "été"


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("bs: 8\nexp_name: été\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a\.yaml is not UTF-8.*0xe9 in line 2.*iconv") as caught:
        load_experiment(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("bs: [1\n", "not valid yaml.*line"),
        ("bs: 1\n\tx: 2\n", "not valid yaml.*line 2"),
        ("a: b: c\n", "not valid yaml.*line 1"),
        ("bs: 1\n---\nbs: 2\n", "not valid yaml"),
        ("x: !!python/object/apply:os.getcwd []\n", "not valid yaml"),
        ("bs: \0\n", "not valid yaml"),
        ("- 1\n", "key: value"),
    ],
)
def test_broken_yaml_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inside.yaml").write_text("bs: 8\n")
    with pytest.raises(ConfigError, match=r"is a folder.*inside\.yaml"):
        load_experiment(tmp_path)
    for path in (tmp_path / "absent.yaml", tmp_path / "inside.yaml" / "x", "x" * 5000):
        with pytest.raises(ConfigError, match="no config file"):
            load_network(path)


# ------------------------------------------------------------------------------ released files
RELEASED_EXPERIMENT = """
agent: our
tasks: {tasks}
exp_id: sam2act
bs: {bs}
epochs: {epochs}
num_workers: 5
sample_distribution_mode: {mode}
demo: 100
wandb: True
peract:
  lambda_weight_l2: 1e-4
  lr: {lr}
  optimizer_type: lamb
  warmup_steps: 2000
  lr_cos_dec: True
  amp: True
  bnb: True
  transform_augmentation_xyz: [0.125, 0.125, 0.125]
  transform_augmentation_rpy: [0., 0., 45.]
  same_trans_aug_per_seq: False
rvt:
  img_aug: 0.0
  place_with_mean: False
"""
STAGE_ONE = {"tasks": "all", "bs": 8, "epochs": 90, "mode": "task_uniform", "lr": "1.25e-5"}
STAGE_TWO = {"tasks": "put_block_back", "bs": 10, "epochs": 20, "lr": "1.25e-6"}
STAGE_TWO["mode"] = "demo_uniform_temporal"


@pytest.mark.parametrize("values", [STAGE_ONE, STAGE_TWO], ids=["stage-1", "stage-2"])
def test_released_experiment_has_these_values(values: dict, tmp_path: Path) -> None:
    path = tmp_path / "released.yaml"
    path.write_text(RELEASED_EXPERIMENT.format(**values))
    found, default = to_dict(load_experiment(path)), to_dict(ExperimentConfig())
    peract, rvt = found.pop("peract"), found.pop("rvt")
    assert {key: value for key, value in found.items() if value != default[key]} == {
        "tasks": values["tasks"],
        "exp_id": "sam2act",
        "bs": values["bs"],
        "num_workers": 5,
        "sample_distribution_mode": values["mode"],
        "wandb": True,
    } | ({"epochs": 90} if values is STAGE_ONE else {})
    assert {key: value for key, value in peract.items() if value != default["peract"][key]} == {
        "lambda_weight_l2": 1e-4,
        "lr": float(values["lr"]),
        "warmup_steps": 2000,
        "lr_cos_dec": True,
        "amp": True,
        "bnb": True,
        "transform_augmentation_xyz": [0.125, 0.125, 0.125],
        "transform_augmentation_rpy": [0.0, 0.0, 45.0],
    }
    assert rvt == default["rvt"] | {"img_aug": 0.0, "place_with_mean": False}


RELEASED_NETWORK = """
depth: 8
img_size: 224
add_proprio: True
norm_corr: True
rend_three_views: True
use_point_renderer: True
inp_pre_pro: False
inp_pre_con: False
cvx_up: True
xops: True
rot_ver: 1
feat_ver: 1
img_patch_size: 14
wpt_img_aug: 0.0
stage_two: True
st_sca: 4
st_wpt_loc_aug: 0.05
st_wpt_loc_inp_no_noise: True
img_aug_2: 0.05
ifSAM2: True
lora_finetune: True
lora_r: 16
ifsep: False
resize_rgb: True
use_memory: {memory}
num_maskmem: 9
sam2_config: configs/sam2.1/sam2.1_hiera_b+.yaml
sam2_ckpt: ./mvt/sam2_train/checkpoints/sam2.1_hiera_base_plus.pt
"""


@pytest.mark.parametrize("memory", [False, True])
def test_released_network_has_these_values(memory: bool, tmp_path: Path) -> None:
    path = tmp_path / "released.yaml"
    path.write_text(RELEASED_NETWORK.format(memory=memory))
    found = load_network(path)
    preset = load_network(f"configs/mvt/sam2act{'_plus' * memory}.yaml")
    assert found.sam2_ckpt == "./mvt/sam2_train/checkpoints/sam2.1_hiera_base_plus.pt"
    assert to_dict(found) == to_dict(preset) | {"sam2_ckpt": found.sam2_ckpt}
    assert found.st_sca == 4.0 and isinstance(found.st_sca, float)
