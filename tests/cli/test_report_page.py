"""The page of the report: one file with films, commands that repeat it, and nothing hostile."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sam2act.cli.training import build_parser as training_parser
from tests.cli.report_pages import Reader, embedded, report, write_run
from tests.evaluation.evaluated_runs import episode, write_description, write_rows

HOSTILE = "<script>alert('x')</script> \"quoted\" & <img src=http://example.org/x.png>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "tiny_run")


def test_page_has_its_parts_in_reading_order(run: Path) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", report(run).page)
    assert headings == [
        "Success",
        "Figures",
        "Success per variation",
        "Causes of failure",
        "The moment memory is learned",
        "Training curves",
        "Films",
        "How to repeat it",
    ]


# ---------------------------------------------------------------------------------- films
def test_a_success_and_a_failure_per_method_are_embedded(run: Path) -> None:
    page = report(run)
    assert embedded(page) == [
        "data:video/mp4;base64,bW9kZWxfbGFzdCB3aW5z",  # model_last wins
        "data:video/mp4;base64,bW9kZWxfbGFzdCBzZWNvbmQ=",  # model_last second
        "data:video/mp4;base64,bW9kZWxfcGx1c19sYXN0IHdpbnM=",  # model_plus_last wins
    ]
    assert page.text("SAM2Act, put_block_back, episode 1") == (
        "SAM2Act, put_block_back, episode 1, variation 1: failure (timeout) after 25 steps. "
        "“move the block”"
    )


def test_films_beyond_the_limit_are_left_out(run: Path) -> None:
    big = run / "eval" / "none" / "model_last" / "videos" / "0.mp4"
    big.write_bytes(bytes(900_000))  # 1.2 MB as text
    page = report(run, "--video-megabytes", 1)
    assert len(embedded(page)) == 2 and f"{big} (1.2 MB)" in page.text("Left out")
    assert (run / "report.html").stat().st_size < 1_000_000


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "image/gif"), (".webp", "image/webp")])
def test_animations_are_pictures(tmp_path: Path, suffix: str, kind: str) -> None:
    folder = tmp_path / "eval" / "none" / "model_last"
    write_rows(folder, [episode("put_block_back", 0, 1, video=f"film{suffix}")])
    (folder / f"film{suffix}").write_bytes(b"film")
    assert embedded(report(tmp_path)) == [f"data:{kind};base64,ZmlsbQ=="]


@pytest.mark.parametrize("path", ["../../../secret.mp4", "absent.mp4", "rows.txt"])
def test_other_files_are_never_embedded(tmp_path: Path, path: str) -> None:
    run = tmp_path / "run"
    folder = run / "eval" / "none" / "model_last"
    write_rows(folder, [episode("put_block_back", 0, 1, video=path)])
    (run / "secret.mp4").write_bytes(b"secret")
    (folder / "rows.txt").write_bytes(b"rows")
    assert (folder / "../../../secret.mp4").is_file()
    assert embedded(report(run)) == []


# ---------------------------------------------------------------------------- reproduction
def commands(page: Reader) -> list[list[str]]:
    found = [text for text in page.texts if text.startswith("python -m ")]
    return [shlex.split(text.replace("\\\n", "")) for text in found]


def test_training_commands_are_those_of_the_run(run: Path) -> None:
    first, second = commands(report(run))[:2]
    assert first[2] == "sam2act.train" and second[2] == "sam2act.train_plus"
    args = training_parser("").parse_args(first[3:])
    assert (args.exp_cfg_path, args.exp_cfg_opts) == ("configs/tiny.yaml", "bs 4 seed 0")
    assert args.refresh_replay and (args.log_dir, args.device) == ("runs", "0")


def test_origin_of_the_figures(run: Path) -> None:
    page = report(run)
    assert page.table("method", "evaluation")[1] == [
        "SAM2Act+",
        "none",
        "model_plus_last.pth",
        "80",
        "0123456789abcdef",
        "2026-01-31",
    ]
    assert ["torch", "2.13.0", "SAM2Act, SAM2Act+"] in page.table("package", "version")
    assert ["machine", "two cores", "SAM2Act, SAM2Act+"] in page.table("package", "version")
    assert ["episode_length", "25", "25"] in page.table("setting", "SAM2Act", "SAM2Act+")


def test_differences_from_the_published_configuration(run: Path) -> None:
    tables = [t for t in report(run).tables if t[0] == ["key", "published", "tiny_run"]]
    first, second = (dict((row[0], row[1:]) for row in table[1:]) for table in tables)
    assert first["peract.optimizer_type"] == ["lamb", "adamw"]
    assert first["img_size"] == ["224", "64"] and "use_memory" not in first
    assert second["num_maskmem"] == ["9", "11"]
    assert "seed" not in first  # as published


# --------------------------------------------------------------------------------- safety
def test_page_is_one_file_and_escapes_everything(tmp_path: Path) -> None:
    folder = tmp_path / "eval" / HOSTILE.replace("/", "|") / "model_last"
    hostile = {"instruction": HOSTILE, "message": HOSTILE, "failure": HOSTILE, "video": "0.gif"}
    rows = [episode(HOSTILE, 0, 0, **hostile), episode(HOSTILE, 1, 1, instruction=HOSTILE)]
    write_rows(folder, rows)
    (folder / "0.gif").write_bytes(b"film")
    write_description(
        folder,
        settings={HOSTILE: HOSTILE},
        checkpoint={"name": HOSTILE, "sha256": HOSTILE, "step": HOSTILE},
        versions={HOSTILE: HOSTILE},
        machine=HOSTILE,
        date=HOSTILE,
    )
    page = report(tmp_path, "--note", HOSTILE, "--title", HOSTILE)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _, _ in page.attributes}
    assert "<script" not in page.page and page.text(f"“{HOSTILE}”")
    outside = [value for _, name, value in page.attributes if name in ("src", "href", "srcset")]
    assert outside == ["data:image/gif;base64,ZmlsbQ=="]
    assert "url(" not in page.page and "@import" not in page.page
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_complete_page_refers_to_nothing_outside(run: Path) -> None:
    page = report(run)
    assert "http" not in page.page
    assert all(value.startswith("data:video/mp4;base64,") for value in embedded(page))
