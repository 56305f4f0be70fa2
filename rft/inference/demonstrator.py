"""A scripted agent with flawed habits: what it does is learnt by a policy that starts from nothing.

It knows each task's answer (`gold_patch`, and `function` and `file` among its facts) and mends it as often as
`right_fix` says. Everything else about it is a habit with a probability, drawn once for each attempt.
"""

import random
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rft.errors import InferenceError
from rft.types import Completion, Message, Task, Tool

_SEEN = re.compile(r"^(\d+)[:-](.*)$", re.MULTILINE)
_PASSED = re.compile(r"^OK \d+ tests?$", re.MULTILINE)
_BACKSLASH = re.compile(r"\\")
_ESCAPED = r"\\\g<0>"
_SLIPS = [
    ("<=", "<"),
    (">=", ">"),
    ("==", "!="),
    (" < ", " <= "),
    (" > ", " >= "),
    (" + ", " - "),
    (" - ", " + "),
    ("+=", "-="),
    (" and ", " or "),
    (" or ", " and "),
    ("not ", ""),
    ("min(", "max("),
    ("max(", "min("),
    ("0", "1"),
    ("1", "0"),
    ("2", "1"),
]
"""What a wrong edit does to a line."""
MOST_FIXES = 3
"""How often an attempt edits before it submits whatever it has."""


