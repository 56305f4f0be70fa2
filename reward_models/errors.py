"""The errors that reward_models raises on purpose, each one line: *where: what is wrong; what was expected.*"""


class RubricError(ValueError):
    """A rubric, one of its rules, or a judge's set-up is wrong."""


class JudgeDown(Exception):
    """A judge could not be asked. It is recorded with its cause and is never a number."""
