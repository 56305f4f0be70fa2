"""The stage `select`: reads trajectories and reports a group at a time, writes decisions, examples and the funnel."""

from rft.select.candidate import Candidate
from rft.select.stage import FunnelRow, run

__all__ = ["Candidate", "FunnelRow", "run"]
