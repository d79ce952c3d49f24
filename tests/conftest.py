"""Fixtures that many tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines are noisy
settings.load_profile("untimed")
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> None:
    """Tests behind `nohup` or a shell's `&` would hand the signals ignored there on to the programs they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the package remembers about this machine goes elsewhere than into the developer's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_EDGE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real radiographs, which the repository does not hold: `$CXR_EDGE_DATA`, else ../shared/data."""
    folder = Path(os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the real radiographs: set CXR_EDGE_DATA to their folder")
    return folder
