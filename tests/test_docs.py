"""What README, CONTRIBUTING, CHANGELOG and docs/ name exists, and their commands are understood."""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.evaluate import options_from
from sam2act.cli.main import COMMANDS, main
from sam2act.core.registry import ENVS, POLICIES, SOURCES, TRANSFORMS
from sam2act.envs.embedded import tasks
from tests.doc_pages import (
    DOCS,
    PAGES,
    README,
    REPOSITORY,
    anchors,
    code,
    commands,
    links,
    named_files,
    text_of,
)

# Scripts, and the published entry points, that start a command.
STARTERS = {
    "train": "train",
    "train_plus": "train-plus",
    "eval": "eval",
    "doctor": "doctor",
    "generate_demos": "demos",
    "play_demo": "play",
    "build_store": "store",
    "convert_checkpoint": "convert",
    "download_assets": "assets",
    "predict_demo": "predict",
    "report": "report",
    "crop_demos": "crop-demos",
    "compare_recordings": "compare-recordings",
    "memory_experiment": "experiment",
}
# What scripts take their options from.
EXPERIMENTS = (
    "scripts/memory_experiment.py",
    "scripts/uva_experiment.py",
    "sam2act/experiments/scripted.py",
)
# Files of the released code, of other projects, or made by the reader.
FOREIGN = (
    "sam2act/libs/",
    "sam2act/envs/embedded/tasks/press_button",
    "sam2act/runs",
    "sam2act/sam2act",
    "configs/sam2.1/",
)
# What stands for a value of the reader.
PLACEHOLDERS = {"TASK": "put_block_back", "TASKS": "all", "N": "3", "X": "0.5", "SEED": "0"}
TASKS_FOLDER = "sam2act/envs/embedded/tasks"
NAMES = [path.stem for path in PAGES]
each_page = pytest.mark.parametrize("path", PAGES, ids=NAMES)


