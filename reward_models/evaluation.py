"""One transcript and one rubric in, one report out."""

from collections.abc import Collection

from reward_models.errors import RubricError
from reward_models.judges import Judge, Judgement
from reward_models.rubric import digest
from reward_models.rules import answer
from reward_models.scorers import Unknown, signed
from reward_models.types import Report, Rubric, Transcript


def evaluate(
    transcript: Transcript,
    rubric: Rubric,
    *,
    judge: Judge | None = None,
    votes: int = 1,
    unknown: Unknown = "leave_out",
    without: Collection[str] = (),
) -> Report:
    """All verdicts of a rubric on a transcript, and the score made from them.

    Code answers the criteria with a rule, `judge` those with a question, `votes` times each. Criteria in `without`
    (see `scorers.dropout`) are answered as well, and kept out of the score. A judge that cannot be asked leaves its
    verdicts unknown, the report without a score, and the reason in `failure`.
    Raises RubricError when the rubric asks questions and there is no judge.
    """
    questions = [criterion for criterion in rubric.criteria if criterion.question]
    if questions and judge is None:
        raise RubricError(
            f"{rubric.name}: criterion '{questions[0].id}' asks a question and there is no judge to answer it. "
            "Name a judge, or use a rubric of rules."
        )
    found = {c.id: answer(c, transcript) for c in rubric.criteria if c.rule}
    judgement = Judgement(verdicts=[])
    if judge is not None and questions:
        judgement = judge.judge(transcript, rubric, questions, votes=votes)
        found |= {verdict.criterion: verdict for verdict in judgement.verdicts}
    verdicts = [found[criterion.id] for criterion in rubric.criteria if criterion.id in found]
    score = signed(rubric, verdicts, unknown=unknown, without=without)
    return Report(
        id=transcript.id,
        task_id=transcript.task_id,
        rubric=digest(rubric),
        judge=judge.digest() if judge is not None and questions else "",
        verdicts=verdicts,
        score=None if judgement.failure else score.value,
        failure=judgement.failure,
        dropout=list(without),
        cut=judgement.cut,
        calls=judgement.calls,
        cached=judgement.cached,
        prompt_tokens=judgement.prompt_tokens,
        completion_tokens=judgement.completion_tokens,
        money=judgement.money,
    )
