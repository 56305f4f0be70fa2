"""A transcript with its verdicts -> the tokens from which a judge learns to give them."""

from collections.abc import Iterable, Iterator

from reward_models import rubric as rubrics
from reward_models.errors import JudgeDown
from reward_models.judges import Local
from reward_models.judges.dialogue import ANSWER, UNKNOWN, reason_line
from reward_models.types import Criterion, Report, Rubric, Verdict
from rft.errors import RecipeError, StageError
from rft.plugins import build, find_rubric
from rft.recipe import Judging, Recipe
from rft.transcript import to_transcript
from rft.types import Example, Trajectory


class Lessons:
    """Makes the examples of a policy that judges: a row for each attempt, a branch of it for each question."""

    def __init__(self, recipe: Recipe, model: str) -> None:
        """Raises RecipeError when the two rubrics do not go together."""
        assert recipe.policy.judging is not None
        self.judge = judge_of(recipe.policy.judging, model)
        self.rubric, self.teachers = pupils(recipe)

    def __call__(self, trajectory: Trajectory, report: Report | None) -> list[Example]:
        """One example for each view that questions are asked in; none where no verdict is known.

        Raises StageError for an attempt that the judge's context cannot hold.
        """
        transcript = to_transcript(trajectory)
        found = {verdict.criterion: verdict for verdict in (report.verdicts if report else [])}
        taught = {
            name: reply
            for name, teacher in self.teachers.items()
            if name in found and (reply := answer_of(teacher, found[name])) is not None
        }
        questions = [criterion for criterion in self.rubric.criteria if criterion.id in taught]
        examples = []
        for view, some in rubrics.by_view(self.rubric, questions).items():
            try:
                _, asked = self.judge.fitted(transcript, view, some)
            except JudgeDown as error:
                raise StageError(f"{trajectory.id}: {error}. Lower policy.judging.judge.step_chars.") from None
            replies = [(found[c.id].why, found[c.id].steps, taught[c.id]) for c in some]
            ids, spans = self.judge.example(asked, replies)
            examples.append(
                Example(
                    id=f"{trajectory.id}/{view}",
                    trajectory_id=trajectory.id,
                    task_id=trajectory.task_id,
                    ids=ids,
                    spans=spans,
                    shared=len(asked.prefix),
                    provenance="rendered",
                )
            )
        return examples


def judge_of(judging: Judging, model: str) -> Local:
    """The judge that a policy is, as the recipe asks it. Raises RecipeError."""
    judge = build("judge", {**judging.judge, "model": model}, "policy.judging.judge")
    if not isinstance(judge, Local):
        raise RecipeError("policy.judging.judge: only a local judge can be trained; expected {use: local, …}.")
    return judge


def pupils(recipe: Recipe) -> tuple[Rubric, dict[str, Criterion]]:
    """The rubric that is learnt, and question id to the criterion whose verdicts teach it. Raises RecipeError."""
    assert recipe.policy.judging is not None
    rubric = find_rubric(recipe.policy.judging.rubric, "policy.judging.rubric")
    teachers = {criterion.id: criterion for criterion in find_rubric(recipe.score.rubric, "score.rubric").criteria}
    questions = [criterion.id for criterion in rubric.criteria if criterion.question]
    untaught = [name for name in questions if name not in teachers]
    if untaught or not questions:
        what = f"question '{untaught[0]}' has no criterion of that id in" if untaught else "asks no question that is in"
        raise RecipeError(
            f"policy.judging.rubric: {rubric.name}: {what} score.rubric '{recipe.score.rubric}'; expected a criterion "
            "whose verdicts teach each question. Add it."
        )
    return rubric, {name: teachers[name] for name in questions}


def answer_of(teacher: Criterion, verdict: Verdict) -> str | None:
    """The answer that a verdict is; None where its teacher could not tell.

    A rule says how far a behaviour is there: an encouraged one counts as there when it is wholly so, a discouraged
    one as soon as some of it is. A judge says how likely it is there: it counts when that is more likely than not.
    """
    if verdict.value is None and not verdict.label:
        return UNKNOWN if verdict.cause == "judge" else None
    if teacher.answers or verdict.value is None:
        return verdict.label or None
    if not teacher.rule:
        return "yes" if verdict.value >= 0.5 else "no"
    wholly = teacher.polarity == "encourage"
    return "yes" if (verdict.value >= 1.0 if wholly else verdict.value > 0.0) else "no"


def texts(recipe: Recipe, attempts: Iterable[Trajectory], reports: Iterable[Report]) -> Iterator[str]:
    """What a judge will read and write, as plain text: for a vocabulary that is learnt from it."""
    rubric, _ = pupils(recipe)
    assert recipe.policy.judging is not None
    judge = judge_of(recipe.policy.judging, "")
    questions = {criterion.id: criterion for criterion in rubric.criteria if criterion.question}
    found = {report.id: report.verdicts for report in reports}
    for attempt in attempts:
        yield judge.shown(to_transcript(attempt), rubric.view).text
        for verdict in found.get(attempt.id, []):
            if verdict.criterion in questions:
                line, answer = reason_line(verdict.why, verdict.steps), "yes" if verdict.value else "no"
                yield f"{questions[verdict.criterion].question}\nassistant\n{line}{ANSWER} {answer}"
