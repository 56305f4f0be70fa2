"""The check that every environment makes before it gives the tasks of a split."""

from collections.abc import Sequence

from rft.errors import RecipeError, did_you_mean


def check(environment: str, split: str, known: Sequence[str]) -> None:
    """Raises RecipeError for a split that `environment`, as a recipe or a path names it, does not have."""
    if split not in known:
        raise RecipeError(
            f"environment: {environment} has no split '{split}'; expected {', '.join(known)}."
            f"{did_you_mean(split, known)}"
        )
