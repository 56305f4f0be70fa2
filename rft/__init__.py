"""Reinforced fine-tuning for agents: collect, score, select, train, evaluate, and go round again."""

__version__ = "0.1.0"
