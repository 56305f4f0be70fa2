"""What the documents say exists: commands, files, recipes."""

import re
import shlex
from pathlib import Path

import pytest

from rft import cli
from rft.recipe import load
from rft.view.reference import render

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "recipes/README.md",
    "recipes/METHODS.md",
    "reward_models/README.md",
    "reward_models/WORKBENCH.md",
    "launch/README.md",
    *(f"launch/{name}.md" for name in ("local", "slurm", "kuberay", "ray", "docker", "serving")),
    "rft/formats/README.md",
    "rft/agents/README.md",
    "rft/environments/README.md",
    "rft/sandboxes/README.md",
    "reward_models/rubrics/README.md",
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_code_blocks_are_commands(name: str) -> None:
    text = (ROOT / name).read_text()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in re.findall(r"(?:^|`)make ([a-z]+)(?=[ `\n])", text, re.MULTILINE):
        assert command in targets, f"make {command}"
    for line in re.findall(r"^rft (.*)$", text, re.MULTILINE):
        words = shlex.split(line.split("  ")[0].split("#")[0].split(";")[0])
        for command in words[0].split("|"):
            assert command in cli.COMMANDS, line


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(name: str) -> None:
    text = (ROOT / name).read_text()
    for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        page = (ROOT / name).parent / target if target else ROOT / name
        assert page.exists(), target
        assert not heading or heading in anchors(page.read_text()), f"{target}#{heading}"
    assert not re.search(r"\b[A-Z]+_(?:NUMBERS|TIME|TABLE|SEE)\b", text)


def anchors(text: str) -> set[str]:
    """Of a page's headings, as they are linked to."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_readme() -> None:
    reached, owed = set[Path](), [ROOT / "README.md"]
    while owed:
        page = owed.pop().resolve()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            owed += [page.parent / target for target in re.findall(r"\]\(([^)#:]+)", page.read_text())]
    missed = {name for name in DOCUMENTS if (ROOT / name).resolve() not in reached}
    assert not missed


PLUGINS = {
    "environment": "environment",
    "sandbox": "sandbox",
    "agent": "agent",
    "inference": "inference",
    "policy.inference": "inference",
    "collect.inference": "inference",
    "collect.pool": "pool",
    "score.judge": "judge",
    "select.teach": "teaching",
    "tracking": "tracker",
}
"""Section of a recipe to the kind of plug-in whose options it holds."""
THEIRS = ("train.trl.", "train.lora.", "train.ray.", "train.quantization.")
"""What other libraries' options begin with."""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_keys_that_are_named_are_keys(name: str) -> None:
    reference = (ROOT / "recipes" / "REFERENCE.md").read_text()
    keys, *kinds = re.split(r"^## ", reference, flags=re.MULTILINE)[1:]
    known = set(re.findall(r"^\| `([\w.]+)` \|", keys, re.MULTILINE))
    options = {
        kind.split("names: ")[1].split()[0]: {"use", *re.findall(r"^\| `(\w+)` \|", kind, re.MULTILINE)}
        for kind in kinds
    }
    first = "|".join({key.partition(".")[0] for key in (*known, *PLUGINS)})
    for key in re.findall(
        rf"`((?:{first})(?:\.[a-z_]+)+)(?<!\.json)(?<!\.yaml)(?<!\.py)(?:[:=][^`]*)?`", (ROOT / name).read_text()
    ):
        section, _, last = key.rpartition(".")
        there = key in known or last in options.get(PLUGINS.get(section, ""), ())
        assert there or key.startswith(THEIRS) or any(one.startswith(f"{key}.") for one in known), key


def test_the_layout_names_what_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text().split("## 2. Layout")[1].split("**Layers.**")[0]
    for line in text.splitlines():
        if match := re.match(r"  (\w+\.py|\w+/)\s", line):
            assert list(ROOT.glob(f"*/{match.group(1).rstrip('/')}")), match.group(1)
    for path in (ROOT / "rft").glob("*.py"):
        if path.name != "__init__.py":
            assert path.name in text, f"{path.name} is not in the layout"


def test_the_quickstart_recipe_states_a_number_that_was_seen() -> None:
    load("quickstart")
    assert not re.search(r"[A-Z]+_NUMBERS", (ROOT / "recipes" / "quickstart.yaml").read_text())


def test_the_reference_is_what_the_code_says() -> None:
    assert (ROOT / "recipes" / "REFERENCE.md").read_text() == render(), "run `make docs`"
