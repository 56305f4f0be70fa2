"""What ships, on the terminal: recipes, rubrics, prompts, and every name that `use:` knows; and copies to edit."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rft.errors import RecipeError, did_you_mean
from rft.plugins import NAMES
from rft.recipe import shipped_content


def content() -> dict[str, dict[str, Path]]:
    """Kind of content to name to file."""
    import reward_models
    import rft

    folders = {
        "recipe": (shipped_content("recipes"), "*.yaml"),
        "rubric": (Path(reward_models.__path__[0]) / "rubrics", "*.yaml"),
        "prompt": (Path(rft.__path__[0]) / "agents" / "prompts", "*.jinja"),
        "program": (Path(rft.__path__[0]) / "agents" / "programs", "*.[mp]*"),
        "target": (shipped_content("launch"), "*.jinja"),
        "deepspeed": (shipped_content("launch") / "deepspeed", "*.json"),
    }
    return {
        kind: {path.name.partition(".")[0]: path for path in sorted(folder.glob(what))}
        for kind, (folder, what) in folders.items()
    }


def print_catalogue() -> None:
    """Everything that ships, in tables."""
    console = Console()
    for kind, files in content().items():
        table = _table(f"{kind}s" if kind != "deepspeed" else "deepspeed configurations")
        for name, path in files.items():
            table.add_row(name, Text(first_comment(path)))
        console.print(table)
    names = _table("names that `use:` knows")
    for kind, known in NAMES.items():
        for name, target in known.items():
            names.add_row(f"{kind}: {name}", target)
    console.print(names)


def copy(name: str, destination: str) -> Path:
    """Copy shipped content. Raises RecipeError for an unknown name and for a file that is there already."""
    kind, _, bare = name.rpartition("/")
    found = [
        path
        for group, files in content().items()
        for stem, path in files.items()
        if stem == bare.removesuffix(path.suffix) and kind.removesuffix("s") in ("", group)
    ]
    if len(found) != 1:
        known = [f"{group}s/{stem}" for group, files in content().items() for stem in files]
        what = "no content is called" if not found else "more than one thing is called"
        raise RecipeError(f"cp: {what} '{name}'; expected one of {', '.join(known)}.{did_you_mean(name, known)}")
    target = Path(destination)
    target = target / found[0].name if target.is_dir() else target
    if target.exists():
        raise RecipeError(f"cp: {target} is there already; expected a new file. Choose another path.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found[0], target)
    except OSError as error:
        raise RecipeError(f"cp: {target} cannot be written ({error.strerror}).") from None
    return target


def print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    """A two-column table."""
    table = _table(title)
    for what, how in rows:
        table.add_row(Text(what), Text(how))
    Console().print(table)


def print_findings(findings: Sequence[Any], *, as_json: bool) -> None:
    """What `rft doctor` found: a mark, the thing, how it stands; or a list of objects in JSON."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    table = _table("doctor")
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row("✗" if finding.missing else "·", Text(finding.what), Text(finding.how))
    Console().print(table)


def first_comment(path: Path) -> str:
    """The first sentence of a file's opening comment, or of its `description`."""
    for line in path.read_text(encoding="utf-8").splitlines()[:12]:
        text = line.strip().strip("{}").strip("#- ").strip()
        if line.startswith(("#", "{#")) and text:
            return text
        if line.startswith("description:"):
            return line.partition(":")[2].strip().strip("\"'")
    return ""


def _table(title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    return table
