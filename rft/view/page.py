"""Jinja templates to self-contained pages: inline style and pictures, no script, nothing loaded, everything escaped."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import rft
from rft.view.data import Shown
from rft.view.text import clean, cut, line

FOLDER = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A page from the template of that name; what is not Markup is escaped and freed of control characters."""
    style = Markup((FOLDER / "style.css").read_text(encoding="utf-8"))
    return _environment().get_template(template).render(style=style, version=rft.__version__, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_safe,
    )
    environment.filters |= {"line": line, "shorten": _shorten, "outcome": _outcome, "tight": _tight}
    return environment


def _safe(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _shorten(text: str, limit: int) -> str:
    return cut(text, limit).strip("\n")


def _tight(text: str) -> str:
    """A number and its percent sign stay on one line."""
    return text.replace(" %", "\u00a0%")


def _outcome(shown: Shown) -> str:
    """A few words on how an attempt ended."""
    trajectory = shown.trajectory
    if trajectory.failure is not None:
        return "broke down"
    resolved = trajectory.outcome.resolved if trajectory.outcome is not None else None
    words = [{True: "resolved", False: "not resolved", None: "outcome unknown"}[resolved]]
    words.append(trajectory.stop.value.replace("_", " "))
    if shown.report is not None and shown.report.score is not None:
        words.append(f"score {shown.report.score:.2f}")
    if shown.learnt:
        words.append(f"{sum(shown.learnt.values()):,} tokens learnt")
    return ", ".join(words)
