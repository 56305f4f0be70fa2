"""What the recorder adds to a call: 64 agents at once, at the recorder and at the server behind it directly.

python -m benchmarks.recorder [--quick]
"""

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.judging import server
from rft.agents.recorder import Line, Recorder
from rft.inference.endpoint import Endpoint
from rft.recipe import Sampling
from rft.types import Task

LATENCY = 0.5
WIDE = 64
OBSERVATION = "a line of output that a command printed\n" * 50


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> str:
    """One call over a connection that is kept; the reply's text."""
    head = f"POST {path}/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)[1])  # type: ignore[index]
    message = json.loads(await reader.readexactly(length))["choices"][0]["message"]
    return str(message["content"])


async def agent(port: int, path: str, calls: int) -> list[float]:
    """Seconds of each call of one agent, whose conversation grows by a screenful of output a turn."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    messages = [{"role": "user", "content": "mend it"}]
    seconds = []
    for _ in range(calls):
        body = json.dumps({"model": "m", "messages": messages}).encode()
        began = time.perf_counter()
        reply = await ask(reader, writer, path, body)
        seconds.append(time.perf_counter() - began)
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": OBSERVATION}]
    writer.close()
    return seconds


async def agents(port: int, paths: Sequence[str], calls: int) -> list[float]:
    """All agents at once, in step as little as real ones."""

    async def late(number: int, path: str) -> list[float]:
        await asyncio.sleep(LATENCY * number / len(paths))
        return await agent(port, path, calls)

    made = await asyncio.gather(*(late(number, path) for number, path in enumerate(paths)))
    return [second for seconds in made for second in seconds]


def measure(port: int, paths: Sequence[str], calls: int) -> list[float]:
    """Milliseconds of each call beyond the server's own time, the agents being in a process of their own."""
    given = json.dumps([port, list(paths), calls])
    command = [sys.executable, "-m", "benchmarks.recorder", "--agents"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return [1000 * (second - LATENCY) for second in json.loads(done.stdout)]


def recorded(url: str, calls: int) -> tuple[list[float], float]:
    """The same through the recorder, and its CPU milliseconds for each call."""
    endpoint = Endpoint(url=url, logprobs=False)
    endpoint.load("m", Sampling())
    recorder = Recorder()
    task = Task(id="t", statement="", split="train", repository="")
    deadline = time.monotonic() + 3600
    lines = [Line(endpoint.open(task, seed=number), deadline=deadline) for number in range(WIDE)]
    with contextlib.ExitStack() as stack:
        keys = [stack.enter_context(recorder.open(line)) for line in lines]
        began = time.process_time()
        seconds = measure(recorder.port, [f"/t/{key}/v1" for key in keys], calls)
        spent = time.process_time() - began
    attempts = [line.close() for line in lines]
    assert all(len(attempt.steps) == calls and not any(s.shown for s in attempt.steps) for attempt in attempts)
    recorder.close()
    endpoint.close()
    return seconds, 1000 * spent / len(seconds)


def main() -> None:
    """Print a table; or, with --agents, be the agents."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--agents", action="store_true")
    options = parser.parse_args()
    if options.agents:
        print(json.dumps(asyncio.run(agents(*json.loads(sys.stdin.read())))))
        return
    calls = 5 if options.quick else 20
    table = Table(title=f"{WIDE} agents at once, {calls} calls each, a server that takes {LATENCY} s")
    for name in ("", "ms beside it, median", "mean", "95 of 100 below", "CPU ms a call"):
        table.add_column(name, justify="left" if not name else "right")
    with server(LATENCY) as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        direct = measure(port, ["/v1"] * WIDE, calls)
        through, spent = recorded(url, calls)
    for name, found, cpu in (("directly", direct, ""), ("through the recorder", through, f"{spent:.2f}")):
        high = sorted(found)[len(found) * 95 // 100]
        table.add_row(name, f"{statistics.median(found):.1f}", f"{statistics.mean(found):.1f}", f"{high:.1f}", cpu)
    Console().print(table)
    print(f"the recorder adds {statistics.median(through) - statistics.median(direct):.1f} ms to the median call")


if __name__ == "__main__":
    main()
