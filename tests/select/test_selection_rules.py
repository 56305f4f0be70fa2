"""Selection rules: whom they drop, what they say, and that they never invent a candidate."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.types import Report
from rft.plugins import NAMES, build
from rft.select.candidate import Candidate
from rft.select.rules import (
    BestOfGroup,
    Budget,
    Dedupe,
    Finished,
    LengthMatched,
    MaxTokens,
    MinScore,
    NoLeak,
    NotAllAlike,
    RandomOfGroup,
    Resolved,
    TopFraction,
)
from rft.types import Example, Outcome, Step, StopReason
from tests.conftest import make_trajectory


def candidate(
    identity: str, score: float | None = 0.5, *, tokens: int = 10, commands: list[str] | None = None, **changes: Any
) -> Candidate:
    if commands is not None:
        changes["steps"] = [Step(index=i + 1, reply=c, command=c, observation="") for i, c in enumerate(commands)]
    return Candidate(
        trajectory=make_trajectory(identity, **changes),
        report=Report(id=identity, task_id="task-a", rubric="r", judge="", verdicts=[], score=score),
        examples=[
            Example(
                id=identity,
                trajectory_id=identity,
                task_id="t",
                ids=[0] * (tokens + 5),
                spans=[(5, 5 + tokens)],
                provenance="recorded",
            )
        ],
        seed=3,
    )


def kept(rule: Any, group: list[Candidate]) -> set[str]:
    return {c.id for c in group} - rule(group).keys()


def test_facts_of_the_attempt() -> None:
    group = [
        candidate("a"),
        candidate("b", stop=StopReason.STEP_LIMIT),
        candidate("c", outcome=Outcome(resolved=False)),
        candidate("d", outcome=None),
        candidate("e", outcome=Outcome(resolved=None)),
    ]
    assert kept(Finished(), group) == {"a", "c", "d", "e"}
    assert kept(Resolved(), group) == {"a", "b"}


def test_scores_below_and_unknown_are_dropped_with_their_number() -> None:
    group = [candidate("a", 0.9), candidate("b", 0.59), candidate("c", None), candidate("d", 0.6)]
    dropped = MinScore(score=0.6)(group)
    assert dropped == {"b": "score 0.590 < 0.6", "c": "no score"}
    assert kept(BestOfGroup(keep=2), group) == {"a", "d"}
    assert kept(TopFraction(fraction=0.34), group) == {"a", "d"}
    assert kept(TopFraction(fraction=0.1), group) == {"a"}


def test_draws_are_fair_and_the_same_each_time() -> None:
    group = [candidate(f"t/{i}") for i in range(12)]
    assert kept(RandomOfGroup(keep=4), group) == kept(RandomOfGroup(keep=4), group[::-1])
    assert len(kept(BestOfGroup(keep=4), group)) == 4


def test_a_length_match_is_as_long_but_not_the_same() -> None:
    group = [candidate("best", 0.9, tokens=50), candidate("near", 0.1, tokens=48), candidate("far", 0.2, tokens=10)]
    assert kept(LengthMatched(keep=1), group) == {"near"}
    assert kept(LengthMatched(keep=1), group[:1]) == {"best"}
    assert len(kept(LengthMatched(keep=3), group)) == 3


def test_groups_that_tell_nothing_apart() -> None:
    assert kept(NotAllAlike(), [candidate("a", 0.5), candidate("b", 0.5)]) == set()
    assert kept(NotAllAlike(), [candidate("a", 0.5), candidate("b", 0.6)]) == {"a", "b"}
    assert kept(NotAllAlike(), [candidate("a", None)]) == set()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("git log -p", "version control"),
        ("cd x && git --no-pager show HEAD~1", "version control"),
        ("curl http://example.org", "network"),
        ("python x.py; wget x", "network"),
        ("pip install left-pad", "network"),
        ("exec 3<>/dev/tcp/1.1.1.1/80", "network"),
        ("cat /proc/*/cmdline", "the grader"),
        ("git status && git diff", ""),
        ("grep -n curl notes.txt", ""),
        ("python -m pytest", ""),
    ],
)
def test_leaks_are_named_with_their_step(command: str, why: str) -> None:
    dropped = NoLeak()([candidate("a", commands=["ls", command])])
    assert (why in dropped["a"] and "step 2" in dropped["a"]) if why else not dropped


def test_changed_protected_files_are_leaks() -> None:
    assert NoLeak()([candidate("a", outcome=Outcome(resolved=True, tampered=["test_x.py"]))]) == {
        "a": "changed test_x.py"
    }


def test_twins_and_long_rows() -> None:
    group = [
        candidate("b", commands=["ls", "x  y"]),
        candidate("a", commands=["ls", "x y"]),
        candidate("c", commands=["ls"]),
    ]
    assert Dedupe()(group) == {"b": "same commands as a"}
    assert MaxTokens(tokens=20)([candidate("a", tokens=15), candidate("b", tokens=16)]) == {"b": "21 tokens > 20"}


def test_a_budget_holds_over_the_whole_round() -> None:
    rule = Budget(attempts=3, tokens=100)
    groups = [[candidate(f"{t}/{i}", tokens=30) for i in range(2)] for t in range(4)]
    assert sum(len(kept(rule, group)) for group in groups) == 3
    rule = Budget(tokens=100)
    assert sum(len(kept(rule, group)) for group in groups) == 3


OPTIONS: dict[str, dict[str, Any]] = {
    "min_score": {"score": 0.5},
    "top_fraction": {"fraction": 0.5},
    "max_tokens": {"tokens": 30},
}


@pytest.mark.parametrize("name", sorted(NAMES["rule"]))
@given(scores=st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_every_shipped_rule_names_only_its_group_and_gives_reasons(name: str, scores: list[float | None]) -> None:
    group = [candidate(f"g/{i}", score, tokens=i + 1) for i, score in enumerate(scores)]
    dropped = build("rule", {"use": name, **OPTIONS.get(name, {})}, "select.rules.0")(group)
    assert dropped.keys() <= {c.id for c in group}
    assert all(isinstance(why, str) and why for why in dropped.values())
