"""Rubric files: what is read, and one line for each way to get them wrong."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transcripts import LOOK, transcript

from reward_models import rubric as rubrics
from reward_models.errors import RubricError
from reward_models.rules import RULES

GOOD = """
name: mine
criteria:
  - {id: solved, rule: tests_pass, weight: 4, required: true}
  - {id: polite, question: "Was it polite, yes or no?", polarity: discourage, reason: "no"}
  - {id: small, rule: small_diff, options: {max_lines: 7}}
"""


def test_values_are_typed_by_the_schema_and_not_by_yaml() -> None:
    rubric = rubrics.parse(GOOD)
    solved, polite, small = rubric.criteria
    assert (solved.weight, solved.required) == (4.0, True)
    assert (polite.reason, polite.polarity, polite.weight) == ("no", "discourage", 1.0)
    assert small.options == {"max_lines": 7}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("name: mine", "nam: mine"), "unknown key 'nam'.* Did you mean 'name'"),
        (("weight: 4", "wieght: 4"), "'solved': unknown key 'wieght'.* Did you mean 'weight'"),
        (("tests_pass", "test_pass"), "no rule is called 'test_pass'.* Did you mean 'tests_pass'"),
        (("weight: 4", "weight: -1"), "weight is -1.*discourage"),
        (("weight: 4", "weight: nan"), "weight is nan"),
        (("weight: 4", "weight: heavy"), "weight: Expected float"),
        (("required: true", "required: yes"), "required: Expected bool"),
        (("polarity: discourage", "polarity: bad"), "polarity: Invalid enum value 'bad'"),
        (("id: polite", "id: solved"), "'solved' stands twice"),
        (("id: polite", "id: Polite one"), "small letters"),
        (("rule: tests_pass", 'rule: tests_pass, question: "?"'), "both a question and a rule"),
        (("rule: tests_pass, ", ""), "neither a question nor a rule"),
        (("max_lines: 7", "most_lines: 7"), "no option 'most_lines'.* Did you mean 'max_lines'"),
        (("max_lines: 7", "max_lines: many"), "options of rule 'small_diff': Expected"),
        (("rule: tests_pass", "rule: nowhere.at_all:f"), "cannot import 'nowhere.at_all'"),
        (("rule: tests_pass", "rule: builtins:dict"), "cannot be read as a rule"),
        (("rule: tests_pass", "rule: json:nothing"), "'json' has no function 'nothing'"),
        (('reason: "no"', "options: {a: 1}"), "options but no rule"),
        (("name: mine", "name: &a mine"), "line 2: YAML anchors"),
        (("name: mine", "name: !!python/object:os.system mine"), "tags are not read"),
        (("name: mine", "name: mine\nname: other"), "line 3: 'name' stands twice"),
        (("name: mine", "name: [mine"), "not YAML"),
        (("name: mine", "name: ''"), "name is empty"),
        (("name: mine", "name: mine\x00"), "not YAML"),
        (("name: mine", "name: mine\nview: all"), "view: Invalid enum value 'all'"),
        (("name: mine", "name: mine\nversion: {a: 1}"), "version: Expected int"),
    ],
)
def test_mistakes_are_told_in_one_line(change: tuple[str, str], says: str) -> None:
    with pytest.raises(RubricError, match=says) as error:
        rubrics.parse(GOOD.replace(*change), where="mine.yaml")
    assert "\n" not in str(error.value) and str(error.value).startswith("mine.yaml")


@pytest.mark.parametrize(
    "text",
    ["", "- a", "name: x", "name: x\ncriteria: []", "name: x\ncriteria: yes", "name: x\ncriteria: [a]",
     "[" * 200_000, "- " * 100_000, "{a: " * 50_000,
     "a: " * 9999, "name: x\ncriteria: [{id: a, rule: submitted, weight: 0}]", b"\xff\xfe\x00", " " * 300_000],
)  # fmt: skip
def test_what_is_no_rubric_is_refused(text: str | bytes) -> None:
    with pytest.raises(RubricError):
        rubrics.parse(text)


@given(
    st.text(alphabet="abid: -{}[]&*!\n\"'|>%@,#?\t", max_size=120).map(lambda extra: GOOD + extra)
    | st.binary(max_size=80)
)
@settings(max_examples=150, deadline=None)
def test_hostile_text_is_read_or_refused(text: str | bytes) -> None:
    try:
        assert rubrics.parse(text).criteria
    except RubricError as error:
        assert "\n" not in str(error)


KINDS = """
name: kinds
view: trajectory
criteria:
  - {id: solved, rule: tests_pass, floor: 0.9, group: result}
  - {id: sure, question: "Sure?", examples: [{given: "I am sure", answer: yes}, {given: "Hm", answer: unknown}]}
  - {id: depth, question: "How deep?", kind: ordered, answers: [no, partly, yes], floor: 0.6}
  - {id: sort, question: "What sort?", kind: class, answers: [a, b, c], met: [b], polarity: discourage}
  - {id: topic, question: "Which topic?", kind: class, answers: [a, b], weight: 0}
  - {id: gist, question: "What was it?", kind: text, weight: 0, view: patch}
  - {id: thanked, question: "Thanked?", requires_followup: true, view: segment, group: user}
