"""What a user waits for and what every process pays: start-up without heavy libraries."""

import subprocess
import sys
import time

import pytest

LIGHT = """
import sys, {module}
heavy = {{"torch", "ray", "trl", "transformers", "wandb", "deepspeed"}} & sys.modules.keys()
sys.exit(str(heavy) if heavy else 0)
"""


@pytest.mark.parametrize(
    "module", ["rft.cli", "rft.loop", "rft.recipe", "reward_models.rules", "reward_models.judges", "rft.view.terminal"]
)
def test_imports_stay_light(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT.format(module=module)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_answers_at_once() -> None:
    """Held against the bare interpreter, since machines differ: at most 0.25 s on top of it, in the best of five."""
    bare = min(seconds([sys.executable, "-c", "pass"]) for _ in range(5))
    help_ = min(seconds([sys.executable, "-m", "rft.cli", "--help"]) for _ in range(5))
    assert help_ - bare < 0.25


def seconds(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began
