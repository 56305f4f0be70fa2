"""What the judges that write text have in common: the prompt, strict reading, asking again, votes."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from reward_models import verdicts
from reward_models.chat import Reply
from reward_models.errors import JudgeDown, RubricError
from reward_models.judges import prompts
from reward_models.judges.base import Judgement, Request
from reward_models.transcript import Rendered, render
from reward_models.types import Criterion, Rubric, Transcript, Verdict


@dataclass(kw_only=True)
class Generative:
    """What the judges that write text have in common: the prompt, strict reading, asking again."""

    asks: int = 3
    """How often one answer is asked for until it can be read; the judge is told what was wrong."""
    step_chars: int = 4_000
    """Longer parts of a step are cut in the middle."""
    transcript_chars: int = 120_000
    """A longer transcript is cut shorter, then loses steps in its middle."""
    deadline: float = 3_600.0
    """Seconds for one transcript; what is not answered by then counts as an outage."""

    def __post_init__(self) -> None:
        if self.asks < 1:
            raise RubricError(f"asks is {self.asks}; expected at least 1")

    def ask(self, request: Request) -> Reply:
        """One reply to a chat. Raises JudgeDown."""
        raise NotImplementedError

    def identity(self) -> list[str]:
        """What the answers follow from, besides the prompts."""
        raise NotImplementedError

    def digest(self) -> str:
        """A short content address of the judge: its model and sampling, its prompts, and how transcripts are cut."""
        parts = [type(self).__name__, *self.identity(), self.step_chars, self.transcript_chars, prompts.digest()]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]

    def judge(
        self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int, first: int = 0
    ) -> Judgement:
        """Ask all questions in one chat, `votes` times; the majority stands."""
        end = time.monotonic() + self.deadline
        shown = render(transcript, view=rubric.view, step_chars=self.step_chars, chars=self.transcript_chars)
        judgement = Judgement(verdicts=[], cut=shown.cut)
        ballots: list[list[Verdict]] = []
        for vote in range(first, first + votes):
            try:
                ballots.append(self._ballot(rubric, questions, shown, vote, end, judgement))
            except JudgeDown as error:
                judgement.failure = str(error)
                judgement.verdicts = verdicts.unknown(questions, f"the judge could not be asked: {error}", "outage")
                return judgement
        judgement.verdicts = verdicts.majority(questions, ballots)
        return judgement

    def _ballot(
        self,
        rubric: Rubric,
        questions: Sequence[Criterion],
        shown: Rendered,
        vote: int,
        end: float,
        judgement: Judgement,
    ) -> list[Verdict]:
        """One answer to all questions; unknown when none could be read."""
        messages = prompts.first_messages(rubric, questions, shown)
        problem = ""
        for _ in range(self.asks):
            reply = self.ask(Request(messages=messages, questions=list(questions), vote=vote, deadline=end))
            judgement.calls += 1
            judgement.prompt_tokens += reply.prompt_tokens
            judgement.completion_tokens += reply.completion_tokens
            try:
                return verdicts.parse(reply.text, questions, shown)
            except verdicts.UnreadableReply as error:
                problem = str(error)
            messages = prompts.messages_again(messages, reply.text, problem, questions)
        return verdicts.unknown(questions, f"the judge's reply could not be read: {problem}", "unreadable")

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)
