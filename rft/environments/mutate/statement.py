"""The statement of a bug, from what failing tests say: behaviour, and nothing of where or how it was made."""

import re

SHOWN, LINES, CHARACTERS = 3, 6, 160
"""How many tests are told of, lines of each message, and characters of a line."""
_ADDRESS = re.compile(r"(?:0?x|(?<=\.\.\.))[0-9a-fA-F]{6,}")
"""As Python prints one, also where pytest has cut a line in its middle."""
_FOLDER = re.compile(r"(/[\w.+-]+)+/(?=[\w.-]+)")


def statement(package: str, said: dict[str, str], broken: list[str]) -> str:
    """What an agent is told: some failing tests, and what they show. `said` holds their messages."""
    lines = [f"{package} misbehaves. What its tests show:", ""]
    told = [name for name in broken if said.get(name)]
    for name in (told or broken)[:SHOWN]:
        lines += [f"- {name}", *(f"      {line}" for line in _message(said.get(name, "")))]
    more = len(broken) - min(len(told or broken), SHOWN)
    tests = "1 more test fails" if more == 1 else f"{more} more tests fail"
    lines += ["", *([f"{tests} for the same reason."] if more else [])]
    lines += ["The tests are right. Find the cause in the package and mend it; leave the tests alone."]
    return "\n".join(lines) + "\n"


def _message(text: str) -> list[str]:
    rows = [row.rstrip() for row in text.splitlines() if row.strip()]
    rows = [_FOLDER.sub("", _ADDRESS.sub("0x…", row)) for row in rows[:LINES]]
    return [row if len(row) <= CHARACTERS else row[: CHARACTERS - 1] + "…" for row in rows]
