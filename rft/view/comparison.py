"""`compare.json`, `compare.md` and `compare.html`: arms of an experiment side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reward_models.types import Polarity
from rft.evaluate import markdown
from rft.evaluate.summary import CRITERION
from rft.store import write_atomic
from rft.view import svg
from rft.view.arms import START, Arm, Cell, Comparison, compare
from rft.view.page import render
from rft.view.text import count, line, percent

__all__ = ["Arm", "Cell", "Comparison", "compare", "print_comparison", "write"]

STYLES = ("first", "second", "third", "good", "bad", "rest")


def write(folder: Path, comparison: Comparison) -> Path:
    """Put compare.json, compare.md and compare.html into a folder. Returns the page's path."""
    write_atomic(folder / "compare.json", msgspec.json.format(msgspec.json.encode(comparison)) + b"\n")
    write_atomic(folder / "compare.md", as_markdown(comparison).encode())
    write_atomic(folder / "compare.html", as_html(comparison).encode())
    return folder / "compare.html"


def print_comparison(comparison: Comparison, page: Path) -> None:
    """The tables to stdout, and where the page is."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=150)
    for split, metrics in comparison.splits.items():
        table = Table(title=f"{line(comparison.name)} on {line(split)}", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("metric", no_wrap=True)
        for arm in comparison.arms:
            table.add_column(Text(arm.name + (" (control)" if arm.name == comparison.control else "")), justify="right")
        for metric, cells in metrics.items():
            table.add_row(
                Text(_title(metric, comparison.criteria)), *(_text(cells[arm.name]) for arm in comparison.arms)
            )
        console.print(table)
    console.print(Text(str(page)))


def as_markdown(comparison: Comparison) -> str:
    """Tables that can be pasted into a document."""
    names = [arm.name for arm in comparison.arms]
    parts = [f"# {comparison.name}", headline(comparison), "## Work", markdown.table(*_work(comparison))]
    for split, metrics in comparison.splits.items():
        rows = [
            [_title(metric, comparison.criteria)]
            + [f"{_text(cells[name])} {_ratio_interval(cells[name])}".rstrip() for name in names]
            for metric, cells in metrics.items()
        ]
        header = ["metric", *(name + (" (control)" if name == comparison.control else "") for name in names)]
        parts += [f"## {line(split)}", markdown.table(header, rows)]
    parts.append(_note(comparison))
    return "\n\n".join(parts) + "\n"


def as_html(comparison: Comparison) -> str:
    """The page: a picture a split, then every metric."""
    header, rows = _work(comparison)
    return render(
        "comparison.html.jinja",
        title=f"{comparison.name}: comparison",
        comparison=comparison,
        headline=headline(comparison),
        note=_note(comparison),
        splits=[_split_page(comparison, split) for split in comparison.splits],
        work={"header": header, "rows": rows},
    )


def headline(comparison: Comparison) -> str:
    """The best arm on the first split, against the control."""
    for split, metrics in comparison.splits.items():
        cells = {arm: cell for arm, cell in metrics["resolved"].items() if cell.value is not None}
        control = cells.pop(comparison.control, None)
        best = max(cells, key=lambda arm: cells[arm].value or 0.0, default=None)
        if best is None or control is None:
            break
        cell = cells[best]
        times = f", {cell.ratio:.2f} times {comparison.control}'s {percent(control.value)}" if cell.ratio else ""
        return f"{line(best)} resolves {percent(cell.value)} of {line(split)}{times}"
    return f"{line(comparison.name)}: nothing to compare yet"


def _work(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    header = ["arm", "seeds", "rounds", "attempts", "kept", "rows trained", "learnt tokens"]
    rows = [
        [arm.name, str(len(arm.seeds)), str(arm.rounds)]
        + [count(number) if arm.rounds else "–" for number in (arm.attempts, arm.kept, arm.examples, arm.learnt_tokens)]
        for arm in comparison.arms
    ]
    return header, rows


def _split_page(comparison: Comparison, split: str) -> dict[str, Any]:
    metrics = comparison.splits[split]
    names = [arm.name for arm in comparison.arms]
    resolved = metrics["resolved"]
    bars = [
        svg.Bar(
            name=line(arm, 16),
            style="rest" if arm == START else STYLES[number % len(STYLES)],
            value=cell.value,
            low=cell.low,
            high=cell.high,
            label=percent(cell.value) + (f"  ×{cell.ratio:.2f}" if cell.ratio is not None else ""),
        )
        for number, (arm, cell) in enumerate(resolved.items())
        if cell.value is not None and cell.low is not None and cell.high is not None
    ]
    most = next((top for top in (0.2, 0.4, 0.6, 0.8) if all(bar.high <= top for bar in bars)), 1.0)
    rows = [
        {
            "title": _title(metric, comparison.criteria),
            "cells": [_page_cell(cells[name]) for name in names],
        }
        for metric, cells in metrics.items()
    ]
    title = f"Share of attempts resolved on {line(split)} by each arm"
    return {"name": line(split), "picture": svg.dots(bars, title=title, most=most), "rows": rows}


def _page_cell(cell: Cell) -> dict[str, str]:
    if cell.value is None or cell.low is None or cell.high is None:
        return {"value": "–", "interval": "", "ratio": "", "ratio_interval": ""}
    return {
        "value": percent(cell.value, 1),
        "interval": f"[{100 * cell.low:.0f}, {100 * cell.high:.0f}]",
        "ratio": f"×{cell.ratio:.2f}" if cell.ratio is not None else "",
        "ratio_interval": _ratio_interval(cell),
    }


def _text(cell: Cell) -> str:
    if cell.value is None or cell.low is None or cell.high is None:
        return "–"
    ratio = f" ×{cell.ratio:.2f}" if cell.ratio is not None else ""
    return f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]{ratio}"


def _ratio_interval(cell: Cell) -> str:
    """`[1.10, 1.60]`; an end at which the control is 0 is not finite."""
    if cell.ratio is None:
        return ""
    ends = ("∞" if end is None else f"{end:.2f}" for end in (cell.ratio_low, cell.ratio_high))
    return f"[{', '.join(ends)}]"


def _title(metric: str, criteria: Mapping[str, Polarity]) -> str:
    if not metric.startswith(CRITERION):
        return metric
    name = metric.removeprefix(CRITERION)
    return f"{'+' if criteria.get(name) == 'encourage' else '−'} {line(name, 60)}"


def _note(comparison: Comparison) -> str:
    seeds = max(len(arm.seeds) for arm in comparison.arms)
    return (
        f"Means over {seeds} seed{'s' if seeds != 1 else ''} after the last round. Intervals are 95 %, from a "
        f"bootstrap over tasks crossed with seeds; × is the ratio against {line(comparison.control)}. "
        "+ should be high, − should be low."
    )
