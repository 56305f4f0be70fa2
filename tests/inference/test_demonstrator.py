"""What the scripted agent does, driven by hand through real sandboxes."""

import re
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from rft.environments.kata import TASKS, Kata, repository
from rft.errors import InferenceError
from rft.inference.demonstrator import Demonstrator, Edit, gold_edit
from rft.sandboxes.local import Local
from rft.store import Records
from rft.types import Message, Task

ALL = list(Records(TASKS, Task))
FAULTLESS = {"look": 1.0, "reproduce": 1.0, "right_fix": 1.0, "verify": 1.0, "retry": 0.0}
FLAWLESS = {"repeat": 0.0, "edit_tests": 0.0, "bad_command": 0.0, "give_up": 0.0}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def drive(agent: Demonstrator, task: Task, *, seed: int = 0, steps: int = 12) -> tuple[list[str], str]:
    """The commands of an attempt in a real sandbox, and its patch."""
    sandbox = Local().open(Kata().start_state(task))
    try:
        conversation = agent.open(task, seed=seed)
        messages = [Message(role="user", content=task.statement)]
        commands: list[str] = []
        while len(commands) < steps and "submit" not in commands:
            text = conversation.reply(messages, deadline=time.monotonic() + 60).text
            commands.append(command_of(text))
            if commands[-1] != "submit":
                execution = sandbox.run(commands[-1])
                seen = f"[exit {execution.exit_code}]\n{execution.output}"
                messages += [Message(role="assistant", content=text), Message(role="user", content=seen)]
        return commands, sandbox.diff()
    finally:
        sandbox.close()


def command_of(text: str) -> str:
    found = re.fullmatch(r"(\w+ ?){1,4}\.\n```bash\n(.+)\n```", text)
    assert found, text
    return found[2]


def paper_walk(agent: Demonstrator, task: Task, seed: int) -> list[str]:
    """The commands of an attempt whose tests always fail, without a sandbox."""
    source = source_of(task)
    first = next(i for i, row in enumerate(source) if row.startswith(f"def {task.meta['function']}("))
    shown = "\n".join(f"{i + 1}-{row}" for i, row in enumerate(source) if first <= i < first + 9)
    conversation = agent.open(task, seed=seed)
    commands: list[str] = []
    observation = task.statement
    while len(commands) < 20 and "submit" not in commands:
        text = conversation.reply([Message(role="user", content=observation)], deadline=0).text
        commands.append(command_of(text))
        observation = f"[exit 0]\n{shown}" if commands[-1].startswith("grep") else "[exit 1]\nFAILED 1 of 5 tests"
    return commands


def source_of(task: Task) -> list[str]:
    """The lines of the file that holds the task's slip."""
    return repository.mutation(task).apply(repository.clean_source(task.meta["module"])).split("\n")


def one_of_each_operator() -> list[Task]:
    return list({task.meta["operator"]: task for task in ALL}.values())


@pytest.mark.parametrize("task", one_of_each_operator(), ids=lambda t: t.meta["operator"])
def test_without_flaws_it_resolves_every_kind_of_task(task: Task) -> None:
    commands, patch = drive(Demonstrator(**FAULTLESS, **FLAWLESS), task)
    assert [command.split()[0] for command in commands] == ["grep", "python", "sed", "python", "submit"]
    assert Kata().grade(task, patch, Local()).resolved is True


def test_every_right_edit_gives_the_clean_source(tmp_path: Path) -> None:
    script = []
    clean = {}
    for number, task in enumerate(ALL):
        name = f"{number}.py"
        (tmp_path / name).write_text("\n".join(source_of(task)))
        script.append(gold_edit(task).command(name))
        clean[name] = repository.clean_source(task.meta["module"])
    subprocess.run(["bash", "-e"], input="\n".join(script), text=True, cwd=tmp_path, check=True)
    assert [name for name, text in clean.items() if (tmp_path / name).read_text() != text] == []


def test_a_wrong_first_edit_is_taken_back_and_mended() -> None:
    agent = Demonstrator(**(FAULTLESS | {"right_fix": 0.5, "retry": 1.0}), **FLAWLESS)
    task = next(t for t in ALL if t.meta["function"] == "merge" and t.meta["operator"] == "comparison")
    walks = [drive(agent, task, seed=seed) for seed in range(8)]
    mended = [commands for commands, patch in walks if "git checkout" in " ".join(commands) and is_gold(task, patch)]
    assert mended
    assert mended[0][-2].startswith("python check.py")


def is_gold(task: Task, patch: str) -> bool:
    changed = [row for row in patch.split("\n") if re.match(r"[-+][^-+]", row)]
    return bool(changed) and all(f"\n{row}\n" in task.gold_patch for row in changed)


