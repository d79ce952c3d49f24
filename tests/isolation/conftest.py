"""A model, a pool and an image."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from isolating import ONE
from tiny_models import tiny_model

from cxr_edge.isolation.pool import Pool
from cxr_edge.phantom import phantom_dicom


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(ONE) as pool:
        yield pool


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "胸部.dcm"
    path.write_bytes(phantom_dicom())
    return path
