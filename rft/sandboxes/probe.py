"""`python -m rft.sandboxes.probe [--install]`: says whether bubblewrap works here, and may install what it needs."""

import os
import shutil
import subprocess
import sys

from rft.sandboxes import groups
from rft.sandboxes.bubblewrap import Bubblewrap

PACKAGES = {"bwrap": "bubblewrap", "git": "git", "bash": "bash", "setpriv": "util-linux"}


def install() -> str:
    """Install absent programs with apt-get where this user may; what to do by hand, or nothing."""
    absent = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not absent:
        return ""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *absent]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return (
            f"sandbox: {', '.join(absent)} not installed; run `sudo {' '.join(command)}`, or choose sandbox.use=local"
        )
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-q"], check=False, **quiet)  # type: ignore[call-overload]
    done = subprocess.run(command, check=False, **quiet)  # type: ignore[call-overload]
    return (
        "" if done.returncode == 0 else f"sandbox: `{' '.join(command)}` failed with {done.returncode}; run it by hand"
    )


def main() -> int:
    """0 when bubblewrap works, else 1; one line either way."""
    problem = install() if "--install" in sys.argv[1:] else ""
    problem = problem or Bubblewrap().missing()
    if problem:
        print(problem, file=sys.stderr)
        return 1
    found = groups.available()
    limits = f"control groups, version {found.version}" if found else "limits for each process (no control groups)"
    print(f"sandbox: bubblewrap works; memory, processes and CPU time are held by {limits}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
