"""Heat maps: evidence in the right place, on a fixed scale."""

from dataclasses import replace

import numpy as np
import pytest
from contracts import MEMBER, make_contract, make_prediction

from cxr_edge.contract import Contract
from cxr_edge.errors import UsageError
from cxr_edge.heatmap import FULL_SCALE_LOGITS, colours, compared_labels, evidence, heat_map, heat_map_png
from cxr_edge.types import Prediction, Radiograph

GRAY = np.full((140, 210), 100, np.uint8)


def _prediction(row: int = 1, column: int = 5, strength: float = FULL_SCALE_LOGITS) -> Prediction:
    maps = np.zeros((7, 7, 2), np.float32)
    maps[row, column, 1] = strength
    return make_prediction(activation_map=maps, radiograph=Radiograph(GRAY, "array/gray"))


def test_evidence_is_positive_against_negative() -> None:
    prediction = _prediction()
    assert evidence(prediction, make_contract())[1, 5] == FULL_SCALE_LOGITS
    swapped = make_contract(positive_labels=("NORMAL",))
    assert evidence(prediction, swapped)[1, 5] == -FULL_SCALE_LOGITS


def test_the_labels_compared_are_told() -> None:
    labels = ("NORMAL", "BACTERIAL", "VIRAL")
    contract = make_contract(labels=labels, positive_labels=labels[1:])
    prediction = make_prediction(probabilities=dict(zip(labels, (0.2, 0.3, 0.5), strict=True)))
    assert compared_labels(prediction, contract) == ("VIRAL", "NORMAL")
    assert compared_labels(prediction, contract, "BACTERIAL") == ("BACTERIAL", "VIRAL")


def test_colour_stands_where_the_evidence_is() -> None:
    picture = heat_map(_prediction(), make_contract())
    assert picture.shape == (140, 210, 3)
    changed = np.abs(picture.astype(int) - GRAY[..., None]).sum(axis=2)
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert 20 <= row < 40
    assert 150 <= column < 180
    assert changed[80:, :100].max() == 0


def test_the_scale_is_fixed_not_the_images_own() -> None:
    weak, strong = (heat_map(_prediction(strength=s), make_contract()).astype(int) for s in (0.5, FULL_SCALE_LOGITS))
    gray = GRAY[..., None]
    assert np.abs(weak - gray).max() < np.abs(strong - gray).max() / 4
    np.testing.assert_array_equal(heat_map(_prediction(strength=-5), make_contract()), np.repeat(gray, 3, axis=2))


def test_the_colours_are_those_that_are_named() -> None:
    """Nothing, then red, orange and yellow: the stronger, the denser and the brighter, on a gray print, too."""
    table = colours(np.linspace(0, 1, 256, dtype=np.float32)).astype(int)
    blue, green, red, opacity = table.T
    assert opacity[:51].max() == 0, "weak evidence would be a haze"
    assert opacity[200:].min() == 255
    shown = opacity > 0
    assert (red[shown] > green[shown] + 10).all()
    assert (green[shown] > blue[shown]).all()
    assert red[-1] - green[-1] < 20, "yellow"
    for steps in (opacity, 0.114 * blue + 0.587 * green + 0.299 * red):
        assert (np.diff(steps) >= 0).all()


def test_png_holds_the_picture_and_nothing_else() -> None:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(heat_map_png(_prediction(), make_contract()))) as image:
        assert image.info == {}
        rgb = np.asarray(image)
    np.testing.assert_array_equal(rgb[..., ::-1], heat_map(_prediction(), make_contract()))


def test_says_what_is_missing() -> None:
    contract = make_contract()
    with pytest.raises(UsageError, match="keep_radiograph"):
        heat_map(replace(_prediction(), radiograph=None), contract)
    with pytest.raises(UsageError, match="no activation map"):
        heat_map(replace(_prediction(), activation_map=None), contract)
    cropped = make_contract(members=(replace(MEMBER, resize=replace(MEMBER.resize, aspect="crop")),))
    with pytest.raises(UsageError, match="squash"):
        heat_map(_prediction(), cropped)


def three_classes() -> tuple[Prediction, Contract]:
    """Evidence for NORMAL, BACTERIAL and VIRAL at three places; VIRAL is the most probable positive label."""
    maps = np.zeros((7, 7, 3), np.float32)
    for index in range(3):
        maps[index, index, index] = FULL_SCALE_LOGITS
    contract = make_contract(labels=("NORMAL", "BACTERIAL", "VIRAL"), positive_labels=("BACTERIAL", "VIRAL"))
    probabilities = {"NORMAL": 0.1, "BACTERIAL": 0.3, "VIRAL": 0.6}
    prediction = make_prediction(activation_map=maps, radiograph=Radiograph(GRAY, "array/gray"))
    return replace(prediction, label="VIRAL", probabilities=probabilities), contract


def test_each_class_has_evidence_of_its_own() -> None:
    prediction, contract = three_classes()
    assert evidence(prediction, contract).argmax() == 2 * 7 + 2
    for index, label in enumerate(contract.labels):
        found = evidence(prediction, contract, label)
        assert found.argmax() == index * 7 + index
    # against the most probable of all others, positive or not
    assert evidence(prediction, contract, "BACTERIAL")[2, 2] == -FULL_SCALE_LOGITS
    assert heat_map(prediction, contract, "NORMAL").shape == (140, 210, 3)
    with pytest.raises(UsageError, match=r"no label 'COVID'; it has NORMAL, BACTERIAL, VIRAL"):
        heat_map(prediction, contract, "COVID")
