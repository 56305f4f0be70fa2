"""The errors that rft raises on purpose.

RftError                 one line for the user; exit code 1
├── RecipeError          a recipe, a rubric or an argument is wrong; exit code 2
├── StageError           a stage cannot go on
├── StoreError           a file of records is damaged, locked or cannot be written
├── SandboxError         the place where commands run broke: recorded on the trajectory, never a score
├── InferenceError       the model could not be asked: recorded on the trajectory, never a score
│   ├── Unanswered       the server gave no answer at all; another one may
│   └── ContextFull      the conversation no longer fits the model: a stop reason, not a breakdown
└── EnvironmentFault     a task could not be prepared or graded: recorded on the trajectory, never a score

A message has the form *where: what is wrong; what was expected. What to do.* Every class survives pickling,
because errors cross process borders.
"""

from reward_models.errors import did_you_mean as did_you_mean


class RftError(Exception):
    """Base of all errors with a message for the user."""

    exit_code = 1

    def __str__(self) -> str:
        """One line, whatever was quoted in it."""
        text = "".join(c if c.isprintable() else " " for c in super().__str__())
        return " ".join(text.split())


class RecipeError(RftError):
    """A recipe, a rubric, a task file or an argument is wrong."""

    exit_code = 2


class StageError(RftError):
    """A stage cannot go on."""


class StoreError(RftError):
    """A file of records is damaged, locked or cannot be written."""


class SandboxError(RftError):
    """The isolated place where commands run broke; not the command's own failure."""


class InferenceError(RftError):
    """The model could not be asked or its answer could not be read."""


class Unanswered(InferenceError):
    """The server is gone, broken or too busy; nothing is wrong with what it was asked."""

    def __init__(self, why: str, *, failed: bool = False) -> None:
        super().__init__(why)
        self.failed = failed
        """Whether it answered with an error of its own, which what it was asked may bring about after all."""


class ContextFull(InferenceError):
    """The conversation no longer fits into the model's context."""


class EnvironmentFault(RftError):
    """A task's start state could not be prepared, or its outcome could not be measured."""