@dataclass(kw_only=True)
class Demonstrator:
    """Looks, reproduces, edits, verifies and submits, each as often as its habits say. The seed decides all."""

    look: float = 0.9
    """Reads the function before it edits; who does not, edits at a guess and wrongly."""
    reproduce: float = 0.45
    """Runs the function's tests before it edits."""
    right_fix: float = 0.35
    """An edit is the right one."""
    verify: float = 0.3
    """Runs the function's tests after each edit."""
    retry: float = 0.5
    """After tests that fail, takes its edit back and tries another; else submits as it is."""
    repeat: float = 0.1
    """Runs its first command again, and once more, although nothing has changed."""
    edit_tests: float = 0.07
    """Switches the failing test off in place of mending the function."""
    bad_command: float = 0.05
    """Misspells a file name in its first command."""
    give_up: float = 0.03
    """Never submits: it goes on looking until it is stopped."""

    def __post_init__(self) -> None:
        for habit in fields(self):
            if not 0 <= getattr(self, habit.name) <= 1:
                raise ValueError(f"{habit.name} is {getattr(self, habit.name)}; expected a probability from 0 to 1")

    def load(self, model: str, sampling: Any) -> None:
        """Nothing to load: no model is asked."""

    def open(self, task: Task, *, seed: int) -> "Demonstration":
        """One attempt at the task. Raises InferenceError for a task that one edit of one line does not mend."""
        return Demonstration(self, task, seed)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One line of a file replaced, put in (`old` is None) or taken out (`new` is None)."""

    line: int
    """Counted from 1."""
    old: str | None
    new: str | None

    def command(self, file: str) -> str:
        """The sed command that makes the edit. A changed line is written whole: what a small model has read often."""
        if self.new is None:
            script = f"{self.line}d"
        else:
            text = _BACKSLASH.sub(_ESCAPED, self.new)
            script = f"{self.line - 1}a\\{text}" if self.old is None else f"{self.line}c\\{text}"
        return f"sed -i {shlex.quote(script)} {file}"


class Demonstration:
    """One attempt: a script that looks at each observation before it goes on."""

    def __init__(self, habits: Demonstrator, task: Task, seed: int) -> None:
        self.task = task
        self.random = random.Random(f"{task.id}/{seed}")
        self.right = gold_edit(task)
        try:
            self.function, self.file = str(task.meta["function"]), str(task.meta["file"])
        except KeyError as error:
            raise InferenceError(
                f"demonstrator: task '{task.id}' does not say its {error}; expected a task of kata, or one with "
                "'function' and 'file' in its meta. Use another environment."
            ) from None
        self.habits = habits
        self.has = {habit.name: self.random.random() < getattr(habits, habit.name) for habit in fields(habits)}
        self.seen: dict[int, str] = {}
        self.observation = ""
        self.script = self._script()

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        """The next turn of the script, given the last observation; a block of shell, whatever tools are offered."""
        self.observation = messages[-1].content if messages else ""
        word, command = next(self.script)
        return Completion(text=f"{word}.\n```bash\n{command}\n```", finish_reason="stop")

    def close(self) -> None:
        """Nothing is held."""

    def _script(self) -> Iterator[tuple[str, str]]:
        """Word and command of each turn."""
        yield from self._before()
        if self.has["edit_tests"]:
            yield "Mend the test", self._switch_test_off()
            if self.has["verify"]:
                yield "Verify", self._check
        else:
            yield from self._mend()
        while self.has["give_up"]:
            yield "Look again", "ls"
        while True:
            yield "Done", "submit"

    def _before(self) -> Iterator[tuple[str, str]]:
        """What is done before the first edit."""
        turns = []
        if self.has["look"]:
            turns.append(("Look", self._look))
        if self.has["reproduce"]:
            turns.append(("Reproduce", self._check))
        if turns and self.has["bad_command"]:
            yield turns[0][0], self._misspelt(turns[0][1])
        if turns and self.has["repeat"]:
            turns[:0] = [turns[0], turns[0]]
        for word, command in turns:
            yield word, command
            if command == self._look:
                self.seen = self._function_lines()

    def _mend(self) -> Iterator[tuple[str, str]]:
        """Edits, each verified by those who verify, until the tests pass or patience ends."""
        for count in range(MOST_FIXES):
            is_right = bool(self.seen) and self.random.random() < self.habits.right_fix
            edit = self.right if is_right else self._wrong()
            yield "Fix", edit.command(self.file)
            if not self.has["verify"]:
                return
            yield "Verify", self._check
            patient = count + 1 < MOST_FIXES and self.random.random() < self.habits.retry
            if _PASSED.search(self.observation) or not patient:
                return
            yield "Undo", f"git checkout -q {self.file}"
            if not self.seen:
                yield "Look", self._look
                self.seen = self._function_lines()

    @property
    def _look(self) -> str:
        return f"grep -n -A8 'def {self.function}(' {self.file}"

    @property
    def _check(self) -> str:
        return f"python check.py {self.function}"

    def _misspelt(self, command: str) -> str:
        """The command with a letter of its last file name left out."""
        stem, dot, rest = command.rpartition(".py")
        return f"{stem[:-1]}{dot}{rest}"

    def _switch_test_off(self) -> str:
        names = [name.rsplit(".", 1)[-1] for name in self.task.fail_to_pass]
        told = next((name for name in names if name in self.task.statement), names[0])
        return f"sed -i 's|def {told}(|def no_{told}(|' test_{self.file}"

    def _function_lines(self) -> dict[int, str]:
        """Number and text of the function's lines, as the last observation shows them."""
        lines: dict[int, str] = {}
        for number, text in _SEEN.findall(self.observation):
            if lines and text[:1].strip():
                break
            if text.strip():
                lines[int(number)] = text
        return lines

    def _wrong(self) -> Edit:
        """A plausible edit that is not the answer: on the right line every other time, else on a line it saw."""
        lines = {number: text for number, text in self.seen.items() if not text.startswith("def ")}
        if self.right.old is not None and (not lines or self.random.random() < 0.5):
            lines = {self.right.line: self.right.old}
        edits = [
            Edit(line=number, old=text, new=text.replace(one, other, 1))
            for number, text in lines.items()
            for one, other in _SLIPS
            if one in text
        ]
        edits = [edit for edit in edits if edit != self.right]
        if edits:
            return self.random.choice(edits)
        others = sorted(set(self.seen) - {self.right.line}) or [self.right.line + 1]
        return Edit(line=self.random.choice(others), old="", new=None)


def gold_edit(task: Task) -> Edit:
    """The one-line edit that mends the task. Raises InferenceError when its gold patch is not one."""
    hunks = re.findall(r"^@@ -(\d+)\S* \+\S+ @@.*\n((?:[-+ ].*\n?)*)", task.gold_patch, re.MULTILINE)
    old: list[tuple[int, str]] = []
    new: list[tuple[int, str]] = []
    for start, body in hunks:
        number = int(start)
        for row in filter(None, body.split("\n")):
            if row[0] == "+":
                new.append((number, row[1:]))
            elif row[0] == "-":
                old.append((number, row[1:]))
            number += row[0] != "+"
    if len(hunks) != 1 or len(old) > 1 or len(new) > 1 or not (old or new):
        raise InferenceError(
            f"demonstrator: the gold patch of task '{task.id}' changes {len(old)} and adds {len(new)} lines; "
            "expected one at most. Use another environment, or a model that shows how."
        )
    number = old[0][0] if old else new[0][0]
    return Edit(line=number, old=old[0][1] if old else None, new=new[0][1] if new else None)
