"""One dataclass for each section of a recipe, with a sentence under each field; load, override, resolve.

Reads recipe YAML files. A `use:` section is checked against the plug-in's own fields by `rft.plugins`.
"""

import re
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rft.errors import RecipeError, did_you_mean
from rft.plugins import first_line

Section = dict[str, Any]
"""A plug-in's section: `use` and the plug-in's own options."""

MAX_RECIPE_BYTES = 256 * 1024
MAX_RECIPE_DEPTH = 20


@dataclass(kw_only=True)
class Sampling:
    """How the policy's tokens are drawn."""

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus: draw from the smallest set of tokens that holds this much probability."""
    max_tokens: int = 1024
    """The most tokens of one answer."""


@dataclass(kw_only=True)
class Judging:
    """How a policy judges attempts."""

    rubric: str = MISSING
    """The rubric whose questions it learns; the verdicts on the criteria of the same ids in `score.rubric` teach it."""
    judge: Section = field(default_factory=lambda: {"use": "local"})
    """How it is asked: the judge that it becomes, without its model."""


@dataclass(kw_only=True)
class Policy:
    """The model being trained and how it is asked."""

    model: str = MISSING
    """A directory, a hub name, or the name of a model that ships with rft (kata-base)."""
    create: Section | None = None
    """Makes the model from scratch, its vocabulary learnt from the first round's attempts: `{use: tiny_qwen3, …}`."""
    judging: Judging | None = None
    """The policy judges attempts, and does not work on tasks: `collect.inference` makes the attempts."""
    inference: Section = field(default_factory=lambda: {"use": "local"})
    """Which engine answers."""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(kw_only=True)
class Imports:
    """Attempts that were made elsewhere."""

    files: list[str] = field(default_factory=list)
    """Files of trajectories in any format that rft reads, or folders of them; or the name of one that ships."""
    format: str = ""
    """Their format; found in each file's content when left out."""
    outcomes: list[str] = field(default_factory=list)
    """What a grader said of them: SWE-bench's or SWE-smith's reports, folders of these, or JSON lines with
    `instance_id` and `resolved`."""


@dataclass(kw_only=True)
class Collect:
    """Attempts at tasks."""

    imports: Imports | None = None
    """The first round's attempts are read from files, and none is made; `rft import` fills it in."""
    split: str = "train"
    """Which of the environment's tasks are attempted."""
    tasks: int | None = None
    """How many tasks, drawn by seed, differently in each round; all of them when left out."""
    samples: int = 4
    """Attempts at each task: the size of a group."""
    inference: Section | None = None
    """Who answers in place of the policy: a teacher or a demonstrator."""
    pool: Section = field(default_factory=lambda: {"use": "threads"})
    """Where attempts run and how many at once."""
    max_failed: float = 0.2
    """The stage fails when more than this share of attempts broke down; the same command tries those again."""


@dataclass(kw_only=True)
class Budget:
    """The most that a run's judge may cost; the stage stops before it costs more."""

    money: float | None = None
    """In the currency of the judge's price."""
    tokens: int | None = None
    """Of prompts and replies together."""


@dataclass(kw_only=True)
class Audit:
    """A watch for reward hacking: criteria or a judge that select nothing, on a sample of each round's attempts."""

    rubric: str | None = None
    """Held-out criteria; those of `score` when left out, for another judge to answer."""
    judge: Section | None = None
    """Who answers them; the judge of `score` when left out."""
    share: float = 0.2
    """How much of a round is audited, drawn by seed, of each task alike."""
    margin: float = 0.05
    """An alarm is raised when the rubric's score rose by more than this since the round before, and the audit's score
    or the share of resolved attempts fell by more than this."""


@dataclass(kw_only=True)
class Score:
    """Verdicts on each attempt and one number from them."""

    rubric: str = "coding_agent"
    """A shipped rubric's name, or a path."""
    judge: Section | None = None
    """Who answers a rubric's questions; not needed when rules answer everything."""
    votes: int = 1
    """How often each question is asked; the majority stands."""
    skip: Literal["decided"] | None = None
    """`decided`: the judge is not asked about attempts that fail a required rule, whose score is 0 whatever it says.
    What is evaluated or audited is asked about all the same."""
    unknown: Literal["leave_out", "no_score", "stop"] = "leave_out"
    """What an unknown verdict does: its criterion is left out, the attempt gets no score, or the stage stops."""
    ask_again: int = 0
    """How often a judge that says it cannot tell is asked again, with other seeds, before the verdict is unknown."""
    outage: Literal["no_score", "leave_out", "stop"] = "no_score"
    """What a judge that cannot be asked does: the attempt gets no score and is scored again by the same command, the
    criteria that are open are left out, or the stage stops."""
    cache: str | None = None
    """The file of verdicts that were paid for before, shared by runs; `verdicts.sqlite` in `runs` when left out, none
    when empty."""
    budget: Budget = field(default_factory=Budget)
    dropout: float = 0.0
    """This share of the criteria, never a required one, is left out of a task's scores, drawn by seed for each task and
    round, so that no criterion can be farmed; what is evaluated or audited is scored by all."""
    audit: Audit | None = None
    """Held-out criteria or a second judge, to see when the score and what it stands for part."""


