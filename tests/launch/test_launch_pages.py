"""The pages of `launch/`: one a target, what they show is what is printed, and what they say may be given may be."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft import recipe as recipes
from rft.inference.vllm import Vllm
from rft.launch import launch, load_target, targets

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "launch"
PRINTED = re.compile(r"<!-- printed by `rft launch ([^`]+)` -->\n```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [*sorted(f"{name}.md" for name in targets()), "serving.md"]
GAP = "…"
"""A line of an excerpt that stands for lines that are left out."""


@pytest.mark.parametrize("name", sorted(targets()))
def test_a_target_has_a_page_with_its_variables(name: str) -> None:
    rows = [
        f"| `{key}` | {'has to be given' if one.default is None else f'`{one.default}`' if one.default != '' else ''} "
        f"| {one.text} |"
        for key, one in load_target(name).variables.items()
    ]
    table = "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows])
    assert table in (FOLDER / f"{name}.md").read_text(), table
    line = next(line for line in (FOLDER / "README.md").read_text().splitlines() if f"[`{name}`]({name}.md)" in line)
    for key, one in load_target(name).variables.items():
        assert (f"`{key}`" in line) == (one.default is None), f"launch/README.md: what {name} has to be given"


@pytest.mark.parametrize("name", sorted(targets()))
def test_a_page_shows_what_is_printed(name: str) -> None:
    ((words, shown),) = PRINTED.findall((FOLDER / f"{name}.md").read_text())
    target, recipe, *given = shlex.split(words)
    assert target == name
    printed, place = launch(target, recipe, given), 0
    for part in re.split(rf"^\s*{GAP}\n", shown, flags=re.MULTILINE):
        found = printed.find(part, place)
        assert found >= 0, f"launch/{name}.md shows\n{part}\nwhich is not printed after\n{printed[:place][-300:]}"
        place = found + len(part)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_quotes_messages_that_there_are(page: str) -> None:
    rows = (FOLDER / page).read_text().split("## What may go wrong")[1].split("\n## ")[0].splitlines()
    quotes = [quote for row in rows if row.startswith("| `") for quote in re.findall("`([^`]+)`", row.split(" | ")[0])]
    said = messages()
    for quote in quotes:
        for part in re.split(GAP, quote):
            assert part.strip() in said or len(part.strip()) < 4, f"launch/{page}: nothing says '{part.strip()}'"


def messages() -> str:
    """What the program and its templates may say: their source, with strings that stand one after another joined."""
    source = "\n".join(path.read_text() for path in sorted((ROOT / "rft").rglob("*.py")))
    joined = re.sub(r'"\s*\n\s*f?"', "", source)
    return joined + "\n".join(path.read_text() for path in FOLDER.glob("*.jinja"))


def test_the_servers_command_line_is_the_one_that_is_checked() -> None:
    section = recipes.load("four_nodes").policy.inference
    engine = Vllm(**{key: value for key, value in section.items() if key not in ("use", "command")})
    summary = engine.summary()
    assert f"```text\n{summary}\n```" in (FOLDER / "serving.md").read_text(), summary


@pytest.mark.parametrize("page", ["launch/README.md", "launch/serving.md"])
def test_the_lines_of_a_recipe_are_lines_of_a_recipe(page: str, tmp_path: Path) -> None:
    whole = yaml.safe_load((ROOT / "recipes" / "quickstart.yaml").read_text())
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(_merged(whole, yaml.safe_load(block))))
        recipes.load(str(path))


def _merged(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    changed = {
        key: _merged(whole[key], value) if isinstance(whole.get(key), dict) and isinstance(value, dict) else value
        for key, value in part.items()
    }
    return whole | changed
