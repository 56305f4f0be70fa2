"""A rubric's own tests: read strictly, held against rules and judges, and shipped ones that pass."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from reward_models import golden
from reward_models import rubric as rubrics
from reward_models.errors import RubricError
from reward_models.judges import Scripted
from reward_models.types import Criterion, Example, Kind, Rubric, Transcript, TranscriptStep, View

SHIPPED = [name for name in rubrics.shipped() if golden.file_of(name).is_file()]
RUBRIC = rubrics.parse(
    """
name: mine
criteria:
  - {id: submitted, rule: submitted}
  - {id: steps, rule: too_many_steps, options: {free: 0, most: 4}}
  - {id: polite, question: "Was it polite?"}
  - {id: depth, question: "How deep?", kind: ordered, answers: [shallow, middling, deep]}
  - {id: gist, question: "What was it?", kind: text, weight: 0}
"""
)


def line(expected: dict[str, Any], **changes: Any) -> str:
    steps = [{"index": 1, "text": "Please.", "command": "ls", "output": "days.py"}]
    return json.dumps({"transcript": {"id": "a", "statement": "s", "steps": steps} | changes, "expected": expected})


def read(tmp_path: Path, *lines: str) -> list[golden.Golden]:
    path = tmp_path / "mine.golden.jsonl"
    path.write_text("\n".join(lines))
    return golden.load(path)


def reply(polite: str, depth: str, **more: Any) -> str:
    lines = [{"id": "polite", "answer": polite, **more}, {"id": "depth", "answer": depth, **more}]
    return json.dumps({"verdicts": lines})


def test_what_differs_is_named_with_what_was_found(tmp_path: Path) -> None:
    tests = read(
        tmp_path,
        line({"submitted": 1, "steps": 0.25, "polite": 1, "depth": "deep"}, stop="submitted"),
        line({"submitted": None, "steps": 0.5, "polite": 0, "depth": "middling"}, id="b"),
    )
    judge = Scripted(replies=[reply("yes", "deep")])
    found = [(m.id, m.criterion, m.expected) for m in golden.run(RUBRIC, tests, judge=judge)]
    assert found == [("b", "steps", 0.5), ("b", "polite", 0.0), ("b", "depth", "middling")]


@pytest.mark.parametrize(
    ("said", "passes"), [(reply("unknown", "unknown"), True), (reply("yes", "deep"), False),
                         (reply("yes", "deep", steps=[7]), False), ("no JSON", False)]
)  # fmt: skip
def test_null_is_a_judge_that_cannot_tell_and_not_one_that_failed(tmp_path: Path, said: str, passes: bool) -> None:
    tests = read(tmp_path, line({"polite": None, "depth": None}))
    assert (golden.run(RUBRIC, tests, judge=Scripted(replies=[said], asks=1)) == []) == passes


def test_only_what_is_expected_is_asked(tmp_path: Path) -> None:
    assert golden.run(RUBRIC, read(tmp_path, line({"submitted": None}))) == [], "without a judge"
    with pytest.raises(RubricError, match="no judge"):
        golden.run(RUBRIC, read(tmp_path, line({"polite": 1})))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([""], "holds no test"),
        (["{"], "line 1: "),
        (["[]"], "line 1: Expected object"),
        ([line({}), "{}"], "line 2: Object missing required field"),
        ([line({}, statment="s")], "unknown key 'statment' in the transcript. Did you mean 'statement'"),
        ([line({}, steps=[{"index": 1, "txt": "a"}])], "unknown key 'txt'"),
        ([line({}, steps=[{"index": "1"}])], "line 1: "),
        ([line({"polite": [1]})], "line 1: Expected"),
        ([line({}), line({})], "two transcripts have the id 'a'"),
    ],
)
def test_what_is_no_test_is_refused_in_one_line(tmp_path: Path, lines: list[str], says: str) -> None:
    with pytest.raises(RubricError, match=says) as error:
        read(tmp_path, *lines)
    assert "\n" not in str(error.value) and "mine.golden.jsonl" in str(error.value)


@pytest.mark.parametrize(
    ("expected", "says"),
    [
        ({"politeness": 1}, "no criterion is called 'politeness'. Did you mean 'polite'"),
        ({"polite": "yes"}, "expects 'yes'; expected a number between 0 and 1, or null"),
        ({"polite": 2}, "expects 2; expected a number between 0 and 1"),
        ({"depth": 1}, "expects 1; expected one of its answers"),
        ({"depth": "deeper"}, "expected shallow, middling, deep. Did you mean 'deep'"),
        ({"gist": "it listed files"}, "answered in words"),
    ],
)
def test_what_a_rubric_cannot_answer_cannot_be_expected(tmp_path: Path, expected: dict[str, Any], says: str) -> None:
    with pytest.raises(RubricError, match=says):
        golden.run(RUBRIC, read(tmp_path, line(expected)), judge=Scripted(replies=[reply("yes", "deep")]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RubricError, match="cannot be read"):
        golden.load(tmp_path / "none.golden.jsonl")
    with pytest.raises(RubricError, match="no such rubric"):
        golden.file_of("nothing")


def test_the_coding_agents_rules_say_what_its_tests_expect_both_ways() -> None:
    rubric, tests = rubrics.load("coding_agent"), golden.load(golden.file_of("coding_agent"))
    assert golden.run(rubric, tests) == []
    for criterion in rubric.criteria:
        expected = [test.expected[criterion.id] for test in tests if criterion.id in test.expected]
        values = [value for value in expected if isinstance(value, int | float)]
        assert min(values) < max(values), criterion.id


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_tests_fit_their_rubrics(name: str) -> None:
    rubric, tests = rubrics.load(name), golden.load(golden.file_of(name))
    rules = {criterion.id for criterion in rubric.criteria if criterion.rule}
    named = {criterion for test in tests for criterion in test.expected}
    assert {criterion.id for criterion in rubric.criteria if criterion.kind != "text"} == named
    silent = Scripted(replies=["I cannot tell."], asks=1)
    wrong = golden.run(rubric, tests, judge=silent)
    assert not {mismatch.criterion for mismatch in wrong} & rules
    assert {"tool_use", "coding_agent"} <= set(SHIPPED)


def test_the_readme_is_true(tmp_path: Path) -> None:
    """Its examples are read, and it names every field, kind and view there is."""
    text = (Path(rubrics.__file__).parent / "rubrics" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert rubrics.parse(example).criteria[0].id == "double_booked"
    (one,) = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    assert read(tmp_path, one)[0].expected["why_not_done"] is None
    fields = (*Rubric.__struct_fields__, *Criterion.__struct_fields__, *Example.__struct_fields__)
    transcripts = (*Transcript.__struct_fields__, *TranscriptStep.__struct_fields__)
    for name in (*fields, *transcripts, *get_args(Kind), *get_args(View)):
        assert re.search(rf"\b{name}\b", text), name
    assert all(f"`{name}.yaml`" in text for name in rubrics.shipped())


def test_a_criterion_that_was_not_asked_differs(tmp_path: Path) -> None:
    followed = rubrics.parse(
        "name: x\nview: segment\ncriteria: [{id: thanked, question: 'Thanked?', requires_followup: true}]"
    )
    tests = read(tmp_path, line({"thanked": 1}))
    reply_ = json.dumps({"verdicts": [{"id": "thanked", "answer": "no"}]})
    (mismatch,) = golden.run(followed, tests, judge=Scripted(replies=[reply_]))
    assert (mismatch.criterion, mismatch.found) == ("thanked", None)
