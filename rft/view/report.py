"""`report.md` and `report.html` of a run: how often tasks were resolved, how it was done, and what was learnt from."""

from pathlib import Path
from typing import Any

from rft import recipe as recipes
from rft.evaluate import markdown
from rft.evaluate.judging import METRIC as KAPPA
from rft.evaluate.statistics import Estimate
from rft.evaluate.summary import CRITERION, EvaluationReport
from rft.rundir import Run
from rft.store import write_atomic
from rft.tracking import without_secrets
from rft.view import data, svg
from rft.view.data import Round, RunData, Selection, change_of, metric, tone
from rft.view.page import render
from rft.view.text import count, duration, line, percent, points

AUDIT_NOTE = (
    "Scores of the same attempts by the rubric that selects and by criteria or a judge that do not. The area under the "
    "curve is the chance that the rubric puts an attempt that solved its task above one that did not."
)
STYLES = ("first", "second", "third", "rest")


def write(run: Run) -> list[Path]:
    """Write both files into the run's folder, whole or not at all; works on a run at any point. Returns their paths."""
    gathered = data.gather(run)
    selected = [round.number for round in gathered.rounds if "select" in round.manifests]
    selection = data.selection(run, selected[-1]) if selected else None
    text, page = run.path / "report.md", run.path / "report.html"
    write_atomic(text, as_markdown(gathered).encode())
    write_atomic(page, as_html(run, gathered, selection).encode())
    return [text, page]


def as_markdown(run: RunData) -> str:
    """A row a round, the behaviours and the funnel."""
    header, rows = _table(run)
    plain = [[" ".join(part for part in cell.values() if part) for cell in row] for row in rows]
    alarms = [f"**Reward hacking?** {alarm}." for alarm in run.alarms]
    parts = [f"# {run.name}", headline(run)[0], *alarms, *run.missing(), markdown.table(header, plain)]
    if run.criteria:
        parts += [f"## Behaviours on {run.splits[0]}", _behaviour_table(run)]
    agreements = data.agreement_table(run)
    if agreements[1]:
        parts += ["## Agreement of the judge with its labels", markdown.table(*agreements)]
    if any(round.funnel for round in run.rounds):
        parts += ["## Attempts left after each rule", _funnel_table(run)]
    verdicts = data.verdict_table(run)
    if verdicts[1]:
        parts += ["## Verdicts, and why some are unknown", markdown.table(*verdicts)]
    if run.audits:
        parts += ["## Audit of a sample", AUDIT_NOTE, markdown.table(*data.audit_table(run))]
    parts.append("`report.html` beside this file has the pictures. Intervals are 95 %, from a bootstrap over tasks.")
    return "\n\n".join(parts) + "\n"


def as_html(run: Run, gathered: RunData, selection: Selection | None) -> str:
    """The page."""
    header, rows = _table(gathered)
    title, subline = headline(gathered)
    return render(
        "report.html.jinja",
        title=f"{gathered.name}: rft report",
        run=gathered,
        policy=line(run.recipe.policy.model, 80),
        rounds_done=gathered.finished,
        rounds_planned=run.recipe.rounds,
        headline=title,
        subline=subline,
        missing=gathered.missing(),
        tiles=_tiles(gathered),
        resolved=_resolved(gathered),
        behaviours=_behaviours(gathered),
        funnel=_funnels(gathered),
        selection=selection,
        histogram=_histogram(selection),
        table={"header": header, "rows": rows},
        alarms=gathered.alarms,
        verdicts=data.verdict_table(gathered),
        agreements=data.agreement_table(gathered),
        audits=data.audit_table(gathered),
        audit_note=AUDIT_NOTE,
        promotions=_promotions(gathered),
        samples=selection.samples if selection is not None else [],
        polarity=gathered.criteria,
        recipe=_recipe(run),
    )


