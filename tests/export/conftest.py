"""A tiny Keras classifier, really trained on phantoms, and labelled folders of them."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from recipes import RECIPE, SIDE

from cxr_edge.phantom import chest_phantom


@dataclass(frozen=True)
class Workbench:
    """What `convert` is given."""

    model: Path
    recipe: Path
    calibration: Path
    validation: Path

    def request(self, output: Path, **changes: Any) -> Any:
        """A request to convert; `changes` replace its fields."""
        from cxr_edge_export.convert import Request

        given: dict[str, Any] = {
            "models": (self.model,),
            "recipe": self.recipe,
            "calibration": self.calibration,
            "validation": self.validation,
            "agreement": None,
            "families": None,
            "output": output,
            "as_float": False,
            "overwrite": False,
        }
        return Request(**(given | changes))

    def recipe_with(self, folder: Path, *edits: tuple[str, str]) -> Path:
        """A copy of the recipe with some text replaced."""
        text = self.recipe.read_text(encoding="utf-8")
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new)
        path = folder / "edited.toml"
        path.write_text(text, encoding="utf-8")
        return path


def draw(seed: int, *, sick: bool) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """One labelled phantom, of a size that needs the resize."""
    return chest_phantom(64 + seed % 9, 60 + seed % 7, seed=seed, opacity=0.9 if sick else 0.0)


def write_folder(folder: Path, seeds: range) -> Path:
    """NORMAL and PNEUMONIA sub-folders, a patient per file, named as the Kermany files are."""
    for name in ("NORMAL", "PNEUMONIA"):
        (folder / name).mkdir(parents=True)
    for seed in seeds:
        Image.fromarray(draw(seed, sick=False)).save(folder / "NORMAL" / f"IM-{seed:04d}-0001.png")
        Image.fromarray(draw(seed, sick=True)).save(folder / "PNEUMONIA" / f"person{seed}_bacteria_1.png")
    return folder


def tensors_of(seeds: range) -> tuple[Any, Any]:
    """Normalized training tensors and labels, by Pillow and numpy alone."""
    rows, labels = [], []
    for seed in seeds:
        for sick in (False, True):
            small = Image.fromarray(draw(seed, sick=sick)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            rows.append(np.repeat(np.asarray(small, np.float32)[:, :, None], 3, axis=2))
            labels.append(int(sick))
    mean = np.array([103.939, 116.779, 123.68], np.float32)
    return (np.stack(rows) - mean) / np.float32(64), np.array(labels)


def tiny_network(keras: Any, *, head: str = "softmax") -> Any:
    """Conv - bn - relu, twice, pooling, dense."""
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = image
    for width in (8, 16):
        x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization(momentum=0.8)(x)  # few steps
        x = layers.ReLU(name=f"stage{width}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    units = 2 if head == "softmax" else 1
    return keras.Model(image, layers.Dense(units, activation=head, name="probabilities")(x))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings raised inside the training libraries are theirs to fix; our own stay errors."""
    theirs = "ignore::Warning:(keras|tf_keras|tensorflow|tf2onnx|onnx|onnxruntime|h5py|google|absl|numpy)[.].*"
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(theirs))


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras on TensorFlow, or a skip."""
    pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")
    import keras as module

    return module


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder that the first of all workers makes, and the others wait for."""
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{place}.lock"):
        if not place.exists():
            part = place.with_name(f"part-{name}")
            make(part)
            part.rename(place)
    return place


@pytest.fixture(scope="session")
def trained_file(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network after a few seconds of training on phantoms, the same bytes for all workers."""

    def train(path: Path) -> None:
        keras.utils.set_random_seed(1)
        network = tiny_network(keras)
        network.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
        images, labels = tensors_of(range(48))
        network.fit(images, labels, epochs=80, batch_size=16, verbose=0)
        network.save(path)

    return made_once(tmp_path_factory, "trained.keras", train)


@pytest.fixture(scope="session")
def trained(keras: Any, trained_file: Path) -> Any:
    """The same, read."""
    return keras.saving.load_model(trained_file)


@pytest.fixture(scope="session")
def workbench(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """The trained network, its recipe and its labelled folders, on disk."""
    folder = tmp_path_factory.mktemp("workbench")
    model, recipe = folder / "tiny.keras", folder / "recipe.toml"
    shutil.copyfile(trained_file, model)
    recipe.write_text(RECIPE, encoding="utf-8")
    return Workbench(
        model=model,
        recipe=recipe,
        calibration=write_folder(folder / "calibration", range(100, 140)),
        validation=write_folder(folder / "validation", range(200, 220)),
    )


@pytest.fixture(scope="session")
def sigmoid_network(keras: Any) -> Any:
    """The same with one sigmoid output, untrained."""
    keras.utils.set_random_seed(2)
    return tiny_network(keras, head="sigmoid")


@pytest.fixture(scope="session")
def converted(workbench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The INT8 file that the tiny network becomes. Read only."""
    from cxr_edge_export.convert import convert

    def make(folder: Path) -> None:
        folder.mkdir()
        convert(workbench.request(folder / "tiny.onnx"))

    return made_once(tmp_path_factory, "converted", make) / "tiny.onnx"


@pytest.fixture(scope="session")
def data(workbench: Workbench) -> Path:
    """Eighty phantoms."""
    return workbench.calibration


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, Any, Any]:
    """A run that nothing disturbed: its folder, `Metrics`, and what its `Watching` saw. Read only."""
    from training_runs import Watching, recipe_file, request

    from cxr_edge_export.training.train import train

    folder, watching = tmp_path_factory.mktemp("run"), Watching()
    found = train(request(recipe_file(folder), data, folder / "run"), watching)
    return folder / "run", found, watching
