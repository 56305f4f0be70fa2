"""A rubric as a plain function, as TRL's reward function and as verl's `compute_score`, called as those call."""

import asyncio
import copy
import inspect
import json
import logging
import pickle
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reward_models.adapters import AsyncRubricReward, RubricComputeScore, RubricFunction, RubricReward
from reward_models.errors import JudgeDown, NoScore, RubricError, TranscriptError
from reward_models.judges import Endpoint, Judgement, Scripted
from reward_models.rubric import parse
from reward_models.types import Finding, Rubric, Transcript, Verdict

POLITE = parse(
    "name: polite\ncriteria: [{id: kind, question: 'Was it kind?'}, {id: done, rule: tests_pass, weight: 3}]",
    where="polite",
)


def brief(transcript: Transcript) -> Finding:
    """1 for an answer of one word; unknown where there is none."""
    words = len(transcript.steps[-1].text.split())
    return Finding(value=1.0 / words if words else None, steps=[1])


RULES = parse(f"name: short\ncriteria: [{{id: brief, rule: '{__name__}:brief'}}]", where="short")


def reply(answer: str) -> str:
    return json.dumps({"verdicts": [{"id": "kind", "answer": answer, "steps": [1]}]})


def down() -> Endpoint:
    return Endpoint(model="m", url="http://127.0.0.1:9/v1", tries=1)


@dataclass(kw_only=True)
class Meeting:
    """Answers when `concurrent` transcripts have come together, so it ends only where they are judged at once."""

    concurrent: int = 4
    barrier: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.concurrent, timeout=20)

    def digest(self) -> str:
        return "meeting"

    def judge(self, transcript: Transcript, rubric: Rubric, questions: Any, *, votes: int, first: int = 0) -> Judgement:
        self.barrier.wait()
        value = float(transcript.steps[0].text)
        return Judgement(verdicts=[Verdict(criterion=question.id, value=value) for question in questions])


