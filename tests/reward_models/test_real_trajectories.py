"""The rules on trajectories that nobody here wrote, held against what a person sees in them."""

import json
from pathlib import Path

import pytest

from reward_models.evaluation import evaluate
from reward_models.rubric import load
from reward_models.types import Transcript, TranscriptStep

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "trajectories"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="no real trajectories lie beside this checkout"),
]
RUBRIC = load("coding_agent")


def read(path: Path) -> Transcript:
    """A SWE-agent trajectory; it records no exit codes."""
    data = json.loads(path.read_text())
    steps = [
        TranscriptStep(
            index=n, text=step.get("response") or "", command=step["action"].strip(), output=step["observation"]
        )
        for n, step in enumerate(data["trajectory"], 1)
    ]
    stop = "submitted" if "submitted" in data["info"]["exit_status"] else "error"
    return Transcript(id=path.stem, statement="", steps=steps, patch=data["info"]["submission"], stop=stop)


def verdicts(transcript: Transcript) -> dict[str, float | None]:
    return {verdict.criterion: verdict.value for verdict in evaluate(transcript, RUBRIC).verdicts}


def one(pattern: str) -> Transcript:
    return read(next(iter(sorted(DATA.glob(f"**/*{pattern}*/*.traj")))))


def marshmallow() -> list[Path]:
    return sorted(DATA.glob("sweagent/**/*marshmallow-1867*/*.traj"))


@pytest.mark.parametrize("path", marshmallow(), ids=lambda path: path.parent.name.split("1867__")[-1][:40])
def test_the_model_attempt_is_seen_in_every_generation_of_the_format(path: Path) -> None:
    """Each one reproduces 344, opens the file, fails one edit, makes it, sees 345, tidies up, submits."""
    found = verdicts(read(path))
    expected = {
        "submitted": 1.0, "reproduced_first": 1.0, "looked_first": 1.0, "verified": 1.0, "saw_it_pass": 1.0,
        "small_change": 1.0, "edited_tests": 0.0, "repeats_itself": 0.0, "left_scratch_files": 0.0, "undid_work": 0.0,
        "submitted_unfinished": 0.0, "carried_on_when_done": 0.0, "risky_commands": 0.0, "solved": None,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert 0 < (found["bad_commands"] or 0) < 0.2, "one edit was refused for its syntax"


def test_a_long_attempt_that_edits_blindly_after_a_failure() -> None:
    transcript = one("pr_53652")
    found = {verdict.criterion: verdict for verdict in evaluate(transcript, RUBRIC).verdicts}
    assert found["reproduced_first"].value == 1.0 and found["reproduced_first"].steps == [14, 29]
    assert found["looked_first"].value == 1.0
    assert found["blind_edits"].value == 1.0 and found["blind_edits"].steps == [31]
    assert found["verified"].value == 1.0 and found["verified"].steps == [31, 32]
    assert found["left_scratch_files"].value == 0.0 and found["too_many_steps"].value == 1.0


def test_an_attempt_that_fails_twice_for_different_reasons_repeats_nothing() -> None:
    transcript = one("pr_53856")
    found = {verdict.criterion: verdict for verdict in evaluate(transcript, RUBRIC).verdicts}
    assert found["reproduced_first"].steps == [8, 11] and found["repeats_itself"].value == 0.0
    assert found["carried_on_when_done"].value == 0.0, "new checks are no idling"


def test_an_attempt_that_neither_reproduces_nor_spares_the_tests() -> None:
    found = verdicts(one("default_from_url"))
    assert found["reproduced_first"] == 0.0 and found["edited_tests"] == 1.0 and found["verified"] == 1.0


def test_an_attempt_that_only_edits_and_runs() -> None:
    found = verdicts(one("HumanEvalFix"))
    assert found["reproduced_first"] == 0.0 and found["looked_first"] == 1.0 and found["verified"] == 1.0
