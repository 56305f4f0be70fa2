"""Rows of the SWE-bench family, wherever they lie, and what each kind of row means as a task.

Read are JSON, JSON lines and parquet, a folder of such files, a folder of task directories, or a data set's name on
the Hugging Face hub. Kinds of rows, told from their columns:

    SWE-bench, SWE-Gym, SWE-rebench     base_commit, patch (the fix), test_patch, FAIL_TO_PASS, PASS_TO_PASS
    SWE-smith                           patch (the bug), FAIL_TO_PASS, PASS_TO_PASS, image_name
    R2E-Gym                             expected_output_json, docker_image
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rft.environments import patches, task_folder
from rft.errors import RecipeError
from rft.types import Task

Row = dict[str, Any]
FILES = (".json", ".jsonl", ".parquet")
_COMMAND = re.compile(r"^: '>>>>> Start Test Output'\n(.*?)\n: '>>>>> End Test Output'$", re.MULTILINE | re.DOTALL)
_NO_TESTS = (".json", ".png", ".csv", ".txt", ".md", ".jpg", ".jpeg", ".pkl", ".yml", ".yaml", ".toml", ".rst", ".cfg")
"""Endings of files in a test patch that no test program can be given."""
_PROGRESS = re.compile(r"\[(?:\s*\d+%\].*)?")
"""What the lists of some rows hold of pytest's progress, read as if it were a test: `[100%]`."""


def read(source: str, hub_split: str) -> Iterator[Row]:
    """The rows of a file, a folder or a data set on the hub. Raises RecipeError."""
    path = Path(source).expanduser()
    if path.is_file():
        yield from _file(path)
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in FILES)
        is_tasks = (path / "tasks").is_dir() or any(path.glob(f"*/{task_folder.TASK_FILE}"))
        if is_tasks or not files:
            yield from task_folder.rows(path)
        else:
            for file in files:
                yield from _file(file)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        yield from _hub(source, hub_split)
    else:
        raise RecipeError(
            f"environment.path: '{source}' is not there; expected a file, a folder, or a name on the hub."
        )


def _file(path: Path) -> Iterator[Row]:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            for batch in pyarrow.parquet.ParquetFile(path).iter_batches(256):
                yield from batch.to_pylist()
            return
        text = path.read_text(encoding="utf-8")
        found = [json.loads(line) for line in text.split("\n") if line.strip()] if path.suffix == ".jsonl" else None
        found = json.loads(text) if found is None else found
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        why = str(error).split("\n")[0]
        raise RecipeError(f"{path}: cannot be read ({why}); expected rows as {', '.join(FILES)}.") from None
    rows = list(found.values()) if isinstance(found, dict) and "instance_id" not in found else found
    for row in rows if isinstance(rows, list) else [rows]:
        if not isinstance(row, dict):
            raise RecipeError(f"{path}: holds something else than rows; expected objects with an instance_id.")
        yield row


def _hub(name: str, split: str) -> Iterator[Row]:
    import datasets

    try:
        yield from datasets.load_dataset(name, split=split)
    except Exception as error:  # the library raises many kinds
        why = str(error).split("\n")[0][:200]
        raise RecipeError(
            f"environment.path: '{name}' cannot be had from the hub ({why}); expected a data set there, or a file. "
            "Look at the network and the name, or give the path of a file."
        ) from None


def task(row: Row) -> Task:
    """A row as a task, all that its kind says kept among its facts. Raises RecipeError that names the row."""
    identity = row.get("instance_id") or _r2e_name(row)
    try:
        if "expected_output_json" in row:
            return _r2e_gym(identity, row)
        if "base_commit" in row:
            return _swe_bench(identity, row)
        return _swe_smith(identity, row)
    except KeyError as error:
        raise RecipeError(f"{identity}: has no column {error}; expected a row of the SWE-bench family.") from None
    except ValueError as error:
        raise RecipeError(f"{identity}: cannot be understood ({error}).") from None