def headline(run: RunData) -> tuple[str, str]:
    """What a reader wants to know first, in one sentence, and how sure it is, in another."""
    reports = run.evaluations
    last = run.result
    if last is None or not run.splits:
        return f"{run.name}: nothing has been evaluated yet", ""
    split = run.splits[0]
    now = metric(last, split, run.measured)
    if now is None or now.value is None:
        return f"{run.name}: no held-out attempt could be measured", ""
    if run.measured == KAPPA:
        return (
            f"The judge agrees with its labels on held-out attempts: mean kappa {now.value:.2f}",
            f"95 % interval {now.low:.2f} to {now.high:.2f}, on {now.tasks} tasks of {line(split)}.",
        )
    change = last.splits[split].differences.get(reports[0].round, {}).get("resolved")
    before = metric(reports[0], split, "resolved")
    if (
        last.round == reports[0].round
        or change is None
        or change.value is None
        or before is None
        or before.value is None
    ):
        return f"The starting policy resolves {percent(now.value)} of held-out attempts", _sure(now)
    verb = "rose" if change.value > 0 else "fell" if change.value < 0 else "stayed"
    sentence = f"Held-out tasks resolved {verb} from {percent(before.value)} to {percent(now.value)}"
    sure = change.low is not None and change.high is not None and (change.low > 0 or change.high < 0)
    doubt = "" if sure else " The interval holds zero: this may be chance."
    low, high = points(change.low), points(change.high)
    return sentence, (
        f"{points(change.value)} points, 95 % interval {low} to {high}, on {change.tasks} tasks of {line(split)} "
        f"after {last.round} round{'s' if last.round != 1 else ''}.{doubt}"
    )


def _sure(estimate: Estimate) -> str:
    return f"95 % interval {percent(estimate.low)} to {percent(estimate.high)}, on {estimate.tasks} tasks."


def _tiles(run: RunData) -> list[dict[str, str]]:
    last = run.result
    tiles = []
    for split in run.splits[:2]:
        estimate = metric(last, split, run.measured)
        tiles.append({"name": f"{run.measured}, {line(split)}", "value": percent(estimate.value if estimate else None)})
    totals = {
        "attempts collected": ("collect", "attempts"),
        "kept to learn from": ("select", "kept"),
        "tokens learnt": ("train", "learnt_tokens"),
    }
    for name, (stage, key) in totals.items():
        numbers = [number for round in run.rounds if (number := round.count(stage, key)) is not None]
        tiles.append({"name": name, "value": count(sum(numbers)) if numbers else "–"})
    return [*tiles, {"name": "time in all stages", "value": duration(sum(round.seconds for round in run.rounds))}]


def _points(reports: list[EvaluationReport], split: str, name: str) -> list[svg.Point]:
    found = [(report, metric(report, split, name)) for report in reports]
    return [
        svg.Point(x=report.round, value=one.value, low=one.low, high=one.high, hollow=not report.promoted)
        for report, one in found
        if one is not None and one.value is not None and one.low is not None and one.high is not None
    ]


def _resolved(run: RunData) -> str:
    series = [
        svg.Line(
            name=line(split, 18), style=STYLES[min(number, 3)], points=_points(run.evaluations, split, run.measured)
        )
        for number, split in enumerate(run.splits)
    ]
    what = "Kappa of the judge and its labels" if run.measured == KAPPA else "Share of held-out attempts resolved"
    return svg.lines(series, title=f"{what} after each round, with 95 % intervals")


def _behaviours(run: RunData) -> list[dict[str, Any]]:
    if not run.evaluations:
        return []
    split = line(run.splits[0])
    where = f"Share of attempts on {split}, from the first evaluation to the last; bands are 95 % intervals."
    titles = {
        "encourage": ("Encouraged behaviours", f"Should rise. {where}"),
        "discourage": ("Discouraged behaviours", f"Should fall. {where}"),
    }
    groups = []
    for polarity, (title, note) in titles.items():
        names = [name for name, sign in run.criteria.items() if sign == polarity]
        cards = [item for name in names if (item := _behaviour(run, name)) is not None]
        if cards:
            groups.append({"title": title, "note": note, "cards": cards})
    return groups


def _behaviour(run: RunData, name: str) -> dict[str, Any] | None:
    found = _points(run.evaluations, run.splits[0], CRITERION + name)
    if not found:
        return None
    polarity = run.criteria[name]
    change = change_of(run, name)
    words = line(name.replace("_", " "), 60)
    low, high = (points(change.low), points(change.high)) if change is not None else ("–", "–")
    return {
        "name": words,
        "picture": svg.spark(found, style=tone(change, polarity) or "rest", title=f"{words} over the rounds"),
        "first": percent(found[0].value),
        "last": percent(found[-1].value),
        "change": f"{points(change.value)} points" if change is not None and change.value is not None else "",
        "interval": f"95 % interval {low} to {high}",
        "tone": tone(change, polarity),
    }


