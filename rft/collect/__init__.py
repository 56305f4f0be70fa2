"""The stage `collect`: reads the environment's tasks, writes `1_collect/trajectories.jsonl`."""

from rft.collect.stage import attempts, draw_tasks, owed_attempts, refuse_breakdowns, run
from rft.collect.worker import Owed

__all__ = ["Owed", "attempts", "draw_tasks", "owed_attempts", "refuse_breakdowns", "run"]
