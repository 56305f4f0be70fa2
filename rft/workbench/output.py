"""How the workbench shows what it found: tables on the terminal, JSON for machines."""

import sys
from typing import Any

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

PLAIN_WIDTH = 150
"""Columns where the output is no terminal."""


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
