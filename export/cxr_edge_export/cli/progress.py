"""Progress bars with the time left, on standard error, on a terminal only."""

import sys
from typing import TYPE_CHECKING, Self

SPEED_OVER = 300.0  # seconds: epochs, and what lies between them

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One line for the stage at work, in the place of the one before: a training has more than a screen has lines."""

    def __init__(self) -> None:
        """Nothing is shown before the first stage."""
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._whole: TaskID | None = None
        self._stage = ""

    def __enter__(self) -> Self:
        """Start, where somebody watches."""
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            words = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
            self._progress = Progress(
                *words, TimeRemainingColumn(), console=Console(stderr=True), speed_estimate_period=SPEED_OVER
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()

    @property
    def is_shown(self) -> bool:
        """Whether somebody watches."""
        return self._progress is not None

    def show(self, stage: str, done: int, total: int) -> None:
        """Say how far a stage has come."""
        if self._progress is None:
            return
        if stage != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage, self._task = stage, self._progress.add_task(stage, total=total, count="")
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, count=f"{done}/{total}")

    def show_whole(self, share: float) -> None:
        """Say how much of everything is done: stages come and go, this line stays."""
        if self._progress is None:
            return
        if self._whole is None:
            self._whole = self._progress.add_task("in all", total=1.0, count="")
        self._progress.update(self._whole, completed=share, count=f"{share:.0%}")

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        if self._progress is not None:
            self._progress.console.print(line, highlight=False, markup=False)
