"""Published SWE-bench instances, built without containers and graded in the bubblewrap sandbox.

One is built from what PyPI has; seven from git mirrors:
RFT_MIRRORS=<folder of owner__name mirrors> pytest tests/environments/test_real_instances.py -m slow
"""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rft import cli
from rft.sandboxes.bubblewrap import Bubblewrap
from tests.environments.conftest import PYTEST, committed
from tests.environments.published_rows import AGENTLESS, ROWS, RUNNABLE, SANDBOX, built, published, read

pytestmark = pytest.mark.real


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
