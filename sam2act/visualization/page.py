"""A self-contained HTML page: text, tables, charts and pictures in one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light; font-family: system-ui, sans-serif; color: #20262e; }
body { max-width: 62rem; margin: 0 auto; padding: 1rem; line-height: 1.45; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } .scroll { overflow-x: auto; }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #dde1e6; text-align: left; }
td { white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } img, svg { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; color: #4a5563; margin-bottom: .3rem; }
svg text { font-size: 12px; fill: #4a5563; } svg .e { text-anchor: end; }
svg .m { text-anchor: middle; } svg .g { stroke: #e4e7eb; }
.good { color: #12813f; } .bad { color: #b3261e; }
"""


class Page:
    """Collects parts in order; `write` makes one file that opens without a network."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.parts: list[str] = [f"<h1>{escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """A section heading."""
        self.parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self.parts.append(f"<p>{escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; every column but the first is right-aligned."""
        kinds = ["" if i == 0 else ' class="n"' for i in range(len(header))]
        head = "".join(f"<th{k}>{escape(h)}</th>" for k, h in zip(kinds, header, strict=True))
        body = "".join(
            "<tr>"
            + "".join(f"<td{k}>{escape(cell)}</td>" for k, cell in zip(kinds, row, strict=True))
            + "</tr>"
            for row in rows
        )
        self.parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def picture(self, uri: str, caption: str, alternative: str) -> None:
        """A picture from a data URI with a caption above it."""
        self.parts.append(
            f"<figure><figcaption>{escape(caption)}</figcaption>"
            f'<img src="{uri}" alt="{escape(alternative)}"></figure>'
        )

    def markup(self, html: str) -> None:
        """Trusted markup, for example a chart."""
        self.parts.append(html)

    def write(self, path: Path) -> None:
        """Write atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        partial.write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style></head><body>"
            + "\n".join(self.parts)
            + "</body></html>\n",
            encoding="utf-8",
        )
        os.replace(partial, path)
