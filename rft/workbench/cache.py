"""`rft rubric cache`: which judges' verdicts are kept in a file, what runs paid for them, and what is forgotten."""

import time
from pathlib import Path

from reward_models.cache import Cache
from reward_models.errors import CacheError
from rft.errors import RecipeError, StoreError
from rft.view.text import count
from rft.workbench.output import print_json, print_parts, table

DAY = 86_400.0


def cache(path: str, *, prune: float | None = None, judge: str | None = None, as_json: bool = False) -> None:
    """Print what a file of verdicts holds, after forgetting those that are older than `prune` days.

    With `judge`, a digest as reports have it, only that judge's verdicts are listed and forgotten. What calls cost
    stays known. Raises RecipeError when there is no such file, StoreError when it cannot be read.
    """
    if not Path(path).is_file():
        raise RecipeError(f"{path}: no such file; expected a file of verdicts, such as runs/verdicts.sqlite.")
    if prune is not None and prune < 0:
        raise RecipeError(f"--prune {prune:g}: expected a number of days, 0 for all.")
    kept_there = Cache(path)
    try:
        gone = kept_there.prune(older_than=prune * DAY, judge=judge) if prune is not None else 0
        kept = [one for one in kept_there.kept() if judge in (None, one.judge)]
        spent = {run: kept_there.spent(run) for run in kept_there.runs()}
    except CacheError as error:
        raise StoreError(str(error)) from None
    finally:
        kept_there.close()
    if as_json:
        print_json({"file": path, "bytes": Path(path).stat().st_size, "judges": kept, "runs": spent, "forgotten": gone})
        return
    judges = table(path, "judge", "verdicts", "kB", "oldest", "newest", numbers=True)
    for one in kept:
        judges.add_row(one.judge, count(one.entries), count(one.bytes // 1000), _day(one.oldest), _day(one.newest))
    runs = table("what runs paid for", "run", "calls", "prompt tokens", "completion tokens", "money", numbers=True)
    for run, cost in spent.items():
        runs.add_row(
            run, count(cost.calls), count(cost.prompt_tokens), count(cost.completion_tokens), f"{cost.money:.2f}"
        )
    print_parts(*([f"{gone} verdicts forgotten", ""] if prune is not None else []), judges, "", runs)


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))
