"""Rows whose task is their container image: the image's own checkout, its own Python, and no git mirror."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rft.environments import patches
from rft.environments.swebench import SweBench
from rft.errors import EnvironmentFault, SandboxError
from rft.sandboxes.container import Docker
from rft.sandboxes.local import Local
from rft.types import Task
from tests.container_world import LIMITS, daemon, make_image, python_at
from tests.environments.conftest import committed, write

IMAGE = "rft-test:instance"
SUMS = "from _version import VERSION\n\n\ndef total(numbers):\n    return sum(numbers) + 1\n"
FIXED = SUMS.replace(" + 1", "")
TESTS = """\
import only_in_the_image
import sums


def test_total():
    assert sums.total([1, 2]) == 3


def test_version():
    assert sums.VERSION == "1.0"
"""
FILES = {"sums.py": SUMS, ".gitignore": "_version.py\nkept.py\n*.log\n", "kept.py": "tracked = True\n"}
RUN_TESTS = "/opt/miniconda3/envs/testbed/bin/python -m pytest -rA r2e_tests\n"
FIX = patches.make("sums.py", SUMS, FIXED)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """Docker with an image as this family has them, R2E-Gym's tests among it."""
    place = tmp_path_factory.mktemp("docker")
    testbed = write(place / "testbed", FILES)
    subprocess.run(["git", "init", "-q"], cwd=testbed, check=True)
    subprocess.run(["git", "add", "-f", "kept.py"], cwd=testbed, check=True)
    committed(testbed, "base")
    (testbed / "sums.py").write_text(FIXED)
    committed(testbed, "the fix that comes later")
    subprocess.run(["git", "reset", "-q", "--hard", "HEAD~1"], cwd=testbed, check=True)
    (testbed / "_version.py").write_text("VERSION = '1.0'\n")  # made by the image's build, ignored by git
    (testbed / "kept.py").chmod(0o600)
    module = write(place / "module", {"only_in_the_image.py": "", "r2e_tests/test_1.py": TESTS})
    instance = python_at("/opt/miniconda3/envs/testbed") | {"/testbed": testbed}
    library = next(key for key in instance if key.endswith("/os.py")).removesuffix("os.py")
    instance[f"{library}site-packages/only_in_the_image.py"] = module / "only_in_the_image.py"
    script = write(place / "script", {"run_tests.sh": RUN_TESTS}) / "run_tests.sh"
    instance |= {"/r2e_tests/test_1.py": module / "r2e_tests/test_1.py", "/testbed/run_tests.sh": script}
    with daemon(place) as flags:
        provider = Docker(flags=flags, **LIMITS | {"image": ""})
        make_image(provider, place, name=IMAGE, more=instance)
        yield provider


def only(tmp_path: Path, row: dict[str, Any], **options: Any) -> tuple[SweBench, Task]:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"problem_statement": "total is one too many"} | row) + "\n")
    swe = SweBench(path=str(path), **options)
    [task] = swe.tasks("all")
    return swe, task


def added(path: str, text: str) -> str:
    """The git patch that adds a file."""
    head, _, hunks = patches.make(path, "", text).partition("\n")
    return f"{head}\nnew file mode 100644\n{hunks}".replace(f"--- a/{path}", "--- /dev/null")


SWE_BENCH = {
    "repo": "some/sums",
    "instance_id": "some__sums-1",
    "base_commit": "0" * 40,
    "patch": FIX,
    "test_patch": added("test_sums.py", TESTS),
    "FAIL_TO_PASS": json.dumps(["test_sums.py::test_total"]),
    "PASS_TO_PASS": json.dumps(["test_sums.py::test_version"]),
    "eval_script": ": '>>>>> Start Test Output'\npython -m pytest -rA test_sums.py\n: '>>>>> End Test Output'\n",
}
R2E_ROW = {
    "repo_name": "sums",
    "commit_hash": "0" * 40,
    "docker_image": IMAGE,
    "expected_output_json": json.dumps({"test_total": "PASSED", "test_version": "PASSED"}),
}


@pytest.mark.slow
def test_an_image_is_the_task(tmp_path: Path, docker: Docker, cached: Path) -> None:
    swe, task = only(tmp_path, SWE_BENCH | {"image": IMAGE})
    assert swe.grade(task, "", docker).resolved is False
    outcome = swe.grade(task, task.gold_patch, docker)
    assert outcome.resolved is True
    assert outcome.tests == {"test_sums.py::test_total": "passed", "test_sums.py::test_version": "passed"}
    sandbox = docker.open(swe.start_state(task))
    try:
        assert sandbox.run("command -v python").output == "/opt/miniconda3/envs/testbed/bin/python\n"
        assert len(sandbox.run("git log --all --oneline; cat .git/objects/pack/* 2>&1").output.splitlines()) == 2
        assert sandbox.run("git status --porcelain").output == ""
        assert sandbox.run("git ls-files").output.split() == [".gitignore", "kept.py", "run_tests.sh", "sums.py"]
        sandbox.run("sed -i 's/ + 1//' sums.py; echo y > x.log; echo z > _version.py; echo 1 >> kept.py")
        changed = {path for file in patches.read(sandbox.diff()) for path in file.paths}
        assert changed == {"sums.py", "kept.py"}, "what the checkout ignores and does not track is no part of an answer"
    finally:
        sandbox.close()


@pytest.mark.slow
def test_an_image_of_swe_smith_gets_its_bug(tmp_path: Path, docker: Docker, cached: Path) -> None:
    """The image's checkout is sound here (a patch undoes the slip first), so the row's patch is what breaks it."""
    worse = patches.make("sums.py", SUMS, SUMS.replace("sum(numbers)", "len(numbers)"))
    row = {"instance_id": "x", "repo": "swesmith/some__sums.1234567", "patch": worse, "image_name": IMAGE}
    swe, task = only(tmp_path, row | {"FAIL_TO_PASS": ["a.py::test"], "PASS_TO_PASS": []})
    sandbox = docker.open(swe.start_state(task))
    try:
        assert "len(numbers)" in sandbox.run("cat sums.py").output
    finally:
        sandbox.close()


@pytest.mark.slow
def test_the_tests_of_r2e_gym_come_with_grading_alone(tmp_path: Path, docker: Docker, cached: Path) -> None:
    swe, task = only(tmp_path, R2E_ROW)
    assert swe.grade(task, "", docker).resolved is False
    assert swe.grade(task, FIX, docker).resolved is True
    cheat = added("r2e_tests/conftest.py", "collect_ignore = ['test_1.py']\n")
    graded = swe.grade(task, FIX + cheat, docker)
    assert graded.resolved is True and graded.tampered == ["r2e_tests/conftest.py"]
    sandbox = docker.open(swe.start_state(task))
    try:
        assert sandbox.run("ls -A /r2e_tests").output == ""
        assert "test" not in sandbox.run("ls -A").output
    finally:
        sandbox.close()


def test_a_sandbox_without_containers_says_what_it_lacks(tmp_path: Path) -> None:
    swe, task = only(tmp_path, SWE_BENCH, image="swebench/sweb.eval.x86_64.{hub_id}:latest")
    assert task.meta["image"] == "swebench/sweb.eval.x86_64.some_1776_sums-1:latest"
    with pytest.raises(SandboxError, match=r"files are in the image.*expected sandbox\.use=docker or podman"):
        Local().open(swe.start_state(task))
    swe, task = only(tmp_path, SWE_BENCH)
    with pytest.raises(EnvironmentFault, match="its row names no container image"):
        swe.start_state(task)
