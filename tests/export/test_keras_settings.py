"""What a user's own `keras.json` says changes no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

SCRIPT = """
from cxr_edge_export.training.backend import keras_module
config = keras_module().config
print(config.image_data_format(), config.floatx(), config.epsilon())
"""


def test_a_network_is_what_its_recipe_makes_it(tmp_path: Path) -> None:
    told = {"image_data_format": "channels_first", "floatx": "float64", "epsilon": 0.1, "backend": "tensorflow"}
    (tmp_path / "keras.json").write_text(json.dumps(told), encoding="utf-8")
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["channels_last", "float32", "1e-07"]
