"""A transcript as an ordered list of acts: what was read, changed and checked at which step, and how each came out."""

import fnmatch
import posixpath
import re
import threading
from functools import cached_property
from typing import NamedTuple

from reward_models.commands import ANY_FILE, OPEN_FILE, Deed, deeds, same_file
from reward_models.types import Transcript, TranscriptStep

SHOWN = 40_000
"""Characters of an output that are looked at, from each end."""

_NOT_RUN = re.compile(
    r"command not found|[Nn]o such file or directory|[Cc]an't open file|cannot open|[Nn]o module named"
    r" (?:pytest|nose|tox)|[Pp]ermission denied|syntax error near|unexpected EOF|unterminated"
    r"|unknown command:|[Ii]nvalid option|unrecognized (?:option|argument)|(?m:^[Uu]sage: )|is not recognized"
    r"|ERROR: file or directory not found|no tests ran|is a directory|not a git repository|Ran 0 tests"
)
_REFUSED_EDIT = re.compile(
    r"Your proposed edit has introduced new syntax error|[Nn]o replacement was performed|Your edit was not applied"
    r"|the edit was not|Text not found|did not appear verbatim|Edit could not be applied|patch failed|No file open"
)
_FAILED = re.compile(
    r"Traceback \(most recent call last\)|\bFAILED\b|\bFAILURES?\b|\bFAIL\b"
    r"|\b[1-9]\d* (?:failed|errors?|failures?|failing)\b|AssertionError|npm ERR!"
    r"|(?m:^not ok )|(?m:^E   )|\bpanicked at\b|(?m:^\w*(?:Error|Exception)\b)|\bERROR\b"
)
_PASSED = re.compile(
    r"(?m:^OK\b)|\b[1-9]\d* (?:passed|passing)\b|(?m:^ok\s)|(?m:^PASS\b)|test result: ok|All tests passed"
)

_SCRATCH_NAME = re.compile(
    r"(?i)(^|[_-])(repro\w*|debug|demo|tmp|temp|scratch|verify|try|example|check|test|tests)([_\d.-]|$)|^test"
)
_DOCUMENT = (".md", ".rst", ".txt", ".adoc", ".log")


class Act(NamedTuple):
    """A deed at a step, with how it came out."""

    step: int
    deed: Deed
    path: str
    """The deed's file, the editor's open file resolved."""
    failed: bool | None = None
    """Of a check: True when it showed a failure, False when it showed none, None when that cannot be told."""


_latest = threading.local()


def history_of(transcript: Transcript) -> "History":
    """The transcript's History; the rules of a rubric, asked one after the other, share one."""
    kept: History | None = getattr(_latest, "history", None)
    if kept is None or kept.transcript is not transcript:
        kept = _latest.history = History(transcript)
    return kept


