"""What docs/rlbench.md and the container file name exists."""

from __future__ import annotations

import re
import shlex

from sam2act.cli.evaluate import build_parser
from tests.places import REPOSITORY

TEXT = (REPOSITORY / "docs/rlbench.md").read_text()


def test_default_source_is_that_of_the_script() -> None:
    script = (REPOSITORY / "scripts/install_rlbench.sh").read_text()
    repository = re.search(r"^PUBLISHED=(\S+)$", script, re.MULTILINE)
    folder = re.search(r"^PUBLISHED_FORKS=(\S+)$", script, re.MULTILINE)
    assert repository and folder
    row = f"| `{repository[1]}`, folder `{folder[1]}/RLBench` (default) | all 21 |"
    assert row in TEXT


def test_evaluation_commands_are_understood() -> None:
    joined = TEXT.replace("\\\n", " ")
    commands = re.findall(r"^xvfb-run -a python sam2act/eval\.py (.*)$", joined, re.MULTILINE)
    parsed = [build_parser().parse_args(shlex.split(command)) for command in commands]
    assert len(parsed) == 2 and all(args.backend == "rlbench" and args.headless for args in parsed)
    assert [args.ground_truth for args in parsed] == [False, True]


def test_it_says_what_was_not_run() -> None:
    assert "not run on coppeliasim" in TEXT.lower()


def test_container_passes_settings_of_the_script() -> None:
    container = (REPOSITORY / "containers/rlbench.Dockerfile").read_text()
    script = (REPOSITORY / "scripts/install_rlbench.sh").read_text()
    settings = re.findall(r"^ARG (\w+)", container, re.MULTILINE)
    assert len(settings) == 11
    for setting in settings:
        assert setting in script, setting
    requirements = (REPOSITORY / "requirements/rlbench.txt").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", requirements)) == set(settings[2:])
