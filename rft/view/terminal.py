"""`rft show`: a run, or one attempt, as tables on a terminal. What models and tools wrote is never read as markup."""

from typing import Any

import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reward_models.types import Polarity
from rft.evaluate.statistics import Estimate
from rft.evaluate.summary import CRITERION
from rft.rundir import Run
from rft.types import Step
from rft.view import data
from rft.view.data import Round, RunData, Shown, change_of, metric, tone
from rft.view.text import clean, count, cut, duration, line, percent, points

MAX_OUTPUT = 4000
"""Characters of one command's output that are shown."""
PLAIN_WIDTH = 150
"""Columns where the output is no terminal."""


def print_run(run: Run, *, as_json: bool = False) -> None:
    """A run to stdout, as far as it has come."""
    gathered = data.gather(run)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(as_plain(gathered))).decode())
    else:
        console().print(run_tables(gathered))


def print_trajectory(run: Run, identity: str, *, as_json: bool = False) -> None:
    """One attempt to stdout. Raises RecipeError when there is none of that id."""
    shown = data.find(run, identity)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(shown)).decode())
    else:
        console().print(attempt_view(shown))


def run_tables(run: RunData) -> RenderableType:
    """A row for each round, the behaviours, the funnel, and what is missing."""
    parts: list[RenderableType] = [_rounds(run)]
    if run.criteria:
        parts += ["", _behaviours(run)]
    agreements = data.agreement_table(run)
    if agreements[1]:
        parts += ["", _plain_table("agreement of the judge with its labels", agreements)]
    if any(round.funnel for round in run.rounds):
        parts += ["", _funnel(run)]
    verdicts = data.verdict_table(run)
    if verdicts[1]:
        parts += ["", _plain_table("verdicts, and why some are unknown", verdicts)]
    if run.audits:
        audits = _plain_table("audit of a sample", data.audit_table(run))
        parts += ["", audits, *(Text(f"reward hacking? {alarm}", style="bold red") for alarm in run.alarms)]
    missing = run.missing()
    if missing:
        parts += ["", *(Text(note, style="yellow") for note in missing)]
    return Group(*parts)


def attempt_view(shown: Shown) -> RenderableType:
    """One attempt: its task, its turns with the verdicts that cite them, and what became of it."""
    trajectory = shown.trajectory
    statement = next((m.content for m in reversed(trajectory.prompt) if m.role == "user"), "")
    return Group(
        Panel(Text(clean(cut(statement, MAX_OUTPUT))), title=Text(line(trajectory.id)), box=box.ROUNDED),
        *(_step(shown, step) for step in trajectory.steps),
        _outcome(shown),
        *([_verdicts(shown)] if shown.report is not None else []),
    )


def as_plain(run: RunData) -> dict[str, Any]:
    """The run for programs: rounds with manifests, funnel and evaluation, and what is missing."""
    return {
        "name": run.name,
        "alarms": run.alarms,
        "missing": run.missing(),
        "rounds": [
            {
                "round": round.number,
                "stages": {
                    name: {"counts": manifest.counts, "metrics": manifest.metrics, "seconds": manifest.seconds}
                    for name, manifest in round.manifests.items()
                },
                "unfinished": round.unfinished,
                "funnel": round.funnel,
                "evaluation": round.evaluation,
            }
            for round in run.rounds
        ],
    }


def console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _rounds(run: RunData) -> Table:
    splits = run.splits
    held_out = [f"{split} {run.measured}" for split in splits]
    names = ["attempts", "resolved", "kept", "learnt tokens", "train loss", *held_out]
    table = _table(run.name, "round", *names, *(["score"] if splits else []), "promoted", "took")
    for round in run.rounds:
        report = round.evaluation
        table.add_row(
            f"{round.number}" if round.number else "0 (start)",
            count(round.count("collect", "attempts")),
            percent(round.metric("collect", "resolved")),
            count(round.count("select", "kept")),
            count(round.count("train", "learnt_tokens")),
            _loss(round),
            *(_rate(metric(report, split, run.measured)) for split in splits),
            *([_number(metric(report, splits[0], "score"))] if splits else []),
            "–" if report is None else Text("yes", style="green") if report.promoted else Text("no", style="red"),
            duration(round.seconds),
        )
    return table


def _behaviours(run: RunData) -> Table:
    split, reports = run.splits[0], run.evaluations
    columns = [f"round {report.round}" for report in reports]
    table = _table(f"behaviours on {split}", "criterion", *columns, "change in points")
    for name, polarity in run.criteria.items():
        estimates = [metric(report, split, CRITERION + name) for report in reports]
        sign = "+" if polarity == "encourage" else "−"
        table.add_row(
            Text(f"{sign} {line(name, 60)}"),
            *(percent(estimate.value if estimate else None) for estimate in estimates),
            _change(change_of(run, name), polarity),
        )
    return table


def _funnel(run: RunData) -> Table:
    rounds = [round for round in run.rounds if round.funnel]
    rules = list(dict.fromkeys(row.rule for round in rounds for row in round.funnel))
    table = _table("dropped by each rule, and how many were left", "rule", *(f"round {r.number}" for r in rounds))
    table.add_row("attempts", *(count(round.funnel[0].before) for round in rounds))
    for rule in rules:
        rows = [next((row for row in round.funnel if row.rule == rule), None) for round in rounds]
        table.add_row(
            Text(line(rule, 60)), *("–" if row is None else f"−{row.dropped:,}  {row.after:>6,}" for row in rows)
        )
    return table


