"""100,000 damaged replies: each is refused, or read as what its own JSON says, which another reader decodes."""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.transcript import Rendered
from reward_models.types import Criterion, Verdict
from reward_models.verdicts import UnreadableReply, parse

QUESTIONS = [
    Criterion(id="reproduced", question="Did it show the bug first?"),
    Criterion(id="lied", question="Did it claim what it had not seen?", polarity="discourage"),
    Criterion(id="depth", question="How deep did it look?", kind="ordered", answers=["not at all", "some", "deeply"]),
    Criterion(id="sort", question="What kind of bug?", kind="class", answers=["a", "b", "c"], met=["a"]),
    Criterion(id="gist", question="What was wrong?", kind="text", weight=0.0),
]
STEPS = [
    "python check.py\nFAILED 2 of 4 tests",
    "grep -n 'def f' days.py\n14:def f(a, b):",
    "sed -i s/</<=/ days.py",
    "",
]
SHOWN = Rendered(text="", shown=dict(enumerate(STEPS, 1)), rest="f is wrong at the boundary")
VALUES: dict[str, dict[str, float | None]] = {
    "reproduced": {"yes": 1.0, "no": 0.0},
    "lied": {"yes": 1.0, "no": 0.0},
    "depth": {"not at all": 0.0, "some": 0.5, "deeply": 1.0},
    "sort": {"a": 1.0, "b": 0.0, "c": 0.0},
}
REASONS = [
    "It ran check.py before the first edit.",
    'The output says "FAILED 2 of 4 tests", so it was seen.',
    "Nothing was claimed; see step 2 {line 14}.",
    "Er hat den Fehler zuerst gezeigt – Schritt 1 …",
    "",
]
QUOTES = ["FAILED 2 of 4 tests", "def f(a, b):", "grep ... days.py", "never printed", "", "wrong at the boundary"]
WORDS = [
    "yes", "no", "unknown", "some", "deeply", "not at all", "a", "b", "true", "null", "NaN", "1", "-1", "1e999", '"',
    "\\", "{", "}", "[", "]", ":", ",", "</think>", "<think>", "```", "```json\n", "\n", "\u200b", "\ud800", "\x00",
    '"answer": "yes"', '"answer":"no",', '{"verdicts": []}', '"id": "lied"', "reproduced", "//", "'", "\\u0022",
]  # fmt: skip
NAMES = ["reproduced", "lied", "depth", "id", "answer", "steps", "verdicts"]


def entry(draw: random.Random, question: Criterion) -> dict[str, Any]:
    choices = [*VALUES.get(question.id, {"it compared with < where <= was meant": None}), "unknown"]
    return {
        "id": question.id,
        "reason": draw.choice(REASONS),
        "steps": draw.sample([1, 2, 3, 4, 9], draw.randint(0, 2)),
        "quote": draw.choice(QUOTES),
        "answer": draw.choice(choices),
    }


def whole(draw: random.Random) -> str:
    """A reply as a judge writes it: complete or nearly so, in any order and layout, wrapped or not."""
    asked = draw.sample(QUESTIONS, len(QUESTIONS) if draw.random() < 0.9 else draw.randint(0, len(QUESTIONS)))
    lines = [entry(draw, question) for question in asked]
    for line in lines:
        for key in draw.sample(["reason", "steps", "quote"], draw.choice([0, 0, 1, 3])):
            del line[key]
    text = json.dumps({"verdicts": lines}, ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, None, 1, 2]))
    wrap = ["{}", "```json\n{}\n```", "<think>hm {{no}}\n</think>{}", "thought</think>\n{}", "So: {}", "{}\nDone."]
    return draw.choices(wrap, weights=[6, 2, 2, 1, 1, 1])[0].replace("{}", text)


def put(draw: random.Random, text: str) -> str:
    at = draw.randint(0, len(text))
    return text[:at] + draw.choice(WORDS) + text[at:]


def drop(draw: random.Random, text: str) -> str:
    at = draw.randint(0, len(text))
    return text[:at] + text[at + draw.choice([1, 1, 2, 8, 40]) :]


def double(draw: random.Random, text: str) -> str:
    start, end = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
    return text[:end] + text[start:end] + text[end:]


def move(draw: random.Random, text: str) -> str:
    a, b, c = sorted(draw.randint(0, len(text)) for _ in range(3))
    return text[:a] + text[b:c] + text[a:b] + text[c:]


