"""A report for each trajectory, appended as it is made."""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from pathlib import Path

from reward_models import rubric as rubrics
from reward_models.budget import Account, Budget
from reward_models.cache import Cache
from reward_models.errors import CacheError, RubricError
from reward_models.evaluation import evaluate
from reward_models.judges import Generative, Judge, Local
from reward_models.scorers import dropout
from reward_models.types import Report, Rubric, Transcript, Verdict
from rft.errors import RecipeError, StageError
from rft.plugins import build, find_rubric
from rft.progress import progress, say
from rft.recipe import Recipe, Section, shipped_model
from rft.rundir import Run
from rft.store import Records
from rft.transcript import to_transcript
from rft.types import Trajectory

FILE = "reports.jsonl"

Attempt = Trajectory | Transcript
"""What is scored: an attempt of ours, or one that came from elsewhere."""


def run(recipe: Recipe, run: Run, round: int, *, redo: bool = False) -> None:
    """Score a round's trajectories.

    Raises RecipeError when the rubric or the judge is wrong, StageError when the budget is spent, when a verdict is
    unknown and the recipe says to stop then, or when the judge could be asked about no trajectory at all.
    """
    from rft.score import audit as audits  # it is made of what this module holds

    audit = audits.Audit(recipe) if recipe.score.audit is not None else None
    stage = run.stage(round, "score")
    trajectories = run.stage(round, "collect").path / "trajectories.jsonl"
    run.stage(round, "collect").require()
    path = stage.path / FILE
    if not redo:
        _refuse_other_rubric(path, rubrics.digest(load_rubric(recipe)))
        if audit is not None:
            _refuse_other_rubric(stage.path / audits.FILE, rubrics.digest(audit.rubric))
    if not stage.start([trajectories], redo=redo):
        return
    tally = reports(recipe, Records(trajectories, Trajectory), path, title=f"round {round} score")
    outputs, counts, metrics = [path], tally.counts(), tally.metrics()
    if audit is not None:
        audited = audit.run(stage, trajectories, path)
        outputs, counts, metrics = [*outputs, *audited.files], counts | audited.counts, metrics | audited.metrics
    stage.finish(outputs, counts=counts, metrics=metrics)


def reports(recipe: Recipe, attempts: Iterable[Attempt], path: Path, *, title: str = "score") -> "Tally":
    """Append to `path` the reports that it does not hold yet, one for each attempt; these are gone through twice.

    Reports that a judge's outage left without verdicts, and damaged ones, are set aside and made again. Memory does
    not grow with the number of trajectories. Returns the tally of the whole file.
    """
    scorer = Scorer(recipe)
    records = Records(path, Report)
    total = 0
    breakdowns = set()
    for attempt in attempts:
        total += 1
        if isinstance(attempt, Trajectory) and attempt.failure is not None:
            breakdowns.add(attempt.id)
    damaged, failed = records.repair(keep=lambda report: not report.failure or report.id in breakdowns)
    if damaged or failed:
        say(f"{path}: {damaged} damaged and {failed} failed reports set aside; they are made again")
    _refuse_other_rubric(path, scorer.digest)
    tally = Tally()
    done = set()
    for report in records:
        tally.add(report, broke_down=report.id in breakdowns)
        done.add(report.id)
    owed = (attempt for attempt in attempts if attempt.id not in done)
    with closing(scorer), records.writer() as append, progress(title, total, len(done)) as advance:
        for report in concurrently(scorer, owed):
            append(report)
            tally.add(report, broke_down=report.id in breakdowns)
            advance(tally.note())
    if tally.failed and tally.failed == tally.reports - tally.broke_down:
        raise StageError(
            f"{path}: the judge answered on none of {tally.failed} trajectories, most recently: {tally.cause}. "
            "Mend the cause and run the same command again."
        )
    return tally


@contextlib.contextmanager
def judging() -> Iterator[None]:
    """Raises RecipeError for a judge that cannot be loaded, StageError for a file of verdicts that cannot be used."""
    try:
        yield
    except CacheError as error:
        raise StageError(f"score.cache: {error}") from None
    except RubricError as error:
        raise RecipeError(f"score.judge: {error}") from None


