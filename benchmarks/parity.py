"""Keras, its float ONNX form and the released INT8 file on the same labelled images: accuracy, agreement and flips.

    python benchmarks/parity.py [--labelled FOLDER|LIST] [--keras MODEL.keras] [--json]

FOLDER has one sub-folder per class; a LIST names one file a line, relative to FOLDER of `--data`, its parent folder the
class. Default: `validation.txt` in `models` beside the data folder ($CXR_EDGE_DATA, else ../shared/data), 532 images of
patients that the network was not trained on. All get the same tensors, made by this package, and the released file's
temperature; a flip is counted at each of its operating points, from the first of Keras and float ONNX that is there.
What is missing is left out, aloud: Keras needs the workbench and `--keras`, float ONNX `model-float.onnx`
(`cxr-edge-export convert --float`). A network that the released file was not made from is refused.
"""

import argparse
import hashlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from load import describe_load
from machine import print_table, write_result
from numpy.typing import NDArray

from cxr_edge.contract import Contract, from_metadata
from cxr_edge.decide import calibrate
from cxr_edge.engine import Engine
from cxr_edge.labelled import class_folders, set_sha256
from cxr_edge.metrics import auc, count_at
from cxr_edge.modelfile import read_model
from cxr_edge.prepare import Prepared, Preparer

REPOSITORY = Path(__file__).resolve().parent.parent
MEAN_BGR: Final = np.array([103.939, 116.779, 123.68], np.float32)  # Keras `caffe`, subtracted
INT8, FLOAT, KERAS = "INT8", "ONNX fp32", "Keras"
Scores = NDArray[np.float64]
Score = Callable[[NDArray[Any]], float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--labelled", type=Path, default=default.parent / "models" / "validation.txt")
    parser.add_argument("--keras", type=Path, help="the network that the released file was made from")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.labelled.exists():
        sys.exit("this benchmark needs labelled images: --labelled FOLDER, or set CXR_EDGE_DATA")
    engine = Engine(read_model().content, provider="cpu")
    contract = from_metadata(engine.metadata)
    source = contract.identity.source_model_sha256
    networks = {**_keras(options.keras, source), **_float(source), INT8: _onnx(engine)}
    images = [(path, label in contract.positive_labels) for path, label in _labelled(options, contract)]
    scores, seconds, digests, positive = _score(networks, images, contract)
    rows = [_row(name, scores[name], positive, contract, seconds[name]) for name in networks]
    print_table(rows)
    flips = list(_flips(scores, contract))
    if flips:
        print()
        print_table(flips)
    print(f"{len(positive)} of {len(images)} images; SHA-256 of the set {set_sha256(digests)}; load: {describe_load()}")
    if options.json:
        data = {"images": len(positive), "rejected": len(images) - len(positive), "sha256": set_sha256(digests)}
        write_result("parity", {"data": data, "accuracy": rows, "flips": flips})


def _onnx(engine: Engine) -> Score:
    return lambda tensor: float(engine.run({"image": tensor}, ("probabilities",))[0][0, 1])


def _float(source: str) -> dict[str, Score]:
    path = REPOSITORY / "models" / "resnet50-binary" / "model-float.onnx"
    if not path.is_file():
        print(f"skipped {FLOAT}: {path.name} was not made")
        return {}
    engine = Engine(path.read_bytes(), provider="cpu")
    _refuse_another(path, from_metadata(engine.metadata).identity.source_model_sha256, source)
    return {FLOAT: _onnx(engine)}


def _refuse_another(file: Path, digest: str, source: str) -> None:
    if digest != source:
        sys.exit(f"{file} is not of the network that the released file was made from, SHA-256 {source}")


def _keras(file: Path | None, source: str) -> dict[str, Score]:
    if importlib.util.find_spec("keras") is None or file is None:
        print(f"skipped {KERAS}: it needs the workbench (pip install ./export) and --keras MODEL.keras")
        return {}
    _refuse_another(file, hashlib.sha256(file.read_bytes()).hexdigest(), source)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras, tf = importlib.import_module("keras"), importlib.import_module("tensorflow")
    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    graph = tf.function(lambda tensor: model(tensor, training=False))
    return {KERAS: lambda tensor: float(graph(tensor.astype(np.float32) - MEAN_BGR)[0, 1])}


def _labelled(options: argparse.Namespace, contract: Contract) -> Iterator[tuple[Path, str]]:
    if options.labelled.is_dir():
        for label, folder in class_folders(options.labelled, contract.labels).items():
            yield from ((path, label) for path in sorted(Path(folder).rglob("*")) if path.is_file())
        return
    for line in options.labelled.read_text(encoding="utf-8").splitlines():
        if line.strip():
            path = options.data / line.strip()
            yield path, path.parent.name


def _score(
    networks: dict[str, Score], images: list[tuple[Path, bool]], contract: Contract
) -> tuple[dict[str, Scores], dict[str, list[float]], list[str], NDArray[np.bool_]]:
    """Scores and milliseconds by network, in turn image by image; SHA-256 of the files; the truth."""
    preparer = Preparer(contract, "off")
    scores: dict[str, list[float]] = {name: [] for name in networks}
    spent: dict[str, list[float]] = {name: [] for name in networks}
    digests: list[str] = []
    truth: list[bool] = []
    for path, positive in images:
        prepared = preparer.prepare(path)
        if not isinstance(prepared, Prepared):
            print(f"left out {path.name}: {prepared.reason.value}: {prepared.message}")
            continue
        (tensor,) = prepared.tensors.values()
        for name, network in networks.items():
            started = time.perf_counter()
            scores[name].append(network(tensor))
            spent[name].append((time.perf_counter() - started) * 1e3)
        digests.append(prepared.source.content_sha256 or "")
        truth.append(positive)
    calibrated = {name: _calibrated(np.array(found), contract) for name, found in scores.items()}
    return calibrated, spent, digests, np.array(truth)


def _calibrated(scores: Scores, contract: Contract) -> Scores:
    """Scores of the second of two labels, at the temperature that the runtime decides at."""
    return calibrate(np.stack([1 - scores, scores], axis=-1), contract.outputs.temperature)[:, 1]


def _row(
    name: str, scores: Scores, positive: NDArray[np.bool_], contract: Contract, spent: list[float]
) -> dict[str, str]:
    row = {"network": name, "AUC": f"{auc(positive, scores):.4f}"}
    for point in contract.operating_points:
        counts = count_at(point.threshold, positive, scores)
        for figure in ("sensitivity", "specificity", "accuracy"):
            share = getattr(counts, figure)
            row[f"{figure}, {point.name}"] = "not defined" if share is None else f"{share.estimate:.4f}"
    return {**row, "ms (median)": f"{np.median(spent):.1f}"}


def _flips(scores: dict[str, Scores], contract: Contract) -> Iterator[dict[str, str]]:
    reference, *others = scores
    for name in others:
        difference = np.abs(scores[name] - scores[reference])
        for point in contract.operating_points:
            before, after = scores[reference] >= point.threshold, scores[name] >= point.threshold
            yield {
                "from -> to": f"{reference} -> {name}",
                "operating point": point.name,
                "agreement": f"{(before == after).mean():.4f}",
                "positive to negative": str(int((before & ~after).sum())),
                "negative to positive": str(int((~before & after).sum())),
                "difference p50": f"{np.median(difference):.5f}",
                "p99": f"{np.quantile(difference, 0.99):.5f}",
                "max": f"{difference.max():.5f}",
            }


if __name__ == "__main__":
    main()
