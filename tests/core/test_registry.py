"""Components by name, and those that other distributions register."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sam2act.core.errors import ConfigError, UserError
from sam2act.core.registry import (
    ENCODERS,
    ENVS,
    EXECUTORS,
    POLICIES,
    RENDERERS,
    TRANSFORMS,
    Plugins,
    Registry,
)
from tests.places import REPOSITORY

ALL = {
    "encoders": ENCODERS,
    "envs": ENVS,
    "executors": EXECUTORS,
    "policies": POLICIES,
    "renderers": RENDERERS,
    "transforms": TRANSFORMS,
}


def no_plugins() -> Plugins:
    return Plugins("sam2act.no_such_group")


def registry() -> Registry:
    return Registry("math.kind", {"root": "math:sqrt", "module": "math"}, no_plugins())


def test_components_are_imported_when_they_are_used() -> None:
    import math

    kinds = registry()
    kinds.add("later", "no_such_module:THING")
    assert kinds.names() == ("root", "module", "later")
    assert kinds.get("root") is math.sqrt and kinds.get("module") is math
    kinds.check("later")  # imports nothing
    with pytest.raises(ImportError, match="no_such_module"):
        kinds.get("later")


@pytest.mark.parametrize("name", ["rot", "nothing", ""])
def test_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=f"^math.kind: {name!r} is not one of root, module") as e:
        registry().get(name)
    assert str(e.value).endswith("did you mean root?") == (name == "rot")


def test_a_taken_name_is_refused() -> None:
    kinds = registry()
    kinds.add("root", "math:sqrt")  # the same once more
    with pytest.raises(ConfigError, match="math.kind: 'root' is taken by math:sqrt; choose"):
        kinds.add("root", "math:cbrt")


def test_temporary_components_are_forgotten() -> None:
    kinds = registry()
    with kinds.temporarily(name="keyword:iskeyword"):
        kinds.add("another", "keyword:kwlist")
        assert kinds.names() == ("root", "module", "name", "another")
        assert kinds.get("name")("with")
    assert kinds.names() == ("root", "module")


@pytest.mark.parametrize("kind", ALL)
def test_own_components_exist(kind: str) -> None:
    for name in ALL[kind].names():
        if kind == "renderers" and name in ("pytorch3d", "triton"):
            continue  # optional packages
        assert ALL[kind].get(name) is not None


# ------------------------------------------------------------------------------------- plug-ins
PLUGIN = """
from sam2act.core.registry import ENCODERS, ENVS, EXECUTORS, RENDERERS

print("registering")

def register():
    ENCODERS.add("letters", "outsider:build_letters")
    EXECUTORS.add("last", "outsider:LastExecutor")
    RENDERERS.add("slow", "sam2act.rendering.splat_torch")
    ENVS.add("table", "outsider:Table")

def build_letters(config, lang_len, lang_dim):
    from sam2act.language.text_encoder import HashedTextEncoder

    encoder = HashedTextEncoder(lang_len, lang_dim)
    encoder.family = encoder.name = "letters"
    return encoder

class LastExecutor:
    def __init__(self, policy, back=1):
        self.policy, self.back = policy, back

class Table:
    def tasks():
        return ["lay"]

    def make_env(config):
        return "an environment of " + config.task

    def check_task(name):
        if name != "lay":
            raise ValueError("table knows lay only")

    def tasks():
        return None

    def variation_count(task):
        return 3
"""


def distribution(folder: Path, name: str, entry_points: str, modules: dict[str, str]) -> None:
    """Write what an installation of a distribution leaves behind."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sam2act.plugins]\n{entry_points}\n")
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)