def test_a_wrong_edit_changes_the_file_and_does_not_mend_it() -> None:
    agent = Demonstrator(**(FAULTLESS | {"right_fix": 0.0, "verify": 0.0, "reproduce": 0.0}), **FLAWLESS)
    for seed, task in enumerate(one_of_each_operator()[:8]):
        _, patch = drive(agent, task, seed=seed)
        assert patch
        assert not is_gold(task, patch)


def test_a_switched_off_test_is_tampering() -> None:
    agent = Demonstrator(**FAULTLESS, **(FLAWLESS | {"edit_tests": 1.0}))
    commands, patch = drive(agent, ALL[0])
    outcome = Kata().grade(ALL[0], patch, Local())
    assert any(command.startswith("sed") and "test_" in command for command in commands)
    assert outcome.tampered == [f"test_{ALL[0].meta['file']}"]
    assert outcome.resolved is False


def test_a_misspelt_command_fails_and_is_mended() -> None:
    commands, _ = drive(Demonstrator(**FAULTLESS, **(FLAWLESS | {"bad_command": 1.0})), ALL[0])
    assert commands[0] != commands[1]
    assert commands[0].replace(" cloc.py", " clock.py") == commands[1]


def test_who_gives_up_never_submits() -> None:
    commands, _ = drive(Demonstrator(**FAULTLESS, **(FLAWLESS | {"give_up": 1.0})), ALL[0], steps=9)
    assert len(commands) == 9
    assert commands[-4:] == ["ls"] * 4


def test_the_seed_decides_everything() -> None:
    agent = Demonstrator()
    walks = [paper_walk(agent, ALL[0], seed) for seed in range(30)]
    assert walks == [paper_walk(Demonstrator(), ALL[0], seed) for seed in range(30)]
    assert len({tuple(walk) for walk in walks}) > 10


def test_habits_are_as_frequent_as_the_fields_say() -> None:
    agent = Demonstrator()
    walks = [(task, paper_walk(agent, task, seed)) for seed in range(3) for task in ALL]
    seen: Counter[str] = Counter()
    for task, commands in walks:
        edits = [i for i, command in enumerate(commands) if command.startswith("sed")]
        before, after = commands[: edits[0]], commands[edits[0] :]
        seen["look"] += any(c.startswith("grep") for c in before)
        seen["reproduce"] += f"python check.py {task.meta['function']}" in before
        seen["verify"] += any(c.startswith("python") for c in after)
        seen["edit_tests"] += "test_" in commands[edits[0]]
        seen["give_up"] += "submit" not in commands
        seen["right_fix"] += commands[edits[0]] == gold_edit(task).command(task.meta["file"])
    rates = {habit: count / len(walks) for habit, count in seen.items()}
    for habit in ("look", "reproduce", "verify", "edit_tests", "give_up"):
        assert rates[habit] == pytest.approx(getattr(agent, habit), abs=0.04), habit
    assert rates["right_fix"] == pytest.approx(0.35 * 0.9 * 0.93, abs=0.04)


def test_sed_does_what_the_edit_says(tmp_path: Path) -> None:
    lines = ["a.b", "x[0] | y & z", "p = 'q\\n' * 2", 's = "it\'s"', "u // v", "^$.*"]
    changes = ["    a+b", "x[1] & y | z", "p = 'q\\\\n' + 2", "s = 'it'", "u | v", "\\&.*"]
    for number, (old, new) in enumerate(zip(lines, changes, strict=True), 1):
        for edit in (
            Edit(line=number, old=old, new=new),
            Edit(line=number + 1, old=None, new=new),
            Edit(line=number, old=old, new=None),
        ):
            (tmp_path / "f.py").write_text("\n".join(lines) + "\n")
            subprocess.run(["bash", "-c", edit.command("f.py")], cwd=tmp_path, check=True)
            expected = list(lines)
            expected[edit.line - 1 : edit.line - 1 + (edit.old is not None)] = [] if edit.new is None else [edit.new]
            assert (tmp_path / "f.py").read_text() == "\n".join(expected) + "\n"


@pytest.mark.parametrize("patch", ["", "nonsense", ALL[0].gold_patch * 2, "@@ -1,2 +1,2 @@\n-a\n-b\n+c\n+d\n"])
def test_a_task_that_one_line_does_not_mend_is_refused(patch: str) -> None:
    task = Task(id="x", statement="", split="train", repository="r", gold_patch=patch, meta=ALL[0].meta)
    with pytest.raises(InferenceError, match="gold patch"):
        Demonstrator().open(task, seed=0)


def test_a_task_that_does_not_name_its_function_is_refused() -> None:
    task = Task(id="x", statement="", split="train", repository="r", gold_patch=ALL[0].gold_patch)
    with pytest.raises(InferenceError, match="function"):
        Demonstrator().open(task, seed=0)


def test_a_habit_is_a_probability() -> None:
    with pytest.raises(ValueError, match="retry"):
        Demonstrator(retry=1.5)
