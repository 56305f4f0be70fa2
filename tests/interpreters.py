"""Pythons with programs that tests hold ours against, in virtual environments of their own, named by variables."""

import json
import os
import subprocess
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

HARBOR = os.environ.get("RFT_HARBOR_PYTHON", "")
"""Python 3.12 or newer with harbor 0.24.0."""
INSPECT = os.environ.get("RFT_INSPECT_PYTHON", "")
"""With inspect-ai, of which 0.3.285 was tried."""
SWEBENCH = os.environ.get("RFT_SWEBENCH_PYTHON", "")
"""With swebench 5.0.2."""
needs_harbor = pytest.mark.skipif(not HARBOR, reason="RFT_HARBOR_PYTHON names no Python that has harbor")

_VALIDATE = """
import json, sys
from harbor.utils.trajectory_validator import TrajectoryValidator
for line in sys.stdin:
    validator = TrajectoryValidator()
    print(json.dumps([] if validator.validate(json.loads(line)) else validator.errors))
"""


def atif_errors(documents: Iterable[Any]) -> list[list[str]]:
    """What harbor's validator says of each ATIF document; nothing of a valid one."""
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in documents)
    done = subprocess.run([HARBOR, "-c", _VALIDATE], input=lines, capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
