"""`use:` -> object. NAMES is the one table of short names; any other `package.module:name` works as well.

The named object's own fields (a dataclass) or keyword-only arguments (a function) are its schema. Nothing is
imported until it is named.
"""

import dataclasses
import importlib
import inspect
import sys
import typing
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reward_models import rubric as rubrics
from reward_models.errors import RubricError
from reward_models.types import Rubric
from rft.errors import RecipeError, did_you_mean

NAMES: dict[str, dict[str, str]] = {
    "environment": {
        "kata": "rft.environments.kata:Kata",
        "commits": "rft.environments.commits:Commits",
        "mutate": "rft.environments.mutate:Mutate",
        "swebench": "rft.environments.swebench:SweBench",
        "repository": "rft.environments.repository:Repository",
    },
    "sandbox": {
        "bubblewrap": "rft.sandboxes.bubblewrap:Bubblewrap",
        "docker": "rft.sandboxes.container:Docker",
        "local": "rft.sandboxes.local:Local",
        "podman": "rft.sandboxes.container:Podman",
        "swe_rex": "rft.sandboxes.remote:SweRex",
    },
    "agent": {
        "bash": "rft.agents.bash:Bash",
        "external": "rft.agents.external:External",
        "mini": "rft.agents.mini:Mini",
    },
    "inference": {
        "scripted": "rft.inference.scripted:Scripted",
        "demonstrator": "rft.inference.demonstrator:Demonstrator",
        "local": "rft.inference.local:Local",
        "endpoint": "rft.inference.endpoint:Endpoint",
        "mixture": "rft.inference.mixture:Mixture",
        "vllm": "rft.inference.vllm:Vllm",
    },
    "pool": {
        "serial": "rft.pools.serial:Serial",
        "threads": "rft.pools.threads:Threads",
        "ray": "rft.pools.ray:Ray",
    },
    "judge": {
        "scripted": "reward_models.judges:Scripted",
        "endpoint": "reward_models.judges:Endpoint",
        "local": "reward_models.judges:Local",
    },
    "rule": {
        "finished": "rft.select.rules:Finished",
        "resolved": "rft.select.rules:Resolved",
        "min_score": "rft.select.rules:MinScore",
        "best_of_group": "rft.select.rules:BestOfGroup",
        "random_of_group": "rft.select.rules:RandomOfGroup",
        "length_matched": "rft.select.rules:LengthMatched",
        "not_all_alike": "rft.select.rules:NotAllAlike",
        "no_leak": "rft.select.rules:NoLeak",
        "dedupe": "rft.select.rules:Dedupe",
        "top_fraction": "rft.select.rules:TopFraction",
        "max_tokens": "rft.select.rules:MaxTokens",
        "budget": "rft.select.rules:Budget",
    },
    "teaching": {
        "imitate": "rft.select.teaching:Imitate",
        "pairs": "rft.select.teaching:Pairs",
        "step_pairs": "rft.select.teaching:StepPairs",
        "labels": "rft.select.teaching:Labels",
        "advantages": "rft.select.advantages:Advantages",
    },
    "tracker": {
        "none": "rft.tracking:Nowhere",
        "jsonl": "rft.tracking:JsonLines",
        "wandb": "rft.tracking:Wandb",
    },
    "fresh": {
        "tiny_qwen3": "rft.inference.fresh:TinyQwen3",
        "retokenised": "rft.inference.retokenised:Retokenised",
    },
}