class Parsed(BaseException):
    """The arguments of a command were understood."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands end as soon as they have understood their arguments."""
    understand = ArgumentParser.parse_args

    def parse(self: ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        understood = understand(self, args, namespace)
        if hasattr(understood, "eval_episodes"):
            options_from(understood)  # OptionError where options contradict each other
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", parse)
    # The plug-in of docs/extending.md is not installed here.
    with ENVS.temporarily(plane="my_robotics.plane"):
        yield


def is_understood(command: str) -> bool:
    """Whether a command of this package takes these arguments; True for other programs' ones."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
    words = words[2:] if words[0] == "xvfb-run" else words
    subcommand, rest = "", words[2:]
    if words[0] == "sam2act":
        subcommand = words[1]
    elif words[:2] == ["python", "-m"] and words[2] == "sam2act":
        subcommand, rest = words[3], words[4:]
    else:
        place = next(i for i, w in enumerate(words) if re.search(r"(sam2act|scripts)[/.]\w", w))
        name = words[place].removesuffix(".py").replace("/", ".").rpartition(".")[2]
        subcommand, rest = STARTERS.get(name, ""), words[place + 1 :]
    if not subcommand or "..." in rest or not rest:
        return bool(rest) or subcommand in ("", *COMMANDS)
    try:
        main([subcommand, *rest])
    except Parsed:
        return True
    except SystemExit:
        return False
    return False


@each_page
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for file, anchor in links(text_of(path)):
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(text_of(target))):
            broken.append(f"{file}#{anchor}")
    assert broken == []


@each_page
def test_named_files_exist(path: Path) -> None:
    named = {name for name in named_files(text_of(path)) if not name.startswith(FOREIGN)}
    named = {name for name in named if not re.fullmatch(r"sam2act/\w+-v\d", name)}  # gymnasium
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def test_modules_of_contributing_exist() -> None:
    """CONTRIBUTING names modules as they lie in the package."""
    text = text_of(REPOSITORY / "CONTRIBUTING.md")
    named = set(re.findall(r"`((?:[a-z]\w*/)+\w+\.py)", text))
    roots = (REPOSITORY, REPOSITORY / "sam2act")
    assert len(named) > 20
    assert [name for name in sorted(named) if not any((r / name).exists() for r in roots)] == []


def test_rooms_of_contributing_hold_their_modules() -> None:
    text = text_of(REPOSITORY / "CONTRIBUTING.md")
    absent = []
    for room, rest in re.findall(r"^\| `([\w/]+)/` \| (.+)$", text, re.MULTILINE):
        folder = REPOSITORY / "sam2act" / room
        names = re.findall(r"`(\w+\.py)`", rest)
        absent += [f"{room}/{name}" for name in names if not (folder / name).is_file()]
    assert absent == []


@each_page
def test_commands_are_understood(path: Path, parse_only: None) -> None:
    ours = [line for line in commands(text_of(path)) if not line.startswith("bash ")]
    assert [line for line in ours if not is_understood(line)] == []


@each_page
def test_options_of_scripts_exist(path: Path) -> None:
    """Of scripts that start no command, such as benchmarks, the source names the options."""
    absent = []
    for line in commands(text_of(path)):
        script = re.search(r"scripts/[\w/]+\.(?:py|sh)", line)
        if not script or Path(script[0]).stem in STARTERS:
            continue
        sources = [REPOSITORY / script[0], REPOSITORY / "scripts/benchmarks/benchmarking.py"]
        sources += [REPOSITORY / name for name in EXPERIMENTS] + _library(script[0])
        known = "".join(text_of(source) for source in sources)
        absent += [o for o in re.findall(r" (--[\w-]+)", line) if o not in known]
    assert absent == []


def _library(script: str) -> list[Path]:
    module = REPOSITORY / "sam2act" / "cli" / Path(script).name
    return [module] if module.is_file() else []


@pytest.mark.parametrize("path", [README, *DOCS], ids=lambda path: path.stem)
def test_python_examples_import_what_there_is(path: Path) -> None:
    absent = []
    for example in code(text_of(path), "python"):
        for node in ast.walk(ast.parse(example)):
            top = str(getattr(node, "module", "")).partition(".")[0]
            if isinstance(node, ast.ImportFrom) and top == "sam2act":  # not sam2act_client
                module = importlib.import_module(str(node.module))
                absent += [a.name for a in node.names if not hasattr(module, a.name)]
    assert absent == []


def run_example(page: str, start: str) -> dict[str, Any]:
    """What the Python example of a page that contains `start` leaves behind."""
    path = README if page == "README" else REPOSITORY / "docs" / f"{page}.md"
    (example,) = [text for text in code(text_of(path), "python") if start in text]
    names: dict[str, Any] = {}
    exec(example, names)
    return names


@pytest.mark.parametrize("page", ["README", "acting"])
def test_python_example_gives_an_action(page: str) -> None:
    names = run_example(page, "PolicySession(")
    assert names["position"].shape == (3,) and names["quaternion_xyzw"].norm() == pytest.approx(1)


def test_simulator_example_moves_the_arm() -> None:
    names = run_example("simulator", "make_env(")
    position = names["result"].observation.gripper_pose[:3]
    assert position == pytest.approx([0.25, 0.0, 0.9], abs=0.003)


@pytest.fixture
def registries() -> Iterator[None]:
    """What a plug-in registers is forgotten again."""
    with contextlib.ExitStack() as stack:
        for registry in (POLICIES, SOURCES, ENVS, TRANSFORMS):
            stack.enter_context(registry.temporarily())
        yield


def test_steps_of_extending_work(
    registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that begins with the name of a file is that file; the rest runs as it stands."""
    examples = code(text_of(REPOSITORY / "docs" / "extending.md"), "python")
    files = {example.split()[1]: example for example in examples if example.startswith("# ")}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / TASKS_FOLDER)])
    importlib.import_module("my_robotics.plugin").register()

    names: dict[str, Any] = {}
    for example in examples:
        if example not in files.values():
            exec(example, names)
    assert len(files) >= 3 and len(names["demo"]) > 20
    assert names["message"] == "policy wants depth of wrist, environment gives rgb only"


def test_every_command_is_explained() -> None:
    text = text_of(REPOSITORY / "docs" / "commands.md")
    rows = dict(re.findall(r"^\| `sam2act ([\w-]+)` \| ([^|]+) \|", text, re.MULTILINE))
    assert rows == {name: command.purpose for name, command in COMMANDS.items()}
    scripts = re.findall(r"`(?:scripts|sam2act)/(\w+)\.py`", text)
    assert set(scripts) == set(STARTERS)