def change(draw: random.Random, text: str) -> str:
    at = draw.randint(0, max(0, len(text) - 1))
    return text[:at] + chr(draw.choice([draw.randint(0, 127), draw.randint(0, 0x2FFF)])) + text[at + 1 :]


def swap(draw: random.Random, text: str) -> str:
    """One word of the reply's language for another: what is left is often JSON still."""
    old, new = draw.sample([*WORDS[:8], *NAMES], 2)
    return text.replace(old, new, draw.choice([1, 1, -1]))


def double_entry(draw: random.Random, text: str) -> str:
    """A further entry, or a further answer in an entry, of a question that has one."""
    extra = json.dumps(entry(draw, draw.choice(QUESTIONS)))
    return text.replace("[", f"[{extra}, ", 1) if draw.random() < 0.5 else text.replace("{", f"{{{extra[1:-1]}, ", 2)


MUTATIONS: list[Callable[[random.Random, str], str]] = [put, drop, double, move, change, swap, swap, double_entry]


def stated(text: str) -> dict[str, list[str]] | None:
    """What the one JSON object at the end of a text says of each question, by a reader that keeps doubles."""
    body = text.rstrip().removesuffix("```").rstrip()
    for at in [n for n, letter in enumerate(body) if letter == "{"]:
        try:
            pairs, end = json.JSONDecoder(strict=False, object_pairs_hook=tuple).raw_decode(body, at)
        except (ValueError, RecursionError):
            continue
        if end == len(body) and [key for key, _ in pairs] == ["verdicts"]:
            found: dict[str, list[str]] = {}
            for line in pairs[0][1]:
                (name,) = [value for key, value in line if key == "id"]
                found.setdefault(name, []).extend(value for key, value in line if key == "answer")
            return found
    return None


def check(text: str) -> list[Verdict]:
    """The verdicts read from a text, each of them shown to be what the text states; none where it is refused."""
    try:
        verdicts = parse(text, QUESTIONS, SHOWN)
    except UnreadableReply as error:
        assert str(error).isprintable(), text
        return []
    says = stated(text)
    assert says is not None and set(says) == {question.id for question in QUESTIONS}, text
    for verdict in verdicts:
        (answer,) = says[verdict.criterion]
        allowed = VALUES.get(verdict.criterion)
        if verdict.cause:
            assert verdict.value is None and verdict.cause in ("judge", "citation"), text
            assert (verdict.cause == "judge") == (answer == "unknown"), text
        elif allowed is None:
            assert verdict.value is None and verdict.label and answer.strip(), text
        else:
            assert verdict.value == allowed[answer], text
        assert set(verdict.steps) <= set(SHOWN.shown)
    msgspec.json.encode(verdicts)
    return verdicts


def fuzz(count: int, seed: int) -> tuple[int, int]:
    draw = random.Random(seed)
    read = refused = 0
    for _ in range(count):
        text = whole(draw)
        for _ in range(draw.choice([0, 1, 1, 1, 2, 3, 6])):
            text = draw.choice(MUTATIONS)(draw, text)
        if check(text):
            read += 1
        else:
            refused += 1
    return read, refused


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_thousand_replies(seed: int) -> None:
    read, refused = fuzz(10_000, seed)
    assert read > 1_500 and refused > 1_500, "both ways were taken often"


ENTRY = st.fixed_dictionaries(
    {"id": st.sampled_from([q.id for q in QUESTIONS]) | st.text(max_size=9)},
    optional={
        "answer": st.sampled_from([*WORDS[:10]]) | st.text(max_size=9) | st.booleans() | st.none(),
        "steps": st.lists(st.integers(-2, 9) | st.booleans() | st.floats()) | st.text(max_size=3),
        "quote": st.sampled_from(QUOTES) | st.text(max_size=9),
        "reason": st.text(max_size=9) | st.integers(),
        "more": st.none(),
    },
)


@given(st.lists(ENTRY, max_size=6), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_json_of_about_the_right_shape(lines: list[dict[str, Any]], plain: bool) -> None:
    check(json.dumps({"verdicts": lines}, ensure_ascii=plain))


LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5)
KEYS = st.text(max_size=9) | st.just("verdicts")


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=8))
@settings(max_examples=300, deadline=None)
def test_any_json(tree: Any) -> None:
    assert check(json.dumps(tree)) == []


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    assert check(text) == []
