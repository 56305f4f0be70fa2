"""A judge held against people, criterion by criterion."""

from collections import Counter
from collections.abc import Iterable, Sequence

from reward_models.agreement import Measure, Unit, alpha, confusion, estimate, flips, kappa, raw
from reward_models.types import Criterion, Report, Rubric, Verdict
from reward_models.verdicts import UNKNOWN, answers
from rft.errors import RecipeError
from rft.evaluate import statistics
from rft.evaluate.statistics import Estimate
from rft.types import Record
from rft.workbench.again import Repeats
from rft.workbench.labels import Label, answer_of, answer_of_verdict


class Cell(Record, frozen=True, kw_only=True):
    """How often people said one thing and the judge another; `unknown` where one could not tell."""

    people: str
    judge: str
    count: int


class Steadiness(Record, frozen=True, kw_only=True):
    """Whether a judge says the same again."""

    flips: Measure
    """Of the judge asked again in the same order: the share of pairs of answers that differ."""
    order_flips: Measure
    """Of the judge asked in the order of the rubric and in the reverse: the share of attempts answered otherwise."""
    order_shift: Estimate
    """The mean value asked in reverse minus that asked in order; a bias where the interval leaves out 0."""


class Calibrated(Record, frozen=True, kw_only=True):
    """One criterion. Where several people labelled an attempt, the answer of most of them is what people say."""

    id: str
    kind: str
    floor: float | None
    verdict: str
    """`under` its floor, `over` it, `open` (no kappa can be told), or `no floor`."""
    labelled: int
    """Attempts that people labelled and that have a verdict, unknown ones included."""
    judge_unknown: int
    people_unknown: int
    """No label but that it cannot be told, or people are divided."""
    agreement: Measure
    kappa: Measure
    """Cohen's, with quadratic weights for an ordered criterion."""
    alpha: Measure
    """Krippendorff's, ordinal for an ordered criterion, else nominal."""
    confusion: list[Cell]
    raters: int
    people: Measure
    """Krippendorff's alpha among people."""
    people_agreement: Measure
    steadiness: Steadiness


class Calibration(Record, frozen=True, kw_only=True):
    """A run's verdicts held against labels."""

    labels: int
    attempts: int
    """Attempts that are labelled and have a report."""
    raters: list[str]
    criteria: list[Calibrated]
    strange: dict[str, int]
    """Criteria that the rubric does not have, or answers in words that cannot be compared, and their labels."""
    without_report: int
    """Labels on attempts that have no report."""


def calibrate(
    rubric: Rubric,
    reports: Iterable[Report],
    labels: Sequence[Label],
    *,
    floor: float | None = None,
    repeats: Repeats | None = None,
) -> Calibration:
    """Everything about every criterion that is labelled; `floor` is for those that have none.

    Raises RecipeError when a label answers what was not asked, or when no label fits a report.
    """
    wanted = {label.trajectory for label in labels}
    found = {report.id: report for report in reports if report.id in wanted}
    criteria = {criterion.id: criterion for criterion in rubric.criteria if criterion.kind != "text"}
    fitting = [label for label in labels if label.trajectory in found and label.criterion in criteria]
    if not fitting:
        raise RecipeError(
            f"labels: none of {len(labels)} is on an attempt and a criterion of this run; expected ids of its attempts."
        )
    return Calibration(
        labels=len(labels),
        attempts=len({label.trajectory for label in fitting}),
        raters=sorted({label.rater for label in fitting}),
        criteria=[
            _calibrated(criterion, found, of_it, floor, repeats or Repeats())
            for criterion in criteria.values()
            if (of_it := [label for label in fitting if label.criterion == criterion.id])
        ],
        strange=dict(Counter(label.criterion for label in labels if label.criterion not in criteria)),
        without_report=sum(label.trajectory not in found for label in labels),
    )


