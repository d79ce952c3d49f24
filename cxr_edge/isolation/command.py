"""How a decoding process is started: the very interpreter and modules of its parent, and nothing of its `__main__`."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from cxr_edge.errors import EnvironmentUnusable

# Not multiprocessing: its spawn runs the user's script a second time, which one without a main guard does not survive
_BOOTSTRAP = (  # the path before any other import: what lies in the current folder is not to be run
    "import sys; sys.path[:] = {path}; import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from cxr_edge.isolation.worker import main; main({memory_bytes})"
)
_LEAN = {
    "OPENBLAS_NUM_THREADS": "1",  # unused here; each thread would reserve memory
    "MALLOC_ARENA_MAX": "1",  # hashing and helping threads would each keep a heap of their own
    # glibc: keep freed images' memory for the next one; fetching it anew costs a tenth of decoding
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}
_PYTHON = re.compile(r"python[\d.]*[dmtw]*([-_](d|dbg))?(\.exe)?", re.IGNORECASE)
CREATE_NEW_PROCESS_GROUP = 0x200  # Windows: no Ctrl-C from the parent's console
CREATE_NO_WINDOW = 0x0800_0000


def command(memory_bytes: int) -> list[str]:
    """The command line of a decoding process that may take so much memory.

    Raises:
        EnvironmentUnusable: this process is no Python interpreter of its own but a program that embeds one.
    """
    return [_interpreter(), *_flags(), "-c", _BOOTSTRAP.format(path=ascii(_path()), memory_bytes=memory_bytes)]


def environment() -> dict[str, str]:
    """The parent's environment, with what makes decoding lean."""
    variables = {**os.environ, **_LEAN}
    if python_path := variables.get("PYTHONPATH"):  # read before the bootstrap; an empty entry is the current folder
        entries = [entry for entry in python_path.split(os.pathsep) if Path(entry).is_absolute()]
        variables["PYTHONPATH"] = os.pathsep.join(entries)
    if sys.platform == "win32" and _interpreter() != sys.executable:
        variables["__PYVENV_LAUNCHER__"] = sys.executable  # how the base interpreter learns of the virtual environment
    return variables


def creation() -> dict[str, Any]:
    """Options of `subprocess.Popen` that only Windows has."""
    return {"creationflags": CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP} if sys.platform == "win32" else {}


def _interpreter() -> str:
    executable = sys.executable
    if sys.platform == "win32":
        # python.exe of a virtual environment only starts another process, which no limit would then reach
        executable = getattr(sys, "_base_executable", None) or executable
    name = Path(executable).name if executable else ""
    if getattr(sys, "frozen", False) or not _PYTHON.fullmatch(name):
        message = (
            f"decoding in processes of their own needs a Python interpreter to start, and this program "
            f"({name or 'without a name'}) is none; load without isolation, or use cxr-edge from a process of its own"
        )
        raise EnvironmentUnusable(message)
    return executable


def _path() -> list[str]:
    """The parent's module path. The current folder is no part of it, unless this very package was found there."""
    folders = ["" if entry in ("", os.curdir) else os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - zip files, too
    package = str(Path(__file__).absolute().parents[2])
    if "" in folders and package not in folders:
        folders[folders.index("")] = package
    return [folder for folder in folders if folder]


def _flags() -> list[str]:
    flags = sys.flags
    given = {"-B": sys.dont_write_bytecode, "-E": flags.ignore_environment, "-I": flags.isolated, "-S": flags.no_site}
    given["-s"] = flags.no_user_site
    return [flag for flag, is_set in given.items() if is_set] + ["-P", "-X", f"utf8={flags.utf8_mode}"]
