"""Rubric reward models: a rubric and a trajectory in, a report out. Knows nothing of rft, Ray or torch."""
