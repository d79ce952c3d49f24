"""What the tests of the examples share: the model to run them with, their environment, patience."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from dicom_files import Samples

from cxr_edge.modelfile import DEFAULT_MODEL, packaged_models
from cxr_edge.phantom import chest_phantom

PAGE = REPOSITORY / "docs" / "how-to" / "pacs-scripts.md"
EXAMPLES = PAGE.parent / "examples"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
PATIENCE = 90.0  # seconds; a busy machine loads a model in some


def model_to_run() -> str | None:
    """The model for the examples: None is the released one; `$CXR_EDGE_TEST_MODEL` names another file."""
    chosen = os.environ.get("CXR_EDGE_TEST_MODEL")
    if chosen is None and DEFAULT_MODEL not in packaged_models():
        pytest.skip("this checkout holds no released model")
    return chosen


def chest() -> Samples:
    """Twelve-bit samples that look like a chest radiograph: the gate refuses what does not, whatever its tags say."""
    return chest_phantom(224, 200, seed=1).astype(np.uint16) << 4


def environment() -> dict[str, str]:
    """This process's environment, with the repository importable."""
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *([inherited] if inherited else [])])}


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` returns, once that is true; the test fails where it never is."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    return pytest.fail(f"in vain: {what}")
