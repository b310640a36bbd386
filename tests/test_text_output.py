"""Texts survive terminals, locales and files of other encodings."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.status import run_command
from sam2act.runtime.console import make_output_safe
from tests.places import REPOSITORY

SOURCES = sorted([*(REPOSITORY / "sam2act").rglob("*.py"), *(REPOSITORY / "scripts").rglob("*.py")])
ENTRY_POINTS = [
    path
    for path in SOURCES
    if 'if __name__ == "__main__"' in (text := path.read_text("utf-8"))
    and '"""Starter of' not in text  # what it starts is in this list itself
    and not re.search(r"^from sam2act.cli.\w+ import main", text, re.MULTILINE)  # nor a thin file
]
OTHER_OPEN = ("av.open", "library('av').open", "Image.open")  # of packages, which open no text
PROCESSES = {"run", "Popen", "call", "check_call", "check_output"}
ASCII_ONLY = {
    **{"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"},
    **{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(REPOSITORY)},
}


def _name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_letters_that_the_terminal_lacks_are_replaced(monkeypatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    make_output_safe()
    print("“put the cup” 50 ± 3 % 1.5° … ü \udcff", flush=True)
    expected = '"put the cup" 50 +- 3 % 1.5 degrees ... \\xfc \\udcff\n'
    assert written.getvalue().decode("ascii") == expected


def test_letters_that_the_terminal_has_stay(monkeypatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    make_output_safe()
    print("“ü” ±", flush=True)
    assert written.getvalue().decode("utf-8") == "“ü” ±\n"


@pytest.mark.parametrize("path", ENTRY_POINTS, ids=_name)
def test_every_entry_point_prints_safely(path: Path) -> None:
    """Its main function begins with it, or leaves parsing and work to those that do."""
    source = path.read_text(encoding="utf-8")
    functions = {
        node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
    }
    main = functions["main"]
    first = main.body[1 if ast.get_docstring(main) else 0]
    called = {
        node.func.id
        for node in ast.walk(main)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    shared = called & {"run_command", "train"}  # `train` of cli/training.py is a `run_command`
    assert shared or ast.unparse(first) == "make_output_safe()", _name(path)


def test_commands_and_their_help_print_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    for printing in (
        lambda: run_command(lambda: print("“a”", flush=True) or 0),
        lambda: ArgumentParser(prog="x", description="“a”").print_help(),
    ):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
        printing()
        sys.stdout.flush()
        assert '"a"' in written.getvalue().decode("ascii")


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("sam2act/train.py", ["--mvt_cfg_path", "configs/mvt/tiny.yaml", "--exp_cfg_opts"]),
        ("scripts/build_store.py", ["--store-folder", "store", "--data-folder"]),
        ("scripts/report.py", ["--output", "page", "--runs"]),
    ],
)
def test_ascii_terminals_get_the_message(tmp_path: Path, program: str, flags: list[str]) -> None:
    odd = str(tmp_path / "dé“mos")
    last = f"data_folder {odd} tasks x language.encoder hashed" if "opts" in flags[-1] else odd
    if program.endswith("report.py"):
        flags, last = [], odd
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / program), *flags, last],
        cwd=tmp_path,
        env={**os.environ, **ASCII_ONLY},
        capture_output=True,
    )
    said = (done.stdout + done.stderr).decode("ascii")
    assert done.returncode in (1, 2) and "Traceback" not in said, said
    assert "no such" in said and "mos" in said


def _without_encoding(tree: ast.Module) -> Iterator[int]:
    """Lines that open a text file without naming its encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg for keyword in node.keywords}
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
        modes = [t for t in texts if isinstance(t, str) and t and set(t) <= set("rwaxbt+")]
        opens = function == "open" or (method == "open" and bool(modes))
        as_text = opens and not any("b" in mode for mode in modes)
        as_text = as_text and f"{ast.unparse(node.func)}" not in OTHER_OPEN
        as_text |= method == "write_text" or (method == "read_text" and not node.args)
        if {function, method} & PROCESSES:
            as_text |= bool(named & {"text", "universal_newlines"})
        if as_text and "encoding" not in named:
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_text_files_name_their_encoding(path: Path) -> None:
    lines = list(_without_encoding(ast.parse(path.read_text(encoding="utf-8"))))
    assert lines == [], f"{_name(path)}: add encoding='utf-8'"


@pytest.mark.parametrize(
    "source",
    ["p.read_text()", "open(p)", "open(p, 'a')", "p.open('w')", "run(c, text=True)"],
)
def test_the_rule_catches(source: str) -> None:
    assert list(_without_encoding(ast.parse(source))) == [1]


def test_the_rule_permits() -> None:
    fine = "open(p, 'rb')\nImage.open(p)\nKeyframeStore.open(a, 'train')\np.read_text('utf-8')"
    assert list(_without_encoding(ast.parse(fine))) == []
