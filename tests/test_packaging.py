"""The wheel: two import names, the content under rft/_data, the shipped data, and it works away from the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.process
def test_the_wheel_holds_what_it_needs_and_runs_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("rft-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"rft", "reward_models"}
    for needed in (
        "rft/_data/recipes/quickstart.yaml",
        "rft/_data/recipes/models/kata-base/model.safetensors",
        "rft/_data/launch/deepspeed/zero2.json",
        "rft/_data/launch/slurm.sh.jinja",
        "rft/_data/launch/slurm.md",
        "rft/_data/recipes/METHODS.md",
        "rft/environments/kata/tasks.jsonl",
        "rft/environments/kata/packages/spans/test_spans.py",
        "rft/agents/prompts/bash.jinja",
        "reward_models/rubrics/coding_agent.yaml",
        "rft/py.typed",
    ):
        assert needed in names
    assert wheel.stat().st_size < 12_000_000
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    code = f"import sys; sys.path.insert(0, {str(target)!r}); from rft.cli import main; "
    code += "sys.exit(main(['check', 'quickstart']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "64 tasks x 8 samples" in done.stdout
