"""What the page must not be read as saying: a figure of several labels for that of one, a check that never was."""

from dataclasses import replace

import pytest
from contracts import POINT
from reporting import CONTRACT, CREATED, make_read, make_three, text_of

from cxr_edge.contract import Contract
from cxr_edge.report import Language, report_pdf
from cxr_edge.report.words import words_of
from cxr_edge.types import Gate, Note, Prediction

pytest.importorskip("reportlab")


def page(prediction: Prediction, contract: Contract = CONTRACT, *, language: Language) -> str:
    return text_of(report_pdf(prediction, contract, created=CREATED, language=language))


THREE = [
    (
        "en",
        "Bacterial pneumonia Probability of this label alone: 0.300",
        "The score of the positive labels together decides; most probable single label: normal (0.450).",
        "the positive labels together (bacterial pneumonia, viral pneumonia) against the others (normal); they do not",
        "Evidence for bacterial pneumonia against normal",
    ),
    (
        "es",
        "Neumonía bacteriana Probabilidad de esta etiqueta por sí sola: 0,300",
        "Decide la puntuación de las etiquetas positivas en conjunto; etiqueta individual más probable: normal (0,450)",
        "positivas en conjunto (neumonía bacteriana, neumonía viral) frente a las demás (normal); no dicen con qué",
        "Indicios de neumonía bacteriana frente a normal",
    ),
]


@pytest.mark.parametrize(("language", "own", "most", "together", "caption"), THREE)
def test_with_three_labels_no_figure_is_taken_for_that_of_the_label(
    language: Language, own: str, most: str, together: str, caption: str
) -> None:
    probabilities = {"NORMAL": 0.45, "BACTERIAL": 0.3, "VIRAL": 0.25}
    prediction, contract = make_three("BACTERIAL")
    text = page(replace(prediction, probabilities=probabilities, score=0.55), contract, language=language)
    for told in (f"{own} {most}", together, caption):
        assert told in text
    narrow = replace(prediction, probabilities={"NORMAL": 0.33, "BACTERIAL": 0.34, "VIRAL": 0.33}, score=0.67)
    text = page(narrow, contract, language=language)
    assert own.partition("0")[0] + {"en": "0.340", "es": "0,340"}[language] in text
    assert most.partition(";")[0] not in text, "it is the most probable one of all"
    low = {"NORMAL": 0.4, "BACTERIAL": 0.58, "VIRAL": 0.02}
    point = replace(POINT, threshold=0.7)
    text = page(
        replace(prediction, label="NORMAL", positive=False, score=0.6, probabilities=low, operating_point=point),
        contract,
        language=language,
    )
    assert {"en": "bacterial pneumonia (0.580).", "es": "neumonía bacteriana (0,580)."}[language] in text
    two = page(make_read(), language=language)
    for key in ("result.own", "operating_point.together"):
        assert words_of(language).texts[key].partition("{")[0] not in two


@pytest.mark.parametrize(
    ("language", "unchecked", "silent", "claims"),
    [
        (
            "en",
            "The image itself was not checked: this model comes without such a check.",
            "The file says nothing about patient and view.",
            ("only the image itself was checked", "nothing speaks against it"),
        ),
        (
            "es",
            "La imagen misma no se comprobó: este modelo carece de esa comprobación.",
            "El archivo no dice nada del paciente ni de la proyección.",
            ("solo se comprobó la imagen misma", "nada indica lo contrario"),
        ),
    ],
)
def test_no_check_of_the_image_is_claimed_where_there_was_none(
    language: Language, unchecked: str, silent: str, claims: tuple[str, ...]
) -> None:
    no_tags, no_check = Note("no_tags", "no tags"), Note("no_image_check", "no limits on the image")
    for reasons in ((no_tags, no_check), (no_check, no_tags)):
        text = page(make_read(gate=Gate("unknown", reasons)), language=language)
        assert unchecked in text
        assert silent in text
        assert not any(claim in text for claim in claims)
    assert claims[0] in page(make_read(gate=Gate("unknown", (no_tags,))), language=language)
    assert silent not in page(make_read(gate=Gate("unknown", (no_check,))), language=language)
