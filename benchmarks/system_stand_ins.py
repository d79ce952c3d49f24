"""What `systems.py` trains instead of the published systems: a sample, other epochs, stand-ins for what is absent.

The epochs are as many as prove the road: of most recipes fewer than theirs, of some stages as many. Weights are random,
but where the file that a recipe names lies in `models` beside the data folder.
"""

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tomlkit
from PIL import Image

from cxr_edge.phantom import chest_phantom

MODELS: Final = Path(__file__).resolve().parent.parent / "models"
CLASSES: Final = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much training proves a recipe's road; on phantoms all are trained on, and fewer than 100 mean small batches.

    Attributes:
        images: of each class, about, that train; `sample` takes a quarter more.
        epochs: of each stage, in the place of the recipe's.
    """

    images: int
    epochs: tuple[int, ...]


EFFORTS: Final = {
    "resnet50-binary": Effort(600, (6,)),
    "inception-three-class": Effort(1200, (16, 2, 3)),
    "covid-cnn": Effort(300, (8,)),
    "covid-vgg16": Effort(400, (30,)),
    "covid-nasnetlarge": Effort(300, (30,)),
    "covid-inceptionresnetv2": Effort(400, (30,)),
    "gray-cnn-a": Effort(1000, (12,)),
    "gray-cnn-b": Effort(1000, (12,)),
    "small-transfer": Effort(800, (15, 5)),
}
MEMBERS: Final = {"gray-ensemble": ("gray-cnn-a", "gray-cnn-b")}
PHANTOM_EFFORT: Final = Effort(12, (1, 1, 1))
PHANTOMS_HELD_BACK: Final = 2  # of each class; as many as validate, as TensorFlow traces anew for another number


@dataclass(frozen=True, slots=True)
class Scene:
    """Where images and weights come from, and runs go to."""

    work: Path
    train: Path
    test: Path
    jpeg: Path
    phantoms: bool
    weights: Path | None = None


def real_scene(work: Path, data: Path) -> Scene:
    """Kermany's images, with the released models' validation images as the test set."""
    train = data / "kermany224" / "train"
    held = data.parent / "models" / "validation.txt"
    lines = [line for line in held.read_text(encoding="utf-8").splitlines() if line]
    root = next(base for base in (data, *data.resolve().parents) if (base / lines[0]).is_file())
    work.mkdir(parents=True, exist_ok=True)
    test = work / "held-back.txt"
    test.write_text("".join(f"{(root / line).resolve()}\n" for line in lines), encoding="utf-8")
    jpeg = next(root / line for line in lines if "bacteria" in line)
    return Scene(work=work, train=train, test=test, jpeg=jpeg, phantoms=False, weights=held.parent)


def phantom_scene(work: Path) -> Scene:
    """Phantoms made here."""
    train, test = work / "phantoms", work / "phantoms-held-back"
    for folder, first, count in ((train, 0, PHANTOM_EFFORT.images), (test, 1000, PHANTOMS_HELD_BACK)):
        for label in CLASSES:
            (folder / label).mkdir(parents=True, exist_ok=True)
        for seed in range(first, first + count):
            kind = "bacteria" if seed % 2 else "virus"
            drawings = {
                folder / "NORMAL" / f"IM-{seed:04}-0001.jpeg": chest_phantom(180, 200, seed=seed),
                folder / "PNEUMONIA" / f"person{seed}_{kind}_1.jpeg": chest_phantom(180, 200, seed=seed, opacity=0.9),
            }
            for path, pixels in drawings.items():
                if not path.exists():
                    Image.fromarray(pixels).save(path)
    return Scene(work=work, train=train, test=test, jpeg=next((test / "PNEUMONIA").iterdir()), phantoms=True)


def write_stand_in(name: str, scene: Scene, target: Path, *, images: int | None = None) -> Path:
    """The recipe with what this machine lacks replaced (data set, ImageNet weights, hours) and the effort's epochs.

    Args:
        name: of the recipe.
        scene: where images come from.
        target: is written.
        images: how many trained, once that is known.
    """
    recipe = tomllib.loads((MODELS / name / "recipe.toml").read_text(encoding="utf-8"))
    effort = PHANTOM_EFFORT if scene.phantoms else EFFORTS.get(name)
    recipe["model"]["version"] = "0.0.1"
    recipe["model"]["name"] += "-road"
    held = PHANTOMS_HELD_BACK * len(CLASSES) if scene.phantoms else 532
    _say_what_it_is(recipe, name, scene, held)
    if images is not None:
        recipe["training_data"]["images"] = images
    recipe["limits"] = recipe.get("limits", {}) | {"agreement_images": held}
    recipe["quantization"]["images"] = min(recipe["quantization"]["images"], 4 if scene.phantoms else 256)
    recipe.pop("image_gate", None)
    if "metadata_csv" in recipe.get("selection", {}):  # another data set's
        recipe["selection"] = {"test": 0.0}
        recipe["labels"], recipe["positive_labels"] = list(CLASSES), [CLASSES[1]]
    if scene.phantoms:
        recipe["limits"] |= {"positive_to_negative_share": 1.0, "auc_drop": 1.0, "accuracy_ratio": 0.0}
        recipe["golden"]["tolerance"] = 0.1
    if effort is not None and "training" in recipe:
        _shorten(recipe, effort, scene)
    target.write_text(tomlkit.dumps(recipe), encoding="utf-8")
    return target


def _say_what_it_is(recipe: dict[str, Any], name: str, scene: Scene, held: int) -> None:
    """In the words that travel in the file and stand in its card."""
    source = "a sample of the Guangzhou pediatric chest radiographs (Kermany et al., Cell 2018)"
    if scene.phantoms:
        source = "synthetic phantoms"
    recipe["model"]["licence"] = "none: not for use"
    recipe["training_data"]["description"] = f"{source}, for a few epochs, to prove the road"
    recipe["data"] |= {
        "validation": f"{held} images held back from training, of the same source: {source}",
        "agreement": "the validation images",
        "agreement_images": held,
    }
    recipe["intended_use"]["statement"] = (
        f"Not for use; not a medical device. It shows that the recipe {name} can be trained, exported and run, "
        f"on {source}."
    )


def _shorten(recipe: dict[str, Any], effort: Effort, scene: Scene) -> None:
    network, training = recipe["network"], recipe["training"]
    network["weights"] = str(_weights(recipe, scene) or "random")
    training.pop("initial_share", None)  # of random weights nothing is to be kept
    training.pop("precision", None)  # 16 bits are slow where a processor has no arithmetic for them
    for stage, epochs in zip(training["stages"], effort.epochs, strict=False):
        stage["epochs"] = epochs
        stage["warmup_epochs"] = min(stage.get("warmup_epochs", 0), epochs - 1)
        if effort.images < 100:
            stage["batch"] = 8
    if _is_frozen(recipe):
        training.pop("augmentation", None)  # feature maps of a frozen backbone are then computed once


def _weights(recipe: dict[str, Any], scene: Scene) -> Path | None:
    """The file that the recipe names, where it is there."""
    named = recipe.get("network", {}).get("weights", "random")
    file = None if scene.weights is None else scene.weights.resolve() / named
    return file if file is not None and file.is_file() else None


def _is_frozen(recipe: dict[str, Any]) -> bool:
    return any(stage.get("backbone_layers") == 0 for stage in recipe.get("training", {}).get("stages", ()))


def sample(name: str, scene: Scene) -> Path:
    """A folder of links to images of each class, the same ones each time; of phantoms, all there are.

    They are a quarter more than the effort says: the recipe's split takes validation images from them, and the patients
    of the test images go.
    """
    if scene.phantoms:
        return scene.train
    count = EFFORTS[name].images
    folder = scene.work / f"sample-{count}"
    if not folder.exists():
        part = scene.work / f"sample-{count}.part"  # a kill leaves no folder that looks whole
        shutil.rmtree(part, ignore_errors=True)
        for label in CLASSES:
            (part / label).mkdir(parents=True)
            files = sorted((scene.train / label).iterdir())
            order = np.random.Generator(np.random.PCG64(0)).permutation(len(files))[: count + count // 4]
            for index in order:
                _link(files[index], part / label / files[index].name)
        part.rename(folder)
    return folder


def _link(file: Path, place: Path) -> None:
    try:
        place.symlink_to(file.resolve())
    except OSError:  # Windows lets few users make links
        shutil.copyfile(file, place)


def stand_ins(name: str, scene: Scene) -> str:
    """What the row's network had instead of what the recipe asks for, beside a sample and other epochs."""
    parts = MEMBERS.get(name, (name,))
    recipes = [tomllib.loads((MODELS / part / "recipe.toml").read_text(encoding="utf-8")) for part in parts]
    found = {
        "phantoms": scene.phantoms,
        "random weights": any(
            recipe.get("network", {}).get("weights", "random") != "random" and _weights(recipe, scene) is None
            for recipe in recipes
        ),
        "no augmentation": any(_is_frozen(recipe) for recipe in recipes),
        "NORMAL, PNEUMONIA for its classes": any("metadata_csv" in recipe.get("selection", {}) for recipe in recipes),
    }
    return "; ".join(what for what, is_so in found.items() if is_so)
