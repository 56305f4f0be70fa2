"""`rft doctor`: what of this machine works, and what a recipe needs that is not there. Runs nothing of the recipe."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from rft.check import Check, servers
from rft.plugins import NAMES, build, first_line
from rft.recipe import Recipe, to_config
from rft.train import estimate

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets", "ray", "wandb", "vllm")
GIB = 2**30
HELD_AGAINST = ("sandbox", "training memory", "disk")
"""Rows of `rft check` that are held here against what the machine has."""
SERVERS = "'s servers"
"""What rows of servers that stages start end with, whoever is answered by them."""
PATIENCE = 5.0
"""Seconds for a server to answer whether it is there."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    area: str
    what: str
    how: str
    missing: bool = False
    """It has to be mended before the recipe can run."""


def examine(recipe: Recipe | None) -> list[Finding]:
    """What is there; with a recipe also what it needs. Raises RecipeError for a recipe that is wrong."""
    check = Check(recipe) if recipe is not None else None
    found = [*_machine(), *_packages(), *_sandboxes(recipe)]
    if check is not None:
        found += [*_plan(check), *_endpoints(check.recipe), *_needs(check)]
    return found


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding(area="machine", what="cores", how=str(cores))
    yield Finding(area="machine", what="memory", how=f"{_memory() / GIB:.1f} GiB free")
    yield Finding(area="machine", what="disk", how=f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB free here")
    gpus = gpu_memory()
    yield Finding(
        area="machine",
        what="GPUs",
        how=", ".join(f"{name}: {free / GIB:.0f} GiB free" for name, free in gpus) or "none",
    )


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            clashes = list(_clashes(name))
            how = version(name) + (f", but it wants {'; '.join(clashes)}" if clashes else "")
            yield Finding(area="package", what=name, how=how, missing=bool(clashes))
    clashes = list(_clashes("rft"))
    if clashes:
        how = f"it wants {'; '.join(clashes)}. Install with pip's --constraint constraints.txt"
        yield Finding(area="package", what="rft", how=how, missing=True)


def _clashes(name: str) -> Iterator[str]:
    """What a package asks of others here that is not so, optional parts left out."""
    from packaging.requirements import Requirement

    needs: list[str] = []
    with contextlib.suppress(PackageNotFoundError):
        needs = requires(name) or []
    for text in needs:
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(need.name)
        except PackageNotFoundError:
            yield f"{need.name}{need.specifier} (not installed)"
            continue
        if not need.specifier.contains(there, prereleases=True):
            yield f"{need.name}{need.specifier} (here {there})"


def _sandboxes(recipe: Recipe | None) -> Iterator[Finding]:
    """Each kind that ships, opened with its own defaults; the recipe's as the recipe has it."""
    chosen = recipe.sandbox if recipe is not None and recipe.environment else {}
    sections = [chosen if chosen.get("use") == name else {"use": name} for name in NAMES["sandbox"]]
    sections += [chosen] if chosen and chosen not in sections else []
    for section in sections:
        why = ""
        try:
            why = build("sandbox", section, "sandbox").missing()
        except Exception as error:
            if section is chosen:
                raise
            why = f"needs options of its own ({first_line(error)})"
        yield Finding(
            area="sandbox", what=section["use"], how=why or "works here", missing=bool(why) and section is chosen
        )


def _plan(check: Check) -> Iterator[Finding]:
    for what, how in check.rows():
        if what not in HELD_AGAINST and not what.endswith(SERVERS):
            yield Finding(area="recipe", what=what, how=how)


def _endpoints(recipe: Recipe) -> Iterator[Finding]:
    """Every section that names a server: does it answer, and is its key there."""
    from omegaconf import OmegaConf

    asked: set[tuple[str, str]] = set()
    for where, section in _sections("", OmegaConf.to_container(to_config(recipe))):
        url, key = section.get("url"), str(section.get("key_variable") or "OPENAI_API_KEY")
        if isinstance(url, str) and url and (url, key) not in asked:
            asked.add((url, key))
            how, works = _ask(url, os.environ.get(key, ""))
            named = f"; the variable {key} is not set" if "key_variable" in section and not os.environ.get(key) else ""
            yield Finding(area="endpoint", what=where, how=f"{url}: {how}{named}", missing=not works or bool(named))


def _sections(where: str, node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield where, node
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from _sections(f"{where}.{key}".lstrip("."), value)


def _ask(url: str, key: str) -> tuple[str, bool]:
    """What became of asking a server for its models; its words are not shown."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        code = httpx.get(f"{url.rstrip('/')}/models", headers=headers, timeout=PATIENCE).status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"does not answer ({type(error).__name__})", False
    if code in (401, 403):
        return f"answers, and refuses the key (HTTP {code})", False
    return ("answers", True) if code < 500 else (f"answers that it is broken (HTTP {code})", False)


def _needs(check: Check) -> Iterator[Finding]:
    """GPUs, memory, disk and programs, held against what is there."""
    recipe = check.recipe
    if not check.owed():
        there = shutil.disk_usage(_existing(Path(recipe.runs))).free
        wanted = estimate.disk(recipe, attempts=check.work.attempts)
        how = (
            f"about {wanted / GIB:.2g} GiB at {recipe.runs}{estimate.left_out(recipe)}; {there / GIB:.1f} GiB are free"
        )
        yield Finding(area="need", what="disk", how=how, missing=wanted > there)
    gpus = gpu_memory()
    yield from _training(recipe, [free for _, free in gpus])
    pool = recipe.collect.pool
    reserved = float(pool.get("gpus") or 0) * int(pool.get("workers") or 1)
    elsewhere = pool.get("address") or os.environ.get("RAY_ADDRESS")
    if reserved and not elsewhere:
        how = f"collect.pool reserves {reserved:g}; {len(gpus)} are here, and no cluster is named by RAY_ADDRESS"
        yield Finding(area="need", what="GPUs", how=how, missing=reserved > len(gpus))
    yield from _servers(recipe, len(gpus), is_here=not elsewhere)
    if recipe.train.deepspeed:
        compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
        how = compiler or "none; DeepSpeed builds its operators when it starts. Run `apt-get install g++`"
        yield Finding(area="need", what="C++ compiler", how=how, missing=compiler is None)


def _training(recipe: Recipe, gpus: list[float]) -> Iterator[Finding]:
    """Memory and GPUs of training; `gpus` is the free bytes of each that is here. Workers on a cluster have others."""
    workers, is_here = recipe.train.workers, recipe.train.ray is None
    needed = estimate.memory(recipe) if is_here else None
    free = min(gpus, default=_memory() / workers)
    how = estimate.memory_told(recipe) + (f"; {free / GIB:.1f} GiB are free" if needed is not None else "")
    yield Finding(area="need", what="training memory", how=how, missing=needed is not None and needed > free)
    if gpus and is_here:
        how = f"train.workers is {workers}, one on each; {len(gpus)} are here"
        yield Finding(area="need", what="training's GPUs", how=how, missing=workers > len(gpus))


def _servers(recipe: Recipe, gpus: int, *, is_here: bool) -> Iterator[Finding]:
    """The program and the GPUs of servers that stages start, which have to be here where no cluster is named."""
    for who, engine in servers(recipe):
        why, wanted = engine.missing(), engine.replicas * engine.gpus
        what = f"{who}{SERVERS}"
        yield Finding(area="need", what=what, how=why or engine.summary(), missing=is_here and bool(why))
        if wanted and is_here:
            how = f"its replicas reserve {wanted}; {gpus} are here, and no cluster is named by RAY_ADDRESS"
            yield Finding(area="need", what=f"GPUs of {what}", how=how, missing=wanted > gpus)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next((one for one in (path, *path.absolute().parents) if one.exists()), Path.cwd())


def _memory() -> float:
    """Bytes that programs can still have."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def gpu_memory() -> list[tuple[str, float]]:
    """Name and free bytes of each GPU, as the driver's own program says; empty without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        rows = [line.rpartition(",") for line in done.stdout.splitlines() if line.strip()]
        return [(name, float(free) * 2**20) for name, _, free in rows]
    return []