"""


def test_kinds_are_read_and_answers_stay_words() -> None:
    rubric = rubrics.parse(KINDS)
    found = {criterion.id: criterion for criterion in rubric.criteria}
    assert found["depth"].answers == ["no", "partly", "yes"] and found["sure"].examples[0].answer == "yes"
    assert [rubrics.view_of(rubric, found[name]) for name in ("sure", "gist")] == ["trajectory", "patch"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("answers: [no, partly, yes]", "answers: [no]"), "'depth': 1 answers; .* two or more"),
        (("answers: [no, partly, yes], ", ""), "'depth': 0 answers"),
        (("answers: [no, partly, yes]", "answers: [no, '', yes]"), "answer '' is no short line"),
        (("answers: [no, partly, yes]", 'answers: [no, "a\\nb", yes]'), "is no short line"),
        (("answers: [no, partly, yes]", "answers: [no, No, yes]"), "answer 'No' stands twice"),
        (("answers: [no, partly, yes]", "answers: [no, Unknown, yes]"), "'Unknown' stands for what cannot be told"),
        (("kind: ordered,", "kind: ordered, polarity: discourage,"), "worst to best"),
        (("kind: ordered,", "kind: ordered, met: [yes],"), "only a question of kind class"),
        (("kind: ordered", "kind: binary"), "has answers and is binary"),
        (("met: [b]", "met: [d]"), "met has 'd'; expected some of a, b, c"),
        (("met: [b]", "met: [a, b, c]"), "always met"),
        (("answers: [a, b], weight: 0", "answers: [a, b]"), "'topic': .*expected weight: 0"),
        (("kind: text, weight: 0", "kind: text"), "'gist': is answered in words .*expected weight: 0"),
        (("kind: text, weight: 0", "kind: text, weight: 0, required: true"), "not required"),
        (("answer: yes", "answer: Yes"), "example 1 has the answer 'Yes'.* Did you mean 'yes'"),
        (('given: "Hm"', 'given: " "'), "example 2 has nothing under given"),
        (('{given: "I am sure"', '{givn: "I am sure"'), "'sure'.*unknown field"),
        (("view: segment, ", ""), "requires_followup in the view trajectory.*view: segment"),
        (("floor: 0.6", "floor: 60"), "floor is 60; expected a kappa"),
        (("floor: 0.6", "floor: nan"), "floor is nan"),
        (("rule: tests_pass", "rule: tests_pass, kind: text"), "'solved': has kind but no question"),
        (("rule: tests_pass", "rule: tests_pass, view: patch"), "'solved': has view but no question"),
        (("rule: tests_pass", "rule: tests_pass, answers: [a, b]"), "'solved': has answers but no question"),
        (("rule: tests_pass", "rule: tests_pass, examples: [{given: a, answer: yes}]"), "has examples but no question"),
        (('"Sure?"', '"Did it write <think>?"'), "'sure': question holds .* token of chat templates"),
        (("name: kinds", "name: kinds\ndescription: <|im_start|>"), "description holds"),
        (("I am sure", "I am\u200b sure"), "example 1 holds an invisible"),
    ],
)
def test_mistakes_in_kinds(change: tuple[str, str], says: str) -> None:
    assert change[0] in KINDS
    with pytest.raises(RubricError, match=says) as error:
        rubrics.parse(KINDS.replace(*change), where="mine.yaml")
    assert "\n" not in str(error.value) and str(error.value).startswith("mine.yaml")


def test_what_is_asked_of_a_transcript() -> None:
    rubric = rubrics.parse(KINDS)
    without = rubrics.applicable(rubric, transcript(LOOK))
    assert [c.id for c in rubric.criteria if c not in without.criteria] == ["thanked"]
    assert rubrics.applicable(rubric, transcript(LOOK, followup="Thanks!")) == rubric


def test_digest_of_kinds() -> None:
    before = rubrics.digest(rubrics.parse(KINDS))
    for old, new, same in [
        ("floor: 0.6", "floor: 0.7", True), ("partly", "somewhat", False), ("I am sure", "I am", False),
        ("met: [b]", "met: [a]", False), ("view: patch", "view: prefix", False),
        ("name: kinds", "name: kinds\ndescription: the judge reads this", False),
    ]:  # fmt: skip
        assert (rubrics.digest(rubrics.parse(KINDS.replace(old, new))) == before) == same
    rules = "name: x\ncriteria: [{id: a, rule: submitted}]"
    described = rubrics.parse(rules + "\ndescription: for people")
    assert rubrics.digest(described) == rubrics.digest(rubrics.parse(rules))


def test_digest_follows_what_scores_follow_from() -> None:
    before = rubrics.digest(rubrics.parse(GOOD))
    assert rubrics.digest(rubrics.parse(GOOD.replace('reason: "no"', "reason: other"))) == before
    assert rubrics.digest(rubrics.parse(GOOD.replace("weight: 4", "weight: 5"))) != before
    assert rubrics.digest(rubrics.parse(GOOD.replace("max_lines: 7", "max_lines: 8"))) != before
    assert rubrics.digest(rubrics.parse(GOOD.replace("weight: 4", "weight: 4.0"))) == before


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert rubrics.load(path) == rubrics.parse(GOOD)
    with pytest.raises(RubricError, match="Did you mean 'coding_agent'"):
        rubrics.load("coding_agnet")


@pytest.mark.parametrize("name", rubrics.shipped())
def test_shipped_rubrics_are_right_and_reasoned(name: str) -> None:
    rubric = rubrics.load(name)
    assert rubric.name == name and rubric.description
    assert all(criterion.reason for criterion in rubric.criteria)
    assert any(criterion.required for criterion in rubric.criteria)


def test_the_coding_agent_needs_no_judge() -> None:
    rubric = rubrics.load("coding_agent")
    rules = [criterion.rule for criterion in rubric.criteria]
    assert len(set(rules)) >= 10 and set(rules) <= set(RULES) and "submitted" in rules
    assert {criterion.polarity for criterion in rubric.criteria} == {"encourage", "discourage"}
