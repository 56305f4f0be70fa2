"""The stage `select`: reads trajectories and reports a group at a time, writes decisions, examples and the funnel."""

from rft.select.candidate import Candidate
from rft.select.stage import Funnel, FunnelRow, groups, run

__all__ = ["Candidate", "Funnel", "FunnelRow", "groups", "run"]
