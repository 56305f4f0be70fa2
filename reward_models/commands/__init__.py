"""What a command does, read from its text alone: which files it reads and changes, which checks it runs.

It decides from names and options and never runs anything. It never raises, and its time is bounded by the
length of the command.
"""

from reward_models.commands.deed import ANY_FILE, OPEN_FILE, Deed, same_file
from reward_models.commands.read import deeds

__all__ = ["ANY_FILE", "OPEN_FILE", "Deed", "deeds", "same_file"]
