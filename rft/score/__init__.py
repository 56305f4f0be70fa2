"""The stage `score`: reads trajectories and a rubric, writes `2_score/reports.jsonl`."""

from rft.score.stage import all_criteria, load_rubric, reports, run
from rft.transcript import to_transcript

__all__ = ["all_criteria", "load_rubric", "reports", "run", "to_transcript"]
