"""Metrics to W&B, to JSON lines, or nowhere. Writes `<run>/metrics.jsonl`, `<run>/wandb/` and `<run>/wandb_id`.

Tracking never fails a run: what W&B refuses is said once, in one line, and the JSON lines go on.
"""

import contextlib
import netrc
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec

from rft import progress, store

Cell = str | float | int | bool | None
Kind = Literal["report", "dataset", "model"]

PROBE_SECONDS = 3.0


class Tracker(Protocol):
    """Takes a run's numbers. The plug-in behind `tracking: {use: …}`; used by one thread."""

    def start(self, run_path: Path, name: str, recipe: dict[str, Any]) -> None:
        """Begin, or go on where an earlier process stopped. `recipe` is recorded without its secrets."""

    def log(self, round: int, stage: str, metrics: dict[str, float]) -> None:
        """The numbers of a stage that is done."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A table, such as the funnel."""

    def artifact(self, name: str, kind: Kind, path: Path, origin: dict[str, Any]) -> None:
        """A file or folder of the run, and what it was made from: a stage's round, and its files with their digests."""

    def alert(self, title: str, text: str) -> None:
        """Tell people about something that wants their eyes; the numbers behind it are logged as any others."""

    def finish(self) -> None:
        """Hand over what is left. Safe to call twice."""


@dataclass(kw_only=True)
class Nowhere:
    """Keeps nothing."""

    def start(self, run_path: Path, name: str, recipe: dict[str, Any]) -> None:
        """Nothing."""

    def log(self, round: int, stage: str, metrics: dict[str, float]) -> None:
        """Nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Nothing."""

    def artifact(self, name: str, kind: Kind, path: Path, origin: dict[str, Any]) -> None:
        """Nothing."""

    def alert(self, title: str, text: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


@dataclass(kw_only=True)
class JsonLines(Nowhere):
    """A line for each finished stage in `<run>/metrics.jsonl`; tables and artifacts lie in the run already."""

    _path: Path | None = field(default=None, init=False, repr=False)
    step: int = field(default=0, init=False, repr=False)
    """How many stages are written down, those of earlier processes included."""

    def start(self, run_path: Path, name: str, recipe: dict[str, Any]) -> None:
        """Count the lines that are there; a line that a kill tore off is closed."""
        run_path.mkdir(parents=True, exist_ok=True)
        self._path = run_path / "metrics.jsonl"
        there = self._path.read_bytes() if self._path.exists() else b""
        if there and not there.endswith(b"\n"):
            self._append(b"\n")
        self.step = len(there.splitlines())

    def log(self, round: int, stage: str, metrics: dict[str, float]) -> None:
        """`{"step": 3, "round": 1, "stage": "select", "metrics": {"select/kept": 0.4}}`; NaN becomes null."""
        line = {"step": self.step, "round": round, "stage": stage, "metrics": prefixed(stage, metrics)}
        self._append(msgspec.json.encode(line) + b"\n")
        self.step += 1

    def written(self) -> Iterator[dict[str, Any]]:
        """The lines that are there, without those that a kill tore off."""
        assert self._path is not None, "written() without start()"
        for line in self._path.read_bytes().splitlines() if self._path.exists() else []:
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line)

    def _append(self, data: bytes) -> None:
        assert self._path is not None, "log() without start()"
        with self._path.open("ab", buffering=0) as file:
            file.write(data)


