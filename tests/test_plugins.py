"""`use:` -> object: every shipped name resolves, every mistake is one line that names the key."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from rft.errors import RecipeError
from rft.plugins import NAMES, build, find, find_rubric, schema


@dataclass(kw_only=True)
class Widget:
    size: int
    mode: Literal["a", "b"] = "a"
    labels: list[str] = field(default_factory=list)
    ratio: float | None = None
    made: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size is {self.size}; expected at least 0")


def rule(group: list[int], *, least: int, why: str = "small") -> dict[str, str]:
    return {str(item): why for item in group if item < least}


HERE = __name__


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, known in NAMES.items() for name in known])
def test_every_shipped_name_is_an_object_with_documented_options(kind: str, name: str) -> None:
    target = find(kind, name, "here")
    assert target.__doc__
    assert "made" not in schema(Widget)
    for option in schema(target):
        assert option.isidentifier()


def test_options_are_typed_by_the_object_itself() -> None:
    widget = build(
        "tracker", {"use": f"{HERE}:Widget", "size": "3", "mode": "b", "labels": ["x"], "ratio": 1}, "tracking"
    )
    assert (widget.size, widget.mode, widget.labels, widget.ratio) == (3, "b", ["x"], 1.0)


def test_a_function_is_returned_with_its_options_bound() -> None:
    bound = build("rule", {"use": f"{HERE}:rule", "least": 2}, "select.rules.0")
    assert bound([1, 2]) == {"1": "small"}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, "tracking: 'use' is missing"),
        ({"use": 3}, "'use' is missing"),
        ({"use": "wanbd"}, "Did you mean 'wandb'"),
        ({"use": "no.such:Thing"}, "cannot import 'no.such'"),
        ({"use": f"{HERE}:Wigdet"}, "Did you mean 'Widget'"),
        ({"use": f"{HERE}:Widget"}, "'size' is missing"),
        ({"use": f"{HERE}:Widget", "size": "big"}, "tracking.size: Value 'big'"),
        ({"use": f"{HERE}:Widget", "size": 1, "mode": "c"}, "tracking.mode"),
        ({"use": f"{HERE}:Widget", "size": 1, "sise": 2}, "Did you mean 'size'"),
        ({"use": f"{HERE}:Widget", "size": -1}, "expected at least 0"),
        ({"use": f"{HERE}:Widget", "size": 1, "made": True}, "unknown key"),
        ({"use": "jsonl", "project": "of another tracker"}, "give the whole section: tracking={use: …}"),
        ({"use": f"{HERE}:rule"}, "'least' is missing"),
        ({"use": "os:system('id')"}, "no tracker is called"),
        ({"use": "os;id:x"}, "no tracker is called"),
        ({"use": "../../etc:passwd"}, "no tracker is called"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build("tracker", section, "tracking")
    assert expected in str(caught.value) and str(caught.value).startswith("tracking")
    assert "\n" not in str(caught.value)


def test_what_stands_in_the_users_folder_is_found_wherever_the_program_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine_in_here.py").write_text("class Suite: ...\n")
    Path("rules_in_here.py").write_text("def brief(transcript):\n    return True\n")
    Path("r.yaml").write_text("{name: r, criteria: [{id: brief, rule: 'rules_in_here:brief'}]}")
    assert find("environment", "mine_in_here:Suite", "environment").__name__ == "Suite"
    assert find_rubric("r.yaml").name == "r"
    Path("r.yaml").write_text("{name: r}")
    with pytest.raises(RecipeError, match=r"^score\.rubric: .*criteria"):
        find_rubric("r.yaml", "score.rubric")
