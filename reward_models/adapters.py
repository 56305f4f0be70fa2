"""A rubric plugged in anywhere: as a plain function, as TRL's reward function, as verl's `compute_score`.

Nothing of those programs is imported. What a criterion could not be answered on is unknown, and where everything that
a score needs is unknown there is no number: `None`, or an error, and never a quiet 0.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

from reward_models import rubric as rubrics
from reward_models.errors import JudgeDown, NoScore, RubricError
from reward_models.evaluation import evaluate
from reward_models.judges import Judge
from reward_models.messages import FACTS, Messages, transcript_of
from reward_models.scorers import Unknown
from reward_models.types import Report, Rubric, Transcript

_log = logging.getLogger(__name__)


@dataclass
class _Adapter:
    """What every adapter is made from. Raises RubricError when it is made, not when it is called."""

    rubric: Rubric | str | Path
    """A rubric, the name of a shipped one, or a file of one."""
    judge: Judge | None = None
    """Who answers its questions; not needed when rules answer everything."""
    _: KW_ONLY
    votes: int = 1
    """How often each question is asked; the majority stands."""
    unknown: Unknown = "leave_out"
    """An unknown criterion is left out of the score, or leaves no score."""
    loaded: Rubric = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.loaded = self.rubric if isinstance(self.rubric, Rubric) else rubrics.load(self.rubric)
        asked = next((criterion.id for criterion in self.loaded.criteria if criterion.question), None)
        if asked is not None and self.judge is None:
            raise RubricError(
                f"{self.loaded.name}: criterion '{asked}' asks a question and there is no judge to answer it. "
                "Give one as judge=, or use a rubric of rules."
            )

    def report(self, attempt: Transcript | Messages, *, prompt: Messages | None = None, **facts: Any) -> Report:
        """The report on a transcript, or on a chat as `messages.transcript_of` reads it. Raises TranscriptError."""
        if not isinstance(attempt, Transcript):
            attempt = transcript_of(attempt, prompt=prompt, **facts)
        return evaluate(attempt, self.loaded, judge=self.judge, votes=self.votes, unknown=self.unknown)

    @property
    def threads(self) -> int:
        """How many attempts are worth judging at once; rules gain nothing from threads."""
        return max(1, int(getattr(self.judge, "concurrent", 1)))


@dataclass
class RubricFunction(_Adapter):
    """A rubric as a plain function: an attempt in, a report out. Safe to call from many threads."""

    def __call__(self, attempt: Transcript | Messages, *, prompt: Messages | None = None, **facts: Any) -> Report:
        """The report on a transcript, or on a chat as `messages.transcript_of` reads it. Raises TranscriptError."""
        return self.report(attempt, prompt=prompt, **facts)


@dataclass
class _Rewards(_Adapter):
    """What the synchronous and the asynchronous reward function have in common."""

    columns: dict[str, str] = field(default_factory=dict)
    """Fact of the transcript to the column of the data set that holds it, such as `{"resolved": "tests_ok"}`. Other
    columns are not looked at: they may hold the answer."""
    outage: Literal["stop", "none"] = "stop"
    """When the judge could be asked about no completion of a batch: raise JudgeDown, so that the trainer does not go on
    without a signal, or give None for all."""
    __name__: str = field(init=False, repr=False)
    """What the trainer logs it under: the rubric's name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.__name__ = self.loaded.name
        for fact in self.columns:
            if fact not in FACTS:
                raise RubricError(f"columns: '{fact}' is no fact of a transcript; expected {', '.join(FACTS)}.")

    def reports(
        self, prompts: Sequence[Messages], completions: Sequence[Messages], given: Mapping[str, Any]
    ) -> list[Report]:
        """A report for each completion, in order. Raises JudgeDown, TranscriptError, RubricError."""
        missing = [column for column in self.columns.values() if column not in given]
        if missing:
            raise RubricError(f"{self.__name__}: the data has no column '{missing[0]}'. Add it, or mend columns=.")

        def report(number: int) -> Report:
            facts = {fact: given[column][number] for fact, column in self.columns.items()}
            return self.report(completions[number], prompt=prompts[number], **({"id": str(number)} | facts))

        with ThreadPoolExecutor(self.threads, thread_name_prefix="judge") as pool:
            reports = list(pool.map(report, range(len(completions))))
        failures = [report.failure for report in reports if report.failure]
        if failures:
            message = (
                f"{self.__name__}: the judge could not be asked about {len(failures)} of {len(reports)} completions"
            )
            if self.outage == "stop" and len(failures) == len(reports):
                raise JudgeDown(f"{message}: {failures[-1]}")
            _log.warning("%s, which get no reward: %s", message, failures[-1])
        return reports

    def rewards(self, reports: Sequence[Report], given: Mapping[str, Any]) -> list[float | None]:
        """The scores, after rates and verdicts have gone to the trainer's log where it offers one."""
        metric: Callable[[str, float], None] | None = given.get("log_metric")
        extra: Callable[[str, list[str]], None] | None = given.get("log_extra")
        if metric is not None:
            for name, value in rates(reports).items():
                metric(f"{self.__name__}/{name}", value)
        if extra is not None:
            extra(f"{self.__name__} verdicts", [_in_short(report) for report in reports])
        return [report.score for report in reports]


