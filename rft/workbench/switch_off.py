"""A rubric's file with some criteria switched off; all else in it, comments included, stays as it is."""

from collections.abc import Collection

import yaml

from reward_models import rubric as rubrics
from reward_models.errors import RubricError
from rft.errors import RecipeError


def switched_off(text: str, names: Collection[str], *, where: str) -> str:
    """The YAML of a rubric in which these criteria have weight 0 and are not required.

    Raises RecipeError when no criterion with a weight is left.
    """
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    assert isinstance(root, yaml.MappingNode), "a rubric that was loaded is a mapping"
    criteria = next(value for key, value in root.value if key.value == "criteria")
    edits: list[tuple[int, int, str]] = []
    for criterion in criteria.value:
        keys = {key.value: (key, value) for key, value in criterion.value}
        identity = keys["id"][1]
        if identity.value not in names:
            continue
        for name, value in (("weight", "0"), ("required", "false")):
            if name in keys:
                edits.append((keys[name][1].start_mark.index, keys[name][1].end_mark.index, value))
        if "weight" not in keys:
            column = keys["id"][0].start_mark.column
            line = ", weight: 0" if criterion.flow_style else f"\n{' ' * column}weight: 0"
            edits.append((identity.end_mark.index, identity.end_mark.index, line))
    for start, end, value in sorted(edits, reverse=True):
        text = text[:start] + value + text[end:]
    try:
        rubrics.parse(text, where=where)
    except RubricError as error:
        raise RecipeError(f"--switch-off: {error}") from None
    return text