def _calibrated(
    criterion: Criterion, reports: dict[str, Report], labels: list[Label], floor: float | None, repeats: Repeats
) -> Calibrated:
    raters = sorted({label.rater for label in labels})
    said: dict[str, dict[str, str | None]] = {}
    for label in labels:
        answer = answer_of(criterion, label.value, label.label, where=f"label on {label.trajectory}")
        said.setdefault(label.trajectory, {})[label.rater] = answer
    verdicts = {name: _verdict(reports[name], criterion) for name in said}
    asked = {name: verdict for name, verdict in verdicts.items() if verdict is not None}
    pairs = [(_most(list(said[name].values())), answer_of_verdict(criterion, v)) for name, v in asked.items()]
    groups = [reports[name].task_id for name in asked]
    people: list[Unit] = [tuple(by.get(rater) for rater in raters) for by in said.values()]
    of_people = [reports[name].task_id for name in said]
    ordered = criterion.kind == "ordered"
    chance = kappa("quadratic", criterion.answers) if ordered else kappa()
    reliability = alpha("ordinal", criterion.answers) if ordered else alpha()
    measured = estimate(pairs, chance, groups=groups)
    least = criterion.floor if criterion.floor is not None else floor
    return Calibrated(
        id=criterion.id,
        kind=criterion.kind,
        floor=least,
        verdict=_held(measured, least),
        labelled=len(pairs),
        judge_unknown=sum(judge is None for _, judge in pairs),
        people_unknown=sum(person is None for person, _ in pairs),
        agreement=estimate(pairs, raw, groups=groups),
        kappa=measured,
        alpha=estimate(pairs, reliability, groups=groups),
        confusion=_cells(criterion, pairs),
        raters=len(raters),
        people=estimate(people, reliability, groups=of_people),
        people_agreement=estimate(people, raw, groups=of_people),
        steadiness=_steadiness(criterion, asked, reports, repeats),
    )


def _steadiness(
    criterion: Criterion, asked: dict[str, Verdict], reports: dict[str, Report], repeats: Repeats
) -> Steadiness:
    """What changes when the judge is asked again, from the stored votes and from what was asked again."""
    same, crossed, groups = [], [], []
    before: dict[str, list[float | None]] = {}
    after: dict[str, list[float | None]] = {}
    for name, verdict in asked.items():
        task = reports[name].task_id
        stored = verdict.votes if len(verdict.votes) > 1 and not verdict.label else []
        first = [_told(criterion, value, "") for value in stored] or [answer_of_verdict(criterion, verdict) or UNKNOWN]
        again = repeats.of(name, criterion.id)
        in_order = first + [_told(criterion, v.value, v.label) for v in again.in_order]
        reverse = [_told(criterion, v.value, v.label) for v in again.reverse]
        same.append(tuple(in_order))
        crossed.append((in_order[-1], reverse[-1] if reverse else None))
        groups.append(task)
        if reverse:
            before.setdefault(task, []).extend([verdict.value, *(v.value for v in again.in_order)])
            after.setdefault(task, []).extend(v.value for v in again.reverse)
    return Steadiness(
        flips=flips(estimate(same, raw, groups=groups)),
        order_flips=flips(estimate(crossed, raw, groups=groups)),
        order_shift=statistics.difference(after, before),
    )


def _told(criterion: Criterion, value: float | None, label: str) -> str:
    """An answer in words, `unknown` being one: a judge that cannot tell now and then is unsure."""
    if value is None and not label:
        return UNKNOWN
    return answer_of(criterion, value, label, where="the judge") or UNKNOWN


def _verdict(report: Report, criterion: Criterion) -> Verdict | None:
    return next((verdict for verdict in report.verdicts if verdict.criterion == criterion.id), None)


def _most(said: list[str | None]) -> str | None:
    """What most of those said who could tell; None when they are divided, or none could."""
    counts = Counter(answer for answer in said if answer is not None).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def _held(measured: Measure, floor: float | None) -> str:
    if floor is None:
        return "no floor"
    if measured.value is None:
        return "open"
    return "under" if measured.value < floor else "over"


def _cells(criterion: Criterion, pairs: list[tuple[str | None, str | None]]) -> list[Cell]:
    order = [*answers(criterion), UNKNOWN]
    cells = [
        Cell(people=str(people or UNKNOWN), judge=str(judge or UNKNOWN), count=count)
        for (people, judge), count in confusion(pairs).items()
    ]
    return sorted(cells, key=lambda cell: (order.index(cell.people), order.index(cell.judge)))
