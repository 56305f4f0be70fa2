"""`rft rubric report`: what each criterion of a rubric told on a scored round, as tables and a page."""

from rft.view import svg
from rft.view.text import line, percent, points
from rft.workbench.measures import SAME, CriterionMeasures, RubricMeasures, measure
from rft.workbench.output import Findings, Section, between, number, print_json, show
from rft.workbench.scored import Scored, find_round

SURE = 0.05
"""The share of false findings that is put up with (Benjamini and Hochberg's q)."""
LONG = 0.3
"""A correlation with length from which a criterion is suspected to prefer it, or its opposite."""


def report(name: str, *, round: int | None = None, as_json: bool = False) -> None:
    """Print the findings, and write the page beside the run. Raises RecipeError and StageError."""
    scored = find_round(name, round)
    measures = measure(scored.rubric, scored.pairs())
    if as_json:
        print_json(measures)
    else:
        show(_findings(scored, measures), scored.page("report"))


def _findings(scored: Scored, measures: RubricMeasures) -> Findings:
    tests = sum(one.effect is not None and one.effect.q <= SURE for one in measures.criteria)
    return Findings(
        eyebrow=f"{scored} · {measures.attempts} attempts at {measures.tasks} tasks",
        headline=f"{tests} of {len(measures.criteria)} criteria go with success or failure beyond chance",
        notes=[*scored.warnings(), *_suspicions(measures)],
        sections=[_answers(measures), *_labels(measures), _effects(measures), _spread(measures), _pairs(measures)],
    )


def _suspicions(measures: RubricMeasures) -> list[str]:
    """What an author of the rubric should look at, in sentences."""
    criteria = measures.criteria
    against = [one.id for one in criteria if _against(one)]
    groups = {
        "Tell nothing, the same answer every time": [one.id for one in criteria if one.dead],
        "Go with the opposite of what their polarity says": against,
        "Go with length": [one.id for one in criteria if max(abs(one.steps or 0), abs(one.tokens or 0)) >= LONG],
        "Unknown on more than a fifth": [one.id for one in criteria if (one.unknown_rate or 0.0) > 0.2],
        "Votes that differ in more than a fifth of pairs": [c.id for c in criteria if (c.disagreement or 0.0) > 0.2],
    }
    return [f"{what}: {', '.join(names)}." for what, names in groups.items() if names]


def _against(one: CriterionMeasures) -> bool:
    if one.effect is None or one.effect.q > SURE:
        return False
    return (one.effect.value > 0) != (one.polarity == "encourage")


def _signed(one: CriterionMeasures) -> str:
    return f"{'+' if one.polarity == 'encourage' else '−'} {line(one.id, 60)}"


def _in_points(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def _chance(p: float) -> str:
    """A p-value; one that is too small for a number of this machine is not 0."""
    return f"{p:.2g}" if p >= 1e-99 else "< 1e-99"


def _answers(measures: RubricMeasures) -> Section:
    bars = [
        svg.Bar(
            name=_signed(one),
            style="first" if one.polarity == "encourage" else "second",
            value=one.rate.value,
            low=one.rate.low,
            high=one.rate.high,
            label=percent(one.rate.value),
        )
        for one in measures.criteria
        if one.rate.value is not None and one.rate.low is not None and one.rate.high is not None
    ]
    columns = ["rate", "95 %", "answers", "unknown", "for the cause", "votes that differ"]
    grouped = any(one.group for one in measures.criteria)
    rows = [
        [
            _signed(one),
            *([line(one.group, 40)] if grouped else []),
            percent(one.rate.value, 1),
            between(one.rate.low, one.rate.high),
            str(one.rate.attempts),
            percent(one.unknown_rate, 1),
            ", ".join(f"{count} {cause}" for cause, count in sorted(one.unknown.items())),
            percent(one.disagreement, 1),
        ]
        for one in measures.criteria
    ]
    return Section(
        title="How often it was met, and how sure the judge was",
        header=["criterion", *(["group"] if grouped else []), *columns],
        rows=rows,
        note="Rates are in the criterion's own polarity, means over tasks; intervals from a bootstrap over tasks.",
        picture=svg.dots(bars, title="Rate of each criterion with its 95 % interval", names=24),
    )


def _labels(measures: RubricMeasures) -> list[Section]:
    rows = [
        [_signed(one), line(answer, 60), str(times), percent(times / total)]
        for one in measures.criteria
        if (total := sum(one.labels.values()))
        for answer, times in one.labels.items()
    ]
    return (
        [Section(title="Which answers", header=["criterion", "answer", "attempts", "share"], rows=rows)] if rows else []
    )


def _effects(measures: RubricMeasures) -> Section:
    rows, bars = [], []
    for one in sorted(measures.criteria, key=lambda one: -abs(one.effect.value) if one.effect else 1):
        effect = one.effect
        if effect is None:
            continue
        sure = effect.q <= SURE
        rows.append(
            [
                _signed(one),
                points(effect.value),
                _in_points(effect.low, effect.high),
                f"{effect.met[0]}/{sum(effect.met)}",
                f"{effect.unmet[0]}/{sum(effect.unmet)}",
                _chance(effect.p),
                _chance(effect.q),
            ]
        )
        low, high = (effect.value if end is None else end for end in (effect.low, effect.high))
        style = "rest" if not sure else "bad" if _against(one) else "good"
        bars.append(svg.Bar(name=_signed(one), style=style, value=effect.value, low=low, high=high,
                            label=f"{points(effect.value)}{' *' if sure else ''}"))  # fmt: skip
    return Section(
        title="What goes with success",
        header=["criterion", "effect", "95 %", "resolved if met", "if not met", "p", "q"],
        rows=rows,
        note="Effect: P(resolved | met) − P(resolved | not met) in points, its interval from a bootstrap over tasks. "
        "p is Fisher's exact test, which takes attempts as independent; q is adjusted for the number of criteria "
        "(Benjamini and Hochberg), * where it is at most 0.05. What goes with success need not cause it.",
        picture=svg.dots(bars, title="Effect of each criterion on success", least=-1.0, names=24),
    )


def _spread(measures: RubricMeasures) -> Section:
    rows = [
        [
            _signed(one),
            number(one.variance, 3),
            number(one.within, 3),
            number(one.steps),
            number(one.tokens),
            "yes" if one.dead else "",
        ]
        for one in measures.criteria
    ]
    return Section(
        title="What it tells apart, and whether it follows length",
        header=["criterion", "variance", "within tasks", "with steps", "with tokens", "dead"],
        rows=rows,
        note="A choice among attempts at one task rests on the variance within tasks. Correlations are Spearman's.",
    )


def _pairs(measures: RubricMeasures) -> Section:
    rows = [[p.first, p.second, number(p.correlation), str(p.attempts)] for p in measures.redundant]
    said = f"Correlation (of yes and no: phi) of {SAME:g} or more, either way; one of the two may be enough."
    return Section(
        title="Pairs that tell the same",
        header=["criterion", "and", "correlation", "attempts"],
        rows=rows,
        note=said if rows else "No two criteria have a correlation of 0.8 or more, either way.",
    )
