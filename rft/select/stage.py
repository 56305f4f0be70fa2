"""Groups, one after the other, through the rules in order; the first rule that drops an attempt is its reason."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from reward_models.types import Report
from rft import store
from rft.errors import StageError
from rft.plugins import build, first_line
from rft.progress import progress
from rft.recipe import Recipe
from rft.rundir import Run
from rft.select.candidate import Candidate
from rft.select.examples import examples_of
from rft.select.lessons import Lessons
from rft.select.masks import asked_in, check_criteria, cited, without
from rft.select.teaching import Taught, Teaching
from rft.store import Records
from rft.types import Decision, Example, Record, Trajectory

BROKE_DOWN = "broke_down"
"""The rule that stands before all others: a breakdown is never learnt from."""
MASKED = "mask_steps"
"""The rule that drops attempts of which no step is left to learn."""
TEACH = "teach"
"""The last rule: what was kept and teaches nothing."""
KEPT = "kept"


class FunnelRow(Record, frozen=True, kw_only=True):
    """What one rule did in a round."""

    rule: str
    before: int
    dropped: int
    after: int
    example: str = ""
    """The first attempt that it dropped, with the reason."""


def run(recipe: Recipe, run: Run, round: int, *, redo: bool = False) -> None:
    """Decide on every attempt of a round. When interrupted it is made anew: it is quick.

    Raises StageError when a rule breaks down or nothing is kept.
    """
    stage = run.stage(round, "select")
    trajectories = run.stage(round, "collect").path / "trajectories.jsonl"
    reports = run.stage(round, "score").path / "reports.jsonl"
    run.stage(round, "collect").require()
    run.stage(round, "score").require()
    if not stage.start([trajectories, reports], redo=redo):
        return
    decisions, examples = stage.path / "decisions.jsonl", stage.path / "examples.jsonl"
    for path in (decisions, examples):
        path.unlink(missing_ok=True)
    funnel = Funnel(recipe)
    candidates = groups(run, round)
    learnt = 0
    with (
        Records(decisions, Decision).writer() as decide,
        Records(examples, Example).writer() as learn,
        progress(f"round {round} select", len(candidates)) as advance,
    ):
        for group in candidates:
            decided, taught = funnel.sift(group)
            for decision in decided:
                decide(decision)
            for example in taught:
                learn(example)
                learnt += sum(end - start for start, end in example.spans)
            advance(f"{funnel.kept} kept")
    rows = funnel.rows()
    store.write_atomic(stage.path / "funnel.json", msgspec.json.format(msgspec.json.encode(rows)))
    if not funnel.kept:
        worst = max(rows, key=lambda row: row.dropped)
        raise StageError(
            f"{stage.path}: nothing was kept of {funnel.seen} attempts; {worst.dropped} were dropped by '{worst.rule}' "
            f"({worst.example}). Loosen select.rules and add --redo, or collect more."
        )
    stage.finish(
        [decisions, examples],
        counts={"seen": funnel.seen, "kept": funnel.kept, "learnt_tokens": learnt},
        metrics={
            "kept": funnel.kept / funnel.seen,
            "score_kept": funnel.mean_score(True),
            "score_dropped": funnel.mean_score(False),
        },
    )


def groups(run: Run, round: int) -> "Groups":
    """A round's attempts with their reports, a task at a time."""
    return Groups(
        run.stage(round, "collect").path / "trajectories.jsonl",
        run.stage(round, "score").path / "reports.jsonl",
        seed=run.recipe.seed,
        learn=_learning(run.recipe, run.policy(round)),
        mask=run.recipe.select.mask_steps,
        asked=asked_in(run.recipe.score.rubric),
    )


