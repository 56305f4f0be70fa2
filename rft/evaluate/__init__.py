"""The stage `evaluate`: a round's policy on held-out tasks, held against the rounds before."""

from rft.evaluate.stage import read_report, run

__all__ = ["read_report", "run"]