@dataclass(kw_only=True)
class Select:
    """Which attempts are learnt from."""

    rules: list[Section] = field(default_factory=lambda: [{"use": "finished"}, {"use": "resolved"}])
    """Asked in order; the first that drops an attempt is the recorded reason."""
    mask_steps: list[str] = field(default_factory=list)
    """Criteria of `score.rubric`: a step that a verdict cites as showing one stays in the context and is not learnt."""
    teach: Section = field(default_factory=lambda: {"use": "imitate"})
    """What those kept teach: `imitate` for sft, `pairs` or `step_pairs` for dpo, `labels` for kto, `advantages` for
    grpo."""


@dataclass(kw_only=True)
class Grpo:
    """The policy gradient on stored attempts (`train.method: grpo`)."""

    clip_low: float = 0.2
    """A token's probability ratio below 1 minus this teaches nothing where the token is to become less likely."""
    clip_high: float = 0.28
    """A token's probability ratio above 1 plus this teaches nothing where the token is to become likelier."""
    mismatch: float = 0.05
    """A warning is given when engine and trainer differ by more than this before the first update, as the mean absolute
    difference of log-probabilities."""


@dataclass(kw_only=True)
class Train:
    """Learning from what was kept."""

    method: Literal["sft", "dpo", "kto", "grpo"] = "sft"
    """Imitation, preference pairs, likes and dislikes, or the policy gradient; `select.teach` makes what it learns
    from."""
    learn: Literal["replies", "everything"] = "replies"
    """What the policy wrote, or also what it read: only a policy made from scratch has a use for the latter."""
    tokens: int | None = None
    """Learnt tokens to train on: examples are repeated in seeded order until reached. Left out: TRL's epochs decide."""
    workers: int = 1
    """Training processes, each on a GPU of its own where there are GPUs."""
    ray: Section | None = None
    """Options of ray.train.ScalingConfig, as they are: Ray Train spreads the workers over the cluster of
    `collect.pool.address` or RAY_ADDRESS, whose nodes all see the run's folder. Left out: they run where the driver
    does."""
    deepspeed: str | None = None
    """A name in launch/deepspeed, or a path."""
    update: int | None = None
    """Rows (of dpo pairs) that an update learns from, over all workers: how often each of them reads before an update
    follows, so that more workers learn the same. Left out: `trl` says it for each worker."""
    batch_tokens: int | None = None
    """The most tokens, padding included, that a process reads at once: a batch with more is read in parts, and the
    update is the same. Left out: batches are read whole."""
    lora: Section | None = None
    """Options of peft.LoraConfig, as they are."""
    quantization: Section | None = None
    """Options of transformers.BitsAndBytesConfig, as they are (QLoRA): with `lora`, on a CUDA GPU, `rft[qlora]`."""
    grpo: Grpo = field(default_factory=Grpo)
    trl: Section = field(default_factory=dict)
    """Options of TRL's config class, as they are: SFTConfig for sft and grpo, DPOConfig, KTOConfig."""


@dataclass(kw_only=True)
class Evaluate:
    """Held-out tasks, before and after."""

    rubric: str | None = None
    """What held-out attempts are scored by, so that what selects is not what measures; `score.rubric` when left out."""
    splits: list[str] = field(default_factory=lambda: ["heldout"])
    """Which of the environment's tasks; the first decides what is promoted."""
    tasks: int | None = None
    """How many tasks of each split; all of them when left out."""
    samples: int = 2
    """Attempts at each task."""
    every: int = 1
    """Evaluate after every so many rounds, and after the last; a round that is not evaluated is promoted."""
    promote_if: str = "resolved"
    """The next round starts from this policy unless this metric fell on the first split; `always` never looks."""


