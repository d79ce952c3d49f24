"""What the tests of the whole service share."""

from pathlib import Path

import pytest
from tiny_models import tiny_model

from cxr_edge.watch.settings import Settings


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that answers in no time."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def watched(tmp_path: Path, tiny: Path) -> Settings:
    """An empty inbox and impatient settings, to run until all is decided; `serving` goes on until it is stopped."""
    (tmp_path / "in").mkdir()
    return Settings(
        inbox=tmp_path / "in",
        results=tmp_path / "out",
        state=tmp_path / "state",
        model=str(tiny),
        provider="cpu",
        poll_interval_s=0.2,
        settle_s=0.05,
        once=True,
    )
