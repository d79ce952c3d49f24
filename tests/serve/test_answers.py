"""The published keys beside a row."""

import jsonschema
from contracts import make_prediction

from cxr_edge.serve.answers import Answer, answer_of
from cxr_edge.serve.openapi import openapi_document
from cxr_edge.types import Prediction


def answer(prediction: Prediction) -> Answer:
    answered = answer_of(prediction, identifiers=True)
    document = openapi_document(token=False)
    jsonschema.validate(answered, {**document, "$ref": "#/components/schemas/ClassifiedImage"})
    return answered


def test_with_two_labels_the_probability_is_the_score() -> None:
    two = answer(make_prediction())
    assert (two["predicted_class"], two["probability"]) == ("PNEUMONIA", two["score"])


def test_with_three_labels_no_probability_stands_beside_a_label_that_it_is_not_of() -> None:
    probabilities = {"NORMAL": 0.45, "BACTERIAL": 0.3, "VIRAL": 0.25}
    three = answer(make_prediction(label="BACTERIAL", probabilities=probabilities, score=0.55))
    assert "probability" not in three
    assert (three["predicted_class"], three["score"], three["probabilities"]) == ("BACTERIAL", 0.55, probabilities)
