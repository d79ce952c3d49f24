"""The progress bar of the workbench: on a terminal only, and one line however many stages there are."""

import io
import sys

import pytest

from cxr_edge_export.cli.progress import Bar

CURSOR_UP = "\x1b[1A"


class Terminal(io.StringIO):
    """Standard error that somebody watches."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def shown(stages: int) -> None:
    with Bar() as bar:
        for stage in range(1, stages + 1):
            bar.show(f"epoch {stage}", 0, 2)
            bar.say(f"epoch {stage} began")
            bar.show(f"epoch {stage}", 2, 2)


def test_on_a_terminal_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    shown(stages=5)
    told = terminal.getvalue()
    assert "epoch 5" in told
    assert "2/2" in told
    assert all(f"epoch {stage} began" in told for stage in range(1, 6))
    assert CURSOR_UP not in told


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    shown(stages=5)
    assert file.getvalue() == ""


def test_without_any_standard_error_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    shown(stages=1)
