"""SWE-bench's rows that lie beside the checkout, those that were seen to run, and what they are built with."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rft.environments.swebench import SweBench
from rft.errors import EnvironmentFault
from rft.types import Task

DATA = Path(__file__).parents[2].parent / "shared/data/swebench"
ROWS, VERIFIED = DATA / "pure_python_5repos.jsonl", DATA / "verified_runnable.jsonl"
AGENTLESS = DATA / "agentless_patches"
SANDBOX = {"memory": "2g", "disk": "1g", "cpu": 1800, "timeout": 300}


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none where it is not here."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


RUNNABLE = read(VERIFIED)


def published(identity: str) -> dict[str, Any]:
    """An instance's row."""
    return next(row for row in read(ROWS) if row["instance_id"] == identity)


def specs(folder: Path, facts: dict[str, Any]) -> Path:
    """What the instance was seen to need, in SWE-bench's form."""
    row = published(facts["instance_id"])
    minor = ".".join(facts["python"].split(".")[:2])
    needs = {"python": minor, "pip_packages": facts["pip"], "install": "python -m pip install -e ."}
    path = folder / "specs.json"
    path.write_text(json.dumps({row["repo"]: {row["version"]: needs}}))
    return path


def built(facts: dict[str, Any], folder: Path) -> tuple[SweBench, Task]:
    """The environment of one instance that was seen to run, and its task; skips where something for it is not here."""
    swe = SweBench(
        path=str(ROWS),
        instances=[facts["instance_id"]],
        repositories=os.environ.get("RFT_MIRRORS", ""),
        specs=[str(DATA / "env_specs_v4.1.0.json"), str(specs(folder, facts))],
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
    return swe, task
