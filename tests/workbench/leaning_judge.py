"""A judge with a known weakness: it says yes to whatever it is asked first, and no to the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from reward_models.judges import Judgement
from reward_models.types import Criterion, Rubric, Transcript, Verdict


@dataclass(kw_only=True)
class Leaning:
    """Its answers follow from the order of the questions alone."""

    down: bool = False
    """Cannot be asked."""

    def digest(self) -> str:
        """Its name."""
        return "leaning"

    def judge(
        self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int, first: int = 0
    ) -> Judgement:
        """Yes to the first, no to the rest."""
        if self.down:
            unknown = [Verdict(criterion=q.id, value=None, cause="outage", why="down") for q in questions]
            return Judgement(verdicts=unknown, failure="down")
        verdicts = []
        for place, question in enumerate(questions):
            label = question.answers[0] if question.answers else ""
            value = None if question.kind == "class" and not question.met else float(place == 0)
            verdicts.append(Verdict(criterion=question.id, value=value, label=label))
        return Judgement(verdicts=verdicts, calls=1)
