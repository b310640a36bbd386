"""A self-contained HTML page: text, tables, charts and pictures in one file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path

from sam2act.core.files import replacing

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
.scroll { background: linear-gradient(90deg, #fff 40%, #fff0) 0 0 / 2.5rem 100% no-repeat local,
  linear-gradient(-90deg, #fff 40%, #fff0) 100% 0 / 2.5rem 100% no-repeat local,
  linear-gradient(90deg, #0003, #0000) 0 0 / .7rem 100% no-repeat scroll,
  linear-gradient(-90deg, #0003, #0000) 100% 0 / .7rem 100% no-repeat scroll; }
.lead { font-size: 1.2rem; line-height: 1.4; }
.note { border-left: 4px solid #d9a514; background: #fdf6e3; padding: .5rem .8rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }
td.w { white-space: normal; min-width: 14rem; overflow-wrap: anywhere; }
td.w.n { text-align: left; }
.columns { display: grid; gap: 0 1.5rem; }
.columns { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.columns > * { min-width: 0; }
.row { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: 0 1rem; }
video { width: min(100%, 22rem); display: block; background: #000; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f3f5f7; padding: .6rem .8rem; }
summary { cursor: pointer; margin: .8rem 0; } details { border-top: 1px solid #dde1e6; }
.bars { max-width: 54rem; } .bars h3 span { font-weight: normal; color: #4a5563; }
.bar { display: grid; grid-template: "name strip value" auto / 11rem 1fr 9.5rem; gap: 0 .7rem; }
.bar { align-items: center; } .name { grid-area: name; overflow-wrap: anywhere; }
.value { grid-area: value; font-variant-numeric: tabular-nums; }
.strip { grid-area: strip; width: 100%; overflow: visible; } .strip .track { fill: #eef1f4; }
svg .grid { stroke: #d5dae0; } .strip .halo { stroke: #fff; stroke-width: 4; opacity: .6; }
.whisker { stroke: #20262e; stroke-width: 1.6; fill: none; }
svg .chance { stroke: #c2263e; stroke-width: 2; stroke-dasharray: 4 3; }
svg .zero { stroke: #20262e; stroke-width: 1.5; } .panel { width: 100%; overflow: visible; }
.panels { display: grid; gap: .3rem 1.2rem; }
.panels { grid-template-columns: repeat(auto-fit, minmax(min(100%, 13.5rem), 1fr)); }
.keys span { display: inline-block; white-space: nowrap; }
.legend svg { display: inline-block; vertical-align: -2px; margin: 0 .3rem; }
.legend span { margin-right: 1rem; } .legend { font-size: .9rem; color: #4a5563; }
@media (max-width: 42rem) {
  .bar { grid-template: "name value" auto "strip strip" auto / 1fr auto; margin-bottom: .5rem; }
  td, th { padding: .25rem .45rem; font-size: .92rem; }
}
"""
LONG_CELL = 44  # characters from which a cell is broken into lines


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

    def subheading(self, text: str) -> None:
        """A heading within a section."""
        self.parts.append(f"<h3>{escape(text)}</h3>")

    def lead(self, text: str) -> None:
        """The paragraph that says what the page found."""
        self.parts.append(f'<p class="lead">{escape(text)}</p>')

    def note(self, text: str) -> None:
        """A paragraph that must not be overlooked."""
        self.parts.append(f'<p class="note">{escape(text)}</p>')

    def code(self, text: str) -> None:
        """Commands or files, letter by letter."""
        self.parts.append(f"<pre>{escape(text)}</pre>")

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        texts: Collection[int] = (0,),
    ) -> None:
        """A table; the columns `texts` are left-aligned, all others right-aligned."""
        kinds = ["" if i in texts else "n" for i in range(len(header))]
        head = "".join(_cell("th", h, kind) for kind, h in zip(kinds, header, strict=True))
        body = "".join(
            "<tr>"
            + "".join(_cell("td", cell, kind) for kind, cell in zip(kinds, row, strict=True))
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

    def video(self, uri: str, caption: str) -> None:
        """A film from a data URI, with controls and a caption above it."""
        self.parts.append(
            f"<figure><figcaption>{escape(caption)}</figcaption>"
            f'<video controls muted playsinline preload="metadata" src="{uri}"></video></figure>'
        )

    @contextmanager
    def columns(self) -> Iterator[None]:
        """What is added inside stands side by side where the screen is wide enough."""
        self.parts.append('<div class="columns">')
        yield
        self.parts.append("</div>")

    @contextmanager
    def row(self) -> Iterator[None]:
        """What is added inside stands in one row, whatever the screen."""
        self.parts.append('<div class="row">')
        yield
        self.parts.append("</div>")

    @contextmanager
    def block(self) -> Iterator[None]:
        """What is added inside stays together as one of the `columns`."""
        self.parts.append("<div>")
        yield
        self.parts.append("</div>")

    @contextmanager
    def folded(self, summary: str) -> Iterator[None]:
        """What is added inside is hidden until the reader opens it."""
        self.parts.append(f"<details><summary>{escape(summary)}</summary>")
        yield
        self.parts.append("</details>")

    def markup(self, html: str) -> None:
        """Trusted markup, for example a chart."""
        self.parts.append(html)

    def write(self, path: Path) -> None:
        """Write atomically."""
        text = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style></head><body>"
            + "\n".join(self.parts)
            + "</body></html>\n"
        )
        with replacing(path, shared=True) as partial:
            partial.write_text(text, encoding="utf-8")


def _cell(tag: str, text: str, kind: str) -> str:
    kinds = [kind] if kind else []
    if tag == "td" and len(text) > LONG_CELL:
        kinds.insert(0, "w")
    attribute = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<{tag}{attribute}>{escape(text)}</{tag}>"