class Log:
    """What TRL's trainer passes as `log_metric` and `log_extra`."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.columns: dict[str, list[str]] = {}

    def arguments(self) -> dict[str, Any]:
        return {"log_metric": self.metrics.__setitem__, "log_extra": self.columns.__setitem__}


def test_a_plain_function_takes_texts_chats_and_transcripts() -> None:
    function = RubricFunction(RULES)
    chat = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "two words"}]
    assert function("word", prompt="what?").score == 1.0
    assert function(chat, id="a").score == 0.5 and function(chat, id="a").id == "a"
    assert function(Transcript(id="t", statement="", steps=[])).score is None, "a rule that breaks is unknown"
    with pytest.raises(TranscriptError, match="no message of the role 'assistant'"):
        function(chat[:1])


def test_rubrics_come_by_name_and_by_file(tmp_path: Path) -> None:
    assert RubricFunction("coding_agent").loaded.name == "coding_agent"
    (tmp_path / "r.yaml").write_text("name: mine\ncriteria: [{id: done, rule: submitted}]\n")
    assert RubricReward(tmp_path / "r.yaml").__name__ == "mine"
    with pytest.raises(RubricError, match="Did you mean 'coding_agent'"):
        RubricReward("coding_agnt")
    with pytest.raises(RubricError, match="'kind' asks a question and there is no judge"):
        RubricReward(POLITE)


def test_trl_gets_a_number_or_none_for_each_completion_in_order() -> None:
    judge = Scripted(replies=[reply("yes"), reply("no"), reply("unknown"), "gibberish"], asks=1)
    log = Log()
    reward = RubricReward(POLITE, judge, columns={"resolved": "tests_ok"})
    rewards = reward(
        prompts=["p"] * 4,
        completions=["a", "b", "c", "d"],
        completion_ids=[[1]] * 4,
        tests_ok=[True, True, True, None],
        answer=["never shown"] * 4,
        trainer_state=None,
        **log.arguments(),
    )
    assert rewards == [1.0, 0.75, 1.0, None]
    assert log.metrics["polite/kind"] == 0.5 and log.metrics["polite/done"] == 1.0
    assert log.metrics["polite/unknown"] == pytest.approx(3 / 8) and log.metrics["polite/no_score"] == 0.25
    assert log.columns["polite verdicts"] == ["kind 1, done 1", "kind 0, done 1", "kind ?, done 1", "kind ?, done ?"]


def test_trl_may_pass_chats_and_log_nothing() -> None:
    prompt = [{"role": "user", "content": "2+2?"}]
    tool = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
    completions = [
        [{"role": "assistant", "content": "Four."}],
        [
            {"role": "assistant", "content": "", "tool_calls": [tool]},
            {"role": "tool", "name": "add", "content": "4"},
            {"role": "assistant", "content": "It is four."},
        ],
    ]
    assert RubricReward(RULES)(prompts=[prompt, prompt], completions=completions) == [1.0, pytest.approx(1 / 3)]


def test_completions_are_judged_at_once_and_rewards_keep_their_order() -> None:
    texts = ["0", "1", "1", "0", "0", "0", "1", "1"]
    rubric = parse("name: q\ncriteria: [{id: kind, question: 'Was it kind?'}]", where="q")
    assert RubricReward(rubric, Meeting())(prompts=["p"] * 8, completions=texts) == [float(text) for text in texts]
    twin = AsyncRubricReward(rubric, Meeting())
    assert asyncio.run(twin(prompts=["p"] * 8, completions=texts)) == [float(text) for text in texts]


def test_the_twin_is_told_apart_and_does_not_block_its_loop() -> None:
    rubric = parse("name: q\ncriteria: [{id: kind, question: 'Was it kind?'}]", where="q")
    judge = Meeting(concurrent=2)
    twins = [AsyncRubricReward(rubric, judge) for _ in range(2)]
    assert inspect.iscoroutinefunction(twins[0].__call__) and twins[0].__name__ == "q"
    assert not inspect.iscoroutinefunction(RubricReward(rubric, judge).__call__)

    async def both() -> list[list[float | None]]:
        return await asyncio.gather(*(twin(prompts=["p"], completions=["1"]) for twin in twins))

    assert asyncio.run(both()) == [[1.0], [1.0]], "each waits for the other"


def test_a_judge_that_is_down_stops_the_trainer_or_gives_none(caplog: pytest.LogCaptureFixture) -> None:
    batch: dict[str, Any] = {"prompts": ["p"] * 2, "completions": ["a", "b"]}
    with pytest.raises(JudgeDown, match="polite: the judge could not be asked about 2 of 2 completions: http"):
        RubricReward(POLITE, down())(**batch)
    with caplog.at_level(logging.WARNING, logger="reward_models.adapters"):
        assert RubricReward(POLITE, down(), outage="none")(**batch) == [None, None]
    assert "2 of 2 completions, which get no reward" in caplog.text


def test_columns_are_checked() -> None:
    with pytest.raises(RubricError, match="'gold' is no fact of a transcript"):
        RubricReward(RULES, columns={"gold": "patch"})
    with pytest.raises(RubricError, match="the data has no column 'tests_ok'"):
        RubricReward(RULES, columns={"resolved": "tests_ok"})(prompts=["p"], completions=["a"])


def test_adapters_cross_process_borders() -> None:
    for adapter in (RubricFunction(RULES), RubricReward(POLITE, down()), RubricComputeScore(POLITE, down())):
        assert type(copy.deepcopy(adapter)) is type(adapter)
        pickle.dumps(adapter)


def test_verl_gets_a_dict_of_the_same_keys_every_time() -> None:
    """As its reward managers call it: by keywords, with further ones in newer releases."""
    compute_score = RubricComputeScore(RULES, no_score=0.25)
    call = {"data_source": "gsm8k", "ground_truth": "4", "extra_info": {"question": "2+2?", "index": 3}}
    assert compute_score(solution_str="Four.", **call) == {"score": 1.0, "known": 1.0, "unknown": 0.0}
    unknown = compute_score(solution_str="", **call, reward_router_address=None)
    assert unknown == {"score": 0.25, "known": 0.0, "unknown": 1.0}


def test_verl_is_never_given_a_number_that_nobody_chose() -> None:
    with pytest.raises(NoScore, match=r"short: the score is unknown \(criterion 'brief'"):
        RubricComputeScore(RULES)("gsm8k", "", "4")
    with pytest.raises(NoScore, match=r"polite: the score is unknown \(http"):
        RubricComputeScore(POLITE, down())("gsm8k", "Four.", "4", {})


def test_verl_shows_the_judge_the_task_and_not_the_truth() -> None:
    @dataclass(kw_only=True)
    class Listening:
        heard: list[Transcript] = field(default_factory=list)

        def digest(self) -> str:
            return ""

        def judge(
            self, transcript: Transcript, rubric: Rubric, questions: Any, *, votes: int, first: int = 0
        ) -> Judgement:
            self.heard.append(transcript)
            return Judgement(verdicts=[Verdict(criterion=question.id, value=1.0) for question in questions])

    judge = Listening()
    rubric = parse("name: q\ncriteria: [{id: kind, question: 'Was it kind?'}]", where="q")
    score = RubricComputeScore(rubric, judge, statement="problem")
    assert score("math", "x", "the truth", {"problem": "2+2?", "answer": "the truth"})["score"] == 1.0
    assert judge.heard[0].statement == "2+2?" and "the truth" not in repr(judge.heard[0])