class Scorer:
    """Makes one report; safe to call from many threads."""

    def __init__(self, recipe: Recipe) -> None:
        self.section = recipe.score
        self.seed = recipe.seed
        if not 0 <= recipe.score.dropout < 1:
            raise RecipeError(f"score.dropout: {recipe.score.dropout}; expected 0 or more and less than 1.")
        self.rubric = load_rubric(recipe)
        self.digest = rubrics.digest(self.rubric)
        self.judge = judge_of(recipe.score.judge)
        asked = next((criterion.id for criterion in self.rubric.criteria if criterion.question), None)
        if asked is not None and self.judge is None:
            raise RecipeError(
                f"score.judge: missing; criterion '{asked}' of rubric '{self.rubric.name}' asks a question. "
                "Add a judge, such as {use: endpoint, …}, or choose a rubric of rules."
            )
        with judging():
            self.judge_digest = self.judge.digest() if self.judge is not None and asked is not None else ""
        self.account = _account(recipe)
        if isinstance(self.judge, Generative | Local):
            self.judge.account = self.account
        _refuse_unpriced(recipe, self.judge)

    def close(self) -> None:
        """Let no further call begin, and close the file of verdicts."""
        self.account.stop()
        if self.account.cache is not None:
            self.account.cache.close()

    @property
    def threads(self) -> int:
        """How many trajectories are judged at once; rules alone gain nothing from threads."""
        return int(getattr(self.judge, "concurrent", 1)) if self.judge is not None else 1

    def __call__(self, attempt: Attempt) -> Report:
        """The report on an attempt.

        Raises StageError when the budget is spent, or the recipe says to stop; RecipeError when the judge cannot be
        loaded.
        """
        if isinstance(attempt, Trajectory) and attempt.failure is not None:
            failure = f"{attempt.failure.where}: {attempt.failure.message}"
            return self._without_score(attempt, failure)
        with judging():
            report = evaluate(
                to_transcript(attempt) if isinstance(attempt, Trajectory) else attempt,
                self.rubric,
                judge=self.judge,
                votes=self.section.votes,
                skip_decided=self.section.skip == "decided",
                ask_again=self.section.ask_again,
                unknown="leave_out" if self.section.unknown == "leave_out" else "no_score",
                outage="leave_out" if self.section.outage == "leave_out" else "no_score",
                without=self._dropout(attempt),
            )
        for verdict in report.verdicts:
            self._refuse(attempt, verdict)
        return report

    def _refuse(self, attempt: Attempt, verdict: Verdict) -> None:
        """Raise StageError for an unknown verdict that the stage stops at."""
        cause = _cause(verdict)
        if cause == "budget":
            raise StageError(
                f"score.budget: {verdict.why}. Raise it and run the same command again; what is scored is kept."
            )
        key = "outage" if cause == "outage" else "unknown"
        if cause and getattr(self.section, key) == "stop":
            raise StageError(
                f"score: {attempt.id}: criterion '{verdict.criterion}' is unknown ({verdict.why}), and "
                f"score.{key} is stop. Mend the cause, or choose leave_out or no_score."
            )

    def _dropout(self, attempt: Attempt) -> list[str]:
        """What its score is made without: the same for all attempts at a task in a round, which are compared."""
        if not self.section.dropout or not isinstance(attempt, Trajectory):
            return []
        return dropout(self.rubric, self.section.dropout, f"{self.seed}/{attempt.round}/{attempt.task_id}")

    def _without_score(self, attempt: Attempt, failure: str) -> Report:
        return Report(
            id=attempt.id,
            task_id=attempt.task_id,
            rubric=self.digest,
            judge=self.judge_digest,
            verdicts=[],
            score=None,
            failure=failure,
        )


def judge_of(section: Section | None) -> Judge | None:
    """The judge of a section; a local one may be named by a model that ships with rft. Raises RecipeError."""
    if section is None:
        return None
    judge: Judge = build("judge", section, "score.judge")
    if isinstance(judge, Local):
        judge.model = shipped_model(judge.model)
    return judge


def all_criteria(recipe: Recipe) -> Recipe:
    """The recipe for measuring: dropout is for what is learnt from."""
    return dataclasses.replace(recipe, score=dataclasses.replace(recipe.score, dropout=0.0, audit=None, skip=None))


def load_rubric(recipe: Recipe) -> Rubric:
    """The rubric that a recipe names. Raises RecipeError."""
    return find_rubric(recipe.score.rubric, "score.rubric")


def _account(recipe: Recipe) -> Account:
    """Where the recipe's verdicts are kept and what they may cost."""
    budget = Budget(money=recipe.score.budget.money, tokens=recipe.score.budget.tokens)
    name = recipe.score.cache
    path = Path(recipe.runs) / "verdicts.sqlite" if name is None else Path(name) if name else None
    if path is None and budget != Budget():
        raise RecipeError(
            "score.cache: empty, and score.budget is set; what is spent is written there. Name a file, or leave it out."
        )
    # relative, so that folders can be moved
    run = os.path.relpath(Path(recipe.runs) / recipe.name, path.parent if path is not None else None)
    return Account(Cache(path) if path is not None else None, run=run, budget=budget)


