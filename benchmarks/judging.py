"""Judging at a server that takes 300 ms for a reply: the rate, and what verdicts from the cache cost.

python -m benchmarks.judging [--quick]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reward_models import rubric as rubrics
from reward_models.cache import Cache, Keys
from reward_models.types import Criterion, Rubric, Verdict
from rft.recipe import Policy, Recipe, Score
from rft.score import reports
from rft.store import Records
from rft.types import Message, Outcome, Step, StopReason, Trajectory

LATENCY = 0.3
WIDE = 64
CRITERIA = 10
STEPS = 8


def trajectory(number: int) -> Trajectory:
    """An attempt of some thousand characters, unlike all others."""
    lines = "\n".join(f"{number} {line} some output of a command that was run" for line in range(12))
    steps = [
        Step(index=n, reply=f"Next, look at {number}.\npython check.py", command="python check.py", observation=lines)
        for n in range(1, STEPS + 1)
    ]
    return Trajectory(
        id=f"task-{number}/1/0",
        task_id=f"task-{number}",
        split="train",
        round=1,
        sample=0,
        seed=0,
        prompt=[Message(role="user", content=f"mend function {number}")],
        steps=steps,
        patch=f"--- a/f{number}.py\n+++ b/f{number}.py\n",
        stop=StopReason.SUBMITTED,
        outcome=Outcome(resolved=True),
    )


def write(path: Path, count: int) -> Path:
    """So many attempts, stored."""
    with Records(path, Trajectory).writer() as append:
        for number in range(count):
            append(trajectory(number))
    return path


def recipe(folder: Path, url: str, **judge: object) -> Recipe:
    """A rubric of ten questions at a server."""
    criteria = [{"id": f"q{n}", "question": f"Did the agent do what {n} asks for?"} for n in range(CRITERIA)]
    rubric = folder / "ten.yaml"
    rubric.write_text(json.dumps({"name": "ten", "criteria": criteria}))
    section = {"use": "endpoint", "model": "m", "url": url, "concurrent": WIDE, **judge}
    return Recipe(
        name="bench",
        runs=str(folder),
        environment={"use": "kata"},
        policy=Policy(model="none"),
        score=Score(rubric=str(rubric), judge=section),
    )


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The base of a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.slow_judge", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def rate(transcripts: int, per_call: int) -> tuple[float, float]:
    """Seconds for judging, and the least that so many calls can take."""
    with tempfile.TemporaryDirectory() as folder, server(LATENCY) as url:
        path = write(Path(folder) / "t.jsonl", transcripts)
        began = time.monotonic()
        attempts = Records(path, Trajectory)
        tally = reports(recipe(Path(folder), url, per_call=per_call), attempts, Path(folder) / "r.jsonl")
        seconds = time.monotonic() - began
        assert tally.scored == transcripts and not tally.unknown
        return seconds, tally.calls * LATENCY / WIDE


def hits(transcripts: int) -> float:
    """Verdicts a second from a cache, ten to a look-up, as the stage asks for them."""
    rubric = Rubric(name="r", criteria=[])
    criteria = [Criterion(id=f"q{n}", question=f"Did the agent do what {n} asks for?") for n in range(CRITERIA)]
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder) / "v.sqlite")
        lots = []
        for number in range(transcripts):
            keys = Keys("judge", rubric, str(number))
            lots.append([keys.of(criterion, 0) for criterion in criteria])
            why = "the agent ran the check before it changed a file, and again after it"
            cache.put("judge", {key: Verdict(criterion="q", value=1.0, steps=[1, 2], why=why) for key in lots[-1]})
        began = time.monotonic()
        found = sum(len(cache.get(lot)) for lot in lots)
        seconds = time.monotonic() - began
        cache.close()
    assert found == transcripts * CRITERIA
    return found / seconds


def one(folder: Path, url: str, again: bool) -> None:
    """Score in this process; the second time from the cache. Prints attempts a second and peak memory in MB."""
    made = recipe(folder, url, tries=1)
    out = folder / f"r{again}.jsonl"
    began = time.monotonic()
    tally = reports(made, Records(folder / "t.jsonl", Trajectory), out)
    seconds = time.monotonic() - began
    assert tally.scored == tally.reports and (not again or tally.calls == 0)
    # The peak of this program alone: ru_maxrss would also remember the process that started it.
    own = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    print(f"{tally.reports / seconds:.0f} {own // 1024}")


def from_cache(count: int) -> tuple[float, int]:
    """Attempts a second and peak memory of scoring stored attempts whose verdicts are all known."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill(folder, count)
        write(folder / "t.jsonl", count)
        command = [sys.executable, "-m", "benchmarks.judging", "--one", str(folder), "http://127.0.0.1:9/v1", "again"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        speed, peak = done.stdout.split()[-2:]
        return float(speed), int(peak)


def fill(folder: Path, count: int) -> None:
    """Put into the cache what a server would have answered, without the hours that it would take."""
    from reward_models.judges.generative import Generative
    from reward_models.transcript import render
    from rft.score.stage import Scorer
    from rft.transcript import to_transcript

    scorer = Scorer(recipe(folder, "http://127.0.0.1:9/v1", tries=1))
    judge, rubric = scorer.judge, rubrics.load(folder / "ten.yaml")
    assert isinstance(judge, Generative) and scorer.account.cache is not None
    why = "the agent ran the check before it changed a file, and again after it"
    for start in range(0, count, 500):
        verdicts: dict[bytes, Verdict] = {}
        for number in range(start, min(count, start + 500)):
            transcript = to_transcript(trajectory(number))
            shown = render(transcript, step_chars=judge.step_chars, chars=judge.transcript_chars)
            keys = Keys(judge.digest(), rubric, shown.text)
            verdicts |= {keys.of(c, 0): Verdict(criterion=c.id, value=1.0, steps=[1], why=why) for c in rubric.criteria}
        scorer.account.cache.put(judge.digest(), verdicts)
    scorer.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "URL", "AGAIN"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(Path(options.one[0]), options.one[1], bool(options.one[2]))
        return
    transcripts = 130 if options.quick else 500
    few, many = (200, 1_000) if options.quick else (10_000, 100_000)
    table = Table("judging", "measured", "ideal", "ratio", "target", title="judging")
    for per_call in (1, 0):
        seconds, least = rate(transcripts, per_call)
        how = "one a call" if per_call else "all in a call"
        table.add_row(
            f"{transcripts} transcripts x {CRITERIA} criteria, {how}, {LATENCY * 1000:.0f} ms, {WIDE} at once",
            f"{seconds:.1f} s",
            f"{least:.1f} s",
            f"{least / seconds:.0%} of ideal",
            ">= 90 %" if per_call else "",
        )
    table.add_row("cache hits a second", f"{hits(few):,.0f}", "", "", ">= 20,000")
    (_, small), (speed, large) = from_cache(few), from_cache(many)
    table.add_row(
        f"peak MB, {few:,} and {many:,} attempts from cache ({speed:.0f} attempts/s)",
        f"{small} and {large}",
        "",
        f"{large / small:.2f}",
        "bounded",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
