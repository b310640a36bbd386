"""The tests that docs/claims.md names exist, and a clone holds what they need."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.golden_files import COMMITTED_FOLDER, committed_path
from tests.places import REPOSITORY

QUIRKS = (REPOSITORY / "docs" / "quirks.md").read_text(encoding="utf-8")
CLAIMS = (REPOSITORY / "docs" / "claims.md").read_text(encoding="utf-8")
GOLDEN_README = (COMMITTED_FOLDER / "README.md").read_text(encoding="utf-8")
FROM_DEMOS = "SAM2ACT_DEMOS_DIR"
MOST_BYTES, MOST_BYTES_OF_A_FILE = 17e6, 4e6


def table_rows(text: str, head: str) -> list[list[str]]:
    """Cells of the table whose first line starts with `head`."""
    table = text[text.index(head) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def named_tests(text: str) -> list[str]:
    """Every `tests/....py` or `tests/....py::test` of a text."""
    return re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", text)


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def golden_names(path: Path) -> set[str]:
    """Golden files that the tests of a file ask for by name."""
    source = path.read_text(encoding="utf-8")
    names = set(re.findall(r'"((?:net|renderer|data|related)_\w+\.(?:npz|json))"', source))
    lists = re.findall(r'published_list\("(\w+)"\)', source)
    return names | {f"official_state_dict_{name}.json" for name in lists}


PROVED = table_rows(CLAIMS, "| claim | tests | needs |")


def test_every_named_test_exists() -> None:
    named = named_tests(CLAIMS)
    assert len(named) > 80
    missing = []
    for name in named:
        file, _, function = name.partition("::")
        path = REPOSITORY / file
        if not path.is_file() or (function and function not in functions(path)):
            missing.append(name)
    assert missing == []


def test_every_golden_test_proves_a_claim() -> None:
    golden = {str(p.relative_to(REPOSITORY)) for p in REPOSITORY.glob("tests/*/test_golden_*.py")}
    assert golden and golden <= set(named_tests(" ".join(row[1] for row in PROVED)))


@pytest.mark.parametrize("row", PROVED, ids=lambda row: named_tests(row[1])[0].rpartition("/")[2])
def test_a_clone_holds_what_a_claim_needs(row: list[str]) -> None:
    _claim, tests, needs = row
    used: set[str] = set()
    for name in named_tests(tests):
        path = REPOSITORY / name
        used |= golden_names(path)
        asks_for_demos = "demos_dir" in path.read_text(encoding="utf-8")
        assert asks_for_demos or FROM_DEMOS not in needs, f"{name} needs no demos"
    assert used and [name for name in used if not committed_path(name).is_file()] == []
    assert needs == "a clone" or FROM_DEMOS in needs


def test_every_quirk_has_a_test() -> None:
    quirks = table_rows(QUIRKS, "| published behaviour | default here | option |")
    quirks = [row for row in quirks if row[1]]  # without headings
    shown = table_rows(CLAIMS, "| quirk | shown by |")
    assert len(shown) == len(quirks), "docs/claims.md has one row for each quirk of docs/quirks.md"
    assert all(named_tests(row[1]) for row in shown)
    first = [re.findall(r"[NR]\d+", row[0])[:1] for row in quirks]
    assert [re.findall(r"[NR]\d+", row[0])[:1] for row in shown] == first


def test_golden_folder_is_small_and_described() -> None:
    files = [path for path in COMMITTED_FOLDER.iterdir() if path.name != "README.md"]
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) < MOST_BYTES and max(sizes) < MOST_BYTES_OF_A_FILE
    patterns = [
        re.escape(name).replace(r"\*", r"\w+")
        for name in re.findall(r"`([\w*.]+\.(?:npz|json|json\.gz))`", GOLDEN_README)
    ]
    short = re.findall(r"`\.\.\.(_\w+\.npz)`", GOLDEN_README)
    undescribed = [
        path.name
        for path in files
        if not any(re.fullmatch(pattern, path.name) for pattern in patterns)
        and not path.name.endswith((*short, "data_open_drawer.npz"))
    ]
    assert undescribed == []