class History:
    """What happened in a transcript, in order. Changes and checks that did not come to pass are left out."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.acts: list[Act] = []
        self.broken: dict[int, str] = {}
        """Step to why its command did not run."""
        self._written: list[str] = []
        opened = ""
        for step in transcript.steps:
            opened = self._take(step, opened)

    def _take(self, step: TranscriptStep, opened: str) -> str:
        output = _seen(step.output)
        found = deeds(step.command) if step.command else ()
        broken = _broken(step, found, output)
        if broken:
            self.broken[step.index] = broken
        for deed in found:
            path = opened if deed.path == OPEN_FILE else deed.path
            if deed.kind in ("read", "write") and deed.text.startswith(("open ", "create ")):
                opened = path
            if deed.check == "tests" and any(same_file(path, written) for written in self._written):
                deed = deed._replace(check="script")
            if _came_to_pass(deed, step, output, broken):
                failed = _shows_failure(deed, step, output) if deed.kind == "check" else None
                self.acts.append(Act(step.index, deed, path, failed))
                if deed.kind == "write":
                    self._written.append(path)
        return opened

    @cached_property
    def changes(self) -> list[Act]:
        """Changes of source files: not of scratch files, documents and files under /tmp.

        A removal counts when the final patch has it: what else is removed was made on the way.
        """
        removed = [path for path, state in patched_files(self.transcript.patch).items() if state == "removed"]
        return [
            act
            for act in self.acts
            if (act.deed.kind in ("edit", "write") and self.is_source(act.path))
            or (act.deed.kind == "remove" and any(same_file(act.path, path) for path in removed))
        ]

    @cached_property
    def checks(self) -> list[Act]:
        """Runs of tests or programs that really ran."""
        return [act for act in self.acts if act.deed.kind == "check"]

    def is_source(self, path: str) -> bool:
        """Whether a change of this file is a change of the program, not of something made to look at it."""
        if path == ANY_FILE:
            return True
        if not path or path.startswith(("/tmp/", "/dev/", "/var/tmp/")) or path.endswith(_DOCUMENT):
            return False
        return not self.is_scratch(path)

    def is_scratch(self, path: str) -> bool:
        """A file whose name says that it is for trying out, or that the agent wrote whole and then ran."""
        if is_protected(path, self.transcript.protected):
            return True
        if _SCRATCH_NAME.search(posixpath.basename(path)[:255]):
            return True
        ran = any(act.deed.kind == "check" and act.path and same_file(act.path, path) for act in self.acts)
        return ran and any(same_file(path, written) for written in self._written)

    def position(self, act: Act) -> int:
        """Where an act stands in `acts`."""
        return next(number for number, other in enumerate(self.acts) if other is act)

    def after(self, act: Act) -> list[Act]:
        """The acts that follow."""
        return self.acts[self.position(act) + 1 :]

    def before(self, act: Act) -> list[Act]:
        """The acts that come first."""
        return self.acts[: self.position(act)]


def is_protected(path: str, patterns: list[str]) -> bool:
    """Whether a path, or an end of it, fits one of the patterns."""
    parts = path.lstrip("./").split("/")[:40]
    ends = ["/".join(parts[number:]) for number in range(len(parts))]
    return any(fnmatch.fnmatchcase(end, pattern) for pattern in patterns for end in ends)


def patched_files(patch: str) -> dict[str, str]:
    """Files of a unified diff, each `changed`, `added` or `removed`."""
    files: dict[str, str] = {}
    old = ""
    for line in patch.splitlines():
        if line.startswith("--- "):
            old = line[4:].split("\t")[0].strip()
        elif line.startswith("+++ ") and old:
            new = line[4:].split("\t")[0].strip()
            name = (old if new == "/dev/null" else new).strip('"')
            state = "added" if old == "/dev/null" else "removed" if new == "/dev/null" else "changed"
            files[name[2:] if name.startswith(("a/", "b/")) else name] = state
            old = ""
    return files


def changed_lines(patch: str) -> int:
    """Lines added and removed by a unified diff."""
    return sum(line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- ")) for line in patch.splitlines())


def has_failed(step: TranscriptStep) -> bool:
    """Whether a step went wrong: not run, killed, a non-zero exit, or, with no exit code known, its output."""
    if step.problem or step.timed_out:
        return True
    if step.exit_code is not None:
        return step.exit_code != 0
    output = _seen(step.output)
    return bool(_NOT_RUN.search(output) or _REFUSED_EDIT.search(output) or _FAILED.search(output[-4000:]))


def _seen(output: str) -> str:
    return output if len(output) <= 2 * SHOWN else output[:SHOWN] + "\n" + output[-SHOWN:]


def _broken(step: TranscriptStep, found: tuple[Deed, ...], output: str) -> str:
    """Why a step's command did not run, empty when it did."""
    if step.problem or step.command is None:
        return step.problem or "no command"
    if step.exit_code in (126, 127):
        return f"exit code {step.exit_code}"
    if step.exit_code == 0:
        return ""
    refused = _REFUSED_EDIT.search(output) if any(deed.kind in ("edit", "write") for deed in found) else None
    # what a program prints about its own files is its business: only what stands at the end says that nothing ran
    said = refused or (_NOT_RUN.search(output) if len(output) < 1000 and "Traceback" not in output else None)
    return said[0] if said else ""


def _came_to_pass(deed: Deed, step: TranscriptStep, output: str, broken: str) -> bool:
    if deed.kind == "check":
        return not broken and not (step.exit_code is None and not output.strip() and step.timed_out)
    if deed.kind not in ("edit", "write", "remove", "revert"):
        return not (broken and deed.last)
    if _REFUSED_EDIT.search(output):
        return False
    return not (deed.last and (broken or step.exit_code not in (0, None)))


def _shows_failure(deed: Deed, step: TranscriptStep, output: str) -> bool | None:
    """Whether a check failed: by its exit code where that is its own, else by what it printed."""
    if step.timed_out:
        return True
    if step.exit_code is not None and deed.last and not deed.masked:
        return step.exit_code != 0
    if _FAILED.search(output):
        return True
    if _PASSED.search(output) or (step.exit_code == 0 and not deed.masked):
        return False
    return False if deed.check != "tests" and step.exit_code is None else None
