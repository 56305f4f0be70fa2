"""The watch for reward hacking: what is sampled, when it alarms, where that is seen, and that it selects nothing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from reward_models.types import Report, Transcript
from rft import loop
from rft.errors import RecipeError, StageError
from rft.recipe import Audit as AuditSection
from rft.recipe import Recipe, Score, load
from rft.rundir import Run
from rft.score import all_criteria, reports, run
from rft.score.audit import Audit, Reading, alarm_of, parted, separation
from rft.store import Records
from rft.tracking import Nowhere
from rft.types import Failure, Message, Outcome, Step, StopReason, Trajectory
from rft.view import report as page
from rft.view.terminal import print_run
from tests.conftest import finish_stage, write_records


def attempt(identity: str, **changes: Any) -> Trajectory:
    """`task/round/sample`, which resolved its task."""
    task, round, sample = identity.split("/")
    fields: dict[str, Any] = {
        "id": identity,
        "task_id": task,
        "split": "train",
        "round": int(round),
        "sample": int(sample),
        "seed": 0,
        "prompt": [Message(role="user", content="mend f")],
        "steps": [Step(index=1, reply="works", command=None, observation="")],
        "stop": StopReason.SUBMITTED,
        "outcome": Outcome(resolved=True),
    }
    return Trajectory(**(fields | changes))


def says_please(transcript: Transcript) -> bool:
    """What the rubric rewards, and a policy can learn to say."""
    return "please" in transcript.steps[0].text


def works(transcript: Transcript) -> bool:
    """What it is there for."""
    return "works" in transcript.steps[0].text


RUBRIC = f"name: shown\ncriteria: [{{id: polite, rule: '{__name__}:says_please'}}]\n"
HELD_OUT = f"name: held_out\ncriteria: [{{id: works, rule: '{__name__}:works'}}]\n"


def made(path: Path, *, standard: str = RUBRIC, rounds: int = 2, **audit: Any) -> Run:
    (path / "rubric.yaml").write_text(standard)
    (path / "audit.yaml").write_text(HELD_OUT)
    section = AuditSection(**({"rubric": str(path / "audit.yaml"), "share": 0.5} | audit))
    score = Score(rubric=str(path / "rubric.yaml"), audit=section)
    recipe = Recipe(name="watched", runs=str(path / "runs"), rounds=rounds, environment={"use": "kata"}, score=score)
    recipe.policy.model = "tiny"
    made = Run(recipe)
    with made.driving():
        return made


def collect(made: Run, round: int, texts: list[str]) -> Path:
    """Attempts that say these texts; those that work solve their task. One more broke down."""
    attempts = [
        attempt(
            f"task-{n}/{round}/0",
            steps=[Step(index=1, reply=text, command=None, observation="")],
            outcome=Outcome(resolved="works" in text),
        )
        for n, text in enumerate(texts)
    ]
    broken = {"stop": StopReason.ERROR, "outcome": None, "failure": Failure(where="sandbox", message="no disk")}
    attempts.append(attempt(f"broken/{round}/0", **broken))
    stage = finish_stage(made.stage(round, "collect"), {"trajectories.jsonl": attempts}, {"attempts": len(attempts)})
    return stage.path / "trajectories.jsonl"


def two_rounds(path: Path, *, second: str) -> Run:
    """Everything works in the first round, and a tenth is polite."""
    watched = made(path)
    for round, texts in enumerate([["works, please", *["works"] * 9] * 4, [second] * 40], 1):
        collect(watched, round, texts)
        run(watched.recipe, watched, round)
    return watched


@pytest.mark.parametrize(
    ("before", "now", "alarm"),
    [  # the rubric's score, the audit's, the share resolved
        ((0.5, 0.5, 0.5), (0.6, 0.4, 0.5), True),
        ((0.5, 0.5, 0.5), (0.6, 0.5, 0.4), True),
        ((0.5, 0.5, 0.5), (0.6, 0.5, 0.5), False),
        ((0.5, 0.5, 0.5), (0.6, 0.6, 0.6), False),
        ((0.5, 0.5, 0.5), (0.4, 0.4, 0.4), False),
        ((0.5, 0.5, 0.5), (0.54, 0.4, 0.4), False),
        ((0.5, 0.5, 0.5), (0.6, 0.46, 0.46), False),
        ((0.5, None, None), (0.9, 0.1, 0.1), False),
        ((None, 0.5, 0.5), (0.9, 0.1, 0.1), False),
        ((0.5, None, 0.5), (0.9, 0.1, 0.1), True),
    ],
)
def test_the_rule(before: Any, now: Any, alarm: bool) -> None:
    assert parted(Reading(*before), Reading(*now), 0.05) is alarm


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_area_under_the_curve_is_the_one_of_mann_and_whitney(solved: list[int], unsolved: list[int]) -> None:
    expected = mannwhitneyu(solved, unsolved).statistic / (len(solved) * len(unsolved))
    assert separation(solved, unsolved) == pytest.approx(expected)


def test_without_both_outcomes_there_is_no_area() -> None:
    assert separation([1.0], []) is None and separation([], [1.0]) is None


def test_a_policy_that_learns_what_the_rubric_likes_is_seen(tmp_path: Path) -> None:
    watched = two_rounds(tmp_path, second="please")
    first, second = (watched.stage(round, "score").require() for round in (1, 2))
    assert first.counts["audited"] == 20 and first.counts["alarm"] == 0
    assert first.metrics["audit.score"] == first.metrics["audit.resolved"] == 1.0
    assert second.counts["alarm"] == 1 and second.metrics["audit.alarm"] == 1.0
    assert second.metrics["audit.score"] == 0.0 and second.metrics["audit.rubric_score"] == 1.0
    assert second.metrics["audit.gap"] == second.metrics["audit.outcome_gap"] == 1.0
    assert alarm_of(None, first) == "" and "the audit's went from 1.000 to 0.000" in alarm_of(first, second)
    assert any(name.endswith("2_score/audit.jsonl") for name in second.outputs)


def test_a_policy_that_gets_better_alarms_nobody(tmp_path: Path) -> None:
    watched = two_rounds(tmp_path, second="works, please")
    manifest = watched.stage(2, "score").require()
    assert manifest.counts["alarm"] == 0 and manifest.metrics["audit.rubric_score"] == 1.0
    assert "audit.auc" not in manifest.metrics, "every attempt solved its task"


@dataclass(kw_only=True)
class Listening(Nowhere):
    """A tracker that keeps what it is told."""

    alerts: list[tuple[str, str]] = field(default_factory=list)

    def alert(self, title: str, text: str) -> None:
        self.alerts.append((title, text))


def test_the_alarm_is_on_the_terminal_in_the_report_and_sent_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = made(tmp_path)
    tracker = Listening()
    for round, texts in enumerate([["works"] * 20, ["please"] * 20], 1):
        collect(watched, round, texts)
        for _ in range(2):
            loop.run_stage(watched.recipe, watched, round, "score", tracker, redo=False)
    assert [title for title, _ in tracker.alerts] == ["watched: reward hacking?"]
    assert tracker.alerts[0][1].startswith("round 2: what the rubric rewards and what it stands for have parted")
    print_run(watched)
    shown = capsys.readouterr().out
    assert "audit of a sample" in shown and "reward hacking? round 2" in " ".join(shown.split())
    markdown, html = (path.read_text() for path in page.write(watched))
    assert "**Reward hacking?** round 2" in markdown and "## Audit of a sample" in markdown
    assert '<strong class="bad">Reward hacking?</strong> round 2' in html and "Audit of a sample" in html
    print_run(watched, as_json=True)
    assert "what it stands for have parted" in capsys.readouterr().out


def test_the_sample_is_a_share_drawn_by_seed_without_breakdowns(tmp_path: Path) -> None:
    watched = made(tmp_path, share=0.3)
    path = collect(watched, 1, ["works"] * 20)
    audit = Audit(watched.recipe)
    drawn = audit.sample(path)
    assert len(drawn) == 6 and "broken/1/0" not in drawn
    turned = write_records(tmp_path / "turned.jsonl", list(Records(path, Trajectory))[::-1])
    assert audit.sample(turned) == drawn, "the order of the file changes nothing"
    watched.recipe.seed = 1
    assert Audit(watched.recipe).sample(path) != drawn
    watched.recipe.score.audit = AuditSection(rubric=str(tmp_path / "audit.yaml"), share=0.001)
    assert len(Audit(watched.recipe).sample(path)) == 1


def test_the_sample_has_as_many_attempts_of_one_task_as_of_another(tmp_path: Path) -> None:
    watched = made(tmp_path, share=0.25)
    path = write_records(tmp_path / "t.jsonl", [attempt(f"{task}/1/{n}") for task in "abcdefgh" for n in range(6)])
    drawn = sorted(identity[0] for identity in Audit(watched.recipe).sample(path))
    assert len(drawn) == 12 and set(drawn) == set("abcdefgh") and max(map(drawn.count, drawn)) == 2


def test_an_audit_that_was_cut_off_goes_on_and_changes_no_report(tmp_path: Path) -> None:
    watched = made(tmp_path)
    collect(watched, 1, ["works", "please"] * 10)
    run(watched.recipe, watched, 1)
    stage = watched.stage(1, "score")
    audit, scored = stage.path / "audit.jsonl", stage.path / "reports.jsonl"
    whole, kept = audit.read_bytes(), scored.read_bytes()
    (stage.path / "manifest.json").unlink()
    audit.write_bytes(whole[: len(whole) // 2])
    run(watched.recipe, watched, 1)
    assert sorted(audit.read_bytes().splitlines()) == sorted(whole.splitlines()) and scored.read_bytes() == kept
    assert len(list(Records(audit, Report))) == 10


def test_an_audit_is_not_mixed_from_two_rubrics(tmp_path: Path) -> None:
    watched = made(tmp_path)
    collect(watched, 1, ["works", "please"] * 5)
    run(watched.recipe, watched, 1)
    (tmp_path / "audit.yaml").write_text(HELD_OUT.replace(":works", ":says_please"))
    with pytest.raises(StageError, match=r"audit\.jsonl: made with another version of the rubric"):
        run(watched.recipe, watched, 1)
    run(watched.recipe, watched, 1, redo=True)
    assert watched.stage(1, "score").require().metrics["audit.gap"] == 0.0


def test_a_second_judge_audits_the_same_rubric(tmp_path: Path) -> None:
    rubric = "name: asked\ncriteria: [{id: kind, question: 'Was it kind?'}]\n"
    watched = made(tmp_path, standard=rubric, rounds=1)
    answers = {word: f'{{"verdicts": [{{"id": "kind", "answer": "{word}"}}]}}' for word in ("yes", "no")}
    watched.recipe.score.judge = {"use": "scripted", "replies": [answers["yes"]]}
    watched.recipe.score.audit = AuditSection(judge={"use": "scripted", "replies": [answers["no"]]}, share=1.0)
    watched = Run(watched.recipe)
    collect(watched, 1, ["works"] * 4)
    run(watched.recipe, watched, 1)
    metrics = watched.stage(1, "score").require().metrics
    assert (metrics["score"], metrics["audit.rubric_score"], metrics["audit.score"]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"rubric": None}, "score.audit: the same rubric and judge as score has"),
        ({"rubric": "coding_agnt"}, r"score.audit.rubric: .*Did you mean 'coding_agent'"),
        ({"rubric": "careful_reader"}, "score.audit.judge: missing; criterion 'understood_problem'"),
        ({"share": 0.0}, "score.audit.share: 0.0; expected more than 0"),
        ({"share": 1.5}, "score.audit.share: 1.5; expected .* at most 1"),
        ({"margin": -1.0}, "score.audit.margin: -1.0; expected at least 0"),
    ],
)
def test_mistakes_are_the_recipes(tmp_path: Path, section: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Audit(made(tmp_path, **section).recipe)


def test_recipes_name_it_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: r\nenvironment: {use: kata}\npolicy: {model: kata-base}\n"
        "score: {dropout: 0.2, audit: {rubric: careful_reader, judge: {use: scripted, replies: [hm]}}}\n"
    )
    audit = load(str(tmp_path / "r.yaml"), ["score.audit.share=0.5"]).score.audit
    assert audit is not None and (audit.share, audit.margin, audit.rubric) == (0.5, 0.05, "careful_reader")
    with pytest.raises(RecipeError, match=r"unknown key 'shar'.*Did you mean 'share'"):
        load(str(tmp_path / "r.yaml"), ["score.audit.shar=0.5"])


MANY = "name: many\ncriteria:\n" + "".join(
    f"  - {{id: c{n}, rule: '{__name__}:{rule}'}}\n" for n, rule in enumerate(["works", "says_please"] * 3)
)


def test_dropout_is_the_same_for_a_task_in_a_round_and_another_for_the_next(tmp_path: Path) -> None:
    watched = made(tmp_path, standard=MANY)
    watched.recipe.score.dropout = 0.34
    attempts = [
        attempt(f"task-{task}/{round}/{sample}") for task in range(8) for round in (1, 2) for sample in range(3)
    ]
    reports(watched.recipe, attempts, tmp_path / "r.jsonl")
    found = {report.id: tuple(report.dropout) for report in Records(tmp_path / "r.jsonl", Report)}
    assert all(len(gone) == 2 for gone in found.values())
    groups = {
        (task, round): {found[f"task-{task}/{round}/{n}"] for n in range(3)} for task in range(8) for round in (1, 2)
    }
    assert all(len(group) == 1 for group in groups.values())
    assert len({next(iter(group)) for group in groups.values()}) > 4
    reports(all_criteria(watched.recipe), attempts, tmp_path / "all.jsonl")
    assert all(not report.dropout for report in Records(tmp_path / "all.jsonl", Report))


def test_the_watch_looks_at_the_score_from_all_criteria(tmp_path: Path) -> None:
    watched = made(tmp_path, standard=MANY, rounds=1, share=1.0)
    watched.recipe.score.dropout = 0.5
    watched = Run(watched.recipe)
    collect(watched, 1, ["works"] * 12)
    run(watched.recipe, watched, 1)
    metrics = watched.stage(1, "score").require().metrics
    assert metrics["audit.rubric_score"] == 0.5 and metrics["score"] != 0.5


def test_a_dropout_that_is_no_share_is_the_recipes_mistake(tmp_path: Path) -> None:
    watched = made(tmp_path)
    watched.recipe.score.dropout = 1.0
    collect(watched, 1, ["works"])
    with pytest.raises(RecipeError, match=r"score\.dropout: 1\.0; expected 0 or more and less than 1"):
        run(watched.recipe, watched, 1)
