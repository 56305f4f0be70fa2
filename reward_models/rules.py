"""Criteria that code answers: RULES names them, and any `package.module:function` works as well.

A rule is a function `(transcript, *, options…) -> Finding`, or a number in [0, 1], a bool, or None for unknown. It
decides from the transcript alone, and it says how far the behaviour that it is named after is *there*: whether that is
good is for the criterion's polarity to say. A rule that breaks down makes its verdict unknown, never a zero.
"""

import functools
import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from reward_models.errors import RubricError, did_you_mean
from reward_models.types import Criterion, Finding, Transcript, Verdict

RULES: dict[str, str] = {
    "tests_pass": "reward_models.behaviours.outcome:tests_pass",
    "submitted": "reward_models.behaviours.outcome:submitted",
    "submitted_unfinished": "reward_models.behaviours.outcome:submitted_unfinished",
    "carried_on_when_done": "reward_models.behaviours.outcome:carried_on_when_done",
    "small_diff": "reward_models.behaviours.outcome:small_diff",
    "too_many_steps": "reward_models.behaviours.outcome:too_many_steps",
    "reproduced_before_edit": "reward_models.behaviours.checking:reproduced_before_edit",
    "verified_after_edit": "reward_models.behaviours.checking:verified_after_edit",
    "verified_passing": "reward_models.behaviours.checking:verified_passing",
    "blind_edit_after_failure": "reward_models.behaviours.checking:blind_edit_after_failure",
    "looked_before_edit": "reward_models.behaviours.editing:looked_before_edit",
    "edited_tests": "reward_models.behaviours.editing:edited_tests",
    "undid_work": "reward_models.behaviours.editing:undid_work",
    "left_scratch_files": "reward_models.behaviours.editing:left_scratch_files",
    "repeated_command": "reward_models.behaviours.commanding:repeated_command",
    "bad_commands": "reward_models.behaviours.commanding:bad_commands",
    "risky_commands": "reward_models.behaviours.commanding:risky_commands",
    "read_history": "reward_models.behaviours.leaking:read_history",
    "reached_for_network": "reward_models.behaviours.leaking:reached_for_network",
    "tampered_with_grader": "reward_models.behaviours.leaking:tampered_with_grader",
    "hard_coded_outputs": "reward_models.behaviours.leaking:hard_coded_outputs",
}

Answer = Finding | float | int | bool | None


class Bound(typing.NamedTuple):
    """A rule with its options, typed by the rule's own keyword-only arguments."""

    function: Callable[..., Answer]
    options: dict[str, Any]


def bind(rule: str, options: dict[str, Any], *, where: str) -> Bound:
    """The function of a rule and its typed options. Raises RubricError; `where` is what it is blamed on."""
    function = find(rule, where=where)
    try:
        parameters = _options(function)
    except (TypeError, ValueError):
        raise RubricError(
            f"{where}: '{rule}' cannot be read as a rule; expected a function of a transcript and keyword-only options."
        ) from None
    for name in options:
        if name not in parameters:
            expected = ", ".join(parameters) or "no options"
            hint = did_you_mean(name, parameters)
            raise RubricError(f"{where}: rule '{rule}' has no option '{name}'; expected {expected}.{hint}")
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise RubricError(f"{where}: rule '{rule}' needs the option '{name}'. Add it under options.")
    try:
        hints = _hints(function)
        typed = {name: msgspec.convert(value, hints.get(name, Any), strict=False) for name, value in options.items()}
    except (msgspec.ValidationError, TypeError, NameError) as error:
        raise RubricError(f"{where}: options of rule '{rule}': {error}. Mend it.") from None
    return Bound(function, typed)


@functools.cache
def _options(function: Callable[..., Answer]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def find(rule: str, *, where: str) -> Callable[..., Answer]:
    """The function of a rule's name. Raises RubricError."""
    module_name, _, attribute = RULES.get(rule, rule).partition(":")
    if not attribute or not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise RubricError(
            f"{where}: no rule is called '{rule}'; expected {', '.join(sorted(RULES))}, or package.module:function."
            f"{did_you_mean(rule, RULES)}"
        )
    try:
        function = getattr(importlib.import_module(module_name), attribute, None)
    except Exception as error:  # a user's module may fail in any way when it is imported
        problem = str(error).split("\n")[0]
        raise RubricError(
            f"{where}: cannot import '{module_name}' ({type(error).__name__}: {problem}). "
            "Install it, or run from its folder."
        ) from None
    if not callable(function):
        raise RubricError(f"{where}: '{module_name}' has no function '{attribute}'. Define it, or mend the name.")
    return typing.cast(Callable[..., Answer], function)


@functools.cache
def _hints(function: Callable[..., Answer]) -> dict[str, Any]:
    return typing.get_type_hints(function)


def answer(criterion: Criterion, transcript: Transcript) -> Verdict:
    """What a criterion's rule says of a transcript. Whatever breaks in it makes the verdict unknown."""
    try:
        bound = bind(criterion.rule, criterion.options, where=criterion.id)
        finding = as_finding(bound.function(transcript, **bound.options))
    except Exception as error:  # a broken rule is a recorded unknown, and one line tells what broke
        problem = str(error).split("\n")[0][:500]
        why = f"the rule broke: {type(error).__name__}: {problem}"
        return Verdict(criterion=criterion.id, value=None, why=why, cause="rule")
    known = {step.index for step in transcript.steps}
    return Verdict(
        criterion=criterion.id,
        value=finding.value,
        steps=sorted(set(finding.steps) & known)[:50],
        evidence=finding.evidence[:500],
        why=finding.why,
        cause="rule" if finding.value is None else "",
    )


def as_finding(value: Answer) -> Finding:
    """A rule's answer as a Finding. Raises ValueError for what is none."""
    if value is None:
        return Finding(value=None, why="the rule could not tell")
    if isinstance(value, bool | int | float):
        value = Finding(value=float(value))
    if not isinstance(value, Finding):
        raise ValueError(f"it returned a {type(value).__name__}; expected a Finding, a number, a bool or None")
    if value.value is not None and not 0.0 <= value.value <= 1.0:
        raise ValueError(f"it returned {value.value}; expected a number in [0, 1]")
    return value
