"""Reading the pages that the report writes, and run folders to report on."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import yaml

from sam2act.cli.report import main
from sam2act.config.load import dump, load_experiment, load_network
from tests.evaluation.evaluated_runs import episode, write_description, write_rows


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


def report(*arguments: object) -> Reader:
    """Writes the report that the command line `arguments` ask for, and reads it."""
    given = [str(argument) for argument in arguments]
    assert main(given) == 0
    path = Path(given[given.index("--output") + 1]) if "--output" in given else None
    return Reader((path or Path(given[0]) / "report.html").read_text(encoding="utf-8"))


def embedded(page: Reader) -> list[str]:
    """Sources of the pictures and films on the page."""
    return [value for tag, name, value in page.attributes if name == "src"]


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


def write_run(folder: Path) -> Path:
    """A run folder with everything: both stages trained and evaluated, three films."""
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
