"""Turns of any origin as judges see them and as a model reads them; records of before still read."""

from rft.store import decode_line, encode_line
from rft.transcript import commands_of, messages_of, plain, to_transcript, turn
from rft.types import Message, Outcome, Step, StopReason, ToolCall, Trajectory

LS = ToolCall(id="a", name="bash", arguments={"command": "ls"}, result=(0, 4))
LOOK = ToolCall(id="b", name="search", arguments={"q": "x"}, result=(6, 10))


def step(**facts: object) -> Step:
    return Step(**({"index": 1, "reply": "look", "command": None, "observation": ""} | facts))  # type: ignore[arg-type]


def attempt(*steps: Step, stop: StopReason = StopReason.UNKNOWN) -> Trajectory:
    return Trajectory(
        id="t/1/0", task_id="t", split="train", round=1, sample=0, seed=0, stop=stop, steps=list(steps),
        prompt=[Message(role="user", content="mend f")], outcome=Outcome(resolved=None),
    )  # fmt: skip


def test_records_of_a_run_that_knew_no_tool_calls_are_read() -> None:
    line = (
        b'{"id":"t/01/00","task_id":"t","split":"train","round":1,"sample":0,"seed":7,"prompt":[{"role":"user",'
        b'"content":"go"}],"steps":[{"index":1,"reply":"```bash\\nls\\n```","command":"ls","observation":"[exit 0]",'
        b'"exit_code":0,"timed_out":false,"truncated_bytes":0,"killed":"","seconds":0.01,"problem":"",'
        b'"prompt_tokens":9,"completion_tokens":3}],"stop":"submitted","patch":"","outcome":null,"failure":null,'
        b'"tokens":[],"prefix_breaks":0,"policy":"m","protected":[],"seconds":1.0,"phases":{}}'
    )
    import zlib

    stored = line[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(line)
    read = decode_line(stored, Trajectory)
    assert read.steps[0].command == "ls" and read.steps[0].tool_calls == [] and read.cost is None
    assert decode_line(encode_line(read), Trajectory) == read


def test_each_call_of_a_turn_gets_its_own_result() -> None:
    calling = step(tool_calls=[LS, LOOK], observation="a.py\n\nhit!", reasoning="hm")
    said = turn(calling)
    assert [(m.role, m.content, m.tool_call_id) for m in said] == [
        ("assistant", "look", ""), ("tool", "a.py", "a"), ("tool", "hit!", "b"),
    ]  # fmt: skip
    assert [call.result for call in said[0].tool_calls] == [None, None] and said[0].reasoning == "hm"
    assert commands_of(calling.tool_calls) == 'ls\nsearch {"q":"x"}' and commands_of([]) is None


def test_what_belongs_to_no_call_is_said_by_the_user() -> None:
    calling = step(tool_calls=[LS], observation="a.py\n\nstay calm")
    assert [(m.role, m.content) for m in turn(calling)][1:] == [("tool", "a.py"), ("user", "stay calm")]


def test_an_empty_observation_gives_way_to_what_else_was_said() -> None:
    assert [m.content for m in turn(step())] == ["look", ""]
    word = Message(role="user", content="go on")
    assert turn(step(after=[word]))[1:] == [word]
    assert len(messages_of([word], [step(), step()])) == 5


def test_calls_and_thoughts_are_written_out_where_a_template_knows_no_tools() -> None:
    said = Message(role="assistant", content="look", reasoning="hm", tool_calls=[LS, ToolCall(name="f", arguments="x")])
    assert plain(said).content == (
        "<think>\nhm\n</think>\n\nlook\n\n<function=bash>\n<parameter=command>ls</parameter>\n</function>\n\n"
        "<function=f>\nx\n</function>"
    )
    once = Message(role="assistant", content="<think>hm</think> look", reasoning="hm")
    assert plain(once).content == "<think>hm</think> look"
    assert plain(Message(role="tool", content="out", tool_call_id="a")) == Message(role="user", content="out")


def test_what_a_user_writes_in_the_end_is_the_followup_and_before_it_the_output() -> None:
    word = Message(role="user", content="no, f")
    seen = to_transcript(attempt(step(observation="out", after=[word]), step(index=2, after=[word])))
    assert seen.steps[0].output == "out\n\nno, f" and seen.steps[1].output == ""
    assert seen.followup == "no, f" and seen.stop == ""
    assert to_transcript(attempt(stop=StopReason.SUBMITTED)).stop == "submitted"
