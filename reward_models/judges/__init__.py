"""Judges: who answers a rubric's questions."""

from reward_models.judges.base import Judge, Judgement, Request
from reward_models.judges.endpoint import Endpoint
from reward_models.judges.generative import Generative
from reward_models.judges.local import Local
from reward_models.judges.scripted import Scripted

__all__ = ["Endpoint", "Generative", "Judge", "Judgement", "Local", "Request", "Scripted"]