def python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` where the distributions of `folder` are installed."""
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a distribution that registers one component of every kind."""
    distribution(tmp_path, "outsider", "mine = outsider:register", {"outsider": PLUGIN})
    return tmp_path


def test_components_of_another_distribution_are_used_by_name(outside: Path) -> None:
    run = python(
        outside,
        """
        from sam2act.config.experiment import LanguageConfig
        from sam2act.envs.base import EnvConfig
        from sam2act.envs.registry import check_task, get_backend, make_env
        from sam2act.cli.evaluate import build_parser
        from sam2act.language.text_encoder import build_text_encoder
        from sam2act.policies.executors import build_executor
        from sam2act.rendering.backends import backend_names, select_backend

        encoder = build_text_encoder(LanguageConfig("letters"), 3, 4)
        print(encoder.name, tuple(encoder.encode(["go"]).shape))
        executor = build_executor("last(back=2)", "policy")
        print(type(executor).__name__, executor.policy, executor.back)
        check_task("table", "lay")
        variations = get_backend("table").variation_count("lay")
        print(make_env(EnvConfig("lay", backend="table")), variations)
        print(build_parser().parse_args(["--backend", "table"]).backend)
        import torch
        print(backend_names()[-1], select_backend("slow", torch.zeros(1, 1, 3)).__name__)
        """,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "registering",  # once
        "letters (1, 3, 4)",
        "LastExecutor policy 2",
        "an environment of lay 3",
        "table",
        "slow sam2act.rendering.splat_torch",
    ]


def test_plug_ins_are_loaded_at_the_first_need(outside: Path) -> None:
    run = python(
        outside,
        """
        from sam2act.config.experiment import ExperimentConfig
        from sam2act.core.registry import ENCODERS, ENVS
        ExperimentConfig(), ENVS.get("embedded")
        print("so far without")
        ENCODERS.names(), ENVS.names()
        """,
    )
    assert run.stdout.splitlines() == ["so far without", "registering"], run.stderr


def test_unknown_task_of_a_plug_in_is_its_own_error(outside: Path) -> None:
    (outside / "run").mkdir()
    (outside / "run" / "model_last.pth").write_bytes(b"not read")
    run = python(
        outside,
        """
        import sys
        from sam2act.cli.evaluate import main
        sys.exit(main(["--model-folder", "run", "--model-name", "model_last.pth", "--tasks",
                       "other", "--backend", "table", "--seed", "1"]))
        """,
    )
    assert run.returncode == 2
    assert "table knows lay only" in run.stderr and len(run.stderr.splitlines()) == 1, run.stderr


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("broken:register", "ImportError: two lines"),
        ("absent_module:register", "ModuleNotFoundError: No module named 'absent_module'"),
        ("broken2:register", "ConfigError: language.encoder: 'clip' is taken"),
    ],
)
def test_a_broken_plug_in_is_one_line_that_names_its_owner(
    outside: Path, target: str, cause: str
) -> None:
    modules = {
        "broken": "raise ImportError('two\\nlines')",
        "broken2": "from sam2act.core.registry import ENCODERS\n"
        "def register():\n    ENCODERS.add('clip', 'a:b')",
    }
    distribution(outside, "ruin", f"bad = {target}", modules)
    run = python(
        outside,
        """
        from sam2act.core.registry import ENCODERS
        print(ENCODERS.names())
        try:
            ENCODERS.get("wanted")
        except ValueError as error:
            print(error)
        """,
    )
    assert run.returncode == 0, run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"plug-in bad ({target}) of ruin cannot be loaded: {cause}")
    *_, names, error = run.stdout.splitlines()
    known = (*ENCODERS.names(), "letters")
    assert names == str(known)  # others are not harmed
    assert f"'wanted' is not one of {', '.join(known)}" in error and error.endswith(line)


def test_a_module_may_register_by_itself(tmp_path: Path) -> None:
    source = "from sam2act.core.registry import EXECUTORS\nEXECUTORS.add('mine', 'math:sqrt')"
    distribution(tmp_path, "alone", "a = alone", {"alone": source})
    run = python(tmp_path, "import sam2act.core.registry as r; print(r.EXECUTORS.names()[-1])")
    assert run.stdout == "mine\n", run.stderr
