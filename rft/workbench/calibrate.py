"""`rft rubric calibrate`: how far the run's judge agrees with people, and which criteria it should not decide."""

from collections.abc import Sequence
from pathlib import Path

from reward_models import rubric as rubrics
from reward_models.agreement import Measure
from rft.errors import RecipeError
from rft.store import write_atomic
from rft.view import svg
from rft.view.text import count, line, percent, points
from rft.workbench import labels as labelled
from rft.workbench.again import Repeats, ask_again
from rft.workbench.calibration import Calibrated, Calibration, calibrate
from rft.workbench.output import Findings, Section, between, number, print_json, print_parts, show
from rft.workbench.scored import Scored, find_rounds

STYLES = {"under": "bad", "over": "good", "open": "rest", "no floor": "first"}


def run(
    name: str,
    files: Sequence[str] = (),
    *,
    floor: float | None = None,
    again: int = 0,
    switch_off: str | None = None,
    as_json: bool = False,
) -> None:
    """Print the findings, write the page beside the run, and with `switch_off` a rubric without the criteria that are
    under their floor. Raises RecipeError and StageError."""
    if again < 0:
        raise RecipeError(f"--again {again}: expected 0 or more.")
    if floor is not None and not -1.0 <= floor <= 1.0:
        raise RecipeError(f"--floor {floor:g}: expected a kappa, -1 to 1.")
    rounds = find_rounds(name)
    newest = rounds[-1]
    labels = labelled.read(labelled.files_of(newest.run, files))
    repeats = _repeats(rounds, {label.trajectory for label in labels}, again) if again else None
    reports = (report for scored in rounds for report in scored.all_reports())
    found = calibrate(newest.rubric, reports, labels, floor=floor, repeats=repeats)
    if as_json:
        print_json(found)
    else:
        show(_findings(newest, found, repeats), newest.run.path / "workbench" / "calibrate.html")
    if switch_off is not None:
        _switch_off(newest, found, Path(switch_off), quiet=as_json)


def _repeats(rounds: list[Scored], wanted: set[str], times: int) -> Repeats:
    trajectories = (t for scored in rounds for t in scored.all_trajectories() if t.id in wanted and t.failure is None)
    return ask_again(rounds[-1].run.recipe, rounds[-1].rubric, trajectories, times)


def _switch_off(scored: Scored, found: Calibration, path: Path, *, quiet: bool) -> None:
    under = [one.id for one in found.criteria if one.verdict == "under"]
    if path.exists():
        raise RecipeError(f"--switch-off {path}: is there already; expected a new file. Choose another path.")
    source = rubrics.path_of(scored.run.recipe.score.rubric)
    if under:
        from rft.workbench.switch_off import switched_off

        write_atomic(path, switched_off(source.read_text(encoding="utf-8"), under, where=str(source)).encode())
    if not quiet:
        print_parts(
            f"switched off in {path}: {', '.join(under)}" if under else "nothing to switch off; no file written"
        )


