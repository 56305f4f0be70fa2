"""`5_evaluate/report.md`: an evaluation report as tables that read well as plain text."""

from rft.evaluate.statistics import Estimate
from rft.evaluate.summary import CRITERION, EvaluationReport, SplitReport


def render(report: EvaluationReport) -> str:
    """The whole report as Markdown."""
    verdict = "promoted" if report.promoted else "not promoted"
    parts = [
        f"# Round {report.round}: {verdict}",
        f"{report.reason[:1].upper()}{report.reason[1:]}. Policy: `{_plain(report.policy)}`.",
        *(_split(name, split, report) for name, split in report.splits.items()),
        "Intervals are 95 %, from a bootstrap over tasks. Breakdowns and unknown values are left out and counted.",
    ]
    return "\n\n".join(parts) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns; the first is text, the others numbers."""
    cells = [[_plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]

    def line(row: list[str]) -> str:
        first = row[0].ljust(widths[0])
        return "| " + " | ".join([first, *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])


def rate(estimate: Estimate | None) -> str:
    """`0.372 [0.291, 0.455]`, or `unknown`."""
    if estimate is None or estimate.value is None:
        return "unknown"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def change(estimate: Estimate | None) -> str:
    """`+0.120 [+0.031, +0.207]`, or a dash."""
    if estimate is None or estimate.value is None:
        return "-"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _split(name: str, split: SplitReport, report: EvaluationReport) -> str:
    header = [
        "metric",
        "rate [95 % interval]",
        *(f"against round {earlier}" for earlier in split.differences),
        "unknown",
    ]
    rows = [
        [
            _title(metric, report),
            rate(estimate),
            *(change(differences.get(metric)) for differences in split.differences.values()),
            str(estimate.unknown),
        ]
        for metric, estimate in split.metrics.items()
    ]
    rows += [
        [f"pass@{k}", rate(estimate), *("-" for _ in split.differences), str(estimate.unknown)]
        for k, estimate in split.pass_at.items()
        if k > 1
    ]
    broke = ", ".join(f"{count} in {_plain(where)}" for where, count in split.failed_where.items())
    facts = f"{split.tasks} tasks, {split.attempts} attempts, {split.failures} broke down"
    stops = ", ".join(f"{reason} {count}" for reason, count in split.stops.items())
    means = ", ".join(f"{metric.replace('_', ' ')} {value:,.1f}" for metric, value in split.means.items())
    return "\n\n".join(
        [
            f"## {_plain(name)}",
            f"{facts}{f' ({broke})' if broke else ''}.",
            table(header, rows),
            f"Stopped: {stops or 'none'}. Means of an attempt: {means or 'none'}.",
        ]
    )


def _title(metric: str, report: EvaluationReport) -> str:
    name = metric.removeprefix(CRITERION)
    sign = {"encourage": "+ ", "discourage": "− "}.get(report.criteria.get(name, ""), "")
    return f"{sign}{name}" if metric.startswith(CRITERION) else name


def _plain(text: str) -> str:
    """One printable line that cannot end a cell."""
    return "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|").replace("`", "'")
