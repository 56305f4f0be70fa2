"""Rubrics as files: reads a rubric's YAML, checks it, and gives it a content address."""

import hashlib
import math
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import yaml

from reward_models.errors import RubricError, did_you_mean
from reward_models.rules import bind
from reward_models.transcript import neutral
from reward_models.types import Criterion, Rubric, Transcript, View
from reward_models.verdicts import UNKNOWN, answers

MAX_BYTES = 256 * 1024
MAX_CRITERIA = 200
MAX_DEPTH = 20
MAX_ANSWER = 80
"""Characters of one of a question's answers."""

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
    _harmless({"name": rubric.name, "description": rubric.description}, where)
    if not rubric.name.strip():
        raise RubricError(f"{where}: name is empty; expected a word.")
    seen: set[str] = set()
    checked = []
    for criterion in rubric.criteria:
        if criterion.id in seen:
            raise RubricError(f"{where}: criterion '{criterion.id}' stands twice; ids are unique. Rename one.")
        seen.add(criterion.id)
        checked.append(_checked(rubric, criterion, f"{where}: criterion '{criterion.id}'"))
    if not any(criterion.weight > 0 for criterion in checked):
        raise RubricError(f"{where}: every weight is 0, so no score can be made. Give a criterion some weight.")
    return msgspec.structs.replace(rubric, criteria=checked)


def applicable(rubric: Rubric, transcript: Transcript) -> Rubric:
    """The rubric without the criteria that are about a user's follow-up, where the transcript has none."""
    if transcript.followup.strip():
        return rubric
    criteria = [criterion for criterion in rubric.criteria if not criterion.requires_followup]
    return msgspec.structs.replace(rubric, criteria=criteria)


def view_of(rubric: Rubric, criterion: Criterion) -> View:
    """What the judge of a criterion may see."""
    return criterion.view or rubric.view


def by_view(rubric: Rubric, criteria: Iterable[Criterion]) -> dict[View, list[Criterion]]:
    """Criteria under what their judge may see, each view where its first criterion stands."""
    views: dict[View, list[Criterion]] = {}
    for criterion in criteria:
        views.setdefault(view_of(rubric, criterion), []).append(criterion)
    return views


def digest(rubric: Rubric) -> str:
    """A short content address of what verdicts and scores follow from.

    Left out are each criterion's reason and floor, which are for people, and the description where no judge reads it.
    """
    criteria = [msgspec.structs.replace(criterion, reason="", floor=None) for criterion in rubric.criteria]
    asks = any(criterion.question for criterion in criteria)
    bare = msgspec.structs.replace(rubric, description=rubric.description if asks else "", criteria=criteria)
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:16]


def _checked(rubric: Rubric, criterion: Criterion, where: str) -> Criterion:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", criterion.id):
        raise RubricError(f"{where}: expected an id of small letters, digits and '_'. Rename it.")
    if not math.isfinite(criterion.weight) or criterion.weight < 0:
        raise RubricError(
            f"{where}: weight is {criterion.weight:g}; expected 0 or more. For bad behaviour use polarity: discourage."
        )
    if criterion.floor is not None and not -1.0 <= criterion.floor <= 1.0:
        raise RubricError(f"{where}: floor is {criterion.floor:g}; expected a kappa between -1 and 1, such as 0.6.")
    if bool(criterion.question.strip()) == bool(criterion.rule.strip()):
        given = "both a question and a rule" if criterion.rule else "neither a question nor a rule"
        raise RubricError(f"{where}: has {given}; expected exactly one. A judge answers questions, code answers rules.")
    if criterion.question:
        _check_question(rubric, criterion, where)
        return criterion
    return _rule(criterion, where)


def _rule(criterion: Criterion, where: str) -> Criterion:
    """The criterion with its rule's options typed."""
    plain = Criterion(id=criterion.id)
    for key in ("kind", "answers", "met", "view", "examples"):
        if getattr(criterion, key) != getattr(plain, key):
            raise RubricError(
                f"{where}: has {key} but no question; code reads everything and answers a number. Remove it."
            )
    return msgspec.structs.replace(criterion, options=bind(criterion.rule, criterion.options, where=where).options)


