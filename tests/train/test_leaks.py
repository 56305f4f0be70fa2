"""Learnt tokens that read as what a tool printed, or as the prompt, are noticed."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from rft.errors import StageError
from rft.train.leaks import check_learnt_text
from rft.types import Example, Message, Step, StopReason, ToolCall, Trajectory
from tests.conftest import write_records

PROMPT = "Please mend the function."
STEPS = (
    Step(index=1, reply="cat code.py", command="cat code.py", observation="def f(x):\n    return x - 1"),
    Step(index=2, reply="echo 'return x - 1 is wrong'", command="x", observation=""),
)


class ByBytes:
    """A tokenizer whose tokens are bytes."""

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()


def check(tmp_path: Path, *steps: Step, wrote: list[str] | None = None, **changes: Any) -> None:
    """One row of prompt, replies and what came back; `changes` are made to its example."""
    said = wrote or [step.reply for step in steps]
    ids, spans = list(PROMPT.encode()), []
    for step, text in zip(steps, said, strict=True):
        spans.append((len(ids), len(ids) + len(text.encode())))
        ids += [*text.encode(), *b"\n", *step.observation.encode(), *b"\n"]
    attempt = Trajectory(
        id="a/1/0", task_id="a", split="train", round=1, sample=0, seed=0, stop=StopReason.SUBMITTED, steps=list(steps),
        prompt=[Message(role="user", content=PROMPT)],
    )  # fmt: skip
    fields = {"spans": spans, "steps": [step.index for step in steps], **changes}
    example = Example(id="a/1/0/0", trajectory_id="a/1/0", task_id="a", ids=ids, provenance="recorded", **fields)
    examples = write_records(tmp_path / "e.jsonl", [example])
    attempts = write_records(tmp_path / "t.jsonl", [attempt])
    check_learnt_text(examples, attempts, ByBytes())


def test_what_the_policy_wrote_passes_though_a_tool_said_it_too(tmp_path: Path) -> None:
    check(tmp_path, *STEPS)


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ([(25, 50), (66, 80)], r"learnt of step 1 hold 'def f\(x\):'"),
        ([(25, 36), (50, 80)], "learnt of step 2 hold 'return x - 1'"),
        ([(0, 36), (66, 80)], "learnt of step 1 hold 'Please"),
    ],
)
def test_spans_that_reach_into_what_was_shown_are_refused(
    tmp_path: Path, spans: list[tuple[int, int]], words: str
) -> None:
    said = ["cat code.py", "echo hello world"]
    steps = [STEPS[0], Step(index=2, reply=said[1], command="x", observation="")]
    with pytest.raises(StageError, match=words) as caught:
        check(tmp_path, *steps, spans=spans)
    assert "\n" not in str(caught.value)


def test_the_arguments_of_a_call_are_the_policy_s_own_words(tmp_path: Path) -> None:
    call = ToolCall(name="shell", arguments={"command": "cat main_file.py"})
    first = Step(index=1, reply="", command="x", tool_calls=[call], observation="main_file.py: missing\nmain_file.py")
    second = Step(index=2, reply="", command="x", tool_calls=[call], observation="main_file.py")
    check(tmp_path, first, second, wrote=['{"shell": "cat main_file.py"}'] * 2)


def shown_and_written(policy: Path, good: bool) -> tuple[Example, Trajectory]:
    """A row of the policy's own tokens whose learnt span takes in what the tool printed."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(policy)
    printed = "fail test open close"
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in ("read write", "fix alpha beta", printed)]
    start, end = len(ids[0]), sum(map(len, ids))
    attempt = Trajectory(
        id=f"a/1/{good:d}", task_id="a", split="train", round=1, sample=int(good), seed=0, stop=StopReason.SUBMITTED,
        steps=[Step(index=1, reply="fix alpha beta", command="x", observation=printed)],
        prompt=[Message(role="user", content="read write")],
    )  # fmt: skip
    example = Example(
        id=f"a/1/{good:d}/0", trajectory_id=attempt.id, task_id="a", ids=list(chain(*ids)), spans=[(start, end)],
        steps=[1],
        provenance="recorded",
    )  # fmt: skip
    return example, attempt


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "grpo"])
def test_every_method_refuses_learnt_tokens_that_a_tool_printed(tmp_path: Path, policy: Path, method: str) -> None:
    from test_methods import spec_of  # type: ignore[import-not-found]

    from rft.train.training import method_of, read

    made = [shown_and_written(policy, good) for good in (True, False)]
    changes: list[dict[str, Any]] = {
        "sft": [{}, {}],
        "dpo": [{"good": True, "pair": "p"}, {"good": False, "pair": "p"}],
        "kto": [{"good": True}, {"good": False}],
        "grpo": [
            {"weights": [w], "logprobs": [-1.0] * (e.spans[0][1] - e.spans[0][0])}
            for w, (e, _) in zip((1.0, -1.0), made, strict=True)
        ],
    }[method]
    write_records(tmp_path / "t.jsonl", [attempt for _, attempt in made])
    examples = [replace(example, **change) for (example, _), change in zip(made, changes, strict=True)]
    spec = spec_of(tmp_path / "a", policy, method, examples, trajectories=str(tmp_path / "t.jsonl"))
    with pytest.raises(StageError, match="tokens learnt of step 1 hold 'fail test open close'"):
        read(spec, method_of(spec))


def test_a_step_that_the_attempt_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="learns step 7"):
        check(tmp_path, *STEPS, steps=[1, 7])
