"""The command line: help everywhere, one line for every mistake, the exit codes that are promised."""

import re
from pathlib import Path

import pytest

from rft import cli
from rft.view.catalogue import print_rows

COMMANDS = [
    "ls",
    "cp",
    "check",
    "run",
    "collect",
    "score",
    "select",
    "train",
    "evaluate",
    "import",
    "export",
    "show",
    "launch",
    "doctor",
    "rubric",
    "rubric check",
    "rubric score",
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert f"usage: rft {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu", "quickstart"], "Did you mean 'run'"),
        (["run", "quickstrat"], "Did you mean 'quickstart'"),
        (["check", "quickstart", "colect.samples=3"], "Did you mean 'collect'"),
        (["check", "quickstart", "sandbox.use=bubblewarp"], "Did you mean 'bubblewrap'"),
        (["check", "quickstart", "sandbox.memroy=1g"], "Did you mean 'memory'"),
        (["check", "quickstart", "select.rules.0.use=finishd"], "Did you mean 'finished'"),
        (["check", "quickstart", "score.rubric=coding_agnet"], "Did you mean 'coding_agent'"),
        (["check", "quickstart", "train.trl.learning_rat=1"], "Did you mean 'learning_rate'"),
        (["check", "quickstart", "train.deepspeed=zero9"], "zero"),
        (["check", "quickstart", "environment.modules=[spam]"], "no module is called 'spam'"),
        (["check", "quickstart", "collect.split=trian"], "Did you mean 'train'"),
        (["check", "quickstart", "agent.prompt=ters"], "Did you mean 'terse'"),
        (["check", "quickstart", "--flag"], "unknown argument"),
        (["check", "quickstart", "--resolved", "colect.samples=3"], "Did you mean 'collect'"),
        (["collect", "quickstart", "--round", "9"], "expected --round 1 to 2"),
        (["cp", "quickstrat", "x.yaml"], "Did you mean"),
        (["show", "nowhere"], "not a run"),
        (["show", "nowhere", "--tokens"], "--tokens: of one attempt only"),
        (["rubric", "chekc", "x.yaml"], "Did you mean 'check'"),
        (["rubric", "check", "coding_agnet"], "Did you mean 'coding_agent'"),
        (["rubric", "check", "coding_agent", "--run", "nowhere"], "not a run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # a command that went on would write here
    code, out, err = run(capsys, *arguments)
    assert code == 2 and expected in err and out == ""
    assert err.startswith("rft: ") and err.count("\n") == 1


def test_copies_are_checked_and_never_overwrite(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("quickstart", "rubrics/coding_agent", "prompts/bash", "zero2"):
        code, out, _ = run(capsys, "cp", name, str(tmp_path))
        assert code == 0 and Path(out.strip()).is_file()
        code, _, err = run(capsys, "cp", name, str(tmp_path))
        assert code == 2 and "is there already" in err
    rubric = f"score.rubric={tmp_path}/coding_agent.yaml"
    code, out, _ = run(capsys, "check", str(tmp_path / "quickstart.yaml"), rubric, "score.audit=null")
    assert code == 0 and "17 criteria" in out


def test_launch_without_a_recipe_lists_what_a_target_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "launch", "kuberay")
    words = " ".join(out.split())
    assert code == 0 and words.startswith("target kuberay: ")
    assert re.search(r"claim A PersistentVolumeClaim .* Has to be given\. workers .* Default: 2\.", words)


@pytest.mark.parametrize(("command", "missing"), [("check", "RECIPE"), ("launch", "TARGET")])
def test_what_a_command_lacks_is_named_and_nothing_else(
    capsys: pytest.CaptureFixture[str], command: str, missing: str
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command])
    assert capsys.readouterr().err.endswith(f"required: {missing}\n")


def test_what_rows_say_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("a [title]", [("[what]", "expected sandbox.options=[bold] and [/]")])
    assert capsys.readouterr().out.split() == [
        "a",
        "[title]",
        "[what]",
        "expected",
        "sandbox.options=[bold]",
        "and",
        "[/]",
    ]


def test_ls_names_everything_that_ships(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "ls")
    assert code == 0
    for name in ("quickstart", "coding_agent", "bubblewrap", "best_of_group", "zero3", "terse"):
        assert re.search(rf"\b{name}\b", out)


def test_check_prints_a_recipe_that_can_be_run_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "check", "quickstart", "rounds=7", "--resolved")
    assert code == 0
    (tmp_path / "again.yaml").write_text(out)
    code, again, _ = run(capsys, "check", str(tmp_path / "again.yaml"), "--resolved")
    assert code == 0 and again == out and "rounds: 7" in out
