"""Verdicts become one number."""

import hashlib
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from reward_models.types import Criterion, Rubric, Verdict

Unknown = Literal["leave_out", "no_score"]


class Score(NamedTuple):
    """A score, or why there is none."""

    value: float | None
    """In [0, 1]; None when it is unknown."""
    why: str = ""


def goodness(criterion: Criterion, value: float) -> float:
    """How good a verdict is, in [0, 1]: a discouraged behaviour is good when it is not there."""
    return value if criterion.polarity == "encourage" else 1.0 - value


def dropout(rubric: Rubric, share: float, key: str) -> list[str]:
    """The criteria that the score is made without, so that no single one can be farmed: `share` of them, by `key`.

    The same key gives the same criteria: attempts that are held against each other want the same one, and another
    one the next time. Required criteria and those without weight are never left out; of the others at least one is
    (if `share` is above 0) and at least one stays. A larger share leaves out the same ones and more.
    Rubric dropout is from arXiv 2608.11669, which saw a policy's score rise with the judge it was trained on and fall
    with one that it was not; drawing by a hash, and once for each group, is our own. Raises ValueError.
    """
    if not 0 <= share < 1:
        raise ValueError(f"dropout is {share}; expected 0 or more and less than 1")
    candidates = [criterion.id for criterion in rubric.criteria if criterion.weight > 0 and not criterion.required]
    count = min(max(1, round(share * len(candidates))), len(candidates) - 1) if share else 0
    drawn = sorted(candidates, key=lambda name: hashlib.sha256(f"{key}/{name}".encode("utf-8", "replace")).digest())
    gone = set(drawn[: max(0, count)])
    return [name for name in candidates if name in gone]


def signed(
    rubric: Rubric, verdicts: Sequence[Verdict], *, unknown: Unknown = "leave_out", without: Collection[str] = ()
) -> Score:
    """The signed sum of the verdicts, min-max normalised to [0, 1] over what these criteria make possible.

    S = sum of w·v over encouraged criteria, minus the sum of w·v over discouraged ones; it lies between minus the
    discouraged weights and plus the encouraged ones, so (S + discouraged) / (encouraged + discouraged) is the weighted
    mean of the verdicts' goodness. This formula is our own: the paper that the signed criteria come from
    (arXiv 2604.16335) filters trajectories by rubrics, and what could be read of it gives none.

    A required criterion that is not met (goodness under 0.5) makes the score 0; one that is unknown makes it unknown.
    Of other unknown criteria, `leave_out` drops the weight, `no_score` leaves the trajectory without a score.
    A criterion without weight that is not required is only watched, and one in `without` is left out:
    neither changes anything.
    """
    found = {verdict.criterion: verdict for verdict in verdicts}
    total = weights = 0.0
    failed = unsure = ""
    for criterion in rubric.criteria:
        watched = not criterion.weight and not criterion.required
        if watched or criterion.id in without:
            continue
        verdict = found.get(criterion.id)
        if verdict is None or verdict.value is None:
            if criterion.required or unknown == "no_score":
                unsure = unsure or criterion.id
            continue
        good = goodness(criterion, verdict.value)
        if criterion.required and good < 0.5:
            failed = failed or criterion.id
        total += criterion.weight * good
        weights += criterion.weight
    if failed:
        return Score(0.0, f"required criterion '{failed}' is not met")
    if unsure:
        return Score(None, f"criterion '{unsure}' is unknown")
    if weights == 0.0:
        return Score(None, "no criterion with a weight could be answered")
    return Score(min(1.0, max(0.0, total / weights)))
