"""A policy that a stage has to serve itself, while it asks it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rft.plugins import build


@contextlib.contextmanager
def served(section: dict[str, Any], model: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The `use:` section that workers build: the one given, or what its plug-in's `serve` makes of it meanwhile."""
    engine = build("inference", section, "policy.inference")
    serve = getattr(engine, "serve", None)
    if serve is None:
        yield section
        return
    with serve(model, folder) as there:
        yield there