def _check_question(rubric: Rubric, criterion: Criterion, where: str) -> None:
    if criterion.options:
        raise RubricError(f"{where}: has options but no rule; only rules take options. Remove them.")
    if criterion.requires_followup and view_of(rubric, criterion) != "segment":
        raise RubricError(
            f"{where}: requires_followup in the view {view_of(rubric, criterion)}, which does not show the follow-up; "
            "expected view: segment."
        )
    _check_answers(criterion, where)
    _check_weight(criterion, where)
    _check_examples(criterion, where)
    texts = {"question": criterion.question, "answers": "\n".join(criterion.answers)}
    for number, example in enumerate(criterion.examples, 1):
        texts[f"example {number}"] = "\n".join((example.given, example.answer, example.reason))
    _harmless(texts, where)


def _check_answers(criterion: Criterion, where: str) -> None:
    if criterion.kind in ("binary", "text"):
        if criterion.answers:
            raise RubricError(f"{where}: has answers and is {criterion.kind}; expected kind: ordered or class.")
    elif len(criterion.answers) < 2:
        raise RubricError(
            f"{where}: {len(criterion.answers)} answers; a question of kind {criterion.kind} has two or more. Add them."
        )
    seen: set[str] = set()
    for answer in criterion.answers:
        if not answer.strip() or answer != answer.strip() or "\n" in answer or len(answer) > MAX_ANSWER:
            raise RubricError(
                f"{where}: answer '{' '.join(answer[:MAX_ANSWER].split())}' is no short line of words. Mend it."
            )
        if answer.casefold() == UNKNOWN:
            raise RubricError(
                f"{where}: answer '{answer}' stands for what cannot be told, and is always there. Remove it."
            )
        if answer.casefold() in seen:
            raise RubricError(f"{where}: answer '{answer}' stands twice. Remove one.")
        seen.add(answer.casefold())


def _check_weight(criterion: Criterion, where: str) -> None:
    """What an answer is worth must be told by the criterion."""
    if criterion.kind != "class" and criterion.met:
        raise RubricError(f"{where}: has met and is {criterion.kind}; only a question of kind class has it. Remove it.")
    for answer in criterion.met:
        if answer not in criterion.answers:
            raise RubricError(
                f"{where}: met has '{answer}'; expected some of {', '.join(criterion.answers)}."
                f"{did_you_mean(answer, criterion.answers)}"
            )
    if criterion.met and set(criterion.met) == set(criterion.answers):
        raise RubricError(f"{where}: every answer is in met, so it is always met. Leave one out.")
    if criterion.kind == "ordered" and criterion.polarity == "discourage":
        raise RubricError(f"{where}: polarity is discourage, but ordered answers go from worst to best. Remove it.")
    worthless = criterion.kind == "text" or (criterion.kind == "class" and not criterion.met)
    if worthless and (criterion.weight or criterion.required):
        which = "in words" if criterion.kind == "text" else "by a class, and met names none,"
        raise RubricError(f"{where}: is answered {which} and so has no value; expected weight: 0, and not required.")


def _check_examples(criterion: Criterion, where: str) -> None:
    allowed = [*answers(criterion), UNKNOWN]
    for number, example in enumerate(criterion.examples, 1):
        if not example.given.strip():
            raise RubricError(f"{where}: example {number} has nothing under given; expected a piece of a transcript.")
        if criterion.kind != "text" and example.answer not in allowed:
            raise RubricError(
                f"{where}: example {number} has the answer '{example.answer}'; expected one of {', '.join(allowed)}."
                f"{did_you_mean(example.answer, allowed)}"
            )
        if not example.answer.strip():
            raise RubricError(f"{where}: example {number} has no answer; expected a few words.")


def _harmless(texts: dict[str, str], where: str) -> None:
    """Refuses what would mean something to a chat template or cannot be seen, as a judge is shown it as it stands."""
    for key, text in texts.items():
        if neutral(text) != text:
            raise RubricError(
                f"{where}: {key} holds an invisible character, or a token of chat templates such as <think>. "
                "Say it in other words."
            )


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