def _funnels(run: RunData) -> list[dict[str, Any]]:
    shown = [round for round in run.rounds if round.funnel]
    return [_funnel(round) for round in shown[-6:]]


def _funnel(round: Round) -> dict[str, Any]:
    seen = max(1, round.funnel[0].before)
    rows = [
        {
            "rule": line(row.rule, 60),
            "dropped": count(row.dropped),
            "after": count(row.after),
            "left_share": f"{100 * row.after / seen:.2f}",
            "gone_share": f"{100 * row.dropped / seen:.2f}",
        }
        for row in round.funnel
    ]
    kept, before = round.funnel[-1].after, round.funnel[0].before
    return {"number": round.number, "kept": count(kept), "seen": count(before), "rows": rows}


def _histogram(selection: Selection | None) -> str:
    if selection is None:
        return ""
    title = f"Scores of {len(selection.kept)} kept and {len(selection.dropped)} dropped attempts"
    return svg.histogram(selection.kept, selection.dropped, names=("kept", "dropped"), title=title)


def _table(run: RunData) -> tuple[list[str], list[list[dict[str, str]]]]:
    """Header and rows; a cell is a value and what stands small beside it."""
    splits = run.splits
    held_out = [f"{line(split, 30)} {run.measured}" for split in splits]
    header = ["round", "attempts", "resolved", "kept", "learnt tokens", "loss", *held_out, "score", "promoted", "took"]
    rows = []
    for round in run.rounds:
        report = round.evaluation
        score = metric(report, splits[0], "score") if splits else None
        loss = round.metric("train", "loss_last")
        rows.append(
            [
                _cell(str(round.number), "start" if round.number == 0 else ""),
                _cell(count(round.count("collect", "attempts"))),
                _cell(percent(round.metric("collect", "resolved"))),
                _cell(count(round.count("select", "kept"))),
                _cell(count(round.count("train", "learnt_tokens"))),
                _cell("–" if loss is None else f"{loss:.3f}"),
                *(_rate(metric(report, split, run.measured)) for split in splits),
                _cell("–" if score is None or score.value is None else f"{score.value:.3f}"),
                _cell("–" if report is None else "yes" if report.promoted else "no"),
                _cell(duration(round.seconds)),
            ]
        )
    return header, rows


def _cell(value: str, small: str = "") -> dict[str, str]:
    return {"value": value, "small": small}


def _rate(estimate: Estimate | None) -> dict[str, str]:
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return _cell("–")
    return _cell(percent(estimate.value), f"[{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]")


def _promotions(run: RunData) -> list[str]:
    """Why each trained policy was taken on, or was not."""
    return [
        f"Round {report.round} was {'promoted' if report.promoted else 'not promoted'}: {line(report.reason)}."
        for report in run.evaluations
        if report.incumbent is not None
    ]


def _behaviour_table(run: RunData) -> str:
    rows = []
    for name, polarity in run.criteria.items():
        estimates = [metric(report, run.splits[0], CRITERION + name) for report in run.evaluations]
        change = change_of(run, name)
        interval = (
            f"{points(change.value)} [{points(change.low)}, {points(change.high)}]" if change is not None else "–"
        )
        sign = "+" if polarity == "encourage" else "−"
        rows.append([f"{sign} {name}", *(percent(one.value if one else None) for one in estimates), interval])
    return markdown.table(["criterion", *(f"round {r.round}" for r in run.evaluations), "change in points"], rows)


def _funnel_table(run: RunData) -> str:
    shown = [round for round in run.rounds if round.funnel]
    rows = [["attempts", *(count(round.funnel[0].before) for round in shown)]]
    for rule in dict.fromkeys(row.rule for round in shown for row in round.funnel):
        left = [next((row.after for row in round.funnel if row.rule == rule), None) for round in shown]
        rows.append([rule, *(count(number) for number in left)])
    return markdown.table(["rule", *(f"round {round.number}" for round in shown)], rows)


def _recipe(run: Run) -> str:
    """The recipe without its secrets."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(recipes.to_config(run.recipe), resolve=True)
    return OmegaConf.to_yaml(OmegaConf.create(without_secrets(plain)))
