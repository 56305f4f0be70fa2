"""The agent `mini`: mini-swe-agent, unchanged, run inside the sandbox by its own command line.

Source: SWE-agent/mini-swe-agent, version 2 (`pip install 'rft[mini]'`, or in a virtual environment of its own).
"""

import re
import shlex
import sys
from dataclasses import dataclass, field

from msgspec.structs import replace

from rft.agents.attempt import Attempt
from rft.agents.external import External
from rft.interfaces import Conversation, Sandbox
from rft.types import Step, Task

SETTINGS = {
    "MSWEA_CONFIGURED": "true",
    "MSWEA_COST_TRACKING": "ignore_errors",
    "MSWEA_SILENT_STARTUP": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
"""It asks nothing, prints no banner, and looks for no prices on the network."""
_RETURN_CODE = re.compile(r'"returncode": (-?\d+)|<returncode>(-?\d+)</returncode>')


@dataclass(kw_only=True)
class Mini:
    """mini-swe-agent, which works by one tool, bash. Its virtual environment is shown by `sandbox.readable`."""

    python: str = ""
    """The interpreter of the environment that it is installed in; the one that rft runs on when left out."""
    config: list[str] = field(default_factory=lambda: ["mini.yaml"])
    """Its configuration: names of files that it ships, paths inside the sandbox, or `key=value`."""
    max_steps: int = 100
    """The most calls to the policy; the next one is refused."""
    max_tokens: int = 100_000
    """The most tokens that the policy may produce over the whole attempt; after them calls are refused."""
    time_limit: float = 900.0
    """Seconds for the whole attempt; then it is ended."""

    def attempt(self, task: Task, sandbox: Sandbox, conversation: Conversation) -> Attempt:
        """Run it to its end; failures are recorded, not raised."""
        program = External(
            command=self._command(),
            variables=SETTINGS,
            max_steps=self.max_steps,
            max_tokens=self.max_tokens,
            time_limit=self.time_limit,
        )
        attempt = program.attempt(task, sandbox, conversation)
        attempt.steps = [replace(step, exit_code=exit_code(step)) for step in attempt.steps]
        return attempt

    def _command(self) -> str:
        given = [word for spec in self.config for word in ("--config", spec)]
        program = [self.python or sys.executable, "-m", "minisweagent.run.mini", "--yolo", "--exit-immediately"]
        program += ["--agent-class", "default", "--model", "openai/policy", *given]
        folder = 'MSWEA_GLOBAL_CONFIG_DIR="$TMPDIR/mini"'
        return f'{folder} {shlex.join(program)} --output "$TMPDIR/mini.json" --task "$RFT_STATEMENT"'


def exit_code(step: Step) -> int | None:
    """What a command came to, as far as mini told the policy."""
    found = _RETURN_CODE.search(step.observation)
    return int(found[1] or found[2]) if found else None
