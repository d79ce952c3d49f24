"""The whole road of every recipe under models/: train, evaluate, convert to INT8 with parity, classify; one row each.

    python benchmarks/systems.py [--only NAME]... [--data FOLDER] [--work FOLDER] [--phantoms] [--json]

Each step is this package's own command line. FOLDER of `--data` ($CXR_EDGE_DATA, else
../shared/data) holds `kermany224/train`, and `models/validation.txt` lies beside it: 532 images that never train, the
test set of every row. This proves the road, not the systems: recipes are trained on a sample, for a few epochs, from
random weights where they ask for ImageNet's, and the COVID recipes on stand-in classes (NORMAL and PNEUMONIA of
children), as the table says. With `--phantoms` the images are synthetic, and figures of merit mean nothing at all.

Folders of runs stay under `--work`; what is finished there is not run again. A row that fails is shown with the step
and its message, and makes the exit status 1; so does a balanced accuracy below 0.75 on the real test images.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tomlkit
from load import describe_load
from machine import print_table, write_result
from PIL import Image

from cxr_edge.phantom import chest_phantom

REPOSITORY: Final = Path(__file__).resolve().parent.parent
MODELS: Final = REPOSITORY / "models"
WANTED: Final = 0.75  # balanced accuracy on the test images
CLASSES: Final = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of a recipe's training proves its road: images of each class, and epochs of each stage."""

    images: int
    epochs: tuple[int, ...]
    side: int | None = None  # of the input, where the recipe's own would take hours


EFFORTS: Final = {
    "resnet50-binary": Effort(600, (8, 2, 1)),
    "inception-three-class": Effort(600, (10, 1, 1)),
    "covid-cnn": Effort(300, (8,)),
    "covid-vgg16": Effort(400, (30,)),
    "covid-nasnetlarge": Effort(300, (30,)),
    "covid-inceptionresnetv2": Effort(400, (30,)),
    "gray-cnn-a": Effort(1000, (12,)),
    "gray-cnn-b": Effort(1000, (12,)),
    "small-transfer": Effort(800, (15, 5)),
}
MEMBERS: Final = {"gray-ensemble": ("gray-cnn-a", "gray-cnn-b")}
PHANTOM_EFFORT: Final = Effort(24, (1, 1, 1))


class StepFailedError(Exception):
    """A command of the road failed; the message names it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where images come from and runs go to."""

    work: Path
    train: Path
    test: Path
    jpeg: Path
    phantoms: bool


