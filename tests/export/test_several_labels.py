"""Three labels from end to end: converted, certified label by label, shown in the card, measured on changed images."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from recipes import SIDE

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

import cxr_edge
from cxr_edge.contract import Contract
from cxr_edge.info import describe
from cxr_edge.metrics import wilson_interval
from cxr_edge_export.card import write_card
from cxr_edge_export.convert import convert
from cxr_edge_export.shifts import ShiftRequest, measure_shifts, to_table
from cxr_edge_export.stamp import load_onnx, read_contract

LABELS = ("NORMAL", "BACTERIAL", "VIRAL")
EDITS = (
    ('["NORMAL", "PNEUMONIA"]', '["NORMAL", "BACTERIAL", "VIRAL"]'),
    ('positive_labels = ["PNEUMONIA"]', 'positive_labels = ["BACTERIAL", "VIRAL"]'),
    ("[limits]", "[limits]\nchanged_label_share = 0.5"),  # how many barely lead depends on the processor
)


def folder_of(two: Path, target: Path) -> Path:
    """The phantoms of two labels under three: every other sick one is called viral."""
    shutil.copytree(two / "NORMAL", target / "NORMAL")
    for number, file in enumerate(sorted((two / "PNEUMONIA").iterdir())):
        place = target / LABELS[1 + number % 2]
        place.mkdir(exist_ok=True)
        shutil.copyfile(file, place / file.name)
    return target


@pytest.fixture(scope="module")
def request_of_three(trained: Any, keras: Any, workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The trained network with its sick output parted at random, and a request to convert it."""
    folder = tmp_path_factory.mktemp("three")
    kernel, bias = trained.layers[-1].get_weights()
    apart = np.random.Generator(np.random.PCG64(3)).normal(0, 0.5, kernel.shape[0])
    sick = [Image.open(file) for file in sorted((workbench.validation / "PNEUMONIA").iterdir())]
    small = np.stack([np.asarray(one.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32) for one in sick])
    images = (np.repeat(small[..., np.newaxis], 3, axis=3) - np.array([103.939, 116.779, 123.68], np.float32)) / 64
    pooled = keras.Model(trained.inputs, trained.layers[-2].output).predict(images, verbose=0)
    middle = np.median(pooled @ apart)  # so that both kinds are given, some of them barely
    dense = keras.layers.Dense(3, activation="softmax", name="probabilities")
    network = keras.Model(trained.inputs, dense(trained.layers[-2].output))
    dense.set_weights(
        [
            np.stack([kernel[:, 0], kernel[:, 1] + apart, kernel[:, 1] - apart], axis=1),
            np.array([bias[0], bias[1] - middle, bias[1] + middle]),
        ]
    )
    network.save(folder / "three.keras")
    return workbench.request(
        folder / "three.onnx",
        models=(folder / "three.keras",),
        recipe=workbench.recipe_with(folder, *EDITS),
        calibration=folder_of(workbench.calibration, folder / "calibration"),
        validation=folder_of(workbench.validation, folder / "validation"),
    )


@pytest.fixture(scope="module")
def three(request_of_three: Any) -> Path:
    convert(request_of_three)
    return Path(request_of_three.output)


@pytest.fixture(scope="module")
def contract(three: Path) -> Contract:
    return read_contract(load_onnx(three.read_bytes()))


def test_the_certificate_says_which_labels_are_given(three: Path, contract: Contract, request_of_three: Any) -> None:
    part = contract.parity.validation
    for given in part.labels:
        counted = [[0] * 3 for _ in LABELS]
        with cxr_edge.load(three, operating_point=given.operating_point, gate="off") as classifier:
            for true, label in enumerate(LABELS):
                for file in sorted((request_of_three.validation / label).iterdir()):
                    result = classifier.classify(file)
                    counted[true][LABELS.index(result.label)] += 1
        assert [list(row) for row in given.confusion] == counted
        assert given.accuracy == wilson_interval(sum(counted[i][i] for i in range(3)), part.images)
    assert any(given.changed for given in contract.parity.agreement.labels), "quantization changes what barely leads"
    assert [given.operating_point for given in part.labels] == [point.name for point in contract.operating_points]


def test_info_and_card_show_them(three: Path, contract: Contract, tmp_path: Path) -> None:
    rows = dict(describe(contract, "0" * 64))["labels at standard: validation"]
    given = contract.parity.validation.labels[0]
    right = sum(given.confusion[i][i] for i in range(3))
    assert rows[0][0] == "accuracy over all labels"
    assert rows[0][1].startswith(f"{right / contract.parity.validation.images:.4f} [")
    n, b, v = given.confusion[2]
    assert rows[3] == ("truly VIRAL", f"given {n} NORMAL, {b} BACTERIAL, {v} VIRAL")
    write_card(three, tmp_path / "CARD.md", overwrite=False)
    card = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert f"| {rows[3][0]} | {rows[3][1]} |" in card
    assert "none: anything of the right size is classified" in card


def test_shifts_say_whether_the_label_stays(three: Path, request_of_three: Any, tmp_path: Path) -> None:
    found = measure_shifts(
        ShiftRequest(
            model=str(three),
            images=request_of_three.validation,
            data=None,
            recipe=None,
            operating_point=None,
            output=None,
            overwrite=False,
        )
    )
    plain = found.rows[0]
    assert plain.same_label == 1
    assert all(row.same_label is not None and row.same_label <= row.same_decision for row in found.rows)
    assert any((row.same_label or 0) < row.same_decision for row in found.rows)
    assert plain.accuracy == read_contract(load_onnx(three.read_bytes())).parity.validation.labels[0].accuracy
    assert "accuracy over all labels  label as unchanged" in to_table(found)
    (tmp_path / "shifts.json").write_bytes(msgspec.json.encode(found))
    write_card(three, tmp_path / "CARD.md", overwrite=False, shifts=tmp_path / "shifts.json")
    assert "| accuracy over all labels | label as unchanged |" in (tmp_path / "CARD.md").read_text(encoding="utf-8")
