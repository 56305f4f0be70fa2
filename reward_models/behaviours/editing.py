"""Rules on how an agent changed files: after reading them, not tests, not back and forth, leaving no mess."""

import posixpath
import re

from reward_models.commands import ANY_FILE, same_file
from reward_models.history import Act, History, history_of, is_protected, patched_files
from reward_models.types import Finding, Transcript

USUAL_TESTS = ["tests/*", "test/*", "test_*.py", "*_test.py", "conftest.py", "*.test.js", "*.spec.ts", "*_test.go"]
"""Patterns of test files, for transcripts that name no protected files."""


def looked_before_edit(transcript: Transcript) -> Finding:
    """The share of changed source files of which the agent saw something before it first changed them.

    Files that it made itself do not count. 0 when it changed nothing; unknown when no change names its file.
    """
    history = history_of(transcript)
    first: dict[str, Act] = {}
    for act in history.changes:
        if act.deed.kind == "edit" and act.path != ANY_FILE:
            known = next((path for path in first if same_file(path, act.path)), act.path)
            first.setdefault(known, act)
    added = [path for path, state in patched_files(transcript.patch).items() if state == "added"]
    first = {path: act for path, act in first.items() if not any(same_file(path, other) for other in added)}
    if not first:
        value = None if history.changes else 0.0
        return Finding(value=value, why="no change in place of a file that was there before")
    blind = {path: act for path, act in first.items() if not _was_seen(history, act, path)}
    why = f"{len(first) - len(blind)} of {len(first)} changed files were looked at first"
    steps = [act.step for act in (blind or first).values()]
    return Finding(value=1 - len(blind) / len(first), why=why, steps=steps, evidence=", ".join(blind)[:300])


def _was_seen(history: History, change: Act, path: str) -> bool:
    outputs = {step.index: step.output for step in history.transcript.steps}
    name = posixpath.basename(path)
    for act in history.before(change):
        if act.deed.kind in ("read", "history") and act.path and same_file(act.path, path):
            return True
        if act.deed.kind == "write" and same_file(act.path, path):
            return True
        if act.deed.kind in ("search", "check") and name in outputs.get(act.step, ""):
            return act.deed.kind == "search" or f'{name}", line' in outputs[act.step]
    return False


def edited_tests(transcript: Transcript) -> Finding:
    """A protected file was changed: in the final state, or on the way by a command that changes or removes it in place.

    Where the transcript names no protected files, the usual names of test files that were there before stand in.
    """
    if transcript.tampered:
        steps = _changing(transcript, transcript.protected or USUAL_TESTS)
        names = ", ".join(transcript.tampered)[:300]
        return Finding(value=1.0, why="the final state changes protected files", steps=steps, evidence=names)
    patterns = transcript.protected or USUAL_TESTS
    changed = [p for p, s in patched_files(transcript.patch).items() if s != "added" and is_protected(p, patterns)]
    steps = _changing(transcript, patterns)
    if changed or steps:
        why = "the patch changes protected files" if changed else "a command changed a protected file"
        return Finding(value=1.0, why=why, steps=steps, evidence=", ".join(changed)[:300])
    return Finding(value=0.0, why="no protected file was changed")


def _changing(transcript: Transcript, patterns: list[str]) -> list[int]:
    history = history_of(transcript)
    made: list[str] = []
    steps = []
    for act in history.acts:
        if act.deed.kind == "write":
            made.append(act.path)
        own = any(same_file(act.path, path) for path in made)
        if act.deed.kind in ("edit", "remove") and not own and is_protected(act.path, patterns):
            steps.append(act.step)
    return steps


def undid_work(transcript: Transcript) -> Finding:
    """Took a change of its own back that no check had failed: by version control, an editor's undo, or an edit that
    is another's reverse. To take back what was seen to fail is no going back and forth."""
    history = history_of(transcript)
    done: list[Act] = []
    undone: list[int] = []
    for act in history.acts:
        if act.deed.kind == "check" and act.failed:
            done = []
        elif act.deed.kind == "revert":
            wide = act.path in (".", "") or act.deed.path == "."
            undone += [act.step] if done and (wide or any(same_file(act.path, other.path) for other in done)) else []
        elif any(act is change for change in history.changes):
            undone += [act.step] if any(_reverse(act, other) for other in done) else []
            done.append(act)
    if undone:
        return Finding(value=1.0, why="a change of its own was taken back", steps=undone)
    return Finding(value=0.0, why="no change was taken back")


def _reverse(one: Act, other: Act) -> bool:
    if one.deed.change is None or other.deed.change is None or not same_file(one.path, other.path):
        return False
    old, new = (text.strip() for text in one.deed.change)
    return old != new and (new, old) == tuple(text.strip() for text in other.deed.change)


_LITTER = re.compile(
    r"(?i)(^|/)(repro\w*|debug\w*|tmp\w*|temp\w*|scratch\w*|try_\w*|demo\w*)\.\w+$|\.(orig|rej|bak|swp|pyc|log)$|~$"
)


def left_scratch_files(transcript: Transcript) -> Finding:
    """The patch adds files that were only made for looking at the problem. 0 when there is no patch.

    The mess of Critic Rubrics (arXiv 2603.03800, `file_management_errors`).
    """
    history = history_of(transcript)
    added = [path for path, state in patched_files(transcript.patch).items() if state == "added"]
    left = [path for path in added if _LITTER.search(path[-255:]) or _was_tool(history, path)]
    if left:
        return Finding(value=1.0, why="scratch files were left behind", evidence=", ".join(left)[:300])
    return Finding(value=0.0, why="no scratch file was left behind")


def _was_tool(history: History, path: str) -> bool:
    """A file outside the test folders that the agent wrote and ran as a script itself."""
    ran = any(act.deed.check == "script" and act.path and same_file(act.path, path) for act in history.checks)
    return ran and not path.startswith(("tests/", "test/"))