def main() -> int:
    """Run and print; 1 where a row failed or reached too little."""
    options = _options()
    load = describe_load()
    names = options.only or [*EFFORTS, *MEMBERS]
    rows = []
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as temporary:
        work = options.work or Path(temporary)
        scene = _phantom_scene(work) if options.phantoms else _real_scene(work, options.data)
        for name in names:
            rows.append(_row(name, scene))
            print_table(rows[-1:])
    print()
    print_table(rows)
    failed = [row["recipe"] for row in rows if row["outcome"] != "ok"]
    print(f"load before: {load}; failed: {', '.join(failed) or 'none'}")
    if options.json:
        write_result("systems", {"load": load, "phantoms": options.phantoms, "rows": rows})
    return int(bool(failed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*EFFORTS, *MEMBERS], help="may be given again")
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--work", type=Path, help="folder that runs stay in; default: a temporary one")
    parser.add_argument("--phantoms", action="store_true", help="synthetic images: the road alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.phantoms and not (options.data / "kermany224" / "train").is_dir():
        parser.error("needs kermany224/train: set CXR_EDGE_DATA, or give --phantoms")
    return options


def _real_scene(work: Path, data: Path) -> Scene:
    train = data / "kermany224" / "train"
    held = data.parent / "models" / "validation.txt"
    lines = [line for line in held.read_text(encoding="utf-8").splitlines() if line]
    root = next(base for base in (data, *data.resolve().parents) if (base / lines[0]).is_file())
    work.mkdir(parents=True, exist_ok=True)
    test = work / "held-back.txt"
    test.write_text("".join(f"{(root / line).resolve()}\n" for line in lines), encoding="utf-8")
    jpeg = next(root / line for line in lines if "bacteria" in line)
    return Scene(work=work, train=train, test=test, jpeg=jpeg, phantoms=False)


def _phantom_scene(work: Path) -> Scene:
    train, test = work / "phantoms", work / "phantoms-held-back"
    for folder, first, count in ((train, 0, 60), (test, 1000, 24)):
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


def _row(name: str, scene: Scene) -> dict[str, Any]:
    started = time.monotonic()
    row: dict[str, Any] = {"recipe": name}
    try:
        row |= _road(name, scene)
    except StepFailedError as error:
        row["outcome"] = str(error)
    row["seconds"] = round(time.monotonic() - started)
    columns = ("recipe", "trained on", "epochs", "balanced accuracy", "AUC", "INT8 - Keras", "agreement", "INT8 MB")
    empty = dict.fromkeys((*columns, "INT8 ms", "class given", "seconds", "outcome"), "")
    return empty | row


def _road(name: str, scene: Scene) -> dict[str, Any]:
    parts = MEMBERS.get(name, (name,))
    runs = [_trained(part, scene) for part in parts]
    metrics = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8"))
    run = runs[0] if name not in MEMBERS else scene.work / name
    run.mkdir(exist_ok=True)
    recipe = _stand_in(name, scene, run / "export.toml")
    model = run / "model.onnx"
    if not model.exists():
        _command(
            "cxr_edge_export",
            "convert",
            *(str(part / "model.keras") for part in runs),
            *("--recipe", str(recipe), "--calibration", str(_sample(parts[0], scene))),
            *("--validation", str(scene.test), "-o", str(model)),
        )
    contract = json.loads(_command("cxr_edge", "info", "--model", str(model), "--json"))["contract"]
    given = json.loads(_command("cxr_edge", "classify", str(scene.jpeg), "--model", str(model), "--format", "jsonl"))
    compared = json.loads(_measured(run, model))
    return _columns(name, metrics, contract, given, compared) | ({"outcome": "ok"} if scene.phantoms else {})


def _trained(name: str, scene: Scene) -> Path:
    """The run's folder, trained and evaluated, or found so."""
    run = scene.work / name
    if not (run / "metrics.json").exists():
        scene.work.mkdir(parents=True, exist_ok=True)
        recipe = _stand_in(name, scene, scene.work / f"{name}.toml")
        resume = ["--resume"] if (run / "run.json").exists() else []
        sets = ("--data", str(_sample(name, scene)), "--test", str(scene.test))
        _command("cxr_edge_export", "train", str(recipe), *sets, "-o", str(run), *resume)
    if not (run / "evaluation.json").exists():
        report = ("--json", str(run / "evaluation.json"), "--report", str(run / "evaluation.html"))
        _command("cxr_edge_export", "evaluate", str(run), "--data", str(_sample(name, scene)), *report)
    return run


def _stand_in(name: str, scene: Scene, target: Path) -> Path:
    """The recipe with what this machine lacks replaced: data set, ImageNet weights, hours."""
    texts = [MODELS / name / part for part in ("recipe.toml", "training.toml")]  # the latter: not yet released with it
    recipe = tomllib.loads("\n".join(file.read_text(encoding="utf-8") for file in texts if file.is_file()))
    effort = PHANTOM_EFFORT if scene.phantoms else EFFORTS.get(name)
    recipe["model"]["version"] = "0.0.1"
    recipe["model"]["name"] += "-road"
    recipe["training_data"]["description"] = "a sample, for a few epochs, to prove the road: not for use"
    held = 48 if scene.phantoms else 532
    recipe["data"] |= {"agreement_images": held}
    recipe["limits"] = recipe.get("limits", {}) | {"agreement_images": held}
    recipe["quantization"]["images"] = min(recipe["quantization"]["images"], 16 if scene.phantoms else 128)
    recipe.pop("image_gate", None)
    if "metadata" in recipe.get("selection", {}):  # another data set's
        recipe["selection"] = {"test": 0.0}
        recipe["labels"], recipe["positive_labels"] = list(CLASSES), [CLASSES[1]]
    if scene.phantoms:
        recipe["limits"] |= {"positive_to_negative_share": 1.0, "auc_drop": 1.0, "accuracy_ratio": 0.0}
        recipe["golden"]["tolerance"] = 0.1
    if effort is not None and "training" in recipe:
        _shorten(recipe, effort)
    target.write_text(tomlkit.dumps(recipe), encoding="utf-8")
    return target


def _shorten(recipe: dict[str, Any], effort: Effort) -> None:
    network, training = recipe["network"], recipe["training"]
    if network.get("weights") == "imagenet":
        network["weights"] = "random"
    for stage, epochs in zip(training["stages"], effort.epochs, strict=False):
        stage["epochs"] = min(stage["epochs"], epochs)
        stage["warmup_epochs"] = min(stage.get("warmup_epochs", 0), epochs - 1)
        if effort.images < 100:
            stage["batch"] = 8
    if any(stage.get("backbone_layers") == 0 for stage in training["stages"]):
        training.pop("augmentation", None)  # feature maps of a frozen backbone are then computed once


def _sample(name: str, scene: Scene) -> Path:
    """A folder of links to as many images of each class as the effort says; the same ones each time."""
    if scene.phantoms:
        return scene.train
    count = EFFORTS[name].images
    folder = scene.work / f"sample-{count}"
    if not folder.exists():
        for label in CLASSES:
            (folder / label).mkdir(parents=True)
            files = sorted((scene.train / label).iterdir())
            order = np.random.Generator(np.random.PCG64(0)).permutation(len(files))[: count + count // 4]
            for index in order:
                (folder / label / files[index].name).symlink_to(files[index].resolve())
    return folder


def _measured(run: Path, model: Path) -> str:
    """Size and latency, by the command for it where the folder holds one run; else of the file alone."""
    if (run / "metrics.json").exists():
        _command("cxr_edge_export", "compare", str(run), "--json", str(run / "compared.json"), "--overwrite")
        return (run / "compared.json").read_text(encoding="utf-8")
    return json.dumps([{"int8_mb": model.stat().st_size / 1e6, "int8_ms": None}])


def _columns(
    name: str, metrics: dict[str, Any], contract: dict[str, Any], given: dict[str, Any], compared: list[dict[str, Any]]
) -> dict[str, Any]:
    test = metrics["test"]
    part = contract["parity"]["validation"]
    reached = "ok" if name in MEMBERS or test["balanced_accuracy"] >= WANTED else "balanced accuracy too low"
    ms = compared[0]["int8_ms"]
    return {
        "trained on": metrics["training_images"],
        "epochs": metrics["epochs"],
        "balanced accuracy": f"{test['balanced_accuracy']:.3f} ({test['images']})",
        "AUC": f"{part['auc_reference']['estimate']:.3f} -> {part['auc_exported']['estimate']:.3f}",
        "INT8 - Keras": f"p99 {part['abs_delta_p99']:.3f}, max {part['abs_delta_max']:.3f}",
        "agreement": f"{part['agreement']:.3f}",
        "INT8 MB": f"{compared[0]['int8_mb']:.1f}",
        "INT8 ms": "" if ms is None else f"{ms:.1f}",
        "class given": given.get("label", given.get("reason")),
        "outcome": reached,
    }


def _command(package: str, *arguments: str) -> str:
    """Run one command line, in this process: TensorFlow is then imported once; its standard output.

    Raises:
        StepFailedError: with the command's name and the last line it said.
    """
    run = importlib.import_module(f"{package}.cli.app" if package == "cxr_edge" else f"{package}.cli").run
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = run(list(arguments))
    if code:
        said = (errors.getvalue().strip() or output.getvalue().strip()).splitlines()
        message = f"{arguments[0]}: exit {code}: {said[-1] if said else ''}"
        raise StepFailedError(message)
    return output.getvalue()


if __name__ == "__main__":
    sys.exit(main())
