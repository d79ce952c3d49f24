"""The whole road of every recipe under models/: train, evaluate, convert to INT8, model card, classify; one row each.

    python benchmarks/systems.py [--only NAME]... [--data FOLDER] [--work FOLDER] [--phantoms] [--json]

Each step is this package's own command line. FOLDER of `--data` ($CXR_EDGE_DATA, else ../shared/data) holds
`kermany224/train`, and `models/validation.txt` lies beside it: 532 images that never train, the test set of every row.
This proves the road, not the systems: recipes are trained on a sample, for other numbers of epochs than theirs (mostly
fewer), from random weights where they ask for others that are not there, and the COVID recipes on stand-in classes
(NORMAL and PNEUMONIA of children), as the table says. Balanced accuracy is Keras' own; of an ensemble, which has no
Keras network, that of the INT8 file, by `cxr-edge evaluate` at 0.5. With `--phantoms` the images are synthetic, and
figures of merit mean nothing.

Folders of runs stay under `--work`; what is finished there is not run again. Each row is a process of its own, as ten
networks in one fill the memory. A row that fails is shown with the step and its message, and makes the exit status 1;
so does a balanced accuracy below 0.75 on the real test images.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from load import describe_load
from machine import RESULTS, print_table, write_result
from system_stand_ins import EFFORTS, MEMBERS, Scene, phantom_scene, real_scene, sample, stand_ins, write_stand_in

REPOSITORY: Final = Path(__file__).resolve().parent.parent
WANTED: Final = 0.75  # balanced accuracy on the test images
FIXED: Final = "standard"  # the more probable class
CARD: Final = "MODEL_CARD.md"


class StepFailedError(Exception):
    """A command of the road failed; the message names it."""


def main() -> int:
    """Run and print; 1 where a row failed or reached too little."""
    options = _options()
    load = describe_load()
    names = options.only or [*EFFORTS, *MEMBERS]
    rows = []
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as temporary:
        work = options.work or Path(temporary)
        scene = phantom_scene(work) if options.phantoms else real_scene(work, options.data)
        for name in names:
            rows.append(_row_apart(name, scene))
            print_table(rows[-1:])
        if options.json:
            write_result("systems", {"load": load, "phantoms": options.phantoms, "rows": rows})
            _keep_cards(rows, work)
    print()
    print_table(rows)
    failed = [row["recipe"] for row in rows if row["outcome"] != "ok"]
    print(f"load before: {load}; failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def _keep_cards(rows: list[dict[str, Any]], work: Path) -> None:
    """Each road's model card, which says how far it came, beside the table."""
    cards = RESULTS / "systems"
    cards.mkdir(exist_ok=True)
    for name in (row["recipe"] for row in rows if row["outcome"] == "ok"):
        shutil.copyfile(work / name / CARD, cards / f"{name}.md")


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


def _row_apart(name: str, scene: Scene) -> dict[str, Any]:
    """One row; empty but for what went wrong where the road failed."""
    started = time.monotonic()
    row: dict[str, Any] = {"recipe": name}
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            row |= process.submit(_row, name, scene).result()
    except BrokenProcessPool:
        row["outcome"] = "its process was killed: out of memory?"
    row["seconds"] = round(time.monotonic() - started)
    columns = ("recipe", "trained on", "epochs", "balanced accuracy", "AUC", "INT8 - Keras", "agreement", "INT8 MB")
    empty = dict.fromkeys((*columns, "INT8 ms", "class given", "stand-ins", "seconds", "outcome"), "")
    return empty | row


def _row(name: str, scene: Scene) -> dict[str, Any]:
    try:
        return _road(name, scene)
    except Exception as error:  # noqa: BLE001 - the other rows are to be seen, whatever became of this one
        first = str(error).strip().partition("\n")[0]
        return {"outcome": first if isinstance(error, StepFailedError) else f"{type(error).__name__}: {first}"}


