"""runs/<name>/round_NN/<n>_<stage>/: what is done, what is owed, and from what it was made.

A stage first writes `started.json` (what it reads), then its records, and its `manifest.json` last, by rename:
the manifest's existence means that the stage is done, and nothing else does. Round 0 is the starting policy,
which is only evaluated; training rounds count from 1.
"""

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import OmegaConf

from rft import store
from rft.errors import RecipeError, StageError, StoreError, did_you_mean
from rft.presence import present
from rft.recipe import Recipe, dump, shipped_model, to_config
from rft.types import Record

STAGES = ("collect", "score", "select", "train", "evaluate")

_SCORING = tuple(f"score.{key}" for key in ("rubric", "judge", "votes", "unknown", "ask_again", "outage"))
_TRAINING = tuple(
    f"train.{key}"
    for key in ("method", "learn", "tokens", "workers", "update", "deepspeed", "lora", "quantization", "grpo", "trl")
)
READS: dict[str, tuple[str, ...]] = {
    "import": ("collect.imports",),
    "collect": (
        *("seed", "policy.model", "policy.create", "policy.sampling", "environment", "sandbox", "agent"),
        *("collect.split", "collect.tasks", "collect.samples", "collect.inference"),
    ),
    "score": ("seed", *_SCORING, "score.skip", "score.dropout", "score.audit"),
    "select": ("seed", "select", "policy.model", "policy.judging"),
    "train": ("seed", *_TRAINING, "policy.model", "policy.sampling.temperature"),
    "evaluate": (
        *("seed", "policy.model", "policy.sampling", "policy.judging", "environment", "sandbox", "agent", *_SCORING),
        *("evaluate.rubric", "evaluate.splits", "evaluate.tasks", "evaluate.samples", "evaluate.promote_if"),
    ),
}
"""The recipe keys that decide what a stage makes. Keys about where, how fast and
for how much (pools, engines, caches, budgets) may change."""
ASK_THE_POLICY = ("collect", "train")
"""Stages that begin with the round's policy, and so with what an earlier round's training left."""


class Manifest(Record, frozen=True, kw_only=True):
    """What a finished stage was made from and what it made."""

    stage: str
    round: int
    reads: dict[str, Any]
    """Dotted recipe key to the value that was used."""
    inputs: dict[str, str]
    """File, relative to the run, to its digest."""
    outputs: dict[str, str] = {}
    counts: dict[str, int] = {}
    metrics: dict[str, float] = {}
    seconds: float = 0.0
    versions: dict[str, str] = {}


