"""The records that stages write and read, one JSON line each. They hold facts and do no work."""

from enum import StrEnum
from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that is stored: immutable, typed, and strict about unknown fields."""


class StopReason(StrEnum):
    """Why an attempt ended."""

    SUBMITTED = "submitted"
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"
    TIME_LIMIT = "time_limit"
    CONTEXT_FULL = "context_full"
    FORMAT_LIMIT = "format_limit"
    ERROR = "error"
    UNKNOWN = "unknown"
    """Only of attempts that others made: their record does not say."""


class Task(Record, frozen=True, kw_only=True):
    """A statement, a start state and a way to tell success."""

    id: str
    statement: str
    split: str
    repository: str
    """Names the start state; only the environment that made the task knows what it means."""
    fail_to_pass: list[str] = []
    """Tests that fail at the start and must pass at the end."""
    pass_to_pass: list[str] = []
    """Tests that pass at the start and must still pass at the end."""
    gold_patch: str = ""
    """A unified diff that solves the task. No agent and no judge is ever shown it."""
    meta: dict[str, Any] = {}
    """The environment's own facts about the task."""


class ToolCall(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a tool, as the model made it in a turn."""

    id: str = ""
    """What results name it by; empty where the source gives none."""
    name: str
    arguments: dict[str, Any] | str = {}
    """An object, or the text that the model wrote where it wrote none."""
    result: tuple[int, int] | None = None
    """`(start, end)`: these characters of the step's `observation` came back to it; None when nothing did."""
    extra: dict[str, Any] = {}
    """What else the source tells of it, under the source's own names."""


class Tool(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A tool that the model may call."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    """A JSON schema of its arguments."""


class Message(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One chat message."""

    role: str
    content: str
    reasoning: str = ""
    """What the model thought before it spoke, where that is kept apart from `content`."""
    tool_calls: list[ToolCall] = []
    """Of an assistant."""
    tool_call_id: str = ""
    """Of a tool: the call that this is the result of."""
    extra: dict[str, Any] = {}
    """What else the source tells of it, under the source's own names."""


class Completion(Record, frozen=True, kw_only=True):
    """What a model answered to one list of messages."""

    text: str
    finish_reason: str
    """`stop`, or `length` when the answer was cut at the token limit."""
    reasoning: str = ""
    """What it thought before it spoke, where the engine keeps that apart; not repeated in `text`."""
    tool_calls: list[ToolCall] = []
    """What it called, where tools were offered; not repeated in `text`."""
    prompt_ids: list[int] | None = None
    """Every token the model read for this answer, or None where the engine does not tell."""
    ids: list[int] | None = None
    """Every token the model produced, its end-of-turn token included, or None where the engine does not tell."""
    logprobs: list[float] | None = None
    """Natural-log probability of each of `ids` under the distribution that was sampled from."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Execution(Record, frozen=True, kw_only=True):
    """What came of one command in a sandbox."""

    output: str
    """Standard output and error as they were interleaved, cut to the sandbox's byte cap."""
    exit_code: int | None
    """None when the command was killed, for its time or because it broke a limit."""
    timed_out: bool = False
    truncated_bytes: int = 0
    """How many bytes of output were thrown away at the cap."""
    seconds: float = 0.0
    killed: str = ""
    """What killed it, in words (`time`, `memory`), empty when nothing did."""


class Step(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of an agent: what the model said, what was run, what came back."""

    index: int
    """Counted from 1."""
    reply: str
    """What the model said; its `reasoning` and its `tool_calls` are not repeated here."""
    command: str | None
    """The command that was run; None when the reply held none that could be run. Several tool calls of one turn stand
    here one after another, each as a rule reads it: a shell's command as it is, any other as its name and words."""
    observation: str
    """What the agent was shown, cut in the middle when long; the results of several calls one after another."""
    exit_code: int | None = None
    timed_out: bool = False
    truncated_bytes: int = 0
    killed: str = ""
    seconds: float = 0.0
    """Time the command took."""
    problem: str = ""
    """Why no command was run: what was wrong with the reply."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning: str = ""
    """What the model thought before it spoke, where the engine or the source keeps that apart from the reply."""
    tool_calls: list[ToolCall] = []
    """The calls of the turn, in order; empty where commands stand in the reply itself."""
    shown: list[Message] = []
    """The whole conversation that the model was shown, where it was not the one of the step before carried on (an agent
    that shortens its history, or leads several conversations); empty where it was."""
    tools: list[Tool] = []
    """What the model could call, where `shown` is given."""
    after: list[Message] = []
    """What else was said before the next turn, in order: a user's word, a system's note. After the last turn, what the
    user wrote when the agent had finished."""
    model: str = ""
    """Which model answered, where that is not the trajectory's `policy`."""
    timestamp: str = ""
    """When, as the source writes it (ISO 8601)."""
    cost: float | None = None
    """What the answer cost, in US dollars; None when unknown."""
    extra: dict[str, Any] = {}
    """What else the source tells of the turn, under the source's own names."""


class TokenRow(Record, frozen=True, kw_only=True):
    """The exact tokens of an attempt, as the engine read and produced them.

    An attempt has one row as long as each turn's prompt extends all that came before; a turn that breaks
    this prefix starts a new row.
    """

    ids: list[int]
    spans: list[tuple[int, int, int]]
    """`(start, end, step)`: `ids[start:end]` were produced by the model at that step."""
    logprobs: list[float] | None = None
    """One for each token inside the spans, in order; None when the engine does not tell."""
    repeated: int = 0
    """How many of its first tokens an earlier row begins with as well: there the prefix broke, and so many tokens are
    read and trained on once more."""


class Failure(Record, frozen=True, kw_only=True):
    """A breakdown that is no fault of the agent. It is data: recorded, redone on resume, never a score."""

    where: str
    """`sandbox`, `inference`, `environment`, `grading`, `agent`, `worker` or `import`."""
    message: str


class Outcome(Record, frozen=True, kw_only=True):
    """Facts measured after the attempt, in a fresh sandbox."""

    resolved: bool | None
    """None when it could not be measured; `failure` on the trajectory says why."""
    tests: dict[str, str] = {}
    """Test name to `passed`, `failed`, `error`, `skipped` or `missing`."""
    tampered: list[str] = []
    """Protected files that the agent changed (tests, test configuration); their hunks were not graded."""
    new_tests: list[str] = []
    """Tests that the agent added to those that were there. They are not graded either, and are no tampering."""
    forged: list[str] = []
    """What showed that the answer forged its tests' results, a sentence each; such an answer is never resolved."""
    files_changed: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    seconds: float = 0.0


class Trajectory(Record, frozen=True, kw_only=True):
    """One attempt at one task."""

    id: str
    """`task/round/sample`: made from content, so that it is the same whenever it is made; an imported attempt keeps the
    id that its source gives it."""
    task_id: str
    split: str
    round: int
    sample: int
    seed: int
    prompt: list[Message]
    """What the model was shown before its first turn."""
    tools: list[Tool] = []
    """What it could call from its first turn on."""
    steps: list[Step] = []
    stop: StopReason
    patch: str = ""
    """Unified diff of the final state against the start state, everything included."""
    outcome: Outcome | None = None
    failure: Failure | None = None
    tokens: list[TokenRow] = []
    prefix_breaks: int = 0
    """Turns whose prompt did not extend what came before."""
    policy: str = ""
    """The model that answered, a path or a name; of a teacher without one, the name of its engine."""
    protected: list[str] = []
    """Path patterns that the agent should leave alone (tests and their configuration)."""
    seconds: float = 0.0
    phases: dict[str, float] = {}
    """Seconds of each phase: boot, model, commands, grading."""
    agent: str = ""
    """The agent that worked, with its version, where it was not the recipe's."""
    source: str = ""
    """The file, and the place in it, that the attempt was imported from; empty for those that rft made."""
    cost: float | None = None
    """What the model's answers cost in all, in US dollars; None when unknown."""
    extra: dict[str, Any] = {}
    """What else the source tells of the attempt, under the source's own names."""


class Decision(Record, frozen=True, kw_only=True):
    """Keep or drop, and the rule that said so."""

    id: str
    task_id: str
    keep: bool
    rule: str
    """The rule that dropped it; `kept` when none did."""
    reason: str = ""


class Example(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What the trainer sees: exact tokens and which of them are learnt."""

    id: str
    trajectory_id: str
    task_id: str
    ids: list[int]
    spans: list[tuple[int, int]]
    """`ids[start:end]` are learnt; everything else is context."""
    steps: list[int] = []
    """Of each span the attempt's step that it is; empty where spans are no steps."""
    weights: list[float] = []
    """Of each span how much it counts in the loss, alike where empty; for a policy gradient its advantage."""
    logprobs: list[float] = []
    """Natural-log probability of each learnt token when it was drawn, in order; empty where the engine did not tell."""
    good: bool | None = None
    """Whether this is to become likelier or less likely, where both are learnt from."""
    pair: str = ""
    """Names the pair that this is a side of: two examples, the better one first."""
    shared: int = 0
    """Above 0 the row branches: each span and what stands before it, back to the span before, follows the first
    `shared` tokens alone, and does not see the other spans."""
    provenance: str
    """`recorded`: the engine's own tokens; `rendered`: derived from messages under the prefix check."""


class Checkpoint(Record, frozen=True, kw_only=True):
    """A trained policy and how it came about."""

    path: str
    """A plain model, an adapter merged."""
    base: str
    """The policy that the round started from."""
    adapter: str | None = None
    """Where training made one: it by itself, on top of `base`."""
    method: str
    examples: int
    learnt_tokens: int
    metrics: dict[str, float] = {}
