"""The pages for readers, and what is written in them: links, files, commands, examples."""

from __future__ import annotations

import re
from pathlib import Path

from tests.places import REPOSITORY

README = REPOSITORY / "README.md"
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [README, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md", *DOCS]
OUR_COMMAND = (
    r"(xvfb-run -a )?"
    r"((python|torchrun) .*(sam2act|scripts)[/.]\w+|sam2act [a-z][a-z-]*( |$)|bash )"
)
FOLDERS = "scripts|configs|sam2act|requirements|docs|tests|containers|examples"


def text_of(path: Path) -> str:
    """The text of a page."""
    return path.read_text(encoding="utf-8")


def links(text: str) -> list[tuple[str, str]]:
    """(file, anchor) of every link that leads into the repository; either may be empty."""
    targets = re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)
    return [(file, anchor) for file, _, anchor in (target.partition("#") for target in targets)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as they are made where the repository is shown."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named_files(text: str) -> set[str]:
    """Paths of files and folders of the repository that a page names."""
    found = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./<>*+-]*\w)", text)
    return {name for name in found if not re.search(r"[<>*+]", name)}


def code(text: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    """Command lines of this project, in blocks and in running text, comments removed."""
    lines = "\n".join(code(text, "bash")).replace("\\\n", " ").splitlines()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    stripped = (re.sub(r"\s+#\s.*$", "", line).strip() for line in lines)
    return [line for line in stripped if re.match(OUR_COMMAND, line)]