class Stage:
    """One stage of one round: its folder and its manifest."""

    def __init__(self, run: "Run", round: int, name: str) -> None:
        self.run = run
        self.round = round
        self.name = name
        self.path = run.path / f"round_{round:02d}" / f"{STAGES.index(name) + 1}_{name}"
        self._began = time.monotonic()

    def manifest(self) -> Manifest | None:
        """The finished stage's manifest, None while it is not finished. Raises StoreError when it cannot be read."""
        return _read_manifest(self.path / "manifest.json")

    def require(self) -> Manifest:
        """The manifest of a stage that another one reads. Raises StageError when it is not finished."""
        manifest = self.manifest()
        if manifest is None:
            raise StageError(
                f"{self.path}: not finished; the next stage reads it. Run `rft {self.name}` or `rft run` first."
            )
        return manifest

    def start(self, inputs: Iterable[Path] = (), *, redo: bool = False) -> bool:
        """Make ready to work; False when the stage is done and nothing that it reads has changed.

        Raises StageError that names what changed, whether the stage is finished or half done; `redo` throws
        the old work away instead.
        """
        self._began = time.monotonic()
        now = Manifest(
            stage=self.name,
            round=self.round,
            reads=self.run.reads(self.name, self.round),
            inputs=self._policy() | {self._relative(path): store.digest_path(path) for path in inputs},
        )
        if redo and self.path.exists():
            shutil.rmtree(self.path)
        before = self.manifest() or _read_manifest(self.path / "started.json")
        if before is not None:
            self._refuse_changes(before, now)
        if (self.path / "manifest.json").exists():
            return False
        self.path.mkdir(parents=True, exist_ok=True)
        store.write_atomic(self.path / "started.json", msgspec.json.encode(now))
        return True

    def finish(self, outputs: Iterable[Path], *, counts: dict[str, int], metrics: dict[str, float]) -> Manifest:
        """Write the manifest: the stage is done, and what it made would be there after a loss of power."""
        started = _read_manifest(self.path / "started.json")
        assert started is not None, "finish() without start()"
        outputs = list(outputs)
        for path in outputs:
            store.settle(path)
        manifest = msgspec.structs.replace(
            started,
            outputs={self._relative(path): store.digest_path(path) for path in outputs},
            counts=counts,
            metrics={key: float(value) for key, value in metrics.items()},
            seconds=round(time.monotonic() - self._began, 3),
            versions=_versions(),
        )
        store.write_atomic(self.path / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        return manifest

    def _policy(self) -> dict[str, str]:
        """An earlier round's checkpoint that is read, with the digest that its training wrote down."""
        earlier = self.run.trained_in(self.round) if self.name in ASK_THE_POLICY else 0
        made = self.run.stage(earlier, "train").manifest() if earlier else None
        name = self._relative(self.run.checkpoint(earlier))
        return {name: made.outputs[name]} if made is not None and name in made.outputs else {}

    def _relative(self, path: Path) -> str:
        """Relative, so that a run can be moved; what lies outside (a shipped rubric) goes by its name."""
        with contextlib.suppress(ValueError):
            return str(path.resolve().relative_to(self.run.path.resolve()))
        return path.name

    def _refuse_changes(self, before: Manifest, now: Manifest) -> None:
        changes = [
            f"{key} {_show(before.reads.get(key))} -> {_show(now.reads.get(key))}"
            for key in sorted(before.reads.keys() | now.reads.keys())
            if before.reads.get(key) != now.reads.get(key)
        ]
        changes += [
            f"{name} is not the file that was read"
            for name in sorted(before.inputs.keys() | now.inputs.keys())
            if before.inputs.get(name) != now.inputs.get(name)
        ]
        if changes:
            more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise StageError(
                f"{self.path}: changed since the stage was run: {'; '.join(changes[:3])}{more}. "
                "Change it back, choose another name=, or redo the stage with --redo."
            )


class Run:
    """The folder of one run."""

    def __init__(self, recipe: Recipe, path: Path | None = None) -> None:
        self.recipe = recipe
        self.path = path or Path(recipe.runs) / recipe.name
        self._config = to_config(recipe)

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Be the one process that works on this run, and freeze the recipe beside it.

        Raises StoreError when another process drives it, on whatever machine that sees the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a") as file, contextlib.ExitStack() as stack:
            store.lock(file.fileno(), self.path)
            stack.enter_context(present(self.path / ".driver"))
            store.write_atomic(self.path / "recipe.yaml", dump(self.recipe).encode())
            yield

    def stage(self, round: int, name: str) -> Stage:
        """A stage of a round."""
        return Stage(self, round, name)

    def rounds(self) -> list[int]:
        """The rounds that have a folder."""
        return sorted(int(path.name[6:]) for path in self.path.glob("round_[0-9][0-9]*") if path.is_dir())

    def is_imported(self, round: int) -> bool:
        """Whether a round's attempts are read from files."""
        return round == 1 and self.recipe.collect.imports is not None

    def reads(self, stage: str, round: int) -> dict[str, Any]:
        """Dotted key to value of the recipe keys that decide what a stage makes."""
        plain = OmegaConf.to_container(self._config, resolve=True)
        flat: dict[str, Any] = {}
        for key in READS["import" if stage == "collect" and self.is_imported(round) else stage]:
            value: Any = plain
            for part in key.split("."):
                value = value[part]
            flat.update(_flatten(key, value))
        return flat

    def policy(self, round: int) -> str:
        """The model that a round's attempts are made with: the newest promoted checkpoint before it."""
        earlier = self.trained_in(round)
        return str(self.checkpoint(earlier)) if earlier else self.starting_policy()

    def trained_in(self, round: int) -> int:
        """The round whose training left the policy that a round begins with; 0 for the recipe's own model."""
        return next((earlier for earlier in range(round - 1, 0, -1) if self._promoted(earlier)), 0)

    def _promoted(self, round: int) -> bool:
        """What its evaluation says; a policy that is not evaluated is the next one as soon as it is trained."""
        manifest = self.stage(round, "evaluate").manifest()
        if manifest is not None:
            return bool(manifest.counts.get("promoted"))
        return not self.is_evaluated(round) and self.stage(round, "train").manifest() is not None

    def plan(self) -> list[tuple[int, str]]:
        """Every (round, stage) that the recipe asks for, in order."""
        every = [(0, "evaluate"), *((n, stage) for n in range(1, self.recipe.rounds + 1) for stage in STAGES)]
        return [(n, stage) for n, stage in every if stage != "evaluate" or self.is_evaluated(n)]

    def is_evaluated(self, round: int) -> bool:
        """Whether the recipe evaluates that round. A policy that is still to be made, or that has not learnt to judge,
        is not evaluated as round 0."""
        wanted, policy = self.recipe.evaluate, self.recipe.policy
        if not wanted.splits or (round == 0 and (policy.create is not None or policy.judging is not None)):
            return False
        return round % wanted.every == 0 or round == self.recipe.rounds

    def starting_policy(self) -> str:
        """The recipe's model: shipped with rft, a directory or a hub name; one made from scratch lives in the run."""
        if self.recipe.policy.create:
            return str(self.path / "policy")
        return shipped_model(self.recipe.policy.model)

    def checkpoint(self, round: int) -> Path:
        """Where a round's training leaves the new policy."""
        return self.stage(round, "train").path / "checkpoint"


def open_run(path: Path) -> Run:
    """The run in a folder, with the recipe that was frozen in it. Raises RecipeError."""
    from rft.recipe import load

    if not (path / "recipe.yaml").is_file():
        raise RecipeError(f"{path}: not a run; expected a folder with recipe.yaml, such as runs/quickstart.")
    return Run(load(str(path / "recipe.yaml")), path)


def find_run(name: str) -> Run:
    """The run in a folder, or of that name under `runs`. Raises RecipeError."""
    path = Path(name) if Path(name).is_dir() else Path("runs") / name
    if not path.is_dir():
        known = [folder.parent.name for folder in Path("runs").glob("*/recipe.yaml")]
        raise RecipeError(f"{name}: not a run; expected its folder, or its name under runs.{did_you_mean(name, known)}")
    return open_run(path)


def _read_manifest(path: Path) -> Manifest | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise StoreError(f"{path}: damaged ({error}). Redo the stage with --redo.") from None


def _flatten(prefix: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat.update(_flatten(f"{prefix}.{key}", inner))
        return flat
    return {prefix: value}


def _show(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _versions() -> dict[str, str]:
    found = {}
    for name in ("rft", "torch", "transformers", "trl", "ray", "deepspeed"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
