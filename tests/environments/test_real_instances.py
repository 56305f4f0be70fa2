"""Published SWE-bench instances, built from git mirrors without containers and graded in the bubblewrap sandbox.

RFT_MIRRORS=<folder of owner__name mirrors> pytest tests/environments/test_real_instances.py -m slow
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rft.environments.swebench import SweBench
from rft.errors import EnvironmentFault
from rft.sandboxes.bubblewrap import Bubblewrap

DATA = Path(__file__).parent.parent.parent.parent / "shared/data/swebench"
ROWS, VERIFIED = DATA / "pure_python_5repos.jsonl", DATA / "verified_runnable.jsonl"
RUNNABLE = [json.loads(line) for line in VERIFIED.read_text().splitlines()] if VERIFIED.is_file() else []
SANDBOX = {"memory": "2g", "disk": "1g", "cpu": 1800, "timeout": 300}

pytestmark = [pytest.mark.slow, pytest.mark.real]


def specs(folder: Path, facts: dict[str, Any]) -> Path:
    """What the instance was seen to need, in SWE-bench's form."""
    rows = (json.loads(line) for line in ROWS.read_text().splitlines())
    row = next(row for row in rows if row["instance_id"] == facts["instance_id"])
    minor = ".".join(facts["python"].split(".")[:2])
    needs = {"python": minor, "pip_packages": facts["pip"], "install": "python -m pip install -e ."}
    path = folder / "specs.json"
    path.write_text(json.dumps({row["repo"]: {row["version"]: needs}}))
    return path


@pytest.mark.parametrize("facts", RUNNABLE, ids=lambda facts: facts["instance_id"])
def test_gold_resolves_it_and_nothing_does_not(facts: dict[str, Any], tmp_path: Path) -> None:
    swe = SweBench(
        path=str(ROWS),
        instances=[facts["instance_id"]],
        repositories=os.environ.get("RFT_MIRRORS", ""),
        specs=[str(DATA / "env_specs_v4.1.0.json"), str(specs(tmp_path, facts))],
        packages=[],
    )
    [task] = swe.tasks("all")
    try:
        if not swe.repositories:
            pytest.skip("RFT_MIRRORS names no folder of mirrors")
        swe.start_state(task)
    except EnvironmentFault as error:
        if "no mirror of" in str(error) or "no Python" in str(error):
            pytest.skip(str(error))
        raise
    sandboxes = Bubblewrap(**SANDBOX)
    before = swe.grade(task, "", sandboxes)
    after = swe.grade(task, task.gold_patch, sandboxes)
    assert before.resolved is False
    assert not any(before.tests[name] == "passed" for name in task.fail_to_pass)
    assert all(before.tests[name] == "passed" for name in task.pass_to_pass)
    assert after.resolved is True, {name: status for name, status in after.tests.items() if status != "passed"}
    assert all(after.tests[name] == "passed" for name in task.pass_to_pass)
