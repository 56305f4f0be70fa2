"""Short ways to write transcripts for the tests of this folder."""

from typing import Any

from reward_models.types import Transcript, TranscriptStep

PATCH = "--- a/days.py\n+++ b/days.py\n@@ -15 +15 @@\n-    return a < b\n+    return a <= b\n"
FAILED = ("python check.py f", "FAILED 2 of 4 tests", 1)
PASSED = ("python check.py f", "OK 4 tests", 0)
LOOK = ("grep -n -A8 'def f(' days.py", "14:def f(a, b):\n15-    return a < b", 0)
EDIT = ("sed -i '15s/</<=/' days.py", "", 0)
WORSE = ("sed -i '15s/</!=/' days.py", "", 0)
UNDO = ("git checkout -q days.py", "", 0)
SUBMIT = ("submit", "", None)


def transcript(*steps: tuple[str | None, str, int | None], **changes: Any) -> Transcript:
    """A transcript of (command, output, exit code) steps, submitted when its last command says so."""
    fields: dict[str, Any] = {
        "id": "days-1/0/0",
        "task_id": "days-1",
        "statement": "f is wrong at the boundary",
        "steps": [
            TranscriptStep(index=n, text=f"{command}", command=command, output=output, exit_code=code)
            for n, (command, output, code) in enumerate(steps, 1)
        ],
        "patch": PATCH,
        "stop": "submitted" if steps and steps[-1] == SUBMIT else "step_limit",
        "resolved": True,
        "protected": ["test_*", "check.py"],
    }
    return Transcript(**(fields | changes))
