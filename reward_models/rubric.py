"""Rubrics as files: reads a rubric's YAML, checks it, and gives it a content address."""

import hashlib
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import yaml

from reward_models.errors import RubricError, did_you_mean
from reward_models.rules import bind
from reward_models.types import Criterion, Rubric

MAX_BYTES = 256 * 1024
MAX_CRITERIA = 200
MAX_DEPTH = 20

_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def shipped() -> list[str]:
    """Names of the rubrics that come with the library."""
    return sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml"))


def path_of(name: str) -> Path:
    """The file of a rubric: a path, or the name of a shipped one. Raises RubricError."""
    if Path(name).is_file():
        return Path(name)
    if name in shipped():
        return Path(str(_folder() / f"{name}.yaml"))
    raise RubricError(
        f"{name}: no such rubric; expected a file, or one of {', '.join(shipped())}.{did_you_mean(name, shipped())}"
    )


def load(name: str | Path) -> Rubric:
    """The rubric of a file, or the shipped one of that name, checked.

    Raises RubricError, one line, for anything that is wrong with it.
    """
    path = path_of(str(name))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RubricError(f"{path}: cannot be read ({error.strerror}); expected a rubric in YAML.") from None
    return parse(data, where=str(name))


def parse(data: bytes | str, *, where: str = "rubric") -> Rubric:
    """A rubric from YAML text, checked; `where` is what errors are blamed on. Raises RubricError."""
    tree = _plain(data, where)
    _known_keys(tree, Rubric, where)
    criteria = tree.get("criteria")
    if not isinstance(criteria, list) or not criteria:
        raise RubricError(f"{where}: criteria is missing or empty; expected a list of criteria. Add one.")
    if len(criteria) > MAX_CRITERIA:
        raise RubricError(f"{where}: {len(criteria)} criteria; expected at most {MAX_CRITERIA}.")
    for number, line in enumerate(criteria, 1):
        _known_keys(line, Criterion, f"{where}: criterion {_name(line, number)}")
    typed = [_convert(line, Criterion, f"{where}: criterion {_name(line, n)}") for n, line in enumerate(criteria, 1)]
    rubric = _convert({**tree, "criteria": []}, Rubric, where)
    return check(msgspec.structs.replace(rubric, criteria=typed), where=where)


def check(rubric: Rubric, *, where: str = "") -> Rubric:
    """The rubric with the options of its rules typed. Raises RubricError for what no single field can tell."""
    where = where or rubric.name
    if not rubric.name.strip():
        raise RubricError(f"{where}: name is empty; expected a word.")
    seen: set[str] = set()
    checked = []
    for criterion in rubric.criteria:
        if criterion.id in seen:
            raise RubricError(f"{where}: criterion '{criterion.id}' stands twice; ids are unique. Rename one.")
        seen.add(criterion.id)
        checked.append(_checked(criterion, f"{where}: criterion '{criterion.id}'"))
    if not any(criterion.weight > 0 for criterion in checked):
        raise RubricError(f"{where}: every weight is 0, so no score can be made. Give a criterion some weight.")
    return msgspec.structs.replace(rubric, criteria=checked)


def digest(rubric: Rubric) -> str:
    """A short content address of what verdicts and scores follow from; prose for people is left out."""
    criteria = [msgspec.structs.replace(criterion, reason="") for criterion in rubric.criteria]
    bare = msgspec.structs.replace(rubric, description="", criteria=criteria)
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:16]


def _checked(criterion: Criterion, where: str) -> Criterion:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", criterion.id):
        raise RubricError(f"{where}: expected an id of small letters, digits and '_'. Rename it.")
    if not math.isfinite(criterion.weight) or criterion.weight < 0:
        raise RubricError(
            f"{where}: weight is {criterion.weight:g}; expected 0 or more. For bad behaviour use polarity: discourage."
        )
    if bool(criterion.question.strip()) == bool(criterion.rule.strip()):
        given = "both a question and a rule" if criterion.rule else "neither a question nor a rule"
        raise RubricError(f"{where}: has {given}; expected exactly one. A judge answers questions, code answers rules.")
    if criterion.question:
        if criterion.options:
            raise RubricError(f"{where}: has options but no rule; only rules take options. Remove them.")
        return criterion
    return msgspec.structs.replace(criterion, options=bind(criterion.rule, criterion.options, where=where).options)


def _plain(data: bytes | str, where: str) -> dict[str, Any]:
    """Strings, lists and maps of a YAML text: nothing in it builds an object, refers, or becomes a boolean."""
    if len(data) > MAX_BYTES:
        raise RubricError(f"{where}: larger than {MAX_BYTES} bytes; expected a rubric of some pages.")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        _refuse_tricks(text, where)
        tree = _build(yaml.compose(text, Loader=yaml.BaseLoader), where)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise RubricError(f"{where}{line}: not YAML ({problem}). Mend it.") from None
    except UnicodeDecodeError:
        raise RubricError(f"{where}: not UTF-8; expected a rubric in YAML.") from None
    if not isinstance(tree, dict):
        raise RubricError(f"{where}: holds no keys and values; expected name, criteria and the like.")
    return tree


def _refuse_tricks(text: str, where: str) -> None:
    depth = 0
    for token in yaml.scan(text, Loader=yaml.BaseLoader):
        line = token.start_mark.line + 1
        if isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken):
            raise RubricError(
                f"{where}, line {line}: YAML anchors, aliases and tags are not read; write the value out."
            )
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            # the reader's time grows with the square of the depth
            raise RubricError(f"{where}, line {line}: nested too deeply; expected a list of criteria.")


def _build(node: yaml.Node | None, where: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        built: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise RubricError(f"{where}, line {key.start_mark.line + 1}: a key is not a word. Mend it.")
            if key.value in built:
                raise RubricError(f"{where}, line {key.start_mark.line + 1}: '{key.value}' stands twice. Remove one.")
            built[key.value] = _build(value, where)
        return built
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, where) for item in node.value]
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _known_keys(tree: Any, kind: type[msgspec.Struct], where: str) -> None:
    if not isinstance(tree, dict):
        raise RubricError(f"{where}: not keys and values; expected {', '.join(kind.__struct_fields__)}.")
    for key in tree:
        if key not in kind.__struct_fields__:
            known = list(kind.__struct_fields__)
            raise RubricError(
                f"{where}: unknown key '{key}'; expected one of {', '.join(known)}.{did_you_mean(key, known)}"
            )


def _convert(tree: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        problem, _, at = str(error).partition(" - at ")
        key = at.strip("`").removeprefix("$.") if at else ""
        raise RubricError(f"{where}{f': {key}' if key else ''}: {problem.replace('`', '')}. Mend it.") from None


def _name(line: Any, number: int) -> str:
    return f"'{line['id']}'" if isinstance(line, dict) and isinstance(line.get("id"), str) else str(number)


def _folder() -> Any:
    return resources.files("reward_models") / "rubrics"
