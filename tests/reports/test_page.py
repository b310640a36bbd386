"""Pages are one file, need no network and escape what they are given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sam2act.reports.page import Page
from tests.places import REPOSITORY

PIXEL = "data:image/png;base64,AAAA"
FILM = "data:video/mp4;base64,AAAA"
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects texts, attributes and the nesting of tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def full_page() -> Page:
    page = Page("A <title> & more")
    page.heading("One & two")
    page.text("if a < b")
    page.table(["name", "error"], [["<first>", "1 cm"], ["second", "2 cm"]])
    page.picture(PIXEL, 'caption "x" <y>', 'what "it" shows')
    page.markup('<svg viewBox="0 0 1 1"></svg>')
    page.lead("lead <b>")
    page.note("note <b>")
    page.subheading("sub <b>")
    page.code("code <b>")
    with page.columns():
        page.video(FILM, "film <b>")
        with page.block(), page.folded("more <b>"):
            page.text("hidden <b>")
    return page


def test_page_is_self_contained_and_well_nested(tmp_path: Path) -> None:
    path = tmp_path / "new" / "index.html"
    full_page().write(path)
    text = path.read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.open == [] and text.startswith("<!doctype html>")
    assert "http" not in text and "@import" not in text and "url(" not in text
    outside = {"src", "href", "srcset", "data", "action"}
    links = [value for _, name, value in reader.attributes if name in outside]
    assert links == [PIXEL, FILM]
    assert not {"script", "link", "iframe"} & {tag for tag, _, _ in reader.attributes}
    assert ("meta", "charset", "utf-8") in reader.attributes
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


def test_texts_arrive_unchanged(tmp_path: Path) -> None:
    full_page().write(tmp_path / "page.html")
    reader = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert reader.texts.count("A <title> & more") == 2  # title and first heading
    for text in ("One & two", "if a < b", "<first>", "2 cm", 'caption "x" <y>'):
        assert text in reader.texts
    for kind in ("lead", "note", "sub", "code", "film", "more", "hidden"):
        assert f"{kind} <b>" in reader.texts
    assert ("img", "alt", 'what "it" shows') in reader.attributes


def test_letters_beyond_ascii_survive_any_locale(tmp_path: Path) -> None:
    code = "from pathlib import Path; from sam2act.reports.page import Page; "
    code += "Page('5\\u00b0 \\u201cleft\\u201d').write(Path('page.html'))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **plain, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert "5° “left”" in (tmp_path / "page.html").read_bytes().decode("utf-8")


def test_columns_after_the_first_are_numbers() -> None:
    page = Page("t")
    page.table(["a", "b", "c"], [["1", "2", "3"]])
    cells = re.findall(r"<t[hd]( class=\"n\")?>", page.parts[-1])
    assert [bool(kind) for kind in cells] == [False, True, True] * 2


def test_chosen_columns_are_texts_and_long_cells_are_broken() -> None:
    page = Page("t")
    page.table(["a", "b", "c"], [["1", "2" * 80, "3" * 80]], texts=(0, 1))
    kinds = re.findall(r"<t[hd](?: class=\"([nw ]+)\")?>", page.parts[-1])
    assert kinds == ["", "", "n", "", "w", "w n"]


def test_film_can_be_played() -> None:
    page = Page("t")
    page.video(FILM, "film")
    attributes = {name for tag, name, _ in Reader(page.parts[-1]).attributes if tag == "video"}
    assert {"controls", "muted", "playsinline", "src"} <= attributes


def test_rows_must_fit_the_header() -> None:
    with pytest.raises(ValueError):
        Page("t").table(["a", "b"], [["1"]])


def test_crash_leaves_the_old_page(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "page.html"
    Page("old").write(path)

    def crash(*args) -> None:
        raise OSError("stopped")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):
        Page("new").write(path)
    assert "<h1>old</h1>" in path.read_text()