def _findings(scored: Scored, found: Calibration, repeats: Repeats | None) -> Findings:
    under = [one.id for one in found.criteria if one.verdict == "under"]
    some = f"{len(under)} of {len(found.criteria)} criteria are under the floor: {', '.join(under)}"
    headline = some if under else f"No criterion of {len(found.criteria)} is under its floor"
    if not any(one.floor is not None for one in found.criteria):
        headline = f"{len(found.criteria)} criteria held against people; none has a floor"
    notes = scored.warnings()
    if found.strange:
        notes.append(f"Not compared, no such criterion or answered in words: {_counts(found.strange)}.")
    if found.without_report:
        notes.append(f"{found.without_report} labels are on attempts that have no report.")
    if repeats is not None and repeats.failed:
        notes.append(f"The judge could not be asked again {repeats.failed} times.")
    return Findings(
        eyebrow=f"{scored.run.recipe.name}, rubric {scored.rubric.name} · {count(found.labels)} labels on "
        f"{found.attempts} attempts by {', '.join(map(line, found.raters))}",
        headline=headline,
        notes=notes,
        sections=[_agreement(found), _people(found), _steadiness(found), _confusions(found)],
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{line(name)} ({number})" for name, number in counts.items())


def _agreement(found: Calibration) -> Section:
    bars = []
    for one in found.criteria:
        measured = one.kappa
        if measured.value is not None:
            low, high = (measured.value if end is None else end for end in (measured.low, measured.high))
            label = number(measured.value) + (f", floor {one.floor:g}" if one.floor is not None else "")
            bars.append(svg.Bar(name=line(one.id), style=STYLES[one.verdict], value=measured.value, low=low, high=high,
                                label=label))  # fmt: skip
    rows = [
        [
            line(one.id),
            f"{one.labelled}",
            f"{one.people_unknown} / {one.judge_unknown}",
            percent(one.agreement.value),
            number(one.kappa.value),
            between(one.kappa.low, one.kappa.high),
            number(one.alpha.value),
            between(one.alpha.low, one.alpha.high),
            "–" if one.floor is None else f"{one.floor:g}",
            one.verdict if one.floor is not None else "",
        ]
        for one in found.criteria
    ]
    reasons = [f"{one.id}: {one.kappa.why}." for one in found.criteria if one.kappa.why]
    return Section(
        title="The judge against people",
        header=[
            "criterion",
            "attempts",
            "unknown to people / judge",
            "agree",
            "kappa",
            "95 %",
            "alpha",
            "95 %",
            "floor",
            "",
        ],
        rows=rows,
        note=" ".join(
            [
                "Cohen's kappa and Krippendorff's alpha: 1 is agreement, 0 what chance gives; ordered answers weigh by",
                "their distance. Unknown answers are left out. Intervals are from a bootstrap over tasks.",
                *(["No kappa for", *reasons] if reasons else []),
            ]
        ),
        picture=svg.dots(
            bars, title="Cohen's kappa of each criterion with its 95 % interval", least=-1.0, shares=False, names=24
        ),
    )


def _people(found: Calibration) -> Section:
    several = [one for one in found.criteria if one.raters > 1]
    rows = [
        [
            line(one.id),
            str(one.raters),
            str(one.people.units),
            percent(one.people_agreement.value),
            number(one.people.value),
            between(one.people.low, one.people.high),
            number(one.kappa.value),
        ]
        for one in several
    ]
    note = "A judge cannot agree with people more than they do with each other: mend the question where alpha is low."
    return Section(
        title="People against each other",
        header=["criterion", "people", "attempts", "agree", "alpha", "95 %", "the judge's kappa"],
        rows=rows,
        note=note
        if rows
        else "One person labelled each criterion: a second one would tell how clear the questions are.",
    )


def _steadiness(found: Calibration) -> Section:
    rows = [
        [
            line(one.id),
            _share(one.steadiness.flips),
            between(one.steadiness.flips.low, one.steadiness.flips.high),
            _share(one.steadiness.order_flips),
            points(one.steadiness.order_shift.value),
            _in_points(one),
        ]
        for one in found.criteria
        if one.steadiness.flips.value is not None or one.steadiness.order_flips.value is not None
    ]
    return Section(
        title="The judge against itself",
        header=["criterion", "flips when asked again", "95 %", "flips in reverse order", "shift", "95 %"],
        rows=rows,
        note="Flips: the share of pairs of answers to the same question that differ. Shift: the mean answer when the "
        "questions come in reverse, minus that in order, in points; an order bias where its interval leaves out 0."
        if rows
        else "Each question was asked once; --again N asks N times more, in reverse and in order by turns.",
    )


def _share(measure: Measure) -> str:
    return percent(measure.value, 1)


def _in_points(one: Calibrated) -> str:
    shift = one.steadiness.order_shift
    return "" if shift.low is None or shift.high is None else f"[{points(shift.low)}, {points(shift.high)}]"


def _confusions(found: Calibration) -> Section:
    rows = [
        [line(one.id), line(cell.people, 60), line(cell.judge, 60), count(cell.count), "" if same else "✗"]
        for one in found.criteria
        for cell in one.confusion
        for same in [cell.people == cell.judge]
    ]
    return Section(
        title="Who said what",
        header=["criterion", "people", "the judge", "attempts", ""],
        rows=rows,
    )
