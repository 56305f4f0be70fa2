"""Learning from the selected examples: the stage `train`."""

from rft.train.options import check
from rft.train.stage import run

__all__ = ["check", "run"]
