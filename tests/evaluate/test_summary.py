"""What an evaluation report counts, what it leaves out, and when it promotes."""

import msgspec
import pytest

from reward_models.types import Report, Verdict
from rft.errors import RecipeError
from rft.evaluate import markdown, summary
from rft.evaluate.summary import EvaluationReport, SplitReport
from rft.types import Failure, Outcome, Step, StopReason, Trajectory

CRITERIA = {"verified": "encourage", "repeats": "discourage"}


def attempt(
    task: str,
    sample: int,
    resolved: bool | None,
    *,
    failure: Failure | None = None,
    stop: StopReason = StopReason.SUBMITTED,
) -> Trajectory:
    return Trajectory(
        id=f"{task}/00/{sample:02d}",
        task_id=task,
        split="heldout",
        round=0,
        sample=sample,
        seed=sample,
        prompt=[],
        steps=[Step(index=1, reply="ls", command="ls", observation="", prompt_tokens=10, completion_tokens=4)],
        stop=stop,
        outcome=None if resolved is None else Outcome(resolved=resolved),
        failure=failure,
    )


def judged(trajectory: Trajectory, verified: float | None, repeats: float | None, score: float | None) -> Report:
    verdicts = [Verdict(criterion="verified", value=verified), Verdict(criterion="repeats", value=repeats)]
    return Report(id=trajectory.id, task_id=trajectory.task_id, rubric="r", judge="", verdicts=verdicts, score=score)


def split(
    outcomes: dict[str, list[bool | None]], verified: float = 1.0, earlier: summary.Measured | None = None
) -> tuple[summary.Measured, SplitReport]:
    tries = [attempt(task, n, value) for task, values in outcomes.items() for n, value in enumerate(values)]
    measured = summary.measure(tries, [judged(one, verified, 1 - verified, 0.5) for one in tries], CRITERIA)["heldout"]
    return measured, summary.summarise(measured, {0: earlier} if earlier else {}, samples=2, seed=0)


def test_breakdowns_are_counted_and_left_out() -> None:
    """A broken sandbox must not look like an agent that failed."""
    broke = attempt("a", 1, None, failure=Failure(where="sandbox", message="gone"), stop=StopReason.ERROR)
    measured = summary.measure([attempt("a", 0, True), broke], [], CRITERIA)["heldout"]
    found = summary.summarise(measured, {}, samples=2, seed=0)
    assert (found.attempts, found.failures, found.failed_where) == (2, 1, {"sandbox": 1})
    assert found.metrics["resolved"].value == 1.0
    assert found.metrics["resolved"].attempts == 1
    assert found.stops == {"submitted": 1}
    assert found.means["steps"] == 1
    assert found.pass_at[2].value is None


def test_missing_and_broken_reports_are_unknown_never_zero() -> None:
    tries = [attempt("a", 0, True), attempt("b", 0, False), attempt("c", 0, False)]
    reports = [judged(tries[0], 1.0, None, 0.8), judged(tries[1], None, None, None)]
    found = summary.summarise(summary.measure(tries, reports, CRITERIA)["heldout"], {}, samples=1, seed=0)
    assert (found.metrics["score"].value, found.metrics["score"].unknown) == (0.8, 2)
    assert (found.metrics["criterion/verified"].value, found.metrics["criterion/verified"].unknown) == (1.0, 2)
    assert (found.metrics["criterion/repeats"].value, found.metrics["criterion/repeats"].unknown) == (None, 3)


def test_splits_are_kept_apart() -> None:
    there = attempt("a", 0, True)
    elsewhere = msgspec.structs.replace(attempt("b", 0, False), split="unseen")
    found = summary.measure([there, elsewhere], [], CRITERIA)
    assert {name: one.values["resolved"] for name, one in found.items()} == {
        "heldout": {"a": [1.0]},
        "unseen": {"b": [0.0]},
    }


def test_all_broken_gives_a_report_without_rates() -> None:
    broke = attempt("a", 0, None, failure=Failure(where="inference", message="x"))
    found = summary.summarise(summary.measure([broke], [], CRITERIA)["heldout"], {}, samples=1, seed=0)
    assert (found.failures, found.metrics, found.means) == (1, {}, {})


@pytest.mark.parametrize(
    ("promote_if", "after", "verified", "promoted", "word"),
    [
        ("resolved", [True, True], 1.0, True, "rose"),
        ("resolved", [False, False], 1.0, False, "fell"),
        ("resolved", [True, False], 1.0, True, "did not change"),
        ("verified", [False, False], 1.0, True, "rose"),
        ("verified", [True, True], 0.0, False, "fell"),
        ("repeats", [False, False], 1.0, True, "fell"),
        ("repeats", [True, True], 0.0, False, "rose"),
        ("always", [False, False], 0.0, True, "always"),
    ],
)
def test_promotion_follows_the_metric_in_its_polarity(
    promote_if: str, after: list[bool | None], verified: float, promoted: bool, word: str
) -> None:
    before, _ = split({"a": [True, False], "b": [False, True]}, verified=0.5)
    _, found = split({"a": after, "b": after}, verified=verified, earlier=before)
    decision, reason = summary.decide(promote_if, found, CRITERIA, 0)
    assert decision is promoted
    assert word in reason


def test_what_cannot_be_compared_is_not_promoted() -> None:
    before, _ = split({"a": [None]})
    _, found = split({"a": [True]}, earlier=before)
    promoted, reason = summary.decide("resolved", found, CRITERIA, 0)
    assert not promoted
    assert "could not be compared" in reason
    assert summary.decide("resolved", None, CRITERIA, 0)[0] is False
    assert summary.decide("resolved", found, CRITERIA, None) == (True, "the starting policy")


def test_unknown_promotion_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no metric is called 'verifed'.*Did you mean 'verified'\?"):
        summary.check_metric("verifed", CRITERIA)
    summary.check_metric("repeats", CRITERIA)


def report(found: SplitReport) -> EvaluationReport:
    return EvaluationReport(
        round=1,
        policy="round_01/4_train/checkpoint",
        splits={"heldout": found},
        criteria=CRITERIA,
        incumbent=0,
        promote_if="resolved",
        promoted=True,
        reason="resolved rose",
    )


def test_report_survives_json_and_flattens() -> None:
    before, _ = split({"a": [True, False], "b": [False, False]})
    _, found = split({"a": [True, True], "b": [False, True]}, earlier=before)
    whole = report(found)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=EvaluationReport) == whole
    numbers = summary.flat(whole)
    assert numbers["heldout/resolved"] == 0.75
    assert numbers["heldout/pass@2"] == 1.0
    assert numbers["heldout/criterion/repeats"] == 0.0
    assert numbers["heldout/mean_steps"] == 1.0


def test_markdown_tables_line_up_and_cannot_be_broken_out_of() -> None:
    before, _ = split({"a": [True, False], "b": [False, False]})
    _, found = split({"a": [True, True], "b": [False, True]}, earlier=before)
    text = markdown.render(msgspec.structs.replace(report(found), policy="evil`\n| x |\x1b[31m"))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert "+0.500" in text and "against round 0" in text
    assert "\x1b" not in text
    assert "evil' \\| x \\|" in text