class Funnel:
    """The rules in order and what each has done."""

    def __init__(self, recipe: Recipe) -> None:
        chosen = recipe.select
        check_criteria(chosen.mask_steps, recipe.score.rubric, "select.mask_steps")
        self.names = [BROKE_DOWN, *([MASKED] if chosen.mask_steps else []), *_names(chosen.rules), TEACH]
        self.teach: Teaching = build("teaching", chosen.teach, "select.teach")
        check_criteria(getattr(self.teach, "criteria", ()), recipe.score.rubric, "select.teach")
        self._taught = Taught(examples=[])
        self.rules: list[Callable[[Any], dict[str, str]]] = [
            _broke_down,
            *([_all_masked] if chosen.mask_steps else []),
            *(build("rule", section, f"select.rules.{i}") for i, section in enumerate(chosen.rules)),
            self._teach,
        ]
        self.seen = self.kept = 0
        self._dropped = [0] * len(self.rules)
        self._examples = [""] * len(self.rules)
        self._scores: dict[bool, list[float]] = {True: [0.0, 0.0], False: [0.0, 0.0]}

    def sift(self, group: list[Candidate]) -> tuple[list[Decision], list[Example]]:
        """A decision on each attempt of a group, in its order, and what those kept teach.

        Raises StageError when a rule breaks down.
        """
        self._taught = Taught(examples=[])
        inside, reasons = list(group), {}
        for number, (name, rule) in enumerate(zip(self.names, self.rules, strict=True)):
            for identity, why in self._ask(name, rule, inside).items():
                reasons[identity] = (name, why)
                self._dropped[number] += 1
                self._examples[number] = self._examples[number] or f"{identity}: {why}"
            inside = [c for c in inside if c.id not in reasons]
        return [self._decision(c, *reasons.get(c.id, (KEPT, ""))) for c in group], self._taught.examples

    def _decision(self, candidate: Candidate, rule: str, why: str) -> Decision:
        keep = rule == KEPT
        self.seen += 1
        self.kept += keep
        if candidate.score is not None:
            self._scores[keep][0] += candidate.score
            self._scores[keep][1] += 1
        return Decision(id=candidate.id, task_id=candidate.trajectory.task_id, keep=keep, rule=rule, reason=why)

    def _teach(self, inside: list[Candidate]) -> dict[str, str]:
        """Drops those that teach nothing; what the others teach is kept for the moment."""
        self._taught = self.teach(inside)
        taught = {example.trajectory_id for example in self._taught.examples}
        return {c.id: "nothing of it is learnt" for c in inside if c.id not in taught} | self._taught.dropped

    def _ask(self, name: str, rule: Callable[[Any], dict[str, str]], inside: list[Candidate]) -> dict[str, str]:
        if not inside:
            return {}
        try:
            dropped = rule(inside)
            known = {c.id for c in inside}
            return {str(identity): str(why) for identity, why in dropped.items() if identity in known}
        except Exception as error:  # a user's rule may raise anything; deciding on without it would be silent
            raise StageError(
                f"select: rule '{name}' broke down on task {inside[0].trajectory.task_id}: "
                f"{type(error).__name__}: {first_line(error)}. Mend it."
            ) from error

    def rows(self) -> list[FunnelRow]:
        """What each rule did, in order."""
        rows, before = [], self.seen
        for name, dropped, example in zip(self.names, self._dropped, self._examples, strict=True):
            if name == TEACH and not dropped:
                continue
            rows.append(FunnelRow(rule=name, before=before, dropped=dropped, after=before - dropped, example=example))
            before -= dropped
        return rows

    def mean_score(self, kept: bool) -> float:
        """Mean score of those kept or dropped; 0 when none has a score."""
        total, count = self._scores[kept]
        return total / count if count else 0.0


def _broke_down(group: list[Candidate]) -> dict[str, str]:
    why = {c.id: _breakdown(c.trajectory) for c in group}
    return {identity: reason for identity, reason in why.items() if reason}


def _breakdown(trajectory: Trajectory) -> str:
    """Why an attempt is no lesson whatever it is worth; empty when it may be one."""
    if trajectory.failure is not None:
        return f"{trajectory.failure.where}: {trajectory.failure.message[:160]}"
    known = trajectory.prompt or trajectory.tokens
    return "" if known else "import: what the model read before its first turn is not known"


def _all_masked(group: list[Candidate]) -> dict[str, str]:
    return {c.id: "no step is left to learn" for c in group if not c.examples}


def _names(rules: list[dict[str, Any]]) -> list[str]:
    """Each rule's name; a name that stands twice gets its position."""
    names = [str(section.get("use")) for section in rules]
    return [name if names.count(name) == 1 else f"{name}#{i + 1}" for i, name in enumerate(names)]


class Groups:
    """The attempts at each task, in a drawn order of tasks; holds offsets, not records."""

    def __init__(
        self,
        trajectories: Path,
        reports: Path,
        *,
        seed: int,
        learn: "Learning",
        mask: list[str],
        asked: frozenset[str],
    ) -> None:
        self._trajectories = Records(trajectories, Trajectory)
        self._reports = Records(reports, Report)
        self._report_at = self._reports.index()
        self._offsets: dict[str, list[int]] = {}
        for offset, record in self._trajectories.scan():
            self._offsets.setdefault(record.task_id, []).append(offset)
        self._seed = seed
        self._learn = learn
        self._mask = mask
        self._asked = asked

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[list[Candidate]]:
        tasks = sorted(self._offsets)
        random.Random(self._seed).shuffle(tasks)
        for task in tasks:
            group = [self._candidate(self._trajectories.at(offset)) for offset in self._offsets[task]]
            yield sorted(group, key=lambda c: c.id)

    def _candidate(self, trajectory: Trajectory) -> Candidate:
        offset = self._report_at.get(trajectory.id)
        learnable = not _breakdown(trajectory) and any(step.reply or step.tool_calls for step in trajectory.steps)
        report = self._reports.at(offset) if offset is not None else None
        examples = self._learn(trajectory, report) if learnable else []
        return Candidate(
            trajectory=trajectory,
            report=report,
            examples=without(examples, cited(report, self._mask, self._asked)) if self._mask else examples,
            seed=self._seed,
            asked=self._asked,
        )


Learning = Callable[[Trajectory, Report | None], list[Example]]
"""What would be learnt from an attempt and its report."""


def _learning(recipe: Recipe, model: str) -> Learning:
    return Lessons(recipe, model) if recipe.policy.judging is not None else _Replies(model)


class _Replies:
    """What the policy wrote; its tokenizer is loaded only where an engine gave no token ids."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._loaded: Any = None

    def __call__(self, trajectory: Trajectory, report: Report | None) -> list[Example]:
        if self._loaded is None and not trajectory.tokens:
            from transformers import AutoTokenizer

            self._loaded = AutoTokenizer.from_pretrained(self._model)
        return examples_of(trajectory, self._loaded)
