"""Small volumes of their own, for what happens when one is full, read-only or another one; and where processes run."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@contextlib.contextmanager
def small_volume(folder: Path, size: str = "64k") -> Iterator[Path]:
    """A tmpfs of that size on `folder`, which is made; skips where mounting is not allowed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small volume needs Linux and root")
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False, text=True
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small volume: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def other_volume(folder: Path) -> Iterator[Path]:
    """A folder on another volume than `folder`'s; skips where there is none to be had."""
    memory = Path("/dev/shm")  # noqa: S108 - a volume that needs no right to mount
    if not memory.is_dir() or memory.stat().st_dev == folder.parent.stat().st_dev or not os.access(memory, os.W_OK):
        with small_volume(folder, "400m") as volume:
            yield volume
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


def make_read_only(volume: Path, *, read_only: bool) -> None:
    """Remount a small volume."""
    subprocess.run(["mount", "-o", f"remount,{'ro' if read_only else 'rw'}", volume], check=True)


def fill(volume: Path) -> Path:
    """Take all the room that is left on a volume; gives the file to remove again."""
    filler = volume / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(512))
    return filler


def start(code: str, *arguments: object) -> "subprocess.Popen[bytes]":
    """A process of its own that runs this code; it says that it is ready by one line."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=ENVIRONMENT, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline()
    return child


def kill(child: "subprocess.Popen[bytes]") -> None:
    """SIGKILL (on Windows: TerminateProcess), and nothing of it left."""
    child.kill()
    child.communicate()
