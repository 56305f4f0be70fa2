"""`rft launch`: what runs a recipe somewhere, printed from a template of `launch/`.

A template is a Jinja file whose opening comment, YAML, says what it is and which variables it takes. Whatever is put
into it goes through a filter that quotes it for the place where it lands; a template that forgets one prints nothing.
"""

import json
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import yaml

from rft import recipe as recipes
from rft.errors import RecipeError, did_you_mean
from rft.plugins import first_line
from rft.pools.cluster import STAYS
from rft.recipe import Recipe, shipped_content

SUFFIX = ".jinja"
WORD = re.compile(r"[A-Za-z0-9_.,:@%/+=-]+")
MAX_LABEL = 47
"""Characters of a RayJob's name."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """What a template asks for."""

    text: str
    """A sentence that says what it is."""
    default: str | int | None = None
    """None: it has to be given. A number: only whole numbers are taken."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A template and what stands in its opening comment."""

    name: str
    path: Path
    description: str
    variables: dict[str, Variable]


class Quoted(str):
    """Text that is safe where a filter was told that it lands."""


def launch(target: str, recipe: str, given: Sequence[str]) -> str:
    """What runs `recipe` at `target`; `given` are `key=value`, the template's variables and changes to the recipe.

    Raises RecipeError, one line, for what is unknown, missing or cannot be quoted.
    """
    for one in (recipe, *given):
        if not one.isprintable():
            raise RecipeError(f"launch: {one!a} holds a character that does not print; expected plain text.")
    template = load_target(target)
    values, overrides = _sort_out(template, given)
    loaded = recipes.load(recipe, overrides)
    return render(template, values, recipe, overrides, loaded)


def targets() -> dict[str, Path]:
    """Target name to template: those of `launch/` where rft was started, before those that ship."""
    folders = (shipped_content("launch"), Path("launch"))
    return {path.name.partition(".")[0]: path for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}"))}


def load_target(name: str) -> Target:
    """The target of a name or of a template's path. Raises RecipeError."""
    known = targets()
    path = known.get(name) or Path(name)
    if not path.is_file():
        raise RecipeError(
            f"launch: no target is called '{name}'; expected one of {', '.join(sorted(known))}, or a template's path."
            f"{did_you_mean(name, known)}"
        )
    header = _header(path)
    variables = {key: _variable(path, key, value) for key, value in (header.get("variables") or {}).items()}
    if clash := variables.keys() & {field.name for field in fields(Recipe)}:
        raise RecipeError(f"{path}: variable '{min(clash)}' is also a key of recipes. Give it another name.")
    return Target(
        name=path.name.partition(".")[0],
        path=path,
        description=str(header.get("description", "")),
        variables=variables,
    )


def variables(target: Target) -> list[tuple[str, str]]:
    """(name, what it is) of what a target asks for."""
    notes: dict[str | int | None, str] = {None: " Has to be given.", "": ""}
    return [
        (name, f"{one.text}{notes.get(one.default, f' Default: {one.default}.')}")
        for name, one in target.variables.items()
    ]