def _swe_bench(identity: str, row: Row) -> Task:
    facts = {
        "repo": row["repo"],
        "commit": row["base_commit"],
        "version": str(row.get("version") or ""),
        "test_patch": row["test_patch"],
        "command": _given_command(row),
        "parser": _parser(row),
        "image": _image(row),
        "spec": row.get("install_config") or {},
    }
    return _made(identity, row, gold=row["patch"], facts=facts)


def _swe_smith(identity: str, row: Row) -> Task:
    """The patch is the bug, so the fix is its reverse. `repo` is the mirror's name, `<owner>__<name>.<commit>`."""
    owner, name, commit = _mirror(row["repo"])
    tests = [*names(row["FAIL_TO_PASS"]), *names(row["PASS_TO_PASS"])]
    files = sorted({name.split("::")[0] for name in tests if "::" in name})
    facts = {
        "repo": f"{owner}/{name}",
        "commit": commit,
        "bug": row["patch"],
        "command": " ".join(["pytest -rA", *files]),
        "parser": "pytest",
        "image": _image(row),
        "spec": row.get("install_config") or {"install": "pip install -e ."},
    }
    return _made(identity, row, gold=patches.reverse(row["patch"]), facts=facts)


def _r2e_gym(identity: str, row: Row) -> Task:
    """Every test of the expected map that should pass must pass; which of them fail at the start is not known.

    The tests themselves are in the image, and nowhere else.
    """
    expected = json.loads(row["expected_output_json"])
    passing = [name for name, status in expected.items() if status in ("PASSED", "XFAIL")]
    facts = {
        "repo": row["repo_name"],
        "commit": row.get("commit_hash", ""),
        "command": "bash run_tests.sh",
        "parser": "pytest",
        "image": _image(row),
        "unexpected": sorted(set(expected) - set(passing)),
        "only_in_image": True,
    }
    return _made(identity, row | {"FAIL_TO_PASS": passing, "PASS_TO_PASS": []}, gold=row.get("patch", ""), facts=facts)


def _made(identity: str, row: Row, *, gold: str, facts: dict[str, Any]) -> Task:
    must, keep = names(row["FAIL_TO_PASS"]), names(row["PASS_TO_PASS"])
    tests = [name for name in must if not _PROGRESS.fullmatch(name)]
    kept = [name for name in keep if not _PROGRESS.fullmatch(name)]
    dropped = [name for name in [*must, *keep] if _PROGRESS.fullmatch(name)]
    if not tests:
        raise ValueError("it names no test that must come to pass")
    return Task(
        id=identity,
        statement=row.get("problem_statement") or "",
        split="",
        repository=facts["repo"],
        fail_to_pass=tests,
        pass_to_pass=kept,
        gold_patch=gold,
        meta=facts | ({"dropped": dropped} if dropped else {}),
    )


def names(column: object) -> list[str]:
    """FAIL_TO_PASS and PASS_TO_PASS, which some publish as lists and some as JSON in a string. Raises ValueError."""
    found = json.loads(column) if isinstance(column, str) else column
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError("its lists of tests are no lists of names")
    return found


def test_files(test_patch: str) -> list[str]:
    """The files of a test patch that a test program is given, as SWE-bench chooses them."""
    paths = [path for file in patches.read(test_patch) for path in file.paths]
    return [path for path in dict.fromkeys(paths) if not path.endswith(_NO_TESTS)]


def _given_command(row: Row) -> str:
    """The command between the marks of a published eval script; empty where there is none."""
    found = _COMMAND.search(row.get("eval_script") or "")
    return found[1].strip() if found else ""


def _parser(row: Row) -> str:
    for name in ("django", "sympy"):
        if name in (row.get("log_parser") or row["repo"]):
            return name
    return "pytest"


def _image(row: Row) -> str:
    return row.get("image") or row.get("image_name") or row.get("docker_image") or ""


def _mirror(repo: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(?:[\w.-]+/)?([\w.-]+?)__([\w.-]+)\.([0-9a-f]{7,40})", repo)
    if not found:
        raise ValueError(f"repo is '{repo}'; expected <owner>__<name>.<commit>")
    return found[1], found[2], found[3]


def _r2e_name(row: Row) -> str:
    return (
        "-".join(str(row[key])[:12] for key in ("repo_name", "commit_hash") if row.get(key)) or "a row without a name"
    )