def _road(name: str, scene: Scene) -> dict[str, Any]:
    parts = MEMBERS.get(name, (name,))
    runs = [_trained(part, scene) for part in parts]
    metrics = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8"))
    run = runs[0] if name not in MEMBERS else scene.work / name
    run.mkdir(exist_ok=True)
    recipe = write_stand_in(name, scene, run / "export.toml", images=metrics["training_images"])
    model = run / "model.onnx"
    if not model.exists():
        _command(
            "cxr_edge_export",
            "convert",
            *(str(part / "model.keras") for part in runs),
            *("--recipe", str(recipe), "--calibration", str(sample(parts[0], scene))),
            *("--validation", str(scene.test), "-o", str(model)),
        )
    told = [argument for part in runs for argument in ("--run", str(part))]
    card = ("-o", str(run / CARD), "--recipe", str(recipe), "--overwrite")
    _command("cxr_edge_export", "card", str(model), *card, *told)
    contract = json.loads(_command("cxr_edge", "info", "--model", str(model), "--json"))["contract"]
    given = json.loads(_command("cxr_edge", "classify", str(scene.jpeg), "--model", str(model), "--format", "jsonl"))
    compared = json.loads(_measured(run, model))
    balanced = metrics["test"]["balanced_accuracy"] if name not in MEMBERS else _balanced_accuracy(model, scene)
    columns = _columns(metrics, contract, given, compared, balanced) | {"stand-ins": stand_ins(name, scene)}
    return columns | ({"outcome": "ok"} if scene.phantoms else {})


def _trained(name: str, scene: Scene) -> Path:
    """The run's folder, trained and evaluated, or found so."""
    run = scene.work / name
    if not (run / "metrics.json").exists():
        scene.work.mkdir(parents=True, exist_ok=True)
        recipe = write_stand_in(name, scene, scene.work / f"{name}.toml")
        resume = ["--resume"] if (run / "run.json").exists() else []
        sets = ("--data", str(sample(name, scene)), "--test", str(scene.test))
        _command("cxr_edge_export", "train", str(recipe), *sets, "-o", str(run), *resume)
    if not (run / "evaluation.json").exists():
        report = ("--json", str(run / "evaluation.json"), "--report", str(run / "evaluation.html"))
        _command("cxr_edge_export", "evaluate", str(run), "--data", str(sample(name, scene)), *report)
    return run


def _measured(run: Path, model: Path) -> str:
    """Size and latency, by the command for it where the folder holds one run; else of the file alone."""
    if (run / "metrics.json").exists():
        _command("cxr_edge_export", "compare", str(run), "--json", str(run / "compared.json"), "--overwrite")
        return (run / "compared.json").read_text(encoding="utf-8")
    return json.dumps([{"int8_mb": model.stat().st_size / 1e6, "int8_ms": None}])


def _balanced_accuracy(model: Path, scene: Scene) -> float:
    """Of a model file of two classes, by `cxr-edge evaluate` on the test images."""
    images = scene.test
    if not images.is_dir():
        images = scene.work / "held-back.csv"
        paths = [Path(line) for line in scene.test.read_text(encoding="utf-8").splitlines()]
        images.write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths), encoding="utf-8")
    # its other thresholds were chosen on these very images
    fixed = ("--operating-point", FIXED)
    report = _command("cxr_edge", "evaluate", str(images), "--model", str(model), *fixed, "--json", "-")
    return float(json.loads(report)["images"]["balanced_accuracy"]["estimate"])


def _columns(
    metrics: dict[str, Any],
    contract: dict[str, Any],
    given: dict[str, Any],
    compared: list[dict[str, Any]],
    balanced: float,
) -> dict[str, Any]:
    part, ms = contract["parity"]["validation"], compared[0]["int8_ms"]
    reached = "ok" if balanced >= WANTED else "balanced accuracy too low"
    return {
        "trained on": metrics["training_images"],
        "epochs": metrics["epochs"],
        "balanced accuracy": f"{balanced:.3f} ({part['images']})",
        "AUC": f"{part['auc_reference']['estimate']:.3f} -> {part['auc_exported']['estimate']:.3f}",
        "INT8 - Keras": f"p99 {part['abs_delta_p99']:.3f}, max {part['abs_delta_max']:.3f}",
        "agreement": f"{part['agreement']:.3f}",
        "INT8 MB": f"{compared[0]['int8_mb']:.1f}",
        "INT8 ms": "" if ms is None else f"{ms:.1f}",
        "class given": given.get("label", given.get("reason")),
        "outcome": reached,
    }


def _command(package: str, *arguments: str) -> str:
    """Run one command line, in this process: TensorFlow is then imported once a row; its standard output.

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
