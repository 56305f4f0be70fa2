"""Rules on how an agent looked for evidence: before its first change, after its last, and after a failure."""

from reward_models.history import Act, history_of
from reward_models.types import Finding, Transcript


def reproduced_before_edit(transcript: Transcript) -> Finding:
    """A check showed the bug before the first change of a source file.

    1 when tests or a program failed before that change, or when a program that ran then printed something else when
    it was run again after it. Unknown when a program ran before the change, did not fail, and was not run again after:
    whether what it printed shows the bug takes a reader. 0 otherwise.
    """
    history = history_of(transcript)
    first = history.changes[0] if history.changes else None
    early = [act for act in (history.before(first) if first else history.acts) if act.deed.kind == "check"]
    failed = next((act for act in early if act.failed), None)
    if failed:
        return Finding(
            value=1.0,
            why="a check failed before the first change" if first else "a check failed",
            steps=[failed.step, *([first.step] if first else [])],
            evidence=failed.deed.text,
        )
    late = [act for act in (history.after(first) if first else []) if act.deed.kind == "check"]
    for act in early:
        again = [other for other in late if other.deed.text == act.deed.text]
        if any(_output(transcript, other) != _output(transcript, act) for other in again):
            why = "a program ran before the first change, and printed something else after it"
            return Finding(value=1.0, why=why, steps=[act.step, again[-1].step], evidence=act.deed.text)
        if not again and act.deed.check != "tests" and _output(transcript, act):
            return Finding(
                value=None, why="a program ran before the first change; its output needs a reader", steps=[act.step]
            )
    if first is None:
        return Finding(value=0.0, why="no check failed")
    return Finding(value=0.0, why="no check showed a failure before the first change", steps=[first.step])


def verified_after_edit(transcript: Transcript) -> Finding:
    """A check ran after the last change of a source file, whatever it showed. 0 when nothing was changed."""
    history = history_of(transcript)
    if not history.changes:
        return Finding(value=0.0, why="no source file was changed, so there was nothing to verify")
    last = history.changes[-1]
    check = next((act for act in history.after(last) if act.deed.kind == "check"), None)
    if check is None:
        return Finding(value=0.0, why="no check ran after the last change", steps=[last.step])
    return Finding(
        value=1.0, why="a check ran after the last change", steps=[last.step, check.step], evidence=check.deed.text
    )


def verified_passing(transcript: Transcript) -> Finding:
    """The last check ran after the last change of a source file and showed no failure. 0 when nothing was changed."""
    history = history_of(transcript)
    if not history.changes:
        return Finding(value=0.0, why="no source file was changed, so there was nothing to verify")
    checks = [act for act in history.after(history.changes[-1]) if act.deed.kind == "check"]
    if not checks:
        return Finding(value=0.0, why="no check ran after the last change", steps=[history.changes[-1].step])
    check = checks[-1]
    if check.failed is None:
        return Finding(value=None, why="whether the last check passed cannot be told", steps=[check.step])
    why = "the last check failed" if check.failed else "the last check passed"
    return Finding(value=float(not check.failed), why=why, steps=[check.step], evidence=check.deed.text)


def blind_edit_after_failure(transcript: Transcript) -> Finding:
    """After a change of its own failed a check, it changed a source file again without looking at any file first.

    Taking the change back counts as a look: the file is then what it was when it was last seen.
    The failure of debugging of Critic Rubrics (arXiv 2603.03800, `insufficient_debugging`).
    """
    history = history_of(transcript)
    changed = failed = False
    for act in history.acts:
        if act.deed.kind in ("read", "search", "revert"):
            failed = False
        elif act.deed.kind == "check":
            failed = bool(act.failed) and changed
        elif any(act is change for change in history.changes):
            if failed:
                return Finding(
                    value=1.0, why="changed again after a failure, looking at nothing between", steps=[act.step]
                )
            changed = True
    return Finding(value=0.0, why="every failure of its own change was followed by a look, or by no change")


def _output(transcript: Transcript, act: Act) -> str:
    return next((step.output.strip() for step in transcript.steps if step.index == act.step), "")
