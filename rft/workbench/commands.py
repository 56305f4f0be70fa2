"""The commands under `rft rubric`; each imports its work when it is called."""

import argparse
from collections.abc import Callable

Work = Callable[[argparse.Namespace], None]
Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"
Add = Callable[[Commands, str, str, Work], argparse.ArgumentParser]  # type: ignore[valid-type]

NAMES = ("check", "test", "score", "report", "ablate", "label", "calibrate", "cache")
"""In the order of a rubric's life."""


def add_arguments(group: argparse.ArgumentParser, add: Add) -> None:
    """The commands of the group `rft rubric`; `add` makes one of them."""
    commands = group.add_subparsers(dest="rubric_command", metavar="COMMAND", required=True)

    check = add(commands, "check", "is the rubric valid, and can its criteria be answered", _check)
    check.add_argument("rubric", metavar="FILE", help="a rubric's path, or the name of a shipped one")
    check.add_argument("--run", metavar="RUN", help="a run that was scored by it: names criteria that told nothing")
    check.add_argument("--strict", action="store_true", help="exit with 1 when there is a remark")
    _json_argument(check)

    test = add(commands, "test", "the rubric's own golden transcripts, answered anew", _test)
    test.add_argument("rubric", metavar="FILE", help="a rubric's path, or the name of a shipped one")
    _judge_arguments(test)
    _json_argument(test)

    score = add(commands, "score", "a report on every attempt in a file, as JSON lines", _score)
    score.add_argument(
        "trajectories", metavar="TRAJECTORIES", help="a file or folder of any format that `rft import` reads"
    )
    score.add_argument("--format", metavar="NAME", default="", help="its format (default: found in its content)")
    score.add_argument("--rubric", metavar="FILE", required=True, help="a path, or the name of a shipped one")
    _judge_arguments(score)
    score.add_argument("--out", metavar="FILE", help="where reports go, and are carried on (default: stdout)")

    report = add(commands, "report", "what each criterion told on a scored round", _report)
    _run_arguments(report)
    _json_argument(report)

    ablate = add(commands, "ablate", "whose decision changes without each criterion, and with each threshold", _ablate)
    _run_arguments(ablate)
    _json_argument(ablate)

    label = add(commands, "label", "answer the rubric's questions yourself, blind, in a browser", _label)
    _run_arguments(label)
    label.add_argument("--rater", default="someone", metavar="NAME", help="whose answers they are (default someone)")
    label.add_argument("--sample", type=int, default=20, metavar="N", help="how many attempts (default 20)")
    label.add_argument("--port", type=int, default=0, metavar="N", help="of this machine (default: any that is free)")

    calibrate = add(commands, "calibrate", "how far the judge of a run agrees with people", _calibrate)
    calibrate.add_argument("run", metavar="RUN", help="a run's folder, or its name under runs/")
    calibrate.add_argument("labels", metavar="LABELS", nargs="*", help="files of labels (default: those in the run)")
    calibrate.add_argument("--floor", type=float, metavar="KAPPA", help="for criteria that have no floor of their own")
    calibrate.add_argument("--again", type=int, default=0, metavar="N", help="ask the judge N times more")
    calibrate.add_argument("--switch-off", metavar="PATH", help="write the rubric without what is under its floor")
    _json_argument(calibrate)

    cache = add(commands, "cache", "which verdicts are kept and what they cost; forget some", _cache)
    cache.add_argument("file", metavar="FILE", nargs="?", default="runs/verdicts.sqlite", help="default: %(default)s")
    cache.add_argument("--prune", metavar="DAYS", type=float, help="forget verdicts that are older; 0 forgets all")
    cache.add_argument("--judge", metavar="DIGEST", help="only this judge's, as reports name it")
    _json_argument(cache)


def _judge_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--judge",
        metavar="key=value",
        nargs="+",
        action="extend",
        default=[],
        help="such as use=endpoint model=… url=…",
    )
    command.add_argument(
        "--votes", metavar="N", type=int, default=1, help="how often each question is asked (default 1)"
    )


def _run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", metavar="RUN", help="a run's folder, or its name under runs/")
    command.add_argument("--round", type=int, metavar="N", help="which round (default: the newest that was scored)")


def _json_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for machines")


def _score(options: argparse.Namespace) -> None:
    from rft.workbench.score import score

    given = {key: getattr(options, key) for key in ("judge", "votes", "out", "format")}
    score(options.trajectories, options.rubric, **given)


def _check(options: argparse.Namespace) -> None:
    from rft.workbench.check import check

    check(options.rubric, run=options.run, strict=options.strict, as_json=options.json)


def _test(options: argparse.Namespace) -> None:
    from rft.workbench.goldens import test

    test(options.rubric, judge=options.judge, votes=options.votes, as_json=options.json)


def _report(options: argparse.Namespace) -> None:
    from rft.workbench.report import report

    report(options.run, round=options.round, as_json=options.json)


def _ablate(options: argparse.Namespace) -> None:
    from rft.workbench.ablate import ablate

    ablate(options.run, round=options.round, as_json=options.json)


def _calibrate(options: argparse.Namespace) -> None:
    from rft.workbench.calibrate import run

    given = {key: getattr(options, key) for key in ("floor", "again", "switch_off")}
    run(options.run, options.labels, as_json=options.json, **given)


def _label(options: argparse.Namespace) -> None:
    from rft.workbench.label import label

    label(options.run, rater=options.rater, sample=options.sample, round=options.round, port=options.port)


def _cache(options: argparse.Namespace) -> None:
    from rft.workbench.cache import cache

    cache(options.file, prune=options.prune, judge=options.judge, as_json=options.json)