def render(target: Target, values: dict[str, str | int], recipe: str, overrides: list[str], loaded: Recipe) -> str:
    """The filled template. Raises RecipeError where it cannot be filled safely."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_only_quoted,
    )
    environment.filters |= {"sh": sh, "yaml": yaml_scalar, "json": json_text, "word": word, "label": label}
    facts = {
        "name": loaded.name,
        "command": ["rft", "run", recipe, *overrides],
        "resolved": recipes.dump(loaded),
    }
    try:
        template = environment.from_string(target.path.read_text(encoding="utf-8"))
        return template.render(recipe=facts, here=str(Path.cwd()), ray=version("ray"), stays=STAYS, **values)
    except jinja2.TemplateSyntaxError as error:
        raise RecipeError(f"{target.path}, line {error.lineno}: {first_line(error)}. Mend the template.") from None
    except jinja2.TemplateError as error:
        raise RecipeError(f"{target.path}: {first_line(error)}. Mend the template.") from None
    except RecipeError as error:
        raise RecipeError(f"launch {target.name}: {error}") from None


def sh(value: object) -> Quoted:
    """One word of a POSIX shell, or several for a list."""
    words = value if isinstance(value, list) else [value]
    return Quoted(" ".join(shlex.quote(str(one)) for one in words))


def yaml_scalar(value: object) -> Quoted:
    """A YAML flow value on one line: a string in double quotes, a number, or a list of them."""
    if isinstance(value, list):
        return Quoted(f"[{', '.join(yaml_scalar(one) for one in value)}]")
    if isinstance(value, int):
        return Quoted(value)
    return Quoted(yaml.safe_dump(str(value), default_style='"', width=math.inf).removesuffix("\n"))


def json_text(value: object) -> Quoted:
    """JSON in ASCII."""
    return Quoted(json.dumps(value))


def word(value: object) -> Quoted:
    """The text itself, for places that know no quoting. Raises RecipeError for anything but plain characters."""
    if not WORD.fullmatch(str(value)):
        raise RecipeError(f"'{value}' cannot stand in this place; expected letters, digits and . , : @ % / + = _ -")
    return Quoted(value)


def label(value: object) -> Quoted:
    """A name that Kubernetes takes, as near to the text as may be."""
    text = re.sub(r"[^a-z0-9]+", "-", str(value).lower()).strip("-")[:MAX_LABEL].strip("-")
    if not text:
        raise RecipeError(f"'{value}' makes no name; expected some letters or digits.")
    return Quoted(text if text[0].isalpha() else f"r{text}"[:MAX_LABEL].rstrip("-"))


def _only_quoted(value: Any) -> Any:
    if isinstance(value, Quoted | int):
        return value
    raise RecipeError(
        f"the template prints '{value}' as it is; expected a filter behind it: sh, yaml, json, word or label."
    )


def _header(path: Path) -> dict[str, Any]:
    """The YAML in the opening comment."""
    try:
        text = path.read_text(encoding="utf-8")
        comment = re.match(r"\s*\{#-?(.*?)-?#\}", text, re.DOTALL)
        header = yaml.safe_load(comment[1]) if comment else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read ({first_line(error)}). Mend it.") from None
    if not isinstance(header, dict) or not isinstance(header.get("variables") or {}, dict):
        raise RecipeError(
            f"{path}: does not open with a comment that describes it; expected {{# description: … variables: … #}}."
        )
    return cast(dict[str, Any], header)


def _variable(path: Path, key: object, value: object) -> Variable:
    default = value.get("default") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not value.get("text") or not isinstance(default, str | int | None):
        raise RecipeError(
            f"{path}: variable '{key}' is not described; expected {{text: what it is}}, and default: text or a number."
        )
    return Variable(text=str(value["text"]), default=default)


def _sort_out(target: Target, given: Sequence[str]) -> tuple[dict[str, str | int], list[str]]:
    """The template's variables, defaults filled in, and what is left: changes to the recipe."""
    values: dict[str, str | int] = {}
    overrides = []
    known = [*target.variables, *(field.name for field in fields(Recipe))]
    for one in given:
        key, equals, value = one.partition("=")
        if equals and key in target.variables:
            values[key] = _value(target, key, value)
        elif equals and key.partition(".")[0] not in known:
            raise RecipeError(
                f"launch {target.name}: unknown '{key}'; expected a key of the recipe, or one of "
                f"{', '.join(target.variables)}.{did_you_mean(key, known)}"
            )
        else:
            overrides.append(one)
    absent = [key for key, variable in target.variables.items() if variable.default is None and key not in values]
    if absent:
        wanted = "; ".join(f"{key}=… ({target.variables[key].text.rstrip('.')})" for key in absent)
        raise RecipeError(f"launch {target.name}: not given: {wanted}. Add {'it' if len(absent) == 1 else 'them'}.")
    defaults = {key: variable.default for key, variable in target.variables.items() if variable.default is not None}
    return defaults | values, overrides


def _value(target: Target, key: str, value: str) -> str | int:
    if isinstance(target.variables[key].default, int):
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise RecipeError(f"launch {target.name}: {key} is '{value}'; expected a whole number.")
        return int(value)
    return value
