"""What reward_models/README.md shows is what happens."""

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest

from rft.cli import main

README = Path(__file__).parents[2] / "reward_models" / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's rubric."""
    monkeypatch.chdir(tmp_path)
    Path("helpful.yaml").write_text(blocks("yaml")[0])
    return tmp_path


def test_every_python_example_gives_what_it_says(here: Path) -> None:
    session = "\n".join(blocks("python"))
    test = doctest.DocTestParser().get_doctest(session, {}, "README", str(README), 0)
    told: list[str] = []
    found = doctest.DocTestRunner().run(test, out=told.append)
    assert found.attempted > 20 and not found.failed, "".join(told)


def test_the_commands_are_commands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat = {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "done"}]}
    Path("chats.jsonl").write_text(json.dumps(chat) + "\n")
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert [line.split()[:3] for line in lines] == [["rft", "rubric", "score"]] * 2
    assert main(shlex.split(lines[0])[1:]) == 0 and Path("reports.jsonl").stat().st_size
    nobody = lines[1].replace("localhost:8000", "127.0.0.1:9")
    assert main([*shlex.split(nobody)[1:], "tries=1"]) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (
        "the judge answered on none of 1 attempts" in captured.err
        and report["score"] is None
        and "127.0.0.1:9" in report["failure"]
    )


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (README.parent / target).exists(), target
