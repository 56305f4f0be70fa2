"""Rules on the commands themselves: repeated, broken or risky."""

import re

from reward_models.history import has_failed, history_of
from reward_models.types import Finding, Transcript, TranscriptStep

_NUMBER = re.compile(r"\d+(?:\.\d+)?|0x[0-9a-fA-F]+")


def repeated_command(transcript: Transcript, *, times: int = 3, only_failed: bool = True) -> Finding:
    """The same command was issued `times` times or more, to the same result, with no change of any file between.

    With `only_failed`, only commands that went wrong count (Critic Rubrics' loop, arXiv 2603.03800, has three of them);
    without it, any command (the step repetition of the steering paper, arXiv 2606.21811). Two commands are the same
    when they differ in white space only, two results when they differ in numbers only (times, addresses).
    """
    if times < 2:
        raise ValueError("expected times of at least 2")
    history = history_of(transcript)
    changed = {a.step for a in history.acts if a.deed.kind in ("edit", "write", "remove", "revert")}
    seen: dict[tuple[str, str], list[int]] = {}
    worst: list[int] = []
    for step in transcript.steps:
        if step.command is None:
            continue
        if not only_failed or has_failed(step):
            issued = seen.setdefault((" ".join(step.command.split()), _result(step)), [])
            issued.append(step.index)
            worst = max(worst, issued, key=len)
        if step.index in changed:
            # what follows a change is a new question, though it be asked in the same words
            worst, seen = list(worst), {}
    met = len(worst) >= times
    why = f"issued {len(worst)} times; {times} are a repetition" if worst else "no command was issued twice"
    return Finding(value=float(met), why=why, steps=list(worst) if met else [])


def _result(step: TranscriptStep) -> str:
    return f"{step.exit_code} {step.timed_out} {_NUMBER.sub('0', step.output.strip())}"


def bad_commands(transcript: Transcript) -> Finding:
    """The share of steps whose command could not run: no command, not found, no such file, refused, malformed."""
    if not transcript.steps:
        return Finding(value=None, why="there are no steps")
    broken = history_of(transcript).broken
    why = f"{len(broken)} of {len(transcript.steps)} commands did not run"
    evidence = "; ".join(sorted(set(broken.values())))[:300]
    return Finding(value=len(broken) / len(transcript.steps), why=why, steps=list(broken), evidence=evidence)


def risky_commands(transcript: Transcript) -> Finding:
    """A command that can destroy what was not asked for: wide recursive removal, hard reset, clean, push, power."""
    risks = [act for act in history_of(transcript).acts if act.deed.kind == "risk"]
    if risks:
        return Finding(value=1.0, why="a risky command", steps=[a.step for a in risks], evidence=risks[0].deed.text)
    return Finding(value=0.0, why="no risky command")
