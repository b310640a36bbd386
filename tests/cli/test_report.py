"""The report: right figures, one file, nothing hostile, and a line for what is missing."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from sam2act.cli.training import build_parser as training_parser
from sam2act.config.load import dump, load_experiment, load_network
from sam2act.evaluation.analysis.methods import Source
from tests.evaluation.evaluated_runs import (
    episode,
    episodes,
    write_description,
    write_evaluation,
    write_rows,
)
from tests.places import SCRIPTS

HOSTILE = "<script>alert('x')</script> \"quoted\" & <img src=http://example.org/x.png>"


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """The command."""
    return {"report": importlib.import_module("sam2act.cli.report")}


@pytest.fixture
def report(modules):
    """Writes the report of some arguments and reads it."""

    def make(*arguments: object) -> Reader:
        assert modules["report"].main([str(argument) for argument in arguments]) == 0
        given = [str(argument) for argument in arguments]
        path = Path(given[given.index("--output") + 1]) if "--output" in given else None
        return Reader((path or Path(given[0]) / "report.html").read_text(encoding="utf-8"))

    return make


class Reader(HTMLParser):
    """Texts, attributes and tables of a page; fails if it is badly nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def text(self, part: str) -> str:
        """The first text that contains `part`."""
        return next(text for text in self.texts if part in text)

    def table(self, *header: str) -> list[list[str]]:
        """The rows of the table whose header begins so."""
        starts = [rows for rows in self.tables if rows[0][: len(header)] == list(header)]
        assert len(starts) == 1, f"{len(starts)} tables with {header}"
        return starts[0][1:]


def write_metrics(run: Path) -> None:
    """Training tables in which keyframe 1 needs the memory, which is learned at update 30."""
    run.mkdir(parents=True, exist_ok=True)
    header = "step,total_loss,trans_loss,grip_loss,excess_keyframe_0,excess_keyframe_1\n"
    (run / "metrics.csv").write_text(header + "10,9,6,2,0.5,1.5\n20,5,4,0.1,0.1,0.91\n")
    header = "step,total_loss,trans_loss,excess_keyframe_0,excess_keyframe_1\n"
    rows = "10,4,4,0.3,1.2\n20,4,4,0.2,0.9\n30,4,4,0.2,0.3\n40,3,3,0.1,0.05\n"
    (run / "metrics_plus.csv").write_text(header + rows)