@dataclass(kw_only=True)
class Compare:
    """Arms that differ in a few keys, each run with every seed."""

    arms: dict[str, Section] = MISSING
    """Arm name to the dotted keys that it changes."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """What `seed` is in the runs of each arm."""
    control: str = MISSING
    """The arm that the others are held against."""


@dataclass(kw_only=True)
class Recipe:
    """A whole run."""

    name: str = MISSING
    """The run's folder under `runs`."""
    runs: str = "runs"
    """Where runs are kept."""
    seed: int = 0
    """What all draws follow from: of tasks, of the policy's tokens, of the order of training."""
    rounds: int = 1
    """How often the five stages are gone through."""
    policy: Policy = field(default_factory=Policy)
    environment: Section = field(default_factory=dict)
    """Where tasks come from and what success means. A recipe that only imports does without."""
    sandbox: Section = field(default_factory=lambda: {"use": "bubblewrap"})
    """Where commands run."""
    agent: Section = field(default_factory=lambda: {"use": "bash"})
    """The loop between policy and sandbox."""
    collect: Collect = field(default_factory=Collect)
    score: Score = field(default_factory=Score)
    select: Select = field(default_factory=Select)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    tracking: Section = field(default_factory=lambda: {"use": "jsonl"})
    """Who else is told the numbers of each stage."""
    compare: Compare | None = None
    """`rft run` runs the arms of this, and sets them against each other."""


def sections(kind: type) -> dict[str, type]:
    """The typed sections that stand in a section, or may: name to dataclass."""
    hints = get_type_hints(kind)
    return {
        name: section
        for name, hint in hints.items()
        for section in (hint, *get_args(hint))
        if is_dataclass(section) and isinstance(section, type)
    }


def load(name: str, overrides: list[str] | None = None) -> Recipe:
    """The recipe at a path, or the shipped one of that name, with `key=value` overrides applied one by one.

    Raises RecipeError, one line, for anything that is wrong with it.
    """
    path = locate(name)
    config = _merge_checked(_read(path), str(path))
    for override in overrides or []:
        apply_override(config, override)
    return to_recipe(config, str(path))


def locate(name: str) -> Path:
    """The file of a recipe: a path, a run's folder, or the name of a shipped one. Raises RecipeError."""
    for path in (Path(name), Path(name) / "recipe.yaml"):
        if path.is_file():
            return path
    shipped = shipped_content("recipes")
    bare = name.removeprefix("recipes/").removesuffix(".yaml")
    if shipped.is_dir() and (shipped / f"{bare}.yaml").is_file():
        return shipped / f"{bare}.yaml"
    known = sorted(p.stem for p in shipped.glob("*.yaml")) if shipped.is_dir() else []
    raise RecipeError(
        f"{name}: no such recipe; expected a file, or one of {', '.join(known)}.{did_you_mean(bare, known)}"
    )


def shipped_content(folder: str) -> Path:
    """A content folder (`recipes`, `launch`): under `rft/_data` in a wheel, beside the package in a checkout."""
    inside = Path(str(resources.files("rft"))) / "_data" / folder
    return inside if inside.is_dir() else Path(str(resources.files("rft"))).parent / folder


def shipped_model(name: str) -> str:
    """The folder of a model that ships with rft; any other name, a directory or one of the hub, as it is."""
    folder = shipped_content("recipes") / "models" / name
    return str(folder) if (folder / "config.json").is_file() else name


def apply_override(config: DictConfig, override: str) -> None:
    """Set one dotted key, list positions included; the value is parsed as OmegaConf parses YAML."""
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"[\w.\[\]-]+", key):
        raise RecipeError(f"'{override}': not an override; expected key=value, such as collect.samples=4.")
    try:
        parsed = OmegaConf.from_dotlist([f"value={value}"])["value"]
    except (OmegaConfBaseException, yaml.YAMLError, TypeError, ValueError) as error:
        raise RecipeError(f"{key}: '{value}' cannot be set ({first_line(error)}).") from None
    change(config, key, parsed)


def change(config: DictConfig, key: str, value: Any) -> None:
    """Set one dotted key to a value. Raises RecipeError that begins with the key."""
    try:
        _check_keys(_nest(key, value), Recipe, key)
        OmegaConf.update(config, key, _typed(config, key.split("."), value), merge=False)
    except OmegaConfBaseException as error:
        raise RecipeError(f"{key}: {first_line(error)}.") from None
    except (IndexError, TypeError, ValueError) as error:
        raise RecipeError(f"{key}: '{value}' cannot be set ({first_line(error)}).") from None


def _typed(config: DictConfig, path: list[str], value: Any) -> Any:
    """The value as its typed section wants it; sections on the way to it that were left out are begun."""
    node: Any = config
    kind: type = Recipe
    for place, name in enumerate(path, 1):
        inner = sections(kind)
        if name not in inner:
            return value
        kind = inner[name]
        if place == len(path):
            return OmegaConf.merge(OmegaConf.structured(kind), value) if isinstance(value, dict | DictConfig) else value
        if node[name] is None:
            node[name] = OmegaConf.structured(kind)
        node = node[name]
    return value


