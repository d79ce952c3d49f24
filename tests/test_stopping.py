"""What asks a process to stop, and what it was told to outlive."""

import os
import signal
import subprocess
import sys

import pytest

from cxr_edge.stopping import stopping_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")

SCRIPT = """
import os, signal, sys
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
import {package}.cli.app
app = sys.modules["{package}.cli.app"]
app.run = lambda *_: os.kill(os.getpid(), signal.SIGHUP) or print("went on") or 0
try: app.main()
except KeyboardInterrupt: print("interrupted")
"""


def test_all_but_the_ignored_hangup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert stopping_signals() == (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert stopping_signals() == (signal.SIGINT, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("package", ["cxr_edge", "cxr_edge_export"])
@pytest.mark.parametrize(("handler", "said"), [("SIG_DFL", "interrupted\n"), ("SIG_IGN", "went on\n")])
def test_commands_outlive_a_terminal_behind_nohup(package: str, handler: str, said: str) -> None:
    if package == "cxr_edge_export":
        pytest.importorskip(package, reason="needs the workbench: pip install ./export")
    command = [sys.executable, "-c", SCRIPT.format(package=package), handler]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (said, "")