def write_run_files(run: Path) -> None:
    """Configuration and arguments of both stages of the tiny recipe."""
    run.mkdir(parents=True, exist_ok=True)
    for suffix, name in (("", "tiny"), ("_plus", "tiny_plus")):
        experiment = load_experiment(f"configs/{name}.yaml", "tasks put_block_back")
        (run / f"exp_cfg{suffix}.yaml").write_text(dump(experiment))
        (run / f"mvt_cfg{suffix}.yaml").write_text(dump(load_network(f"configs/mvt/{name}.yaml")))
        arguments = {"exp_cfg_path": f"configs/{name}.yaml", "exp_cfg_opts": "bs 4\n  seed 0"}
        arguments |= {"log_dir": "runs", "refresh_replay": True, "init_from": "", "device": 0}
        (run / f"args{suffix}.yaml").write_text(yaml.safe_dump(arguments))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with everything: both stages trained and evaluated, three films."""
    folder = tmp_path / "tiny_run"
    write_metrics(folder)
    write_run_files(folder)
    for stem, outcomes in (("model_last", "1000"), ("model_plus_last", "1111")):
        results = folder / "eval" / "none" / stem
        write_description(results)
        rows = []
        for number, letter in enumerate(outcomes):
            film = f"videos/{number}.mp4" if number < 2 else ""
            rows.append(episode("put_block_back", number, int(letter), video=film))
        write_rows(results, rows)
        (results / "videos").mkdir()
        (results / "videos" / "0.mp4").write_bytes(f"{stem} wins".encode())
        (results / "videos" / "1.mp4").write_bytes(f"{stem} second".encode())
    return folder


# ---------------------------------------------------------------------------------- figures
def test_first_sentence_says_the_result(report, run: Path) -> None:
    assert report(run).text("put_block_back in") == (
        "put_block_back in the embedded simulator: successful episodes with memory (SAM2Act+) "
        "4 of 4, without memory (SAM2Act) 1 of 4; chance is 25 %."
    )


def test_several_tasks_are_averaged(report, tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "none" / "model_plus_last"
    write_description(folder)
    write_rows(folder, episodes("1110") + episodes("10", "rearrange_block"))
    page = report(tmp_path)
    assert page.text("Mean success over") == (
        "Mean success over 2 tasks in the embedded simulator: with memory (SAM2Act+) 62.5 % of 6 "
        "episodes; chance is 37.5 %."
    )
    table = page.table("task", "method", "success")
    assert [row[:3] for row in table] == [
        ["put_block_back", "SAM2Act+", "75 %"],
        ["rearrange_block", "SAM2Act+", "50 %"],
        ["mean over tasks", "SAM2Act+", "62.5 %"],
    ]


def test_mean_of_chance_needs_that_of_every_task(report, tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, "model_last", "10")
    write_rows(folder, episodes("11", "open_drawer"), rank=1)
    page = report(tmp_path)
    assert page.text("Mean success over").endswith("without memory (SAM2Act) 75 % of 4 episodes.")
    chances = [row[-1] for row in page.table("task", "method")]
    assert sorted(chances) == ["-", "-", "25 %"]


def test_table_of_figures(report, run: Path) -> None:
    assert report(run).table("method", "success") == [
        ["SAM2Act", "25 %", "21.7", "4.6 to 69.9", "1/4", "21.5", "25 %"],
        ["SAM2Act+", "100 %", "0.0", "51.0 to 100.0", "4/4", "11.0", "25 %"],
    ]


def test_spread_over_repeated_evaluations(report, tmp_path: Path) -> None:
    for number, outcomes in ((1, "1100"), (2, "1110"), (3, "1111")):
        write_evaluation(tmp_path, "model_last", outcomes, f"test/{number}")
    (row,) = report(tmp_path).table("method", "success")
    assert row[4] == "9/12" and row[-1] == "75.0 ± 25.0 (n = 3)"


def test_trainings_with_other_seeds_are_pooled(report, tmp_path: Path) -> None:
    for name, outcomes in (("a", "11"), ("b", "10")):
        write_evaluation(tmp_path / name, "model_last", outcomes)
    pages = [
        report("--pool", *runs, "--output", tmp_path / "page.html")
        for runs in [(tmp_path / "a", tmp_path / "b")]
    ]
    pages.append(
        report(*(f"SAM2Act={tmp_path / name}" for name in "ab"), "--output", tmp_path / "page.html")
    )
    for page in pages:
        (row,) = page.table("method", "success")
        assert row[0] == "SAM2Act" and row[4] == "3/4" and row[-1] == "75.0 ± 35.4 (n = 2)"


def test_method_without_all_tasks_has_no_mean(report, run: Path) -> None:
    folder = run / "eval" / "none" / "model_plus_last"
    write_rows(folder, episodes("11", "rearrange_block"))
    page = report(run)
    means = [r for r in page.table("task", "method", "success") if r[0] == "mean over tasks"]
    assert [row[1] for row in means] == ["SAM2Act+"]
    assert "without memory (SAM2Act) 25 % of 4 episodes of 1 of these tasks" in page.text("Mean")
    assert page.text("not every method was evaluated on every task")


def test_every_variation_that_occurs_has_a_row(report, tmp_path: Path) -> None:
    sizes = {"put_block_back": 9}  # is not part of the format
    write_evaluation(tmp_path, "model_last", "10", variations=sizes)
    write_evaluation(tmp_path, "model_plus_last", "101", variations=sizes)
    assert report(tmp_path).table("variation") == [
        ["0", "1/1", "1/1"],
        ["1", "0/1", "0/1"],
        ["2", "-", "1/1"],
    ]


def test_causes_of_failure(report, run: Path) -> None:
    folder = run / "eval" / "none" / "model_plus_last"
    rows = [episode("put_block_back", 9, 0, failure="SimulatorDied", message="exit code 11")]
    write_rows(folder, rows, rank=1)
    assert report(run).table("method", "cause") == [
        ["SAM2Act", "timeout", "3", "-"],
        ["SAM2Act+", "SimulatorDied", "1", "exit code 11"],
    ]


def test_success_everywhere_is_said(report, tmp_path: Path) -> None:
    write_evaluation(tmp_path, "ground_truth", "11")
    assert report(tmp_path).text("No episode failed.")


def test_bars_show_rate_and_chance(report, run: Path) -> None:
    page = report(run)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels[:2] == ["SAM2Act: 25 % (1/4)", "SAM2Act+: 100 % (4/4)"]
    assert page.page.count('class="chance" x1="25.00%"') == 2


# --------------------------------------------------------------------------------- remarks
def test_note_title_and_output_are_taken(report, run: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "new" / "page.html"
    note = "quick run: <figures> mean little"
    page = report(run, "--note", note, "--title", "My <title>", "--output", output)
    assert note in page.texts and page.texts.count("My <title>") == 2
    assert ("p", "class", "note") in page.attributes
    assert str(output) in capsys.readouterr().out and not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("backend", "text"),
    [("embedded", "do not compare with published"), ("rlbench", "RLBench with CoppeliaSim")],
)
def test_simulator_is_named(report, tmp_path: Path, backend: str, text: str) -> None:
    write_evaluation(tmp_path, "model_last", "1", settings={"backend": backend})
    page = report(tmp_path)
    assert page.text(text)
    assert ("embedded simulator" in page.page) == (backend == "embedded")


def test_different_conditions_are_warned_about(report, run: Path) -> None:
    write_evaluation(run, "ground_truth", "1", settings={"backend": "rlbench"})
    page = report(run)
    assert page.text("different backend stand side by side (embedded and rlbench)")


def test_missing_description_is_said(report, tmp_path: Path) -> None:
    write_rows(tmp_path / "eval" / "none" / "model_last", episodes("10"))
    page = report(tmp_path)
    assert page.text("in an unknown simulator: successful episodes without memory (SAM2Act) 1 of 2")
    assert page.text("has no evaluation.json")
    assert 'class="chance"' not in page.page


# ------------------------------------------------------------------------------- training
def test_moment_of_learning_is_found(report, run: Path) -> None:
    page = report(run)
    sentence = page.text("is learned last")
    assert sentence.startswith("Keyframe 1 ") and "from 1.20 to 0.05" in sentence
    assert "from update 30 on" in sentence
    assert page.table("keyframe") == [
        ["0", "0.10", "0.30", "0.10"],
        ["1", "0.91", "1.20", "0.05"],
    ]


def test_stage_two_without_stage_one(report, run: Path) -> None:
    (run / "metrics.csv").unlink()
    page = report(run)
    assert page.table("keyframe", "start of stage 2")[1] == ["1", "1.20", "0.05"]
    assert page.text("python -m sam2act.train writes") == (
        f"No losses of tiny_run, stage 1 (SAM2Act): python -m sam2act.train writes "
        f"{run / 'metrics.csv'}."
    )


def test_what_is_missing_is_named_with_its_command(report, tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1")
    page = report(tmp_path)
    for part in (
        "has no excess loss per keyframe; python -m sam2act.train_plus logs it",
        f"python -m sam2act.train writes {tmp_path / 'metrics.csv'}",
        f"python -m sam2act.train_plus writes {tmp_path / 'metrics_plus.csv'}",
        "No episode was filmed; with --save-video it is: python -m sam2act.eval",
        f"No readable args.yaml in {tmp_path}",
        "No exp_cfg_plus.yaml and mvt_cfg_plus.yaml: python -m sam2act.train_plus",
    ):
        assert page.text(part)


# ---------------------------------------------------------------------------------- films
def embedded(page: Reader) -> list[str]:
    return [value for tag, name, value in page.attributes if name == "src"]


def test_a_success_and_a_failure_per_method_are_embedded(report, run: Path) -> None:
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


def test_films_beyond_the_limit_are_left_out(report, run: Path) -> None:
    big = run / "eval" / "none" / "model_last" / "videos" / "0.mp4"
    big.write_bytes(bytes(900_000))  # 1.2 MB as text
    page = report(run, "--video-megabytes", 1)
    assert len(embedded(page)) == 2 and f"{big} (1.2 MB)" in page.text("Left out")
    assert (run / "report.html").stat().st_size < 1_000_000


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "image/gif"), (".webp", "image/webp")])
def test_animations_are_pictures(report, tmp_path: Path, suffix: str, kind: str) -> None:
    folder = tmp_path / "eval" / "none" / "model_last"
    write_rows(folder, [episode("put_block_back", 0, 1, video=f"film{suffix}")])
    (folder / f"film{suffix}").write_bytes(b"film")
    assert embedded(report(tmp_path)) == [f"data:{kind};base64,ZmlsbQ=="]


@pytest.mark.parametrize("path", ["../../../secret.mp4", "absent.mp4", "rows.txt"])
def test_other_files_are_never_embedded(report, tmp_path: Path, path: str) -> None:
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


def test_training_commands_are_those_of_the_run(report, run: Path) -> None:
    first, second = commands(report(run))[:2]
    assert first[2] == "sam2act.train" and second[2] == "sam2act.train_plus"
    args = training_parser("").parse_args(first[3:])
    assert (args.exp_cfg_path, args.exp_cfg_opts) == ("configs/tiny.yaml", "bs 4 seed 0")
    assert args.refresh_replay and (args.log_dir, args.device) == ("runs", "0")


def test_origin_of_the_figures(report, run: Path) -> None:
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


def test_differences_from_the_published_configuration(report, run: Path) -> None:
    tables = [t for t in report(run).tables if t[0] == ["key", "published", "tiny_run"]]
    first, second = (dict((row[0], row[1:]) for row in table[1:]) for table in tables)
    assert first["peract.optimizer_type"] == ["lamb", "adamw"]
    assert first["img_size"] == ["224", "64"] and "use_memory" not in first
    assert second["num_maskmem"] == ["9", "10"]
    assert "seed" not in first  # as published


# --------------------------------------------------------------------------------- safety
def test_page_is_one_file_and_escapes_everything(report, tmp_path: Path) -> None:
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


def test_complete_page_refers_to_nothing_outside(report, run: Path) -> None:
    page = report(run)
    assert "http" not in page.page
    assert all(value.startswith("data:video/mp4;base64,") for value in embedded(page))


# --------------------------------------------------------------------------------- errors
def test_label_is_split_from_the_folder(modules, tmp_path: Path) -> None:
    parse = modules["report"].source
    assert parse("ours=runs/a") == Source(Path("runs/a"), "ours")
    assert parse("runs/a") == Source(Path("runs/a"))
    assert parse("ours=runs/lr=1") == Source(Path("runs/lr=1"), "ours")
    (tmp_path / "lr=1").mkdir()
    assert parse(str(tmp_path / "lr=1")) == Source(tmp_path / "lr=1")


def break_rows(run: Path) -> str:
    path = run / "eval" / "none" / "model_last" / "episodes.csv"
    path.write_text(path.read_text().replace("put_block_back,2,", "put_block_back,two,"))
    return f"{path}, line 4: "


def break_metrics(run: Path) -> str:
    (run / "metrics_plus.csv").write_text("step,loss\n1,high\n")
    return f"{run / 'metrics_plus.csv'}, row 2: "


def break_configuration(run: Path) -> str:
    (run / "exp_cfg.yaml").write_text("no_such_key: 1\n")
    return f"{run / 'exp_cfg.yaml'}: unknown key no_such_key"


def break_description(run: Path) -> str:
    path = run / "eval" / "none" / "model_last" / "evaluation.json"
    path.write_text("{")
    return f"{path} cannot be read"


@pytest.mark.parametrize(
    "damage", [break_rows, break_metrics, break_configuration, break_description]
)
def test_damaged_files_are_named(modules, run: Path, damage, capsys) -> None:
    expected = damage(run)
    assert modules["report"].main([str(run)]) == 2
    assert expected in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_script_runs_from_anywhere_and_names_what_is_absent(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "run", "model_last", "10")
    command = [sys.executable, str(SCRIPTS / "report.py")]
    done = subprocess.run([*command, "run"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 of 2" in done.stdout and (tmp_path / "run" / "report.html").is_file()
    done = subprocess.run([*command, "nowhere"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "ResultsError: nowhere: no such run folder"


def test_page_has_its_parts_in_reading_order(report, run: Path) -> None:
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
