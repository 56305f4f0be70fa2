"""Published SWE-bench instances, built without containers and graded in the bubblewrap sandbox.

One is built from what PyPI has; seven from git mirrors:
RFT_MIRRORS=<folder of owner__name mirrors> pytest tests/environments/test_real_instances.py -m slow
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rft import cli
from rft.environments.swebench import SweBench
from rft.errors import EnvironmentFault
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.types import Task
from tests.environments.conftest import PYTEST, committed

DATA = Path(__file__).parent.parent.parent.parent / "shared/data/swebench"
ROWS, VERIFIED = DATA / "pure_python_5repos.jsonl", DATA / "verified_runnable.jsonl"
AGENTLESS = DATA / "agentless_patches"
SANDBOX = {"memory": "2g", "disk": "1g", "cpu": 1800, "timeout": 300}

pytestmark = pytest.mark.real


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none where it is not here."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


RUNNABLE = read(VERIFIED)


def published(identity: str) -> dict[str, Any]:
    """An instance's row."""
    return next(row for row in read(ROWS) if row["instance_id"] == identity)


@pytest.fixture
def from_pypi(tmp_path: Path) -> Path:
    """A folder with marshmallow-2123's row and a mirror, in which release 3.20.0 without the fix stands for its base.

    Two names in the row's lists are cut inside a parameter.
    """
    row = published("marshmallow-code__marshmallow-2123")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(tmp_path)]
    done = subprocess.run([*command, "marshmallow==3.20.0"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"PyPI cannot be reached: {done.stderr[-200:]}")
    with tarfile.open(tmp_path / "marshmallow-3.20.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    mirror = tmp_path / "mirrors/marshmallow-code__marshmallow"
    mirror.parent.mkdir()
    (tmp_path / "marshmallow-3.20.0").rename(mirror)
    committed(mirror, "fixed")
    for patch in (row["patch"], row["test_patch"]):
        subprocess.run(["git", "apply", "-R"], cwd=mirror, input=patch, text=True, check=True)
    row["base_commit"] = committed(mirror, "base")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    needs = {"pip_packages": [PYTEST, "simplejson", "pytz"], "install": "python -m pip install -e ."}
    (tmp_path / "specs.json").write_text(json.dumps({row["repo"]: {row["version"]: needs}}))
    return tmp_path


@pytest.mark.process
@pytest.mark.skipif(not ROWS.is_file(), reason="no SWE-bench rows beside the checkout")
def test_what_pypi_has_is_enough_to_check_one(
    from_pypi: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := Bubblewrap(**SANDBOX).missing():
        pytest.skip(reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(from_pypi / "cache"))
    environment = {
        "path": from_pypi / "rows.jsonl",
        "repositories": from_pypi / "mirrors",
        "specs": f"[{from_pypi / 'specs.json'}]",
    }
    overrides = [f"environment.{key}={value}" for key, value in environment.items()]
    assert cli.main(["check", "swe_bench_eval", *overrides, "--deep"]) == 0, capsys.readouterr()


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


@pytest.mark.slow
@pytest.mark.parametrize("facts", RUNNABLE, ids=lambda facts: facts["instance_id"])
def test_gold_resolves_it_and_nothing_does_not(facts: dict[str, Any], tmp_path: Path) -> None:
    swe, task = built(facts, tmp_path)
    sandboxes = Bubblewrap(**SANDBOX)
    before = swe.grade(task, "", sandboxes)
    after = swe.grade(task, task.gold_patch, sandboxes)
    assert before.resolved is False
    assert not any(before.tests[name] == "passed" for name in task.fail_to_pass)
    assert all(before.tests[name] == "passed" for name in task.pass_to_pass)
    assert after.resolved is True, {name: status for name, status in after.tests.items() if status != "passed"}
    assert all(after.tests[name] == "passed" for name in task.pass_to_pass)


@pytest.mark.slow
@pytest.mark.parametrize("facts", RUNNABLE, ids=lambda facts: facts["instance_id"])
def test_patches_of_a_model_get_the_verdicts_that_others_gave(facts: dict[str, Any], tmp_path: Path) -> None:
    """Ten samples an instance, which swebench's own parser and grader judged."""
    own = [row for row in read(AGENTLESS / "predictions_10samples.jsonl") if row["instance_id"] == facts["instance_id"]]
    given = read(AGENTLESS / "local_verdicts.jsonl")
    status = {row["sample"]: row["status"] for row in given if row["instance_id"] == facts["instance_id"]}
    if not status:
        pytest.skip("no patches of a model were judged for it")
    swe, task = built(facts, tmp_path)
    expected = {row["model_patch"]: status[row["sample"]] == "RESOLVED_FULL" for row in own}
    found = {patch: swe.grade(task, patch, Bubblewrap(**SANDBOX)).resolved for patch in expected}
    assert found == expected
