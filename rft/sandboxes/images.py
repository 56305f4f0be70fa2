"""The images of docker or podman: which are on this machine, how the others come here, and what lies in one."""

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rft.errors import SandboxError
from rft.progress import progress, say

PULL_SECONDS = 3600
_fetching = threading.Lock()


@dataclass(frozen=True)
class Client:
    """The command line of docker or podman."""

    program: str
    flags: Sequence[str] = ()
    """What stands before the verb."""

    def __call__(self, *arguments: str, within: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run it. Never raises: what keeps it from running is its standard error."""
        command = [self.program, *self.flags, *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=within)
        except (OSError, subprocess.TimeoutExpired) as error:
            return subprocess.CompletedProcess(command, 1, "", str(error))

    def fault(self, text: str) -> SandboxError:
        """An error of this kind of sandbox."""
        return SandboxError(f"sandbox {self.program}: {text}")


@dataclass(frozen=True)
class Source:
    """Where images come from that are not on this machine."""

    client: Client
    build: Callable[[str], str]
    """The folder with the Dockerfile of an image; empty where it is not built."""
    pull: bool
    free: int
    """Bytes below which nothing more is fetched."""

    def have(self, image: str) -> None:
        """See to it that an image is there: one thread at a time builds or pulls. Raises SandboxError."""
        if self.is_here(image):
            return
        with _fetching:
            if self.is_here(image):
                return
            if problem := self.no_room():
                raise self.client.fault(f"image '{image}' is not there and {problem}")
            if folder := self.build(image):
                made = self.client("build", "-q", "-t", image, folder, within=PULL_SECONDS)
            elif self.pull:
                made = self.client("pull", "-q", image, within=PULL_SECONDS)
            else:
                raise self.client.fault(f"image '{image}' is not there, and sandbox.pull is off.")
        if made.returncode != 0:
            raise self.client.fault(f"image '{image}' cannot be had: {' '.join(made.stderr.split())[-300:]}")

    def fetch(self, images: Sequence[str]) -> None:
        """Have all of these, with progress; one that cannot be had is told and left to the attempts that want it.

        Raises SandboxError when the disk is full to the watermark.
        """
        absent = [image for image, size in self._sizes(images).items() if size is None]
        if not absent:
            return
        with progress("images", len(absent)) as advance:
            for image in absent:
                if problem := self.no_room():
                    raise self.client.fault(f"image '{image}' is not there and {problem}")
                try:
                    self.have(image)
                except SandboxError as error:
                    say(str(error))
                advance(image)

    def plan(self, images: Sequence[str]) -> str:
        """How many of these are here, their bytes, how many are to come, and the room for them; a line, or nothing."""
        found = self._sizes(images)
        if not found:
            return ""
        sizes = [size for size in found.values() if size is not None]
        absent = [image for image, size in found.items() if size is None]
        words = [f"{len(found)} named", f"{len(sizes)} here ({_gigabytes(sum(sizes))})"]
        if absent:
            way = "to pull" if self.pull else "not there, and sandbox.pull is off"
            built = sum(bool(self.build(image)) for image in absent)
            words += [f"{built} to build"] if built else []
            words += [f"{len(absent) - built} {way}, such as {absent[-1]}"] if len(absent) > built else []
            if sizes:
                guess = sum(sizes) // len(sizes) * len(absent)
                words.append(f"about {_gigabytes(guess)} if they are like those here (layers are shared)")
            words.append(self.no_room() or f"{_gigabytes(self.room())} free, fetching stops at {_gigabytes(self.free)}")
        return ", ".join(words)

    def _sizes(self, images: Sequence[str]) -> dict[str, int | None]:
        wanted = list(dict.fromkeys(images))
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(wanted, pool.map(self.size, wanted), strict=True))

    def is_here(self, image: str) -> bool:
        """Is the image on this machine?"""
        return self.size(image) is not None

    def size(self, image: str) -> int | None:
        """Bytes of an image that is on this machine, layers that it shares with others included."""
        told = self.client("image", "inspect", "--format", "{{.Size}}", image)
        return int(told.stdout) if told.returncode == 0 and told.stdout.strip().isdigit() else None

    def no_room(self) -> str:
        """What is said when the disk that images lie on is full to the watermark; empty when it is not."""
        room = self.room()
        if room >= self.free:
            return ""
        return (
            f"its disk has {_gigabytes(room)} left; expected {_gigabytes(self.free)} (sandbox.free). "
            f"Make room, such as by `{self.client.program} image prune`."
        )

    def room(self) -> int:
        """Free bytes where images are kept; of the temporary folder where that place is not in sight."""
        form = "{{.Store.GraphRoot}}" if self.client.program == "podman" else "{{.DockerRootDir}}"
        place = Path(self.client("info", "--format", form).stdout.strip() or "-")
        return shutil.disk_usage(place if place.is_dir() else tempfile.gettempdir()).free


@dataclass(frozen=True)
class LocalImage:
    """An image that is on this machine: a `rft.interfaces.Image`."""

    client: Client
    name: str

    @property
    def identity(self) -> str:
        """The digest of its content. Raises SandboxError."""
        return self._inspect("{{.Id}}")

    def programs(self) -> tuple[str, ...]:
        """The folders in which it looks for programs. Raises SandboxError."""
        variables = json.loads(self._inspect("{{json .Config.Env}}") or "null") or []
        path = next((value[5:] for value in variables if value.startswith("PATH=")), "")
        return tuple(folder for folder in path.split(":") if folder.startswith("/"))

    def copy(self, folder: str, place: Path) -> None:
        """Put the files of one of its folders into an empty directory, readable by all; nothing of the image is run.

        Raises SandboxError.
        """
        made = self.client("create", "--network", "none", "--pull", "never", self.name, "/none")
        if made.returncode != 0:
            raise self.client.fault(f"image '{self.name}' cannot be opened: {' '.join(made.stderr.split())[-300:]}")
        container = made.stdout.split()[-1]
        try:
            self._unpack([*self.client.flags, "cp", f"{container}:{folder}/.", "-"], folder, place)
        finally:
            self.client("rm", "-f", container)

    def _unpack(self, arguments: list[str], folder: str, place: Path) -> None:
        # tar writes through no link of the archive and nothing outside of `place`
        untar = ["tar", "-x", "-C", str(place), "--no-same-owner", "--delay-directory-restore"]
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen([self.client.program, *arguments], stdout=subprocess.PIPE, stderr=said) as source:
                done = subprocess.run(untar, stdin=source.stdout, stderr=said, check=False)
            if source.returncode or done.returncode:
                said.seek(0)
                why = " ".join(said.read().decode(errors="replace").split())[-300:]
                raise self.client.fault(f"image '{self.name}': its folder {folder} cannot be copied: {why}")
        subprocess.run(["chmod", "-R", "u+rwX,go+rX", "--", str(place)], check=False, capture_output=True)

    def _inspect(self, form: str) -> str:
        told = self.client("image", "inspect", "--format", form, self.name)
        if told.returncode != 0:
            raise self.client.fault(f"image '{self.name}' cannot be read: {told.stderr.strip()[-300:]}")
        return told.stdout.strip()


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
