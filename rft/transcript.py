"""A trajectory as judges and rules see it."""

from reward_models.types import Transcript, TranscriptStep
from rft.types import Step, Trajectory


def to_transcript(trajectory: Trajectory) -> Transcript:
    """The transcript of a trajectory; it holds neither the gold patch nor the names of the grader's tests.

    The statement is the last thing that the model was told before its first turn.
    """
    outcome = trajectory.outcome
    statement = next((m.content for m in reversed(trajectory.prompt) if m.role == "user"), "")
    return Transcript(
        id=trajectory.id,
        task_id=trajectory.task_id,
        statement=statement,
        steps=[_step(step) for step in trajectory.steps],
        patch=trajectory.patch,
        stop=trajectory.stop.value,
        resolved=outcome.resolved if outcome is not None else None,
        protected=list(trajectory.protected),
        tampered=list(outcome.tampered) if outcome is not None else [],
    )


def _step(step: Step) -> TranscriptStep:
    return TranscriptStep(
        index=step.index,
        text=step.reply,
        command=step.command,
        # the exit code has a field of its own
        output=step.observation.removeprefix(f"[exit {step.exit_code}]").removeprefix("\n"),
        exit_code=step.exit_code,
        timed_out=step.timed_out,
        problem=step.problem,
    )