def to_recipe(config: DictConfig, where: str) -> Recipe:
    """The typed recipe; every required key must be there."""
    absent = sorted(OmegaConf.missing_keys(config))
    if absent:
        raise RecipeError(f"{where}: '{absent[0]}' is missing; a recipe needs it. Add it, or pass {absent[0]}=….")
    recipe = OmegaConf.to_object(config)
    assert isinstance(recipe, Recipe)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", recipe.name):
        raise RecipeError(f"{where}: name is '{recipe.name}'; expected letters, digits, '.', '_' and '-'. Rename it.")
    _check_environment(recipe, where)
    for key, value, least in [
        ("rounds", recipe.rounds, 0),
        ("collect.samples", recipe.collect.samples, 1),
        ("evaluate.samples", recipe.evaluate.samples, 1),
        ("evaluate.every", recipe.evaluate.every, 1),
        ("policy.sampling.max_tokens", recipe.policy.sampling.max_tokens, 1),
        ("policy.sampling.temperature", recipe.policy.sampling.temperature, 0),
        ("train.workers", recipe.train.workers, 1),
        ("score.votes", recipe.score.votes, 1),
        ("score.ask_again", recipe.score.ask_again, 0),
    ]:
        if value < least:
            raise RecipeError(f"{where}: {key} is {value}; expected at least {least}.")
    return recipe


def _check_environment(recipe: Recipe, where: str) -> None:
    """Whatever makes attempts needs an environment."""
    if recipe.environment:
        return
    if recipe.collect.imports is None:
        raise RecipeError(f"{where}: 'environment' is missing; a recipe needs it. Add it, or pass environment.use=….")
    for key, asks in (("rounds", recipe.rounds > 1), ("evaluate.splits", bool(recipe.evaluate.splits))):
        if asks:
            raise RecipeError(
                f"{where}: {key} asks for attempts, and there is no environment; expected rounds: 1 and "
                "evaluate: {splits: []}. Add an environment, or set them."
            )


def to_config(recipe: Recipe) -> DictConfig:
    """The recipe as OmegaConf holds it, for overrides and dumps."""
    return cast(DictConfig, OmegaConf.structured(recipe))


def dump(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load` reads back."""
    return OmegaConf.to_yaml(to_config(recipe))


def _read(path: Path) -> dict[str, Any]:
    """Plain YAML: no tags that build objects, no alias bombs, nothing huge."""
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise RecipeError(f"{path}: larger than {MAX_RECIPE_BYTES} bytes; expected a recipe of some 60 lines.")
        text = path.read_text(encoding="utf-8")
        _refuse_bombs(text, path)
        config = OmegaConf.create(text)
        OmegaConf.resolve(config)
        data = OmegaConf.to_container(config)
    except RecipeError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({first_line(error)}); expected a UTF-8 YAML file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise RecipeError(f"{path}{line}: not YAML ({problem}). Mend it.") from None
    except (OmegaConfBaseException, RecursionError, ValueError, AssertionError) as error:
        raise RecipeError(f"{path}: {first_line(error)}.") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise RecipeError(f"{path}: holds a {type(data).__name__}; expected keys and values.")
    return cast(dict[str, Any], data)


def _refuse_bombs(text: str, path: Path) -> None:
    """What a small file can become huge or endless with, before anything is built from it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise RecipeError(f"{path}: YAML aliases are not read; write the value out.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_RECIPE_DEPTH:
            raise RecipeError(f"{path}: nested more than {MAX_RECIPE_DEPTH} deep; expected a recipe.")


def _merge_checked(data: dict[str, Any], where: str) -> DictConfig:
    _check_keys(data, Recipe, where)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Recipe), data)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "")
        raise RecipeError(f"{where}{f': {key}' if key else ''}: {first_line(error)}.") from None
    return cast(DictConfig, merged)


def _check_keys(data: Any, kind: type, where: str) -> None:
    """Unknown keys of the typed sections, wherever they stand, answered with the nearest known one."""
    if not isinstance(data, dict | DictConfig):
        return
    known, inner = [f.name for f in fields(kind)], sections(kind)
    for key, value in cast(dict[str, Any], data).items():
        if key not in known:
            raise RecipeError(
                f"{where}: unknown key '{key}'; expected one of {', '.join(known)}.{did_you_mean(str(key), known)}"
            )
        if key in inner:
            _check_keys(value, inner[key], f"{where}: {key}")


def _nest(key: str, value: Any) -> Any:
    """`a.b.0.c` -> {a: {b: …}}, down to where the typed sections end."""
    head, _, rest = key.partition(".")
    return {head: _nest(rest, value) if rest else value}
