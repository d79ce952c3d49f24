"""What is released hangs together: file, checksum, recipe, card, limits."""

import base64
import hashlib
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

import cxr_edge
from cxr_edge.contract import Limits
from cxr_edge.decide import calibrate
from cxr_edge.info import describe
from cxr_edge.modelfile import read_model

MODELS = REPOSITORY / "models"


@pytest.fixture(scope="module", params=["resnet50-binary", "inception-three-class"])
def classifier(request: pytest.FixtureRequest) -> cxr_edge.Classifier:
    return cxr_edge.load(request.param, provider="cpu")


def folder_of(classifier: cxr_edge.Classifier) -> Path:
    return MODELS / classifier.model.name


def test_the_recipe_is_the_one_that_made_it(classifier: cxr_edge.Classifier) -> None:
    text = (folder_of(classifier) / "recipe.toml").read_text(encoding="utf-8")
    assert classifier.contract.identity.recipe_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert classifier.contract.identity.version == tomllib.loads(text)["model"]["version"]


def test_the_card_is_about_this_file(classifier: cxr_edge.Classifier) -> None:
    card = (folder_of(classifier) / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert classifier.model.sha256 in card
    assert "not a medical device" in card
    rows = [row for _, section in describe(classifier.contract, classifier.model.sha256) for row in section]
    lines = card.replace(r"\|", "|").splitlines()
    assert [row for row in rows if f"| {row[0]} | {row[1]} |" not in lines] == []
    changelog = (folder_of(classifier) / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {classifier.model.version}" in changelog


def test_limits_are_the_strict_ones_and_hold(classifier: cxr_edge.Classifier) -> None:
    contract = classifier.contract
    assert contract.parity.limits == Limits()  # and a contract that breaks its limits is not loaded
    assert contract.parity.agreement.images >= 2000
    assert contract.quantization.reduce_range


def test_size_and_pin(classifier: cxr_edge.Classifier) -> None:
    model = read_model(classifier.model.name)
    assert model.pinned
    assert len(model.content) < 26_000_000


def test_the_image_gate_holds_what_was_asked_of_it(classifier: cxr_edge.Classifier) -> None:
    """At most 1 % of the validation images and 2 of 126 originals; at least 90 % of each family it is tested on."""
    limit = classifier.contract.gate.out_of_distribution
    assert limit is not None
    families = {family.name: family for family in limit.families}
    assert families["validation images"].images == 532
    assert families["validation images"].refused.estimate <= 0.01
    originals = families["full-size originals of training images"]
    assert originals.images == 126
    assert originals.refused.estimate * 126 <= 2
    tested = [family for family in limit.families if family.role == "tested_on"]
    assert len(tested) >= 4
    assert min(family.refused.estimate for family in tested) >= 0.9


def test_golden_cases_span_both_decisions(classifier: cxr_edge.Classifier) -> None:
    contract = classifier.contract
    columns = [contract.labels.index(label) for label in contract.positive_labels]
    scores = [sum(case.exported[column] for column in columns) for case in contract.golden.cases]
    decisions = {classifier.operating_point.decides_positive(score) for score in scores}
    assert decisions == {True, False}


def test_golden_cases_replay_here(classifier: cxr_edge.Classifier) -> None:
    classifier = cxr_edge.load(classifier.model.name, provider="cpu", gate="off")  # drawings, not radiographs
    contract = classifier.contract
    for case in contract.golden.cases:
        prediction = classifier.classify(base64.b64decode(case.png))
        # the graph's own output, before the scores' temperature
        expected = calibrate(np.array([case.exported]), contract.outputs.temperature)[0]
        for label, exported in zip(contract.labels, expected, strict=True):
            assert prediction.probabilities[label] == pytest.approx(exported, abs=contract.golden.tolerance)
