"""The policy served by vLLM's own server, a program of another environment that is never imported here.

Replicas are started for each stage that asks the policy, with that round's checkpoint or adapter, and stopped after it,
so that training has the GPUs. Writes `serving/` in the stage's folder while it lasts, logs for good.
"""

import contextlib
import json
import secrets
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rft.errors import RecipeError
from rft.inference import servers
from rft.inference.fleet import Fleet
from rft.recipe import shipped_model

NAME = "policy"
"""What the replicas call the model."""
TAKEN = ("model", "host", "port", "served-model-name", "api-key", "lora-modules", "enable-lora", "uds", "hf-token")
"""Flags that follow from the recipe and the round, and secrets, which `ps` shows: HF_TOKEN is inherited."""
SPREADS = {"tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"}
"""Flags that say how a server uses several GPUs."""


@dataclass(kw_only=True)
class Vllm:
    """`vllm serve` in replicas, each attempt with one of them; exact token ids and log-probabilities.

    On Ray (`collect.pool: {use: ray}`) each replica is an actor that reserves its GPUs on some node; otherwise they are
    processes on this machine. A replica that dies is started again; only the calls that it was answering are repeated.
    """

    model: str | None = None
    """Another model than the policy, for a teacher: a directory, a hub name, or one that ships with rft."""
    command: str = "vllm"
    """The program that has vLLM, in an environment or container of its own; split as a shell would, run by none."""
    replicas: int = 1
    """How many servers."""
    gpus: int = 1
    """GPUs of each; more than one are used by tensor parallelism unless the flags say otherwise. 0: it runs without."""
    flags: dict[str, Any] = field(default_factory=dict)
    """Flags of `vllm serve`, as they are: `{max-model-len: 16384, enforce-eager: true, hf-overrides: {…}}`."""
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables of the servers beside those of rft; no secrets, which are inherited."""
    boot: float = 1800.0
    """Seconds in which a replica must answer, the loading of the model included; calls wait as long for a restart."""
    silence: float = 300.0
    """Seconds without an answer, if only of one token, and without work on others, after which a replica that runs is
    taken for hung."""
    restarts: int = 3
    """How often a replica that died or hangs is started again, in each stage."""
    timeout: float = 600.0
    """Seconds for one request; the attempt's own deadline holds as well."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request, as they are; null takes out a field that rft would send."""

    def __post_init__(self) -> None:
        if self.replicas < 1 or min(self.gpus, self.restarts) < 0 or min(self.boot, self.silence, self.timeout) <= 0:
            raise ValueError(
                "replicas must be at least 1, gpus and restarts at least 0, boot, silence and timeout above 0"
            )
        if not self.words()[0]:
            raise ValueError("command is empty; expected a program such as /opt/vllm/bin/vllm")
        for flag in self.flags:
            name = flag.replace("_", "-")
            if name.startswith("-") or name in TAKEN:
                raise ValueError(f"flags.{flag} is not to be set; expected names without dashes, none of {list(TAKEN)}")

    def words(self) -> list[str]:
        """The words of `command`, the program's path made absolute for those who run elsewhere. Raises ValueError."""
        program, *rest = shlex.split(self.command) or [""]
        return [str(Path(program).expanduser().absolute()) if "/" in program else program, *rest]

    def missing(self) -> str:
        """What keeps the program from being started on this machine, one line; empty when it is there."""
        program = self.words()[0]
        if shutil.which(program):
            return ""
        return f"no program '{program}' here; give `command` the path of one, such as /opt/vllm/bin/vllm"

    def summary(self) -> str:
        """What is started, in words."""
        gpus = f" x {self.gpus} GPUs" if self.gpus else ", no GPU"
        return f"{self.replicas} replicas{gpus}: {shlex.join(self.arguments('CHECKPOINT'))}"

    @contextlib.contextmanager
    def serve(self, model: str, folder: Path) -> Iterator[dict[str, Any]]:
        """The `use:` section by which the model is asked, while its replicas run. Raises StageError, RecipeError."""
        key = secrets.token_urlsafe(24)
        command = tuple(self.arguments(shipped_model(self.model) if self.model else model))
        variables = {**self.variables, "VLLM_API_KEY": key}

        def start(number: int, log: Path) -> servers.Server:
            launch = servers.Launch(command=command, variables=variables, log=str(log), gpus=self.gpus)
            return servers.start(number, launch)

        fleet = Fleet(
            name="vllm",
            folder=folder,
            start=start,
            count=self.replicas,
            key=key,
            model=NAME,
            boot=self.boot,
            silence=self.silence,
            restarts=self.restarts,
        )
        with fleet.running() as book:
            yield {
                "use": "rft.inference.replicas:Replicas",
                "book": str(book.resolve()),
                "patience": self.boot,
                "endpoint": {
                    "model": NAME,
                    "token_ids": True,
                    "timeout": self.timeout,
                    "tries": 2,  # a third time another replica is asked
                    "extra": self.extra,
                },
            }

    def arguments(self, model: str) -> list[str]:
        """The command line, all but the address."""
        defaults = {
            "logprobs-mode": "processed_logprobs",  # those of the distribution that is drawn from
            # `policy.sampling` is all that counts: the model's own file sets top_k, penalties, a limit of tokens.
            "generation-config": "vllm",
        }
        given = {name.replace("_", "-"): value for name, value in self.flags.items()}
        if self.gpus > 1 and not SPREADS & given.keys():
            defaults["tensor-parallel-size"] = str(self.gpus)
        return [*self.words(), "serve", *_model(model), *_flags(defaults | given)]


def _model(model: str) -> list[str]:
    """The model and its name; of a folder that holds an adapter, the model that it was made for and the adapter."""
    folder = Path(model)
    where = str(folder.resolve()) if folder.is_dir() else model
    if not (folder / "adapter_config.json").is_file():
        return [where, "--served-model-name", NAME]
    config = json.loads((folder / "adapter_config.json").read_text())
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise RecipeError(f"{folder}/adapter_config.json: names no base_model_name_or_path; expected the model's name.")
    base = str(Path(base).resolve()) if Path(base).is_dir() else base
    rank = next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= int(config.get("r", 8))), 512)
    adapter = ["--enable-lora", "--lora-modules", f"{NAME}={where}", "--max-lora-rank", str(rank)]
    return [base, "--served-model-name", f"{NAME}-base", *adapter]


def _flags(flags: dict[str, Any]) -> Iterator[str]:
    """Each flag as vLLM reads it: true and false as --x and --no-x, lists as several words, mappings as JSON."""
    for name, value in flags.items():
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        elif value is not None:
            yield f"--{name}"
            values = value if isinstance(value, list) else [value]
            yield from (json.dumps(one) if isinstance(one, dict) else str(one) for one in values)
