"""Steps that a verdict cites: out of what is learnt, or learnt with another weight; they stay in the context."""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from reward_models.types import Report
from rft.errors import RecipeError, did_you_mean
from rft.plugins import find_rubric
from rft.types import Example

LIKELY = 0.5
"""From here on a judge's answer says that a behaviour is there: a judge that is a model here says how likely it is."""


def cited(
    report: Report | None, criteria: Collection[str], asked: Collection[str] = frozenset()
) -> dict[int, list[str]]:
    """Step to those of the criteria that a verdict says it shows. An unknown or a denying verdict cites nothing.

    A rule that finds something says so however little it is; those that are `asked` of a judge are there or are not.
    """
    found: dict[int, list[str]] = {}
    for verdict in report.verdicts if report else []:
        least = LIKELY if verdict.criterion in asked else 0.0
        if verdict.criterion in criteria and verdict.value and verdict.value >= least:
            for step in verdict.steps:
                found.setdefault(step, []).append(verdict.criterion)
    return found


def without(examples: Iterable[Example], steps: Collection[int]) -> list[Example]:
    """The examples with these steps in the context alone; one that has nothing else to learn is left out."""
    masked = [_masked(example, steps) for example in examples]
    return [example for example in masked if example.spans]


def _masked(example: Example, steps: Collection[int]) -> Example:
    kept = [place for place, step in enumerate(example.steps) if step not in steps]
    if len(kept) == len(example.spans) or not example.steps:
        return example
    logprobs, start = [], 0
    for place, (first, last) in enumerate(example.spans):
        end = start + last - first
        if place in kept:
            logprobs += example.logprobs[start:end]
        start = end
    return replace(
        example,
        spans=[example.spans[place] for place in kept],
        steps=[example.steps[place] for place in kept],
        logprobs=logprobs,
    )


def asked_in(rubric: str) -> frozenset[str]:
    """The criteria of a rubric that a judge answers. Raises RecipeError."""
    return frozenset(criterion.id for criterion in find_rubric(rubric, "score.rubric").criteria if criterion.question)


def check_criteria(names: Iterable[str], rubric: str, where: str) -> None:
    """Raises RecipeError for a name that is no criterion of the rubric."""
    wanted = list(names)
    if not wanted:
        return
    known = [criterion.id for criterion in find_rubric(rubric, "score.rubric").criteria]
    for name in wanted:
        if name not in known:
            raise RecipeError(
                f"{where}: '{name}' is no criterion of '{rubric}'; expected one of {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
