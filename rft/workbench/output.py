"""How the workbench shows what it found: the same sections as tables on the terminal and as a page, or JSON."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from rft.store import write_atomic
from rft.view.page import render
from rft.view.text import line

PLAIN_WIDTH = 150
"""Columns where the output is no terminal."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table, with a picture for the page."""

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    picture: str = ""
    """Markup."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a command of the workbench found, as it is shown to people."""

    eyebrow: str
    """What it was found on."""
    headline: str
    notes: Sequence[str] = ()
    sections: Sequence[Section] = ()


def show(findings: Findings, page: Path) -> None:
    """The tables to stdout, the page to a file, and where that is."""
    html = render(
        "findings.html.jinja",
        title=findings.headline,
        eyebrow=findings.eyebrow,
        headline=findings.headline,
        notes=findings.notes,
        sections=findings.sections,
    )
    write_atomic(page, html.encode())
    parts: list[RenderableType] = [Text(line(findings.headline), style="bold"), *map(_text, findings.notes)]
    for section in findings.sections:
        if section.rows:
            made = table(section.title, *section.header, numbers=True)
            for row in section.rows:
                made.add_row(*map(_text, row))
            parts += ["", made]
        if section.note:
            parts.append(Text(section.note, style="dim"))
    print_parts(*parts, "", Text(f"page: {page}"))


def print_json(value: Any) -> None:
    """A record, or a plain value with records in it, to stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def print_parts(*parts: RenderableType) -> None:
    """Tables and lines, one under the other, to stdout."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)
    for part in parts:
        console.print(part)


def table(title: str, first: str, *columns: str, numbers: bool = False) -> Table:
    """An empty table; `numbers` aligns all columns but the first to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column(first, no_wrap=True)
    for column in columns:
        made.add_column(column, justify="right" if numbers else "left", overflow="fold")
    return made


def number(value: float | None, digits: int = 2) -> str:
    """`0.42`, or a dash for what is unknown."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def between(low: float | None, high: float | None) -> str:
    """`[0.31, 0.52]`, or nothing where there is no interval."""
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def _text(words: str) -> Text:
    return Text(line(words, 400))
