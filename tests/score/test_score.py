"""The stage `score`: one report a trajectory, kept when interrupted, and breakdowns that never become numbers."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reward_models.judges import Judgement
from reward_models.types import Report, Rubric, Transcript, Verdict
from rft.errors import RecipeError, StageError
from rft.recipe import Recipe, Score
from rft.rundir import Run
from rft.score import reports, run, to_transcript
from rft.store import Records
from rft.types import Failure, Message, Outcome, Step, StopReason, Trajectory
from tests.conftest import finish_stage, write_records

QUESTIONS = 'name: q\ncriteria: [{id: solved, rule: tests_pass}, {id: polite, question: "Was it polite?"}]\n'
YES = json.dumps({"verdicts": [{"id": "polite", "answer": "yes", "steps": [1]}]})


def make_trajectory(identity: str, **changes: Any) -> Trajectory:
    """A short attempt that resolved its task."""
    steps = [
        Step(index=1, reply="ls", command="ls", observation="[exit 0]\ncode.py", exit_code=0),
        Step(index=2, reply="submit", command="submit", observation=""),
    ]
    fields: dict[str, Any] = {
        "id": identity,
        "task_id": "task-a",
        "split": "train",
        "round": 1,
        "sample": 0,
        "seed": 0,
        "prompt": [Message(role="user", content="mend f")],
        "steps": steps,
        "stop": StopReason.SUBMITTED,
        "outcome": Outcome(resolved=True),
    }
    return Trajectory(**(fields | changes))


def make_recipe(path: Path, **score: Any) -> Recipe:
    return Recipe(name="r", runs=str(path), environment={"use": "kata"}, score=Score(**score))


def write(path: Path, trajectories: list[Trajectory]) -> Records[Trajectory]:
    return Records(write_records(path, trajectories), Trajectory)


def read(path: Path) -> dict[str, Report]:
    return {report.id: report for report in Records(path, Report)}


def with_questions(path: Path, **score: Any) -> Recipe:
    (path / "q.yaml").write_text(QUESTIONS)
    judge = {"use": "scripted", "replies": [YES]}
    return make_recipe(path, **({"rubric": str(path / "q.yaml"), "judge": judge} | score))


def collected(recipe: Recipe, trajectories: list[Trajectory]) -> tuple[Run, Path]:
    made = Run(recipe)
    finish_stage(made.stage(1, "collect"), {"trajectories.jsonl": trajectories})
    return made, made.stage(1, "score").path / "reports.jsonl"


def test_a_stage_from_start_to_manifest(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path)
    made, path = collected(
        recipe, [make_trajectory("a/1/0"), make_trajectory("a/1/1", outcome=Outcome(resolved=False))]
    )
    run(recipe, made, 1)
    found = read(path)
    assert found["a/1/0"].score and found["a/1/1"].score == 0.0
    manifest = made.stage(1, "score").require()
    assert manifest.counts["reports"] == manifest.counts["scored"] == 2
    assert manifest.metrics["rate.solved"] == 0.5 and manifest.metrics["score"] == pytest.approx(
        found["a/1/0"].score / 2
    )
    before = path.read_bytes()
    run(recipe, made, 1)
    assert path.read_bytes() == before, "done is done"
    run(recipe, made, 1, redo=True)
    assert path.read_bytes() == before, "and made again it is the same"


def test_a_breakdown_has_a_report_without_a_number(tmp_path: Path) -> None:
    broken = make_trajectory(
        "a/1/1", stop=StopReason.ERROR, outcome=None, failure=Failure(where="sandbox", message="no disk")
    )
    source = write(tmp_path / "t.jsonl", [make_trajectory("a/1/0"), broken])
    tally = reports(make_recipe(tmp_path), source, tmp_path / "r.jsonl")
    report = read(tmp_path / "r.jsonl")["a/1/1"]
    assert (report.score, report.failure, report.verdicts) == (None, "sandbox: no disk", [])
    assert (tally.broke_down, tally.failed, tally.scored) == (1, 0, 1)


def test_an_unmeasured_outcome_is_no_zero(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", [make_trajectory("a/1/0", outcome=Outcome(resolved=None))])
    reports(make_recipe(tmp_path), source, tmp_path / "r.jsonl")
    assert read(tmp_path / "r.jsonl")["a/1/0"].score is None


def test_what_is_there_is_kept_and_the_rest_is_made(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path)
    everything = [make_trajectory(f"a/1/{n}") for n in range(5)]
    whole = tmp_path / "whole.jsonl"
    reports(recipe, write(tmp_path / "t.jsonl", everything), whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(b"".join(lines[:2]) + lines[2][:-9])
    reports(recipe, Records(tmp_path / "t.jsonl", Trajectory), torn)
    assert sorted(torn.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_judges_outage_is_made_again_and_nothing_else(tmp_path: Path) -> None:
    everything = [make_trajectory(f"a/1/{n}") for n in range(3)]
    source, path = write(tmp_path / "t.jsonl", everything), tmp_path / "r.jsonl"
    down = {"use": "endpoint", "model": "m", "url": "http://127.0.0.1:9/v1", "tries": 1}
    with pytest.raises(StageError, match="judge answered on none of 3"):
        reports(with_questions(tmp_path, judge=down), source, path)
    assert all(report.score is None and report.failure for report in read(path).values())
    tally = reports(with_questions(tmp_path), source, path)
    assert tally.scored == 3 and all(report.score == 1.0 for report in read(path).values())


def test_unknown_can_stop_the_stage(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", [make_trajectory("a/1/0")])
    mute = {"use": "scripted", "replies": ["hm"]}
    with pytest.raises(StageError, match=r"a/1/0: criterion 'polite' is unknown.*could not be read"):
        reports(with_questions(tmp_path, judge=mute, unknown="stop"), source, tmp_path / "1.jsonl")
    reports(with_questions(tmp_path, judge=mute, unknown="no_score"), source, tmp_path / "2.jsonl")
    assert read(tmp_path / "2.jsonl")["a/1/0"].score is None
    reports(with_questions(tmp_path, judge=mute), source, tmp_path / "3.jsonl")
    assert read(tmp_path / "3.jsonl")["a/1/0"].score == 1.0


def test_two_rubrics_never_share_a_file(tmp_path: Path) -> None:
    recipe = with_questions(tmp_path)
    made, path = collected(recipe, [make_trajectory("a/1/0")])
    run(recipe, made, 1)
    (tmp_path / "q.yaml").write_text(QUESTIONS.replace("rule: tests_pass", "rule: tests_pass, reason: for people"))
    run(recipe, made, 1)
    (tmp_path / "q.yaml").write_text(QUESTIONS.replace("rule: tests_pass", "rule: tests_pass, weight: 9"))
    with pytest.raises(StageError, match="another version of the rubric"):
        run(recipe, made, 1)
    run(recipe, made, 1, redo=True)
    assert len(read(path)) == 1


@dataclass(kw_only=True)
class SlowJudge:
    """Takes its time; several transcripts may be judged at once. It cannot tell about one of them."""

    mute: str = ""
    concurrent: int = 8

    def digest(self) -> str:
        return "slow"

    def judge(self, transcript: Transcript, rubric: Rubric, questions: Any, *, votes: int, first: int = 0) -> Judgement:
        time.sleep(0.1)
        value = None if transcript.id == self.mute else 1.0
        return Judgement(verdicts=[Verdict(criterion=question.id, value=value) for question in questions])


def test_many_transcripts_are_judged_at_once_and_each_once(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", [make_trajectory(f"a/1/{n}") for n in range(24)])
    began = time.monotonic()
    tally = reports(with_questions(tmp_path, judge={"use": f"{__name__}:SlowJudge"}), source, tmp_path / "r.jsonl")
    assert tally.scored == 24 and len(read(tmp_path / "r.jsonl")) == 24
    assert time.monotonic() - began < 1.5, "one after the other they take 2.4 seconds"


def test_what_was_judged_before_the_stage_stopped_is_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", [make_trajectory(f"a/1/{n}") for n in range(24)])
    judge = {"use": f"{__name__}:SlowJudge", "mute": "a/1/20"}
    with pytest.raises(StageError, match="a/1/20"):
        reports(with_questions(tmp_path, judge=judge, unknown="stop"), source, tmp_path / "r.jsonl")
    kept = read(tmp_path / "r.jsonl")
    assert len(kept) >= 16 and "a/1/20" not in kept


@pytest.mark.parametrize(
    ("score", "says"),
    [
        ({"rubric": "coding_agnt"}, r"score.rubric: .*Did you mean 'coding_agent'"),
        ({"rubric": "careful_reader"}, r"score.judge: missing; criterion 'understood_problem'"),
        ({"judge": {"use": "endpoint", "model": "m", "url": "nowhere"}}, r"score.judge: url is 'nowhere'"),
        ({"judge": {"use": "scripted", "replies": []}}, r"score.judge: replies is empty"),
        ({"judge": {"use": "local", "model": "m", "concurrent": 0}}, r"score.judge: concurrent is 0; expected at"),
        (
            {"rubric": "careful_reader", "judge": {"use": "local", "model": "./nowhere"}},
            r"^score.judge: model '\./nowhere' is no directory; expected a checkpoint\. Make it first\.$",
        ),
    ],
)
def test_mistakes_are_the_recipes(tmp_path: Path, score: dict[str, Any], says: str) -> None:
    source = write(tmp_path / "t.jsonl", [make_trajectory("a/1/0")])
    with pytest.raises(RecipeError, match=says):
        reports(make_recipe(tmp_path, **score), source, tmp_path / "r.jsonl")


def test_a_judge_that_cannot_be_loaded_is_the_recipe_s(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = write(tmp_path / "t.jsonl", [make_trajectory("a/1/0")])
    (tmp_path / "empty").mkdir()
    judge = {"use": "local", "model": str(tmp_path / "empty")}
    with pytest.raises(RecipeError, match=r"^score.judge: model '.*' cannot be loaded"):
        reports(with_questions(tmp_path, judge=judge), source, tmp_path / "r.jsonl")


def test_a_transcript_holds_what_happened_and_no_answers() -> None:
    step = Step(index=1, reply="Look.", command="ls", observation="[exit 2]\nls: no", exit_code=2)
    trajectory = make_trajectory(
        "a/1/0",
        prompt=[Message(role="system", content="be good"), Message(role="user", content="mend f")],
        steps=[step],
        outcome=Outcome(resolved=False, tests={"secret_test": "failed"}, tampered=["test_a.py"]),
        protected=["test_*"],
    )
    transcript = to_transcript(trajectory)
    assert (transcript.statement, transcript.task_id, transcript.resolved) == ("mend f", "task-a", False)
    assert transcript.steps[0].output == "ls: no" and transcript.steps[0].exit_code == 2
    assert transcript.tampered == ["test_a.py"] and "secret_test" not in repr(transcript)