def _refuse_unpriced(recipe: Recipe, judge: Judge | None) -> None:
    """A budget of money binds only a judge with a price. Raises RecipeError."""
    if judge is None or recipe.score.budget.money is None:
        return
    if not isinstance(judge, Generative) or not judge.tariff.of(1, 1):
        raise RecipeError(
            "score.budget.money: set, and the judge has no price. Give score.judge a price: {prompt: …, completion: …}."
        )


def _cause(verdict: Verdict) -> str:
    """Why a verdict is unknown; empty for an answer."""
    return verdict.cause or ("" if verdict.value is not None or verdict.label else "judge")


def _refuse_other_rubric(path: Path, digest: str) -> None:
    """Reports by two rubrics never stand in one file; what a rubric says for people may change."""
    first = next(iter(Records(path, Report)), None)
    if first is not None and first.rubric != digest:
        raise StageError(
            f"{path}: made with another version of the rubric ({first.rubric}, now {digest}). "
            "Change the rubric back, choose another name=, or redo the stage with --redo."
        )


def concurrently(scorer: Scorer, owed: Iterator[Attempt]) -> Iterator[Report]:
    """Reports as they finish; a few attempts are held at once, however many there are."""
    threads = scorer.threads
    if threads <= 1:
        yield from map(scorer, owed)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="score") as pool:
        running: set[Future[Report]] = {pool.submit(scorer, item) for item in islice(owed, 2 * threads)}
        broken: list[Future[Report]] = []
        try:
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                broken += [future for future in finished if future.exception() is not None]
                if not broken:
                    running |= {pool.submit(scorer, item) for item in islice(owed, len(finished))}
                for future in finished.difference(broken):
                    yield future.result()
            for future in broken:
                # what was under way is paid for, and has been yielded
                future.result()
        except BaseException:
            scorer.account.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Tally:
    """Counts over the reports of a file, in constant memory."""

    def __init__(self) -> None:
        self.reports = self.broke_down = self.failed = self.verdicts = 0
        self.scored = 0
        self.total = 0.0
        self.calls = self.cached = self.prompt_tokens = self.completion_tokens = 0
        self.money = 0.0
        self.unknown: Counter[str] = Counter()
        """Cause to how many verdicts it left unknown."""
        self.cause = ""
        self._values: dict[str, list[float]] = {}

    def add(self, report: Report, *, broke_down: bool) -> None:
        """Count one more; `broke_down` when the trajectory itself did."""
        self.reports += 1
        self.calls += report.calls
        self.cached += report.cached
        self.money += report.money
        self.prompt_tokens += report.prompt_tokens
        self.completion_tokens += report.completion_tokens
        if broke_down:
            self.broke_down += 1
        elif report.failure:
            self.failed += 1
            self.cause = report.failure
        if report.score is not None:
            self.scored += 1
            self.total += report.score
        for verdict in report.verdicts:
            self.verdicts += 1
            if cause := _cause(verdict):
                self.unknown[cause] += 1
            if verdict.value is not None:
                totals = self._values.setdefault(verdict.criterion, [0.0, 0.0])
                totals[0] += verdict.value
                totals[1] += 1

    def note(self) -> str:
        """A few words for the progress line."""
        mean = f"mean score {self.total / self.scored:.2f}" if self.scored else "no score yet"
        unknown = f", {self.unknown.total()} unknown" if self.unknown else ""
        return f"{mean}{unknown}{f', {self.money:.2f} paid' if self.money else ''}"

    def counts(self) -> dict[str, int]:
        """Whole numbers for the manifest."""
        return {
            "reports": self.reports,
            "scored": self.scored,
            "broke_down": self.broke_down,
            "judge_failed": self.failed,
            "verdicts": self.verdicts,
            "unknown": self.unknown.total(),
            **{f"unknown_{cause}": count for cause, count in sorted(self.unknown.items())},
            "calls": self.calls,
            "cached": self.cached,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }

    def metrics(self) -> dict[str, float]:
        """Numbers for the manifest: the mean score, what was paid, and each criterion's rate in its own polarity."""
        rates = {f"rate.{name}": total / count for name, (total, count) in self._values.items()}
        paid = {"money": self.money} if self.money else {}
        return {**({"score": self.total / self.scored} if self.scored else {}), **paid, **rates}
