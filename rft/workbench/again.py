"""The run's judge asked again, in the order of the rubric and in the reverse, to see how steady its answers are."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from reward_models.judges import Judge, Judgement
from reward_models.types import Rubric, Verdict
from rft.errors import StageError
from rft.recipe import Recipe
from rft.score import to_transcript
from rft.score.stage import Scorer, judging
from rft.types import Trajectory


@dataclass(kw_only=True)
class Again:
    """Further verdicts on one criterion of one attempt."""

    in_order: list[Verdict] = field(default_factory=list)
    reverse: list[Verdict] = field(default_factory=list)


class Repeats:
    """Further verdicts, by attempt and criterion."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Again] = {}
        self.failed = 0
        """Times that the judge could not be asked; these are no answers."""
        self.cause = ""
        """Why, the last time."""

    def of(self, trajectory: str, criterion: str) -> Again:
        """Those on one criterion of one attempt; none when it was not asked again."""
        return self._found.get((trajectory, criterion), Again())

    def add(self, trajectory: str, judgement: Judgement, *, reverse: bool) -> None:
        """Keep a judge's further answers to an attempt; what it did not answer is left out."""
        self.failed += bool(judgement.failure)
        self.cause = judgement.failure or self.cause
        for verdict in judgement.verdicts:
            if verdict.cause in ("outage", "budget", "unreadable"):
                continue
            again = self._found.setdefault((trajectory, verdict.criterion), Again())
            (again.reverse if reverse else again.in_order).append(verdict)


def ask_again(recipe: Recipe, rubric: Rubric, trajectories: Iterable[Trajectory], times: int) -> Repeats:
    """Ask the recipe's judge `times` more about each attempt: in reverse, in the order of the rubric, and so on.

    Answers are numbered after those that the run took, so that another seed draws them and the file of verdicts keeps
    them: the same command asks nothing twice.

    Raises StageError when the judge could never be asked, RecipeError when it cannot be loaded.
    """
    repeats = Repeats()
    with closing(Scorer(recipe)) as scorer:
        if scorer.judge is None:
            raise StageError("--again: the recipe has no judge; rules answer the same every time. Leave it out.")
        judge, first = scorer.judge, recipe.score.votes * (recipe.score.ask_again + 1)

        def ask(trajectory: Trajectory) -> list[Judgement]:
            return [_ask(judge, rubric, trajectory, first + turn, reverse=turn % 2 == 0) for turn in range(times)]

        asked = list(trajectories)
        with ThreadPoolExecutor(max(1, scorer.threads), thread_name_prefix="again") as pool:
            for trajectory, judgements in zip(asked, pool.map(ask, asked), strict=True):
                for turn, judgement in enumerate(judgements):
                    repeats.add(trajectory.id, judgement, reverse=turn % 2 == 0)
    if asked and repeats.failed == len(asked) * times:
        raise StageError(
            f"--again: the judge could not be asked about any of {len(asked)} attempts ({repeats.cause}). "
            "Mend the cause and run the same command again."
        )
    return repeats


def _ask(judge: Judge, rubric: Rubric, trajectory: Trajectory, number: int, *, reverse: bool) -> Judgement:
    transcript = to_transcript(trajectory)
    questions = [c for c in rubric.criteria if c.question and (transcript.followup or not c.requires_followup)]
    with judging():
        return judge.judge(transcript, rubric, questions[::-1] if reverse else questions, votes=1, first=number)
