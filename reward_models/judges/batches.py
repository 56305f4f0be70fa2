"""Questions of many threads, answered by one model in batches; each transcript in them is read once."""

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from reward_models.errors import JudgeDown
from reward_models.judges.dialogue import Dialogue


class Asked(NamedTuple):
    """Questions about one rendering of a transcript, as tokens."""

    prefix: list[int]
    questions: list[list[int]]
    answers: list[list[list[int]]]
    """Of each question its allowed answers as tokens."""
    replies: list["Reply"]
    """Filled when the model has been asked."""


class Reply(NamedTuple):
    """What the model wrote for one question."""

    reason: str
    chances: list[float]
    """Of each allowed answer, adding up to 1."""
    tokens: int


class Together:
    """Jobs of many threads, run in batches: whoever finds the model free takes along all who wait."""

    def __init__(self, dialogue: Dialogue, reader: Any, reason_tokens: int, most: int) -> None:
        self.dialogue = dialogue
        self.reader = reader
        self.reason_tokens = reason_tokens
        self.most = most
        self.ends = dialogue.ends_a_line(reader.model.config.get_text_config().vocab_size)
        self._waiting: list[Asked] = []
        self._queue = threading.Lock()
        self._model = threading.Lock()

    def run(self, job: Asked) -> None:
        """Fill the job's replies. Raises JudgeDown when the model fails."""
        with self._queue:
            self._waiting.append(job)
        with self._model:
            if job.replies:
                return
            with self._queue:
                others = [other for other in self._waiting if other is not job]
                batch = [job, *others[: self.most - 1]]
                self._waiting = others[self.most - 1 :]
            try:
                self._answer(batch)
            except (RuntimeError, NotImplementedError, MemoryError) as error:
                problem = str(error).strip().split("\n")[0]
                raise JudgeDown(f"the model failed ({type(error).__name__}: {problem})") from None

    def _answer(self, jobs: Sequence[Asked]) -> None:
        import torch

        with torch.inference_mode():
            owners = [number for number, job in enumerate(jobs) for _ in job.questions]
            questions = [question for job in jobs for question in job.questions]
            answers = [choice for job in jobs for choice in job.answers]
            branches = self._branches(jobs, owners, questions, answers)
            rows = list(range(len(owners)))
            reasons = self._write(branches, self.reader.extend(branches, rows, questions))
            following = self.reader.extend(branches, rows, [self.dialogue.answer for _ in rows])
            found = self._choose(branches, answers, following)
        for number, reason, chances in zip(owners, reasons, found, strict=True):
            # The reason is written; the rest of a reply is read.
            tokens = len(reason) + len(self.dialogue.answer) + 1
            jobs[number].replies.append(Reply(self.dialogue.decode(reason), chances, tokens))

    def _branches(
        self, jobs: Sequence[Asked], owners: list[int], questions: list[list[int]], answers: list[list[list[int]]]
    ) -> Any:
        from reward_models.judges.shared_prefix import Branches

        longest = max(map(len, questions)) + max(len(text) for choice in answers for text in choice)
        capacity = longest + self.reason_tokens + len(self.dialogue.answer)
        return Branches(self.reader.prefixes([job.prefix for job in jobs]), owners, capacity)

    def _write(self, branches: Any, following: Any) -> list[list[int]]:
        """A reason in each branch, the most probable token at a time, till a line ends or it is long enough."""
        reasons: list[list[int]] = [[] for _ in branches.owners]
        rows = list(range(len(reasons)))
        for _ in range(self.reason_tokens):
            tokens = following.argmax(dim=-1).tolist()
            going = [(row, token) for row, token in zip(rows, tokens, strict=True) if not self.ends[token]]
            if not going:
                break
            for row, token in going:
                reasons[row].append(token)
            rows = [row for row, _ in going]
            following = self.reader.extend(branches, rows, [[token] for _, token in going])
        return reasons

    def _choose(self, branches: Any, answers: list[list[list[int]]], following: Any) -> list[list[float]]:
        """The probability of each allowed answer among those of its question.

        Of an answer of several tokens no more is read when its first one alone is less probable than another, whole
        answer, and it is the last, *unknown*: no value follows from it then, and it counts as impossible.
        """
        logs = [[float(row[text[0]]) for text in choice] for row, choice in zip(following, answers, strict=True)]
        for place in range(max(map(len, answers))):
            rows = [row for row, choice in enumerate(answers) if place < len(choice) and len(choice[place]) > 1]
            hopeless = {
                row for row in rows if place == len(answers[row]) - 1 and logs[row][place] < max(logs[row][:-1])
            }
            for row in hopeless:
                logs[row][place] = float("-inf")
            rows = [row for row in rows if row not in hopeless]
            rest = self.reader.score(branches, rows, [answers[row][place] for row in rows])
            for row, log in zip(rows, rest, strict=True):
                logs[row][place] += log
        return [_shares(row) for row in logs]


def _shares(logs: list[float]) -> list[float]:
    most = max(logs)
    weights = [math.exp(log - most) for log in logs]
    return [weight / sum(weights) for weight in weights]
