"""What is learnt from SWE-agent's runs on SWE-smith's tasks is what upstream's own converter makes of them."""

import json
from typing import Any

import pytest

from rft.formats import read, strictly
from rft.inference.fresh import TURN_END, train_tokenizer
from rft.select.examples import examples_of
from rft.transcript import messages_of, plain
from rft.types import Trajectory
from tests.formats.real_data import DATA, needs_data

pytestmark = [pytest.mark.real, needs_data]
LOGS = DATA / "swesmith" / "tests" / "test_logs"
TASK = "pandas-dev__pandas.95280573.pr_53652"


@pytest.fixture(scope="module")
def golden() -> list[dict[str, str]]:
    rows = [json.loads(line) for line in (LOGS / "ft_xml_example.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if row["instance_id"] == TASK]
    messages: list[dict[str, str]] = row["messages"]
    return messages


@pytest.fixture(scope="module")
def attempt() -> Trajectory:
    (read_attempt,) = strictly(read(LOGS / "trajectories" / TASK / f"{TASK}.traj"))
    return read_attempt


def test_the_roles_come_in_the_same_order(golden: list[dict[str, str]], attempt: Trajectory) -> None:
    said = [plain(message) for message in messages_of(attempt.prompt, attempt.steps)]
    assert [m.role for m in said[:-1]] == [m["role"] for m in golden]
    assert said[-1].role == "user", "what came back to the last turn is read by nobody"
    # upstream writes its tools' documentation into the system prompt; all else is the same text
    for ours, theirs in zip(said[1:-1], golden[1:], strict=True):
        assert ours.content.strip() == theirs["content"].strip()


def test_the_same_text_is_learnt(golden: list[dict[str, str]], attempt: Trajectory) -> None:
    tokenizer: Any = train_tokenizer(["run the tests and open the file"] * 20, 280, 256)
    (example,) = examples_of(attempt, tokenizer)
    learnt = [tokenizer.decode(example.ids[start:end]).removesuffix(TURN_END) for start, end in example.spans]
    theirs = [message["content"] for message in golden if message["role"] == "assistant"]
    assert [text.strip() for text in learnt] == [text.strip() for text in theirs]
    assert example.provenance == "rendered"
