"""One transcript and one rubric in, one report out."""

from collections.abc import Collection, Sequence
from typing import Literal

from reward_models.errors import RubricError
from reward_models.judges import Judge, Judgement
from reward_models.rubric import applicable, digest
from reward_models.rules import answer
from reward_models.scorers import Score, Unknown, goodness, signed
from reward_models.types import Criterion, Report, Rubric, Transcript, Verdict

Outage = Literal["no_score", "leave_out"]


def evaluate(
    transcript: Transcript,
    rubric: Rubric,
    *,
    judge: Judge | None = None,
    votes: int = 1,
    skip_decided: bool = False,
    ask_again: int = 0,
    unknown: Unknown = "leave_out",
    outage: Outage = "no_score",
    without: Collection[str] = (),
) -> Report:
    """All verdicts of a rubric on a transcript, and the score made from them.

    Code answers the criteria with a rule, `judge` those with a question, `votes` times each; what the judge says it
    cannot tell it is asked up to `ask_again` times more, with other seeds. Criteria about what a user wrote later are
    left alone where no user did, and those in `without` (see `scorers.dropout`) are answered and kept out of the score.
    A judge that cannot be asked leaves its verdicts unknown: `no_score` leaves the report without a score and the
    reason in `failure`; `leave_out` makes the score from the other criteria, unless one that is required is open.
    With `skip_decided` the judge is not asked where a required rule is not met: the score is 0 whatever it says.
    Raises RubricError when the rubric asks questions and there is no judge, CacheError when the judge's file fails.
    """
    criteria = applicable(rubric, transcript).criteria
    questions = [criterion for criterion in criteria if criterion.question]
    if questions and judge is None:
        raise RubricError(
            f"{rubric.name}: criterion '{questions[0].id}' asks a question and there is no judge to answer it. "
            "Name a judge, or use a rubric of rules."
        )
    found = {c.id: answer(c, transcript) for c in criteria if c.rule}
    if skip_decided and any(c.required and _not_met(c, found[c.id]) for c in criteria if c.rule):
        questions = []
    judgement = Judgement(verdicts=[])
    if judge is not None and questions:
        judgement = _judged(judge, transcript, rubric, questions, votes, ask_again)
        found |= {verdict.criterion: verdict for verdict in judgement.verdicts}
    verdicts = [found[criterion.id] for criterion in criteria if criterion.id in found]
    failure = judgement.failure if outage == "no_score" else ""
    score = scored(rubric, verdicts, unknown=unknown, without=without)
    return Report(
        id=transcript.id,
        task_id=transcript.task_id,
        rubric=digest(rubric),
        judge=judge.digest() if judge is not None and questions else "",
        verdicts=verdicts,
        score=None if failure else score.value,
        failure=failure,
        dropout=list(without),
        cut=judgement.cut,
        calls=judgement.calls,
        cached=judgement.cached,
        prompt_tokens=judgement.prompt_tokens,
        completion_tokens=judgement.completion_tokens,
        money=judgement.money,
    )


def scored(
    rubric: Rubric, verdicts: Sequence[Verdict], *, unknown: Unknown = "leave_out", without: Collection[str] = ()
) -> Score:
    """The score of all verdicts on one transcript, also of stored ones: nothing is asked.

    Besides those in `without`, criteria are left out that were not asked for want of a follow-up, and those that an
    outage left open, unless one is required.
    """
    found = {verdict.criterion: verdict for verdict in verdicts}
    out = {criterion.id for criterion in rubric.criteria if _is_out(criterion, found.get(criterion.id))}
    return signed(rubric, verdicts, unknown=unknown, without=out.union(without))


def _is_out(criterion: Criterion, verdict: Verdict | None) -> bool:
    if verdict is None:
        return criterion.requires_followup
    return verdict.cause == "outage" and not criterion.required


def _not_met(criterion: Criterion, verdict: Verdict) -> bool:
    return verdict.value is not None and goodness(criterion, verdict.value) < 0.5


def _judged(
    judge: Judge, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], votes: int, ask_again: int
) -> Judgement:
    judgement = judge.judge(transcript, rubric, questions, votes=votes)
    for turn in range(1, ask_again + 1):
        unsure = {verdict.criterion for verdict in judgement.verdicts if verdict.cause == "judge"}
        if not unsure or judgement.failure:
            break
        left = [question for question in questions if question.id in unsure]
        judgement = _joined(judgement, judge.judge(transcript, rubric, left, votes=votes, first=turn * votes))
    return judgement


def _joined(before: Judgement, after: Judgement) -> Judgement:
    """Both together; where both answered, the later verdict stands."""
    later = {verdict.criterion: verdict for verdict in after.verdicts}
    return Judgement(
        verdicts=[later.get(verdict.criterion, verdict) for verdict in before.verdicts],
        failure=before.failure or after.failure,
        cut=max(before.cut, after.cut),
        calls=before.calls + after.calls,
        cached=before.cached + after.cached,
        prompt_tokens=before.prompt_tokens + after.prompt_tokens,
        completion_tokens=before.completion_tokens + after.completion_tokens,
        money=before.money + after.money,
    )
