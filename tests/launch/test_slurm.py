"""A real Slurm runs the printed job of the quickstart on a Ray cluster over two nodes, and loses nothing on the way."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rft.launch import launch
from rft.store import Records
from rft.types import Trajectory
from tests.launch.slurm import Slurm, missing

SMALL = ("rounds=1", "collect.tasks=5", "collect.samples=4", "evaluate.tasks=4", "evaluate.samples=1")
PATIENCE = 2400
"""Seconds for all that a job does; some two minutes on a machine of its own."""
NOTING = """
import os
from pathlib import Path
from rft.inference.local import Local

class Noting(Local):
    def load(self, model, sampling):
        import ray
        Path(os.environ["NOTES"], os.environ["SLURMD_NODENAME"]).touch()
        super().load(model, sampling)
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


class Job:
    """The quickstart as a job, submitted."""

    def __init__(self, slurm: Slurm) -> None:
        self.slurm = slurm
        self.script = slurm.folder / "job.sh"
        given = ["nodes=2", "cpus=1", f"folder={slurm.folder}", "policy.inference.use=noting:Noting", *SMALL]
        self.script.write_text(launch("slurm", "quickstart", given))
        self.round = slurm.folder / "runs/quickstart/round_01"
        self.submit()

    def submit(self) -> None:
        """Queue it; the script is the same each time."""
        self.number = self.slurm.submit(self.script)

    def state(self) -> str:
        """Such as RUNNING."""
        return self.slurm.job(self.number)["JobState"]

    def wait_until(self, stage: str, ready: int) -> None:
        """Until a stage of round 1 is under way and has so many lines of trajectories."""
        folder = self.round / stage

        def there() -> bool:
            assert not (folder / "manifest.json").exists(), f"{stage} was over before it could be disturbed"
            assert self.state() in ("PENDING", "RUNNING", "COMPLETING"), log(self.slurm)
            path = folder / "trajectories.jsonl"
            lines = path.read_bytes().count(b"\n") if ready and path.exists() else 0
            return (folder / "started.json").exists() and lines >= ready

        self.slurm.wait_for(there, PATIENCE)

    def restarts(self) -> int:
        """How often Slurm has queued it again."""
        return int(self.slurm.job(self.number)["Restarts"])

    def finish(self) -> str:
        """Its state at the end."""
        self.slurm.wait_for(lambda: self.state() not in ("PENDING", "RUNNING", "COMPLETING"), PATIENCE)
        return self.state()

    def ids(self, stage: str) -> list[str]:
        """Of a stage's trajectories, in the order they were finished."""
        return [one.id for one in Records(self.round / stage / "trajectories.jsonl", Trajectory)]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    (tmp_path / "notes").mkdir()
    (tmp_path / "noting.py").write_text(NOTING)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with Slurm(tmp_path).up() as slurm:
        yield slurm


def test_the_quickstart_runs_to_its_end_on_both_nodes(slurm: Slurm) -> None:
    began = time.monotonic()
    job = Job(slurm)
    assert job.finish() == "COMPLETED", log(slurm)
    print(f"took {time.monotonic() - began:.0f} s")
    assert len(set(job.ids("1_collect"))) == 20
    assert (job.round / "5_evaluate/manifest.json").exists()
    assert sorted(path.name for path in (slurm.folder / "notes").iterdir()) == ["one", "two"]


def test_the_same_job_carries_on_whatever_stops_it(slurm: Slurm) -> None:
    job = Job(slurm)
    job.wait_until("1_collect", 5)
    slurm.kill_node("one")
    collected = job.ids("1_collect")
    slurm.start_node("one")
    slurm.wait_for(lambda: job.restarts() == 1, 300)

    for restarts, stage in enumerate(("2_score", "4_train"), start=2):
        job.wait_until(stage, 0)
        slurm.run("scontrol", "requeue", job.number)
        slurm.wait_for(lambda wanted=restarts: job.restarts() == wanted, 300)  # type: ignore[misc]

    job.wait_until("5_evaluate", 1)
    slurm.run("scancel", job.number)
    assert job.finish() == "CANCELLED"
    evaluated = job.ids("5_evaluate")
    job.submit()
    assert job.finish() == "COMPLETED", log(slurm)

    for stage, kept, count in (("1_collect", collected, 20), ("5_evaluate", evaluated, 4)):
        made = job.ids(stage)
        assert kept and made[: len(kept)] == kept, f"{stage}: what was finished was made again"
        assert len(made) == len(set(made)) == count
    assert all((job.round / f"{stage}/manifest.json").exists() for stage in ("2_score", "3_select", "4_train"))
    assert sorted(path.name for path in (slurm.folder / "notes").iterdir()) == ["one", "two"]


def log(slurm: Slurm) -> str:
    """What the jobs said."""
    return "\n".join(path.read_text(errors="replace")[-4000:] for path in slurm.folder.glob("quickstart-*.log"))
