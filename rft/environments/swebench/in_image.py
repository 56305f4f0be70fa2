"""A row's container image as its environment: the files of the image's own checkout, and the Python that it holds."""

from pathlib import Path

from rft.environments import snapshots
from rft.errors import EnvironmentFault
from rft.interfaces import Image, StartState
from rft.types import Task

CHECKOUT = "/testbed"
"""Where images of this family hold the repository; sandboxes work at the same place."""
PROGRAMS = ("/opt/miniconda3/envs/testbed/bin", f"{CHECKOUT}/.venv/bin")
"""The Python environments of SWE-bench's, SWE-Gym's and SWE-smith's images, and of R2E-Gym's."""
SCRIPT, TESTS = "run_tests.sh", "r2e_tests"
"""What runs R2E-Gym's tests, in the checkout, and their folder, at the root of the image or in the checkout too."""
PROTECTED = (SCRIPT, TESTS)


def name(task: Task, template: str) -> str:
    """A row's own image, or the one that `template` makes of the row's id."""
    given: str = task.meta.get("image", "")
    identity = task.id.lower()
    return given or template.replace("{hub_id}", identity.replace("__", "_1776_")).replace("{id}", identity)


def start_state(task: Task, *, with_tests: bool) -> StartState:
    """The image's checkout without history, a bug applied where the task has one.

    R2E-Gym's tests are in the image: they are taken away, and laid into the checkout `with_tests`, for grading.
    Raises EnvironmentFault.
    """
    image: str = task.meta["image"]
    if not image:
        raise EnvironmentFault(
            f"{task.id}: its row names no container image; "
            f"expected one, environment.image, or environment.repositories."
        )
    has_tests = bool(task.meta.get("only_in_image"))

    def unpack(found: Image) -> Path:
        def fill(place: Path) -> None:
            found.copy(CHECKOUT, place)
            if has_tests:
                _lay_out_tests(found, place, shown=with_tests)

        key = [found.identity, CHECKOUT, has_tests, with_tests]
        return snapshots.start_state(key, fill, patch=task.meta.get("bug", ""), keeps_ignored=True)

    covered = (f"/{TESTS}",) if has_tests else ()
    return StartState(None, image=image, unpack=unpack, programs=PROGRAMS, covered=covered)


def _lay_out_tests(image: Image, place: Path, *, shown: bool) -> None:
    tests = place / TESTS
    if tests.is_symlink():
        tests.unlink()
    if not shown:
        (place / SCRIPT).unlink(missing_ok=True)
        snapshots.remove(tests)
    elif not tests.exists():
        tests.mkdir()
        image.copy(f"/{TESTS}", tests)
