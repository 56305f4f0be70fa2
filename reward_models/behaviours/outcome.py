"""Rules on how an attempt ended: solved, submitted, finished, small, in time."""

from reward_models.history import changed_lines, history_of
from reward_models.types import Finding, Transcript


def tests_pass(transcript: Transcript) -> Finding:
    """The task's own tests pass on the final state. Unknown when they were not measured."""
    if transcript.resolved is None:
        return Finding(value=None, why="the outcome was not measured")
    return Finding(value=float(transcript.resolved), why="the task's tests were run on the final state")


def submitted(transcript: Transcript) -> Finding:
    """The agent said itself that it was done, before a limit ended the attempt. Unknown when no end was recorded."""
    if not transcript.stop:
        return Finding(value=None, why="how the attempt ended was not recorded")
    done = transcript.stop == "submitted"
    return Finding(
        value=float(done), why=f"the attempt ended: {transcript.stop}", steps=_last(transcript) if done else []
    )


def submitted_unfinished(transcript: Transcript) -> Finding:
    """Submitted an empty patch, or right after a check that failed with nothing done about it."""
    if not transcript.stop:
        return Finding(value=None, why="how the attempt ended was not recorded")
    if transcript.stop != "submitted":
        return Finding(value=0.0, why="nothing was submitted")
    if not transcript.patch.strip():
        return Finding(value=1.0, why="the submitted patch is empty", steps=_last(transcript))
    history = history_of(transcript)
    if not history.checks:
        return Finding(value=0.0, why="no check was run that could have said that work was left")
    check = history.checks[-1]
    changed_since = any(act.deed.kind in ("edit", "write", "remove", "revert") for act in history.after(check))
    if check.failed and not changed_since:
        return Finding(
            value=1.0, why="submitted although the last check failed", steps=[check.step, *_last(transcript)]
        )
    return Finding(value=0.0, why="the last check before submitting did not fail, or a change followed it")


def carried_on_when_done(transcript: Transcript, *, allowed: int = 2) -> Finding:
    """More than `allowed` idle steps after a check had passed on the final change.

    A step is idle unless it submits, runs a check that was not run since, or makes or removes a file of its own for
    that. The steering paper's category of not knowing when to stop (arXiv 2606.21811, category 4).
    """
    history = history_of(transcript)
    if not history.changes:
        return Finding(value=0.0, why="no source file was changed")
    after = history.after(history.changes[-1])
    passed = next((act for act in after if act.deed.kind == "check" and act.failed is False), None)
    if passed is None:
        return Finding(value=0.0, why="no check passed after the last change")
    if any(act.deed.kind == "check" and act.failed for act in history.after(passed)):
        return Finding(value=0.0, why="a later check failed, so the work was not known to be done")
    useful = {act.step for act in history.after(passed) if act.deed.kind in ("submit", "write", "edit", "remove")}
    asked = {passed.deed.text}
    for act in history.after(passed):
        if act.deed.kind == "check" and act.deed.text not in asked:
            useful.add(act.step)
            asked.add(act.deed.text)
    idle = [step.index for step in transcript.steps if step.index > passed.step and step.index not in useful]
    if transcript.stop == "submitted" and idle[-1:] == _last(transcript):
        idle = idle[:-1]
    why = f"{len(idle)} idle steps after a check passed on the last change; {allowed} are allowed"
    return Finding(value=float(len(idle) > allowed), why=why, steps=[passed.step, *idle])


def small_diff(transcript: Transcript, *, max_lines: int = 20) -> Finding:
    """1 when the patch adds and removes at most `max_lines` lines in all; beyond, `max_lines` over their number."""
    if not transcript.patch.strip():
        return Finding(value=0.0, why="the patch is empty")
    lines = changed_lines(transcript.patch)
    return Finding(value=min(1.0, max_lines / max(lines, 1)), why=f"{lines} lines changed; {max_lines} are small")


def too_many_steps(transcript: Transcript, *, free: int = 8, most: int = 30) -> Finding:
    """0 up to `free` steps, 1 from `most` steps on, in a straight line between."""
    if most <= free:
        raise ValueError("expected most > free")
    steps = len(transcript.steps)
    return Finding(value=min(1.0, max(0.0, (steps - free) / (most - free))), why=f"{steps} steps; {free} are free")


def _last(transcript: Transcript) -> list[int]:
    return [transcript.steps[-1].index] if transcript.steps else []
