"""TensorFlow's import says nothing of its own, and hides nothing of anybody else's."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from cxr_edge_export.quiet import without_banner

BANNER = b"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795384961.238108   21130 port.cc:153] oneDNN custom operations are on. You may see slightly different
"""


def test_the_import_says_nothing() -> None:
    code = "from cxr_edge_export.keras_model import tensorflow_module as module; print(module().__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout.strip(), found.stderr) == ("tensorflow", "")


def test_so_does_a_training_on_another_backend() -> None:
    pytest.importorskip("torch", reason="needs the Keras backend torch")
    code = "import sys; from cxr_edge_export.training.backend import make_repeatable; make_repeatable(1)"
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", f"{code}; print('tensorflow' in sys.modules)"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("True\n", "")


def test_what_others_say_goes_through(capfd: pytest.CaptureFixture[str]) -> None:
    with without_banner("absent"):
        os.write(2, BANNER + b"E0000 no memory\n")
        sys.stderr.write("a warning\n")
    os.write(2, b"later\n")
    assert sorted(capfd.readouterr().err.splitlines()) == ["E0000 no memory", "a warning", "later"]


def test_a_library_that_ends_the_process_has_its_last_word() -> None:
    code = (
        "import os\nfrom cxr_edge_export.quiet import without_banner\n"
        "with without_banner('absent'):\n    os.write(2, b'this processor has no AVX\\n'); os.abort()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode != 0
    assert found.stderr == "this processor has no AVX\n"


def test_so_it_does_where_the_import_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), without_banner("absent"):
        os.write(2, b"undefined symbol\n" + BANNER)
        raise ImportError
    assert capfd.readouterr().err == "undefined symbol\n"


def test_nothing_is_held_back_of_what_is_imported_already(capfd: pytest.CaptureFixture[str]) -> None:
    with without_banner("sys"):
        os.write(2, BANNER)
    assert capfd.readouterr().err == BANNER.decode()