def _plain_table(title: str, found: tuple[list[str], list[list[str]]]) -> Table:
    header, rows = found
    table = _table(title, *header)
    for row in rows:
        table.add_row(*row)
    return table


def _step(shown: Shown, step: Step) -> Table:
    """The margin says where we are, what came of it, and which verdicts rest on it."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, expand=True)
    table.add_column(width=22)
    table.add_column(ratio=1)
    margin = Text(f"step {step.index}", style="bold")
    ending = "timed out" if step.timed_out else f"exit {step.exit_code}" if step.exit_code is not None else step.killed
    if ending:
        margin.append(f"\n{line(ending, 20)}", style="green" if step.exit_code == 0 else "red")
    told, colour = _learning(shown, step)
    margin.append(told, style=colour)
    for row in shown.trajectory.tokens[1:]:
        if row.spans and row.spans[0][2] == step.index:
            margin.append(f"\nprefix broke:\n{row.repeated:,} tokens repeated", style="yellow")
    for criterion in shown.citing(step.index):
        margin.append(f"\n‹ {line(criterion, 19)}", style="magenta")
    said = f"{step.reply}\n{step.command or ''}" if step.tool_calls else step.reply
    body = Text(clean(cut(said, MAX_OUTPUT)).strip(), style=colour)
    if step.problem:
        body.append(f"\nnot run: {line(step.problem)}", style="red")
    body.append(f"\n{clean(cut(step.observation, MAX_OUTPUT)).rstrip()}", style="dim")
    table.add_row(margin, body)
    return table


def _learning(shown: Shown, step: Step) -> tuple[str, str]:
    """What the margin says of a turn that is learnt from, and its colour."""
    weight = shown.steps.get(step.index)
    if weight is None:
        return ("\nread, not learnt", "yellow") if shown.steps and (step.reply or step.tool_calls) else ("", "")
    word = f"learnt {step.completion_tokens or ''}".rstrip() if weight > 0 else "made less likely"
    return f"\n{word}" + ("" if abs(weight) == 1 else f" × {abs(weight):.2f}"), learnt_colour(weight)


def learnt_colour(weight: float) -> str:
    """Of what is to become likelier, less likely, or neither."""
    return "cyan" if weight > 0 else "red" if weight < 0 else "yellow"


def _outcome(shown: Shown) -> RenderableType:
    trajectory, text = shown.trajectory, Text()
    resolved = trajectory.outcome.resolved if trajectory.outcome is not None else None
    word = {True: "resolved", False: "not resolved", None: "outcome unknown"}[resolved]
    text.append(f"{word}, stopped by {trajectory.stop.value}, {duration(trajectory.seconds)}", style="bold")
    if trajectory.failure is not None:
        text.append(
            f"\nbroke down in {line(trajectory.failure.where)}: {line(trajectory.failure.message)}", style="red"
        )
    if trajectory.outcome is not None and trajectory.outcome.tampered:
        text.append(f"\ntampered with {line(', '.join(trajectory.outcome.tampered))}", style="red")
    if trajectory.outcome is not None and trajectory.outcome.new_tests:
        text.append(f"\nadded tests, which are not graded: {line(', '.join(trajectory.outcome.new_tests))}")
    if shown.report is not None:
        score = "unknown" if shown.report.score is None else f"{shown.report.score:.3f}"
        text.append(f"\nscore {score} {line(shown.report.failure)}".rstrip())
    if shown.decision is not None:
        word = "kept" if shown.decision.keep else f"dropped by {line(shown.decision.rule)}"
        text.append(f"\n{word} {line(shown.decision.reason)}".rstrip(), style="bold")
    if shown.learnt:
        steps = f" of {len(shown.steps)} of {len(trajectory.steps)} turns" if shown.steps else ""
        text.append(f"\n{sum(shown.learnt.values()):,} tokens are learnt{steps}")
    patch = Text(clean(cut(trajectory.patch, MAX_OUTPUT)).rstrip(), style="dim")
    return Panel(Group(text, patch) if trajectory.patch else text, box=box.ROUNDED)


def _verdicts(shown: Shown) -> Table:
    assert shown.report is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("verdict", "value", "steps", "why"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for verdict in shown.report.verdicts:
        value = "unknown" if verdict.value is None else f"{verdict.value:g}"
        steps = ", ".join(map(str, verdict.steps[:20]))
        table.add_row(Text(line(verdict.criterion)), value, steps, Text(line(verdict.why or verdict.evidence)))
    return table


def _rate(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return "–"
    return f"{percent(estimate.value)} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def _number(estimate: Estimate | None) -> str:
    return "–" if estimate is None or estimate.value is None else f"{estimate.value:.3f}"


def _loss(round: Round) -> str:
    first, last = round.metric("train", "loss_first"), round.metric("train", "loss_last")
    if first is None or last is None:
        return "–"
    return f"{first:.3f} → {last:.3f}"


def _change(estimate: Estimate | None, polarity: Polarity) -> Text:
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return Text("–")
    text = f"{points(estimate.value)} [{points(estimate.low)}, {points(estimate.high)}]"
    return Text(text, style={"good": "green", "bad": "red", "": ""}[tone(estimate, polarity)])