@dataclass
class RubricReward(_Rewards):
    """A rubric as the reward function of TRL's trainers: `GRPOTrainer(reward_funcs=RubricReward("my.yaml", judge))`.

    Completions are judged at once, as many as the judge takes. Each criterion's rate, and the shares of unknown
    verdicts and of completions without a score, go to TRL's log.
    """

    def __call__(
        self, prompts: Sequence[Messages], completions: Sequence[Messages], **given: Any
    ) -> list[float | None]:
        """A score in [0, 1] for each completion, None where it is unknown. Raises JudgeDown (see `outage`)."""
        return self.rewards(self.reports(prompts, completions, given), given)


@dataclass
class AsyncRubricReward(_Rewards):
    """`RubricReward` as a coroutine function: TRL runs it together with its other asynchronous reward functions."""

    async def __call__(
        self, prompts: Sequence[Messages], completions: Sequence[Messages], **given: Any
    ) -> list[float | None]:
        """A score in [0, 1] for each completion, None where it is unknown. Raises JudgeDown (see `outage`)."""
        return self.rewards(await asyncio.to_thread(self.reports, prompts, completions, given), given)


@dataclass
class RubricComputeScore(_Adapter):
    """A rubric as verl's `compute_score`: in the file that `custom_reward_function.path` names, put
    `compute_score = RubricComputeScore("my.yaml", judge)`."""

    statement: str = "question"
    """The key of `extra_info` that holds the task as the judge shall see it."""
    no_score: float | None = None
    """What verl, which has no None, is given for an unknown score; left out, that raises NoScore."""
    __name__: str = field(default="compute_score", init=False, repr=False)

    def __call__(
        self,
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> dict[str, float]:
        """`{"score": …, "known": …, "unknown": …}`: verl trains on the score and keeps the others beside it.

        `known` is 1 where verdicts made the score and 0 where it is `no_score`, `unknown` the number of unknown
        verdicts. The ground truth is shown to no judge. Raises NoScore.
        """
        task = str((extra_info or {}).get(self.statement, ""))
        report = self.report(solution_str, prompt=task, task_id=str(data_source))
        unanswered = float(sum(bool(verdict.cause) for verdict in report.verdicts))
        if report.score is not None:
            return {"score": report.score, "known": 1.0, "unknown": unanswered}
        if self.no_score is None:
            raise NoScore(f"{self.loaded.name}: the score is unknown ({_why(report)}). Give no_score= to go on.")
        return {"score": self.no_score, "known": 0.0, "unknown": unanswered}


def rates(reports: Collection[Report]) -> dict[str, float]:
    """Means over reports: each criterion's known values, in its own polarity, and the shares that are unknown."""
    values: dict[str, list[float]] = {}
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    for verdict in verdicts:
        if verdict.value is not None:
            values.setdefault(verdict.criterion, []).append(verdict.value)
    found = {name: sum(known) / len(known) for name, known in values.items()}
    if verdicts:
        found["unknown"] = sum(bool(verdict.cause) for verdict in verdicts) / len(verdicts)
    if reports:
        found["no_score"] = sum(report.score is None for report in reports) / len(reports)
    return found


def _in_short(report: Report) -> str:
    """`solved 1, polite ?, subject (billing)`."""
    return ", ".join(
        f"{verdict.criterion} "
        + (f"{verdict.value:g}" if verdict.value is not None else f"({verdict.label})" if verdict.label else "?")
        for verdict in report.verdicts
    )


def _why(report: Report) -> str:
    unknown = next((verdict for verdict in report.verdicts if verdict.cause), None)
    return report.failure or (f"criterion '{unknown.criterion}': {unknown.why}" if unknown else "nothing was answered")
