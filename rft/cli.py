"""The commands. Each imports its work when it is called, so that `rft --help` answers at once.

Results go to stdout, the log to stderr. Exit codes: 0 done, 1 a stage failed, 2 the recipe or the arguments are
wrong, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from rft import __version__
from rft.errors import RecipeError, RftError, StageError, did_you_mean
from rft.workbench import commands as workbench

STAGES = ("collect", "score", "select", "train", "evaluate")
COMMANDS = ("ls", "cp", "check", "run", *STAGES, "import", "export", "show", "rubric", "launch", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    try:
        _know_command(given)
        options, unknown = parser.parse_known_args(given)
        if hasattr(options, "overrides"):  # argparse takes only those that stand together
            options.overrides += [word for word in unknown if not word.startswith("-")]
            unknown = [word for word in unknown if word.startswith("-")]
        if unknown:
            raise RecipeError(f"{unknown[0]}: unknown argument; see `rft {options.command} --help`.")
        work: Callable[[argparse.Namespace], None] = options.work
        work(options)
        sys.stdout.flush()
    except RftError as error:
        print(f"rft: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("rft: interrupted; the same command carries on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _know_command(given: list[str]) -> None:
    for place, known in enumerate((COMMANDS, workbench.NAMES if given[:1] == ["rubric"] else ())):
        word = given[place] if len(given) > place else "-"
        if known and not word.startswith("-") and word not in known:
            raise RecipeError(
                f"{word}: no such command; expected one of {', '.join(known)}.{did_you_mean(word, known)}"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rft",
        description="Reinforced fine-tuning for agents: collect, score, select, train, evaluate, and go round again.",
        epilog="Start with: rft ls; rft check quickstart; rft run quickstart. Exit codes: 0 done, 1 a stage failed, "
        "2 the recipe or the arguments are wrong, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"rft {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    _add(commands, "ls", "what ships: recipes, rubrics, and every name that `use:` knows", _ls)

    copy = _add(commands, "cp", "copy a shipped recipe, rubric or prompt, to edit", _cp)
    copy.add_argument("name", metavar="NAME", help="as `rft ls` lists it")
    copy.add_argument("path", metavar="PATH", help="a new file, or a folder")

    check = _add(commands, "check", "resolve, validate and import everything, derive what follows; run nothing", _check)
    _recipe_arguments(check)
    check.add_argument("--resolved", action="store_true", help="print the resolved recipe as YAML")
    text = "grade every task's gold answer, which must resolve it, and doing nothing, which must not"
    check.add_argument("--deep", action="store_true", help=text)
    text = "make so many attempts in a scratch folder, and go by them: hours, tokens, breakdowns"
    check.add_argument("--probe", type=int, metavar="N", help=text)

    run = _add(commands, "run", "every round; continues where it stopped", _run)
    _recipe_arguments(run)
    _redo_argument(run)

    _stage_arguments(commands)
    _transfer_arguments(commands)
    _show_arguments(commands)
    _launch_arguments(commands)

    doctor = _add(commands, "doctor", "what is installed and works here; with a recipe, what it lacks", _doctor)
    doctor.add_argument("recipe", metavar="RECIPE", nargs="?", help="a recipe's path, or the name of a shipped one")
    doctor.add_argument("overrides", metavar="key=value", nargs="*", default=[], help="changes to the recipe")
    doctor.add_argument("--json", action="store_true", help="for machines")

    text = "check, test and label a rubric, and hold its judge against people"
    workbench.add_arguments(
        commands.add_parser("rubric", help=text, description=text[0].upper() + text[1:] + "."), _add
    )
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    work: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(work=work)
    return command


def _stage_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for stage, text in {
        "collect": "make a round's attempts at tasks",
        "score": "answer the rubric on a round's attempts",
        "select": "keep or drop each attempt, with the reason",
        "train": "fine-tune on what was kept",
        "evaluate": "attempt held-out tasks and compare with the round before (round 0: the starting policy)",
    }.items():
        command = _add(commands, stage, text, _stage)
        _recipe_arguments(command)
        command.add_argument("--round", type=int, default=1, metavar="N", help="which round (default 1)")
        _redo_argument(command)


def _show_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = _add(commands, "show", "a row for each round; one attempt with its verdicts in the margin", _show)
    show.add_argument("run", metavar="RUN", help="a run's folder, or its name under runs/")
    show.add_argument("trajectory", metavar="TRAJECTORY", nargs="?", help="an attempt's id")
    show.add_argument("--tokens", action="store_true", help="the attempt's tokens as they are trained on, in colours")
    show.add_argument("--json", action="store_true", help="for machines")


def _launch_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    launch = _add(commands, "launch", "print what runs a recipe on this machine, on a cluster, in a container", _launch)
    launch.add_argument("target", metavar="TARGET", help="local, ray, slurm, kuberay, docker, or a template's path")
    text = "a recipe's path, or the name of a shipped one; left out, the target's variables are listed"
    launch.add_argument("recipe", metavar="RECIPE", nargs="?", help=text)
    launch.add_argument(
        "given", metavar="key=value", nargs="*", default=[], help="the target's variables, and changes to the recipe"
    )


def _recipe_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", metavar="RECIPE", help="a recipe's path, a shipped one's name, or a run's folder")
    text = "changes to the recipe, such as collect.samples=4"
    command.add_argument("overrides", metavar="key=value", nargs="*", default=[], help=text)


def _transfer_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Attempts from other programs' files, and into them."""
    command = _add(
        commands, "import", "make a run of attempts that others made: rft score, select, train go on", _import
    )
    command.add_argument(
        "files", metavar="FILE", nargs="+", help="trajectories of any format that rft reads, or folders"
    )
    command.add_argument("--to", metavar="RUN", required=True, help="the run's name, or its folder")
    command.add_argument("--format", metavar="NAME", default="", help="of the files (default: found in their content)")
    command.add_argument(
        "--outcomes",
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="a grader's reports, or folders of them",
    )
    command.add_argument(
        "--recipe", metavar="RECIPE", default="import", help="what the run goes on with (default import)"
    )
    command.add_argument(
        "--set", metavar="key=value", nargs="+", action="extend", default=[], help="changes to the recipe"
    )
    _redo_argument(command)

    command = _add(commands, "export", "write attempts as other programs read them", _export)
    command.add_argument("source", metavar="RUN", help="a run's folder or name, or a file or folder of trajectories")
    # the names are those of rft.formats.exports, which is imported when it is needed
    command.add_argument(
        "--format",
        metavar="NAME",
        required=True,
        help="rft, atif, chat, messages, sharegpt, predictions, swe-agent or parquet",
    )
    command.add_argument("--out", metavar="PATH", help="a new file, or for swe-agent a folder (default: stdout)")
    command.add_argument("--round", type=int, metavar="N", help="only of this round")
    command.add_argument("--kept", action="store_true", help="only those that selection kept")
    command.add_argument("--held-out", action="store_true", help="the attempts of evaluations instead")


