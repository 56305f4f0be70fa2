"""How results leave the sandbox: the command around a suite's command, and what its output means.

The sandbox's own output pipe is the channel. Its reader is outside of the reach of everything that the command starts,
and what was written to it can be neither changed nor taken back. The command's standard output and error lead
elsewhere, so that printing says nothing; a line counts only when it starts with a word that is made for this run,
handed over through a pipe that is read once, and stands in no file, argument or environment variable.
"""

import json
import secrets
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from rft.environments.grading.parsers.said import BAD, worst
from rft.environments.grading.results import LOG, Results, cut_short
from rft.types import Execution

WORD_FILE = ".rft-word"
_REPORTED = """\
read -r word <{word_file}; rm -f {word_file}
folder=$(mktemp -d) && log=$(mktemp) || exit 126
cat >"$folder/{module}.py" <<'{end}'
{plugin}
{end}
exec 9>&1 8< <(printf '%s\\n' "$word")
export RFT_PYTHONPATH="${{PYTHONPATH-}}" RFT_PYTEST_ADDOPTS="${{PYTEST_ADDOPTS-}}"
export PYTHONPATH="$folder${{PYTHONPATH:+:$PYTHONPATH}}" PYTEST_ADDOPTS="${{PYTEST_ADDOPTS-}} -p {module}"
bash -c {command} >"$log" 2>&1 </dev/null
code=$?
printf '\\n%s log\\n' "$word"
tail -c {kept} "$log"
exit $code
"""


def new_word() -> str:
    """A word that nobody can guess."""
    return secrets.token_hex(16)


def reported(command: str) -> str:
    """The bash command that runs `command`, which starts pytest, and gives the plugin's lines as its output.

    The word is read from WORD_FILE in the working directory, which is removed first.
    """
    return _REPORTED.format(
        word_file=WORD_FILE,
        module=f"rft_{secrets.token_hex(6)}",
        end=f"end-{secrets.token_hex(6)}",
        plugin=_plugin(),
        command=shlex.quote(command),
        kept=LOG,
    )


def printed(command: str) -> str:
    """The bash command that runs `command` and gives its output and exit code as they are."""
    return f"bash -c {shlex.quote(command)} 2>&1 </dev/null"


@cache
def _plugin() -> str:
    return Path(__file__).with_name("plugin.py").read_text(encoding="utf-8")


def read(execution: Execution, word: str) -> Results:
    """The results in the output of a `reported` command. Never raises: what cannot be believed is a `problem`."""
    report, _, log = execution.output.partition(f"\n{word} log\n")
    said: list[list[Any]] = []
    strange = 0
    for line in report.split("\n"):
        fields = _fields(line, word)
        if fields:
            said.append(fields)
        elif line:
            strange += 1
    tests: dict[str, str] = {}
    for fields in said:
        if fields[0] == "test":
            name, status = fields[1], _status(*fields[2:])
            tests[name] = worst(tests.get(name, status), status)
    forged = [f"{strange} lines came over the grader's channel that it did not write"] if strange else []
    problem = _contradiction(said, tests, execution)
    if problem and (execution.exit_code == 0 or _hides_failures(said, tests)):
        forged.append(problem)
    return Results(
        tests=tests, started=any(f[0] == "begin" for f in said), problem=problem, forged=forged, log=log[-LOG:]
    )


def _fields(line: str, word: str) -> list[Any]:
    """The fields of a signed line; none for any other."""
    if not line.startswith(f"{word} "):
        return []
    try:
        fields = json.loads(line[len(word) + 1 :])
    except ValueError:
        return []
    shapes = {"begin": [], "broken": [str], "test": [str, str, str, bool], "finish": [int, int]}
    if not (isinstance(fields, list) and fields and fields[0] in shapes):
        return []
    return fields if [type(item) for item in fields[1:]] == shapes[fields[0]] else []


def _status(when: str, outcome: str, was_xfail: bool) -> str:
    """The status that pytest's own summary would give."""
    if outcome == "failed":
        return "failed" if when == "call" else "error"
    if was_xfail:
        return "xfailed" if outcome == "skipped" else "xpassed"
    return "skipped" if outcome == "skipped" else "passed"


def _hides_failures(said: list[list[Any]], tests: dict[str, str]) -> bool:
    """pytest counted failures, and none was reported."""
    is_clean = not any(status in BAD for status in tests.values()) and not any(f[0] == "broken" for f in said)
    return is_clean and any(fields[0] == "finish" and fields[2] == 1 for fields in said)


def _contradiction(said: list[list[Any]], tests: dict[str, str], execution: Execution) -> str:
    """What shows that the run did not end as it should; empty when it did."""
    if problem := cut_short(execution):
        return problem
    finishes = [fields for fields in said if fields[0] == "finish"]
    if not finishes:
        return f"the run ended early with exit code {execution.exit_code}"
    _, count, status = finishes[-1]
    if count != sum(fields[0] == "test" for fields in said) or len(finishes) > 1:
        return "the number of results is not the number of tests"
    bad = any(status in BAD for status in tests.values()) or any(f[0] == "broken" for f in said)
    if bad and 0 in (status, execution.exit_code):
        return "tests failed and the exit code says that none did"
    if not bad and tests and (status, execution.exit_code) != (0, 0):
        return f"no test failed and the exit code is {execution.exit_code}"
    return ""
