"""Files that anybody may have written: an attempt, or one line that says where and why; never anything else."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.errors import RecipeError
from rft.formats import FORMATS, format_of, read
from rft.formats.documents import LIMIT
from rft.formats.zips import ZSTANDARD
from rft.store import encode_line
from rft.types import Trajectory

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CALL = {"id": "c", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
CHAT = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": [{"type": "text", "text": "look"}], "tool_calls": [CALL]},
    {"role": "tool", "content": "f.py", "tool_call_id": "c"},
]
EVENT = {"id": "1", "timestamp": "t", "source": "agent"}
GOOD: dict[str, Any] = {
    "chat": {"messages": CHAT, "id": "a", "resolved": True, "tampered": ["x"], "cost": 0.1},
    "mini-swe-agent": {
        "trajectory_format": "mini-swe-agent-1.1", "instance_id": "t",
        "info": {"exit_status": "Submitted", "submission": "diff", "model_stats": {"instance_cost": 1.0},
                 "config": {"model": {"model_name": "m"}}, "mini_version": "2"},
        "messages": [*CHAT[:1], {"role": "assistant", "content": "x", "extra": {
                     "actions": [{"command": "ls"}], "cost": 0.1,
                     "timestamp": 1.5, "response": {"usage": {"prompt_tokens": 3}}}},
                     {"role": "user", "content": "o", "extra": {"returncode": 0}}, {"role": "exit", "content": "bye"}],
    },
    "swe-agent": {
        "trajectory": [{"action": "ls", "observation": "f.py", "response": "look", "thought": "look", "state": {},
                        "execution_time": 0.1, "query": CHAT[:1]}],
        "history": [CHAT[0], {"role": "assistant", "content": "look", "action": "ls",
                                "thinking_blocks": [{"thinking": "h"}]},
                    {"role": "user", "content": "f.py"}],
        "info": {"exit_status": "submitted", "submission": "diff", "model_stats": {"instance_cost": 1.0}},
        "replay_config": '{"agent": {"model": {"name": "m"}}, "problem_statement": {"id": "t"}}',
    },
    "openhands": {
        "instance_id": "t", "test_result": {"git_patch": "diff", "report": {"resolved": True}}, "error": None,
        "history": [
            {**EVENT, "kind": "SystemPromptEvent", "system_prompt": {"text": "be good"}},
            {**EVENT, "kind": "MessageEvent", "source": "user",
             "llm_message": {"role": "user", "content": [{"text": "go"}]}},
            {**EVENT, "kind": "ActionEvent", "thought": [{"text": "look"}], "action": {"command": "ls"},
             "tool_name": "terminal",
             "tool_call_id": "c", "tool_call": {"arguments": '{"command": "ls"}'}, "llm_response_id": "r"},
            {**EVENT, "kind": "ObservationEvent", "tool_name": "terminal", "tool_call_id": "c",
             "observation": {"content": [{"text": "f.py"}], "exit_code": 0, "timeout": False}},
            {**EVENT, "kind": "ConversationStateUpdateEvent", "key": "stats",
             "value": {"usage_to_metrics": {"a": {"accumulated_cost": 0.1, "model_name": "m"}}}},
        ],
    },
    "inspect": {
        "version": 2, "status": "success", "eval": {"task": "t", "model": "m"},
        "samples": [{"id": 1, "epoch": 1, "messages": [{**CHAT[0], "content": "attachment://0123456789"}, *CHAT[1:]],
                     "scores": {"s": {"value": "C"}}, "limit": None, "error": None, "metadata": {"model_patch": "diff"},
                     "attachments": {"0123456789": "long text"}, "events": [1], "output": {"model": "m"}}],
    },
    "atif": {
        "schema_version": "ATIF-v1.8", "agent": {"name": "a", "version": "1"},
        "steps": [{"step_id": 1, "source": "user", "message": "go"},
                  {"step_id": 2, "source": "agent", "message": "look", "tool_calls":
                   [{"tool_call_id": "c", "function_name": "bash", "arguments": {"command": "ls"}}],
                   "observation": {"results": [{"source_call_id": "c", "content": "f.py"}]},
                   "metrics": {"prompt_token_ids": [1], "completion_token_ids": [2]}}],
    },
}  # fmt: skip


def read_all(path: Path, format: str = "") -> list[Trajectory | RecipeError]:
    """Everything of a file; whatever else than the two kinds of results comes out of it fails the test."""
    found = list(read(path, format))
    for one in found:
        if isinstance(one, RecipeError):
            text = str(one)
            assert text.startswith(str(path)) and "\n" not in text and text.endswith("."), text
        else:
            encode_line(one)
    return found


@pytest.mark.parametrize("name", GOOD)
def test_each_format_is_known_by_its_content_and_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(GOOD[name], indent=2))
    assert format_of(path) == name
    (attempt,) = read_all(path)
    assert isinstance(attempt, Trajectory), str(attempt)
    assert attempt.steps[0].command == "ls"
    assert attempt.steps[0].observation == ("o" if name == "mini-swe-agent" else "f.py")
    lines = tmp_path / "x.jsonl"
    lines.write_text(json.dumps(GOOD[name]) + "\n" + json.dumps(GOOD[name]) + "\n")
    assert [type(one) for one in read_all(lines)] == [Trajectory, Trajectory]


def test_the_facts_of_each_format(tmp_path: Path) -> None:
    found = {}
    for name, value in GOOD.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(value))
        (attempt,) = read_all(path)
        assert isinstance(attempt, Trajectory)
        found[name] = attempt
    assert {name for name, a in found.items() if a.outcome and a.outcome.resolved} == {"chat", "openhands", "inspect"}
    assert {name for name, a in found.items() if a.patch == "diff"} == set(GOOD) - {"chat", "atif"}
    assert {name for name, a in found.items() if a.policy == "m"} == set(GOOD) - {"chat", "atif"}
    assert found["inspect"].prompt[0].content == "long text" and found["inspect"].extra["left_out"]["events"] == 1
    assert found["mini-swe-agent"].steps[0].exit_code == 0 and found["mini-swe-agent"].steps[0].prompt_tokens == 3
    assert found["mini-swe-agent"].steps[0].after[0].content == "bye"
    assert found["swe-agent"].steps[0].reasoning == "h" and found["openhands"].steps[0].exit_code == 0
    assert found["openhands"].cost == 0.1 and found["atif"].tokens[0].ids == [1, 2]


@st.composite
def broken(draw: Any) -> tuple[str, Any]:
    """A good document with one value, anywhere in it, put to something else, or taken away."""
    name = draw(st.sampled_from(sorted(GOOD)))
    value = json.loads(json.dumps(GOOD[name]))
    node: Any = value
    for _ in range(draw(st.integers(0, 6))):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or draw(st.integers(0, 4)) == 0:
            if isinstance(node, dict) and draw(st.booleans()):
                del node[key]
            else:
                node[key] = draw(JSON)
            break
        node = node[key]
    return name, value


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(broken(), st.booleans())
def test_a_wrong_value_anywhere_is_an_attempt_or_one_line(tmp_path: Path, drawn: tuple[str, Any], named: bool) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(drawn[1]))
    assert read_all(path, drawn[0] if named else "")


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all_is_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    read_all(path, name)
    read_all(path)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_file_cut_anywhere_is_one_line(tmp_path: Path, name: str) -> None:
    whole = json.dumps(GOOD[name]).encode()
    path = tmp_path / "x.json"
    for size in range(1, len(whole), 37):
        path.write_bytes(whole[:size])
        (error,) = read_all(path)
        assert isinstance(error, RecipeError) and "not JSON" in str(error)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"messages": [{"role": "assistant", "content": "\xff\xfe"}]}', "not JSON"),
        (b'{"messages": [{"role": "assistant", "content": "\\ud800"}]}', "cannot be kept"),
        (b'{"messages": [{"role": "assistant", "content": "a", "x": 99999999999999999999999999}]}', ""),
        (b"[" * 200_000, "not JSON"),
        (b'{"messages": [{"role": "assistant", "content": "a", "x": ' + b"[" * 900 + b"]" * 900 + b"}]}", ""),
        (b"PK\x03\x04 and nothing else", "a zip that cannot be read"),
        (b"PAR1 and nothing else", "a table that cannot be read"),
        (b'{"id":"a","crc":"00000000"}\n', "damaged record"),
    ],
)
def test_bytes_that_are_no_text_and_nesting_without_end(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    (found,) = read_all(path)
    assert says in str(found) if says else found


def test_numbers_that_json_does_not_know_are_kept_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"messages": [{"role": "assistant", "content": "a"}], "reward": NaN}')
    (attempt,) = read_all(path)
    assert isinstance(attempt, Trajectory) and attempt.extra == {"reward": "NaN"}


def zipped(path: Path, members: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            archive.writestr(name, value if isinstance(value, str | bytes) else json.dumps(value))
    return path


def test_an_eval_file_is_read_sample_by_sample_and_a_bad_one_is_named(tmp_path: Path) -> None:
    log = GOOD["inspect"]
    members = {
        "header.json": {"eval": log["eval"]},
        "samples/1_epoch_1.json": log["samples"][0],
        "samples/2.json": "{torn",
    }
    found = read_all(zipped(tmp_path / "x.eval", members))
    assert isinstance(found[0], Trajectory) and found[0].task_id == "t/1" and "x.eval, samples/1" in found[0].source
    assert isinstance(found[1], RecipeError) and "x.eval, samples/2.json: not JSON" in str(found[1])
    whole = (tmp_path / "x.eval").read_bytes()
    (tmp_path / "x.eval").write_bytes(whole[: len(whole) // 2])
    (error,) = read_all(tmp_path / "x.eval")
    assert "cut off or damaged" in str(error)


def test_a_zip_bomb_is_unpacked_no_further_than_the_limit(tmp_path: Path) -> None:
    """300 MB in 300 kB; the samples beside it are still read."""
    log = GOOD["inspect"]
    path = zipped(tmp_path / "x.eval", {"header.json": {"eval": log["eval"]}, "samples/1.json": log["samples"][0]})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("samples/2.json", "w") as member:
        for _ in range(300):
            member.write(b" " * 1_000_000)
    assert path.stat().st_size < 1_000_000
    good, error = read_all(path)
    assert isinstance(good, Trajectory) and "samples/2.json: larger than 256 MiB" in str(error)


def packed_by_zstandard(path: Path, members: dict[str, Any]) -> Path:
    """A zip as Inspect writes it, whose method Python's zipfile does not know."""
    import pyarrow

    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            half = len(data) // 2
            parts = [pyarrow.compress(part, codec="zstd", asbytes=True) for part in (data[:half], data[half:])]
            info = zipfile.ZipInfo(name)
            archive.writestr(info, b"".join(parts))
            info.compress_type, info.CRC, info.file_size = ZSTANDARD, zlib.crc32(data), len(data)
    return path


def test_a_zip_packed_by_zstandard_is_read_and_its_damage_is_told(tmp_path: Path) -> None:
    log = GOOD["inspect"]
    members = {"header.json": {"eval": log["eval"]}, "samples/1.json": log["samples"][0]}
    path = packed_by_zstandard(tmp_path / "x.eval", members)
    (good,) = read_all(path)
    assert isinstance(good, Trajectory) and good.task_id == "t/1"
    path = packed_by_zstandard(tmp_path / "x.eval", {**members, "samples/2.json": b" " * (LIMIT + 2)})
    good, error = read_all(path)
    assert isinstance(good, Trajectory) and "samples/2.json: larger than 256 MiB" in str(error)
    whole = packed_by_zstandard(tmp_path / "y.eval", members).read_bytes()
    for at in range(0, len(whole), 7):
        (tmp_path / "y.eval").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert all(isinstance(found, Trajectory | RecipeError) for found in read_all(tmp_path / "y.eval"))
