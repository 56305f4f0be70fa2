"""Every key of a recipe and every option of every shipped name, from the sentences under their fields.

`python -m rft.view.reference` writes recipes/REFERENCE.md; a test holds the file against the code.
"""

import ast
import dataclasses
import inspect
import textwrap
from typing import Any

from rft import recipe
from rft.plugins import NAMES, find

OPENING = """# Reference

Every key of a recipe, and every name that `use:` knows with its options. Made from the code by `make docs`.
"""


def render() -> str:
    """The whole page as Markdown."""
    parts = [OPENING, "## Recipe keys\n", _table(_keys(recipe.Recipe, ""))]
    for kind, names in NAMES.items():
        parts.append(f"## `use:` names: {kind}\n")
        for name in names:
            target = find(kind, name, name)
            rows = _rows(target, "")
            parts.append(f"### {name}\n\n{_summary(target)}\n" + (f"\n{_table(rows)}" if rows else ""))
    return "\n".join(parts).rstrip() + "\n"


def _keys(kind: type, prefix: str) -> list[tuple[str, str, str]]:
    """The rows of a section, and then of the sections in it."""
    inner = recipe.sections(kind).items()
    return _rows(kind, prefix) + [row for name, section in inner for row in _keys(section, f"{prefix}{name}.")]


def _rows(kind: Any, prefix: str) -> list[tuple[str, str, str]]:
    """Key, default and sentence of each field that a recipe may set."""
    sentences = field_sentences(kind)
    return [
        (f"`{prefix}{field.name}`", _default(field), sentences.get(field.name, ""))
        for field in dataclasses.fields(kind)
        if field.init and not dataclasses.is_dataclass(field.default_factory)
    ]


def field_sentences(kind: type) -> dict[str, str]:
    """Field to the string literal under it, in the class itself or in one that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _own_sentences(base)
    return found


def _own_sentences(kind: type) -> dict[str, str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(sentence))):
                found[name] = " ".join(sentence.split())
    return found


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        value: Any = field.default_factory()
    elif field.default is dataclasses.MISSING or field.default == "???":
        return "required"
    else:
        value = field.default
    return f"`{value}`"


def _summary(target: Any) -> str:
    return " ".join((inspect.getdoc(target) or "").split())


def _table(rows: list[tuple[str, str, str]]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    path = recipe.shipped_content("recipes") / "REFERENCE.md"
    path.write_text(render(), encoding="utf-8")
    print(path)
