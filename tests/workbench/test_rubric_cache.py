"""`rft rubric cache`: what is kept, what it cost, and forgetting some of it."""

import json
from pathlib import Path

import pytest

from reward_models.cache import Cache, Usage
from reward_models.types import Verdict
from rft.cli import main


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "verdicts.sqlite"
    cache = Cache(path)
    for judge, count in (("aaaa", 3), ("bbbb", 5)):
        verdicts = {f"{judge}{n}".encode(): Verdict(criterion="c", value=1.0) for n in range(count)}
        cache.put(
            judge, verdicts, Usage(calls=1, prompt_tokens=900, completion_tokens=80, money=0.25), run=f"run-{judge}"
        )
    cache.close()
    return path


def test_what_is_kept_and_what_it_cost(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rubric", "cache", str(kept)]) == 0
    shown = capsys.readouterr().out
    assert "aaaa" in shown and "run-bbbb" in shown and "0.25" in shown
    assert main(["rubric", "cache", str(kept), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["judge"]: one["entries"] for one in found["judges"]} == {"aaaa": 3, "bbbb": 5}
    assert found["runs"]["run-aaaa"] == {"calls": 1, "prompt_tokens": 900, "completion_tokens": 80, "money": 0.25}


def test_one_judges_verdicts_are_forgotten(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rubric", "cache", str(kept), "--prune", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forgotten"] == 0, "none is a day old"
    assert main(["rubric", "cache", str(kept), "--prune", "0", "--judge", "aaaa", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forgotten"] == 3
    assert [one.judge for one in Cache(kept).kept()] == ["bbbb"]


@pytest.mark.parametrize(
    ("arguments", "says"), [(["nowhere.sqlite"], "no such file"), (["{kept}", "--prune", "-1"], "number of days")]
)
def test_mistakes(arguments: list[str], says: str, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rubric", "cache", *(argument.format(kept=kept) for argument in arguments)]) == 2
    assert says in capsys.readouterr().err
