"""The stage `evaluate`: a round's policy on held-out tasks, held against the rounds before."""

from rft.evaluate.owed import held_out_tasks
from rft.evaluate.stage import check, read_report, run

__all__ = ["check", "held_out_tasks", "read_report", "run"]
