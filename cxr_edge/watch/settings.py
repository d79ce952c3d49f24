"""Everything that a user may decide about watching a folder, in one frozen value."""

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxr_edge.errors import UsageError
from cxr_edge.qualification.record import STATE_VARIABLE, state_folder
from cxr_edge.types import GateMode

Order = Literal["oldest", "newest"]
Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "directml", "coreml"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of `cxr-edge watch`, checked. Times are in seconds.

    Attributes:
        inbox: the folder that is watched, with all its sub-folders.
        results: OUTBOX, where results are written.
        state: ledger, salt, lock and health; on a local disk. None for one of its own in the package's folder.
        poll_interval_s: between two scans at least; events of the file system may wake it sooner.
        settle_s: a file must have been unchanged for so long before it is read.
        incomplete_after_s: a file that is not whole so long after its last change is reported as incomplete.
        study_timeout_s: a study that has been quiet for so long is summed up.
        order: which of the waiting files come first, by their time of change.
        nice: give way to other programs: below-normal priority.
        after_done: move classified files there; None leaves them where they are.
        after_rejected: move rejected files there; None leaves them where they are.
        heatmap: write `<SHA-256>.png` beside each result.
        heatmap_label: show the evidence for this label; the PNG is then `<SHA-256>-<number of the label>.png`.
        identifiers: results hold path and UIDs; logs and ledger never do.
        gate, model, operating_point, provider, threads: as `cxr_edge.load` takes them.
        log_file: JSON lines go there; None for standard error.
        log_max_mb: a log file of this size (10^6 bytes) is rotated.
        log_keep: so many rotated log files are kept beside the one in use.
        once: end when all that is in the inbox is decided, instead of going on.
    """

    inbox: Path
    results: Path
    state: Path | None = None
    poll_interval_s: float = 5.0
    settle_s: float = 2.0
    incomplete_after_s: float = 300.0
    study_timeout_s: float = 120.0
    order: Order = "oldest"
    nice: bool = True
    after_done: Path | None = None
    after_rejected: Path | None = None
    heatmap: bool = False
    heatmap_label: str | None = None
    identifiers: bool = True
    gate: GateMode = "strict"
    model: str | None = None
    operating_point: str | None = None
    provider: Provider = "auto"
    threads: int | None = None
    log_file: Path | None = None
    log_max_mb: int = 10
    log_keep: int = 10
    once: bool = False

    def __post_init__(self) -> None:
        """Refuse folders that would feed the service its own output, times that are no numbers, and contradictions.

        Raises:
            UsageError: results, state or a folder of `--after` is the inbox itself; the state is the results folder;
                the log is a file of the inbox; a time is not finite; a label for heat maps that are not wanted.
        """
        self._check_times()
        if self.heatmap_label is not None and not self.heatmap:
            message = "--heatmap-label is about heat maps; need --heatmap, too"
            raise UsageError(message)
        inbox = _real(self.inbox)
        others = {
            "--results": self.results,
            "--state": self.state,
            "--after done": self.after_done,
            "--after rejected": self.after_rejected,
        }
        for name, folder in others.items():
            if folder is not None and _real(folder) == inbox:
                message = f"{name} is the inbox itself; need another folder (one inside the inbox will do)"
                raise UsageError(message)
        if self.state is not None and _real(self.state) == _real(self.results):
            message = "--state is the results folder itself; need another folder, on a local disk"
            raise UsageError(message)
        passed_over = [_real(folder) for folder in others.values() if folder is not None]
        log = self.log_file
        if log is not None and _is_below(log, inbox) and not any(_is_below(log, folder) for folder in passed_over):
            message = "--log lies in the inbox, where each line would be a new file; need another folder"
            raise UsageError(message)

    def _check_times(self) -> None:
        times = {
            "--poll-interval": self.poll_interval_s,
            "--settle": self.settle_s,
            "--incomplete-after": self.incomplete_after_s,
            "--study-timeout": self.study_timeout_s,
        }
        for name, seconds in times.items():
            if not math.isfinite(seconds):
                message = f"{name} is {seconds}; need a number of seconds"
                raise UsageError(message)

    @property
    def state_folder(self) -> Path:
        """Where ledger, salt, lock and health of this inbox are; raises as `state_folder_of`."""
        return state_folder_of(self.inbox, self.state)


def state_folder_of(inbox: Path, named: Path | None = None) -> Path:
    """The folder of ledger, salt, lock and health for one inbox; not made here.

    Args:
        inbox: the watched folder; it need not be there.
        named: the folder that the user named for it, if any.

    Raises:
        UsageError: none was named, and the system names no place for state.
    """
    if named is not None:
        return named
    base = state_folder()
    if base is None:
        message = f"this account has no folder for state; name one by --state or {STATE_VARIABLE}"
        raise UsageError(message)
    return base / "watch" / hashlib.sha256(os.fsencode(_real(inbox))).hexdigest()[:16]


def _is_below(file: Path, folder: str) -> bool:
    return Path(folder) in Path(_real(file)).parents


def _real(folder: Path) -> str:
    return os.path.normcase(os.path.realpath(folder))