def find(kind: str, name: object, where: str) -> Any:
    """The class or function behind a `use:` name. Raises RecipeError; `where` is the recipe key it is blamed on."""
    if not isinstance(name, str) or not name:
        raise RecipeError(f"{where}: 'use' is missing; expected one of {_known(kind)}, or package.module:name.")
    path = NAMES[kind].get(name, name)
    module_name, _, attribute = path.partition(":")
    if not attribute or not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        hint = did_you_mean(name, NAMES[kind])
        raise RecipeError(
            f"{where}: no {kind} is called '{name}'; expected {_known(kind)}, or package.module:name.{hint}"
        )
    _look_here()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"{where}: cannot import '{module_name}' ({error}); expected a module that Python finds. "
            "Install it, or run from its folder."
        ) from None
    except Exception as error:  # a user's module may fail in any way when it is imported
        raise RecipeError(
            f"{where}: importing '{module_name}' failed: {type(error).__name__}: {error}. Mend it."
        ) from error
    if not hasattr(module, attribute):
        hint = did_you_mean(attribute, vars(module))
        raise RecipeError(f"{where}: '{module_name}' has no '{attribute}'; expected a class or function.{hint}")
    return getattr(module, attribute)


def find_rubric(name: str, where: str = "") -> Rubric:
    """The rubric of a file, or the shipped one of that name, whose rules may stand in the folder where rft was started.

    Raises RecipeError that begins with `where`, if given.
    """
    _look_here()
    try:
        return rubrics.load(name)
    except RubricError as error:
        raise RecipeError(f"{where}: {error}" if where else str(error)) from None


def build(kind: str, section: dict[str, Any], where: str) -> Any:
    """The object of a `use:` section, its options typed and checked.

    A class is called with its options; a function is returned with its options bound.
    Raises RecipeError that names the key.
    """
    target = find(kind, section.get("use"), where)
    given = {key: value for key, value in section.items() if key != "use"}
    options = checked_options(target, given, where)
    if inspect.isclass(target):
        try:
            return target(**options)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{where}: {error}.") from None
    return _bound(target, options)


def _bound(function: Any, options: dict[str, Any]) -> Any:
    def call(*args: Any) -> Any:
        return function(*args, **options)

    call.__name__ = getattr(function, "__name__", "call")
    return call


def checked_options(target: Any, given: dict[str, Any], where: str) -> dict[str, Any]:
    """`given` converted to the types of the target's fields. Raises RecipeError for unknown, missing or wrong ones."""
    fields = schema(target)
    for key in given:
        if key not in fields:
            hint = did_you_mean(str(key), fields) or f" Leave it out, or give the whole section: {where}={{use: …}}."
            expected = ", ".join(fields) or "no options"
            raise RecipeError(f"{where}.{key}: unknown key; expected {expected}.{hint}")
    shape = dataclasses.make_dataclass(
        "Options",
        [(name, kind, dataclasses.field(default=MISSING)) for name, (kind, _) in fields.items()],
        kw_only=True,
    )
    options: dict[str, Any] = {}
    for key, value in given.items():
        try:
            holder = OmegaConf.structured(shape)
            OmegaConf.update(holder, key, value, merge=False)
            plain: Any = OmegaConf.to_container(holder)
            options[key] = plain[key]
        except OmegaConfBaseException as error:
            raise RecipeError(f"{where}.{key}: {first_line(error)}.") from None
    absent = [name for name, (_, required) in fields.items() if required and name not in given]
    if absent:
        raise RecipeError(f"{where}: '{absent[0]}' is missing; {_title(target)} needs it. Add it.")
    return options


def schema(target: Any) -> dict[str, tuple[Any, bool]]:
    """Option name to (type, is it required): a dataclass's init fields, or keyword-only arguments."""
    if dataclasses.is_dataclass(target):
        hints = typing.get_type_hints(target)
        return {
            field.name: (
                hints[field.name],
                field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            )
            for field in dataclasses.fields(target)
            if field.init
        }
    callee = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(callee)
    return {
        name: (hints.get(name, Any), parameter.default is inspect.Parameter.empty)
        for name, parameter in inspect.signature(callee).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def first_line(error: Exception) -> str:
    """An exception's first line, without a closing full stop."""
    return str(error).strip().split("\n")[0].rstrip(".")


def _look_here() -> None:
    """Let what stands in the folder where rft was started be found, wherever the program itself lies."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _known(kind: str) -> str:
    return ", ".join(sorted(NAMES[kind]))


def _title(target: Any) -> str:
    return str(getattr(target, "__name__", target))