@dataclass(kw_only=True)
class Wandb:
    """Weights & Biases, and the JSON lines beside it."""

    project: str = "rft"
    entity: str | None = None
    """A user or a team; W&B's own default when left out."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """`auto` is WANDB_MODE where that is set, online where there are a key and a network, offline elsewhere."""
    group: str | None = None
    """Shows runs together, such as the arms of a comparison."""
    tags: list[str] = field(default_factory=list)
    upload: bool = False
    """Checkpoints and data sets travel to W&B; left out, it keeps where they lie, their checksums and their origin."""
    start_seconds: float = 20.0
    """How long an online start may take before the run goes on offline."""
    finish_seconds: float = 120.0
    """How long the last upload may take; what is left stays in the run's `wandb` folder, for `wandb sync`."""
    _run: Any = field(default=None, init=False, repr=False)
    _lines: JsonLines = field(default_factory=JsonLines, init=False, repr=False)

    def start(self, run_path: Path, name: str, recipe: dict[str, Any]) -> None:
        """Open the run whose id is kept in `<run>/wandb_id`, so that a restart continues it."""
        self._lines.start(run_path, name, recipe)
        mode, why = (self.mode, "") if self.mode != "auto" else online_or_not()
        if why:
            progress.say(f"wandb: offline ({why}); `wandb sync {run_path / 'wandb'}/offline-run-*` uploads it later")
        identity = _kept_id(run_path / "wandb_id")
        with self._forgiving("start"):
            self._run = self._open(run_path, name, recipe, mode, identity)
        if self._run is None and mode == "online":
            with self._forgiving("start offline"):
                # The id itself stays taken by the half-opened run for as long as this process lives.
                self._run = self._open(run_path, name, recipe, "offline", f"{identity}offline")
        if self._run is not None:
            with self._forgiving("start"):
                self._catch_up()

    def _catch_up(self) -> None:
        """Log what earlier processes did: a killed one takes rows along that W&B has not written yet."""
        for line in self._lines.written():
            if line["step"] >= self._run.step:
                self._row(line["step"], line["round"], line["metrics"])

    def log(self, round: int, stage: str, metrics: dict[str, float]) -> None:
        """The numbers under `<stage>/…`, over the axis `round`; steps are those of the JSON lines."""
        step = self._lines.step
        self._lines.log(round, stage, metrics)
        if self._run is not None:
            with self._forgiving("log"):
                self._row(step, round, prefixed(stage, metrics))

    def _row(self, step: int, round: int, metrics: dict[str, float]) -> None:
        self._run.log({**metrics, "round": round}, step=step, commit=True)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A W&B table, in the row of the next stage."""
        if self._run is not None:
            with self._forgiving("table"):
                import wandb

                data = [list(row) for row in rows]
                table = wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)
                self._run.log({name: table}, step=self._lines.step)

    def artifact(self, name: str, kind: Kind, path: Path, origin: dict[str, Any]) -> None:
        """A W&B artifact; the same name again is a new version. Its metadata are the origin."""
        if self._run is not None:
            with self._forgiving("artifact"):
                import wandb

                made = wandb.Artifact(re.sub(r"[^\w.-]+", "-", name), type=kind, metadata=origin)
                files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
                for file in files:
                    inside = str(file.relative_to(path.parent if path.is_file() else path))
                    if kind == "report" or self.upload:
                        made.add_file(str(file), name=inside)
                    else:
                        made.add_reference(file.absolute().as_uri(), name=inside)
                self._run.log_artifact(made)

    def alert(self, title: str, text: str) -> None:
        """A W&B alert, which the server mails to those who asked for such; kept with the run where it is offline."""
        if self._run is not None:
            with self._forgiving("alert"):
                self._run.alert(title=title, text=text, level="WARN")

    def finish(self) -> None:
        """Wait for uploads, at most `finish_seconds`."""
        if self._run is not None:
            with self._forgiving("finish"):
                self._run.finish()
        self._run = None

    def _open(self, run_path: Path, name: str, recipe: dict[str, Any], mode: str, identity: str) -> Any:
        # Its crash reports keep a process without a network from ending for some 20 s.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            init_timeout=self.start_seconds,
            finish_timeout=self.finish_seconds,
            login_timeout=1.0,
        )
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            tags=self.tags or None,
            mode=mode,  # type: ignore[arg-type]
            id=identity,
            resume="allow" if mode == "online" else None,
            name=name,
            dir=str(run_path),
            config=without_secrets(recipe),
            settings=settings,
        )
        run.define_metric("round")
        run.define_metric("*", step_metric="round")
        return run

    @contextlib.contextmanager
    def _forgiving(self, what: str) -> Iterator[None]:
        """Say what W&B refused, in one line, and leave it out from then on."""
        try:
            yield
        except Exception as error:  # a foreign library's failure of any kind must not end a run
            self._run = None
            text = " ".join(str(error).split())[:200]
            key = os.environ.get("WANDB_API_KEY")
            text = text.replace(key, "<key>") if key else text
            progress.say(f"wandb: {what} failed ({type(error).__name__}: {text}); metrics.jsonl has everything")


def prefixed(stage: str, metrics: dict[str, float]) -> dict[str, float]:
    """`kept` of the stage select -> `select/kept`."""
    return {f"{stage}/{name}": float(value) for name, value in metrics.items()}


def online_or_not() -> tuple[Literal["online", "offline", "disabled"], str]:
    """How W&B can be reached here, and why not online; takes at most a few seconds and asks nobody."""
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted in ("online", "offline", "disabled"):
        return wanted, ""  # type: ignore[return-value]
    base = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    if not os.environ.get("WANDB_API_KEY") and not _has_netrc_entry(urlsplit(base).netloc):
        return "offline", "no key: neither WANDB_API_KEY nor an entry in netrc"
    import httpx

    try:
        httpx.get(base, timeout=PROBE_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return "offline", f"{urlsplit(base).hostname or base} does not answer: {type(error).__name__}"
    return "online", ""


def without_secrets(value: Any, key: str = "") -> Any:
    """A recipe without its secrets: text under keys such as `api_key`, and user names and passwords in URLs.

    Names of environment variables (`key_variable: MY_KEY`) and numbers (`max_tokens`) are no secrets.
    """
    if isinstance(value, dict):
        return {inner: without_secrets(item, str(inner)) for inner, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item, key) for item in value]
    if not isinstance(value, str) or not value:
        return value
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", key).lower().replace("-", "_").split("_")
    is_name = words[-1] == "variable" and re.fullmatch("[A-Z][A-Z0-9_]*", value)
    if not is_name and _SECRET_WORDS & set(words):
        return "<redacted>"
    with contextlib.suppress(ValueError):
        parts = urlsplit(value)
        if parts.scheme and "@" in parts.netloc:
            return urlunsplit(parts._replace(netloc="<redacted>@" + parts.netloc.rpartition("@")[2]))
    return value


_SECRET_WORDS = {"key", "apikey", "token", "secret", "password", "passwd", "authorization", "credential", "credentials"}


def _has_netrc_entry(host: str) -> bool:
    candidates = [Path(os.environ["NETRC"])] if os.environ.get("NETRC") else [Path("~/.netrc"), Path("~/_netrc")]
    for path in candidates:
        with contextlib.suppress(OSError, netrc.NetrcParseError, RuntimeError):
            if netrc.netrc(str(path.expanduser())).authenticators(host):
                return True
    return False


def _kept_id(path: Path) -> str:
    """The W&B id in `path`, made when there is none; letters and digits only."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if re.fullmatch(r"[a-z0-9]{8,32}", kept := path.read_text().strip()):
            return kept
    fresh = uuid.uuid4().hex[:12]
    store.write_atomic(path, fresh.encode())
    return fresh
