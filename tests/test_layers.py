"""A module imports only from lower rows or its own package, and heavy libraries only where they are used."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [
    {"reward_models"},
    {"rft.types", "rft.errors", "rft.store"},
    {
        *("rft.recipe", "rft.plugins", "rft.rundir", "rft.presence", "rft.tracking"),
        *("rft.interfaces", "rft.progress", "rft.transcript"),
    },
    {"rft.environments", "rft.sandboxes", "rft.agents", "rft.inference", "rft.pools", "rft.formats"},
    {"rft.collect", "rft.score", "rft.select", "rft.train"},
    {"rft.evaluate"},
    {
        *("rft.loop", "rft.view", "rft.compare", "rft.check", "rft.verify", "rft.probe", "rft.workbench"),
        *("rft.transfer", "rft.launch", "rft.doctor"),
    },
    {"rft.cli"},
]
FRIENDS = {
    frozenset({"rft.loop", "rft.view"}),
    frozenset({"rft.compare", "rft.view"}),
    frozenset({"rft.compare", "rft.loop"}),
    frozenset({"rft.workbench", "rft.view"}),
    frozenset({"rft.transfer", "rft.loop"}),
    frozenset({"rft.doctor", "rft.check"}),
    frozenset({"rft.verify", "rft.check"}),
    frozenset({"rft.probe", "rft.check"}),
    frozenset({"rft.probe", "rft.loop"}),
}
"""Rooms of one row that may import each other: what drives rounds and what shows them, what came of them, or what is
known ahead."""
FREE_ROWS = (1, 2)
"""Rows whose modules are one package and import each other."""
HEAVY = {"torch", "ray", "trl", "deepspeed", "wandb", "transformers", "peft", "datasets", "accelerate"}
HOLD_A_MODEL = {
    "rft/train/worker.py",
    "rft/train/training.py",
    "rft/train/sft.py",
    "rft/train/preferences.py",
    "rft/train/grpo.py",
    "rft/train/losses.py",
    "rft/train/order.py",
    "rft/train/parts.py",
    "rft/train/branches.py",
    "rft/inference/engine.py",
    "rft/inference/attention.py",
    "rft/inference/draw.py",
    "reward_models/judges/shared_prefix.py",
}
"""Modules that only make sense with a model and are themselves imported where it is needed."""

MODULES = sorted(
    path for top in ("rft", "reward_models") for path in (ROOT / top).rglob("*.py") if "packages" not in path.parts
)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] == "reward_models" else ".".join(parts[:2])


def row_of(room: str) -> int | None:
    return next((i for i, row in enumerate(ROWS) if room in row), None)


def imports(tree: ast.AST) -> list[tuple[str, bool]]:
    """Imported module, and whether it is imported when the file is."""
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            deeper = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "rft" else [node.module]
            found += [(name, node not in inside) for name in deeper]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    room = room_of(module)
    row = row_of(room)
    if module in ("rft", "rft._data"):
        return
    assert row is not None, f"{room} stands in no row: put it where ARCHITECTURE.md says"
    for name, _ in imports(ast.parse(path.read_text())):
        if not name.startswith(("rft.", "reward_models")) or room_of(name) in (room, "rft.__version__"):
            continue
        other = row_of(room_of(name))
        assert other is not None, f"{name} stands in no row"
        friends = frozenset({room, room_of(name)}) in FRIENDS or (other == row and row in FREE_ROWS)
        assert other < row or friends, f"{module} (row {row}) imports {name} (row {other})"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    if str(path.relative_to(ROOT)) in HOLD_A_MODEL:
        return
    at_import = [name for name, early in imports(ast.parse(path.read_text())) if early and name.split(".")[0] in HEAVY]
    assert not at_import, f"{at_import} is paid for by everyone who imports {path.name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring and docstring.split("\n")[0].strip()