def _redo_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("--redo", action="store_true", help="throw away what is done or no longer fits, and redo it")


def _ls(options: argparse.Namespace) -> None:
    from rft.view.catalogue import print_catalogue

    print_catalogue()


def _cp(options: argparse.Namespace) -> None:
    from rft.view.catalogue import copy

    print(copy(options.name, options.path))


def _check(options: argparse.Namespace) -> None:
    from rft import recipe
    from rft.check import Check
    from rft.probe import probe
    from rft.view.catalogue import print_rows

    loaded = recipe.load(options.recipe, options.overrides)
    rows = probe(loaded, options.probe) if options.probe is not None else Check(loaded).rows()
    if options.resolved:
        print(recipe.dump(loaded), end="")
    else:
        print_rows(f"recipe {loaded.name}", rows)
    if options.deep:
        from rft.verify import verify

        for identity, why in verify(loaded):
            print(f"{identity}: {why}", flush=True)


def _run(options: argparse.Namespace) -> None:
    from rft import compare, loop, recipe

    loaded = recipe.load(options.recipe, options.overrides)
    if loaded.compare is not None:
        compare.run(loaded, redo=options.redo)
    else:
        run = loop.run(loaded, redo=options.redo)
        from rft.view.terminal import print_run

        print_run(run)
        print(f"report: {run.path / 'report.html'}")


def _stage(options: argparse.Namespace) -> None:
    from rft import loop, recipe

    loaded = recipe.load(options.recipe, options.overrides)
    run = loop.one_stage(loaded, options.round, options.command, redo=options.redo)
    print(run.stage(options.round, options.command).path)


def _import(options: argparse.Namespace) -> None:
    from rft.transfer import import_run

    given = {key: getattr(options, key) for key in ("to", "format", "outcomes", "recipe", "redo")}
    run = import_run(options.files, changes=options.set, **given)
    print(run.path)


def _export(options: argparse.Namespace) -> None:
    from rft.progress import say
    from rft.transfer import export

    given = {key: getattr(options, key) for key in ("out", "round", "kept", "held_out")}
    count = export(options.source, options.format, **given)
    say(f"{count} attempts written{f' to {options.out}' if options.out else ''}")


def _show(options: argparse.Namespace) -> None:
    from rft.rundir import find_run
    from rft.view.terminal import print_run, print_trajectory

    if options.tokens and not options.trajectory:
        raise RecipeError("--tokens: of one attempt only; expected its id after the run.")
    run = find_run(options.run)
    if options.tokens:
        from rft.view.tokens import print_tokens

        print_tokens(run, options.trajectory)
    elif options.trajectory:
        print_trajectory(run, options.trajectory, as_json=options.json)
    else:
        print_run(run, as_json=options.json)


def _launch(options: argparse.Namespace) -> None:
    from rft.launch import launch, load_target, variables
    from rft.view.catalogue import print_rows

    if options.recipe is None:
        target = load_target(options.target)
        print_rows(f"target {target.name}: {target.description}", variables(target))
    else:
        print(launch(options.target, options.recipe, options.given), end="")


def _doctor(options: argparse.Namespace) -> None:
    from rft import doctor, recipe
    from rft.view.catalogue import print_findings

    findings = doctor.examine(recipe.load(options.recipe, options.overrides) if options.recipe else None)
    print_findings(findings, as_json=options.json)
    missing = [f"{finding.what} ({finding.how})" for finding in findings if finding.missing]
    if missing:
        sys.stdout.flush()
        raise StageError(f"doctor: {len(missing)} to mend: {'; '.join(missing)}.")


if __name__ == "__main__":
    sys.exit(main())
