"""What stands on the page, read back from the PDF."""

import re
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from contracts import DIGEST, POINT, make_contract
from reporting import CONTRACT, CREATED, lines_of, make_endless, make_read, make_three, padded, text_of

from cxr_edge.contract import Contract
from cxr_edge.report import Language, report_pdf
from cxr_edge.report.gallery import Gallery
from cxr_edge.report.page import FOOT, TOP, Report, fitting
from cxr_edge.report.pen import MM
from cxr_edge.report.words import Words, words_of
from cxr_edge.types import Gate, Note, Prediction, Source

pytest.importorskip("reportlab")

OUTSIDE = "Outside the model's intended use: do not rely on this result."
NO_PROOF = "Does not rule out disease; the model looks for no other finding."
NO_MAP = "No heat map: this model has no activation map."


def page(prediction: Prediction, contract: Contract = CONTRACT, **options: Any) -> str:
    pdf = report_pdf(prediction, contract, created=CREATED, **options)
    assert "Pages: 1" in [" ".join(line.split()) for line in lines_of("pdfinfo", pdf)]
    return text_of(pdf)


def test_all_that_a_reader_needs_stands_on_it() -> None:
    text = page(make_read())
    for needed in (
        "Chest radiograph classification report",
        "Research use only; not a medical device.",
        "2026-03-04 15:06 (UTC+01:00)",
        "Pneumonia",
        "POSITIVE",
        "The score 0.800 reaches the operating point “standard” (0.500).",
        "operating point 0.500",
        "90.0% (95% CI 85.0\N{EN DASH}94.0%)",
        "95.0% (95% CI 90.0\N{EN DASH}98.0%)",
        "Measured on a test",
        "Yes: nothing speaks against it.",
        "Where the model saw evidence for pneumonia",
        "Model test-model 1.0.0 (label of this image: PNEUMONIA)",
        f"SHA-256 of the model {DIGEST}",
        f"SHA-256 of the file {DIGEST}",
        "ps3.3-c11-floor8/window",
        "CPUExecutionProvider in 10.5 ms (reading 1.0, decoding 2.0, preparing 3.0, model 4.0)",
        "Modalities CR, DX",
        "Views AP, PA",
        "Ages 1 to 5 years",
        "Signature",
        "Page 1 of 1",
    ):
        assert needed in text, needed
    assert OUTSIDE not in text
    assert NO_PROOF not in text
    assert "on the scale" not in text
    assert "[U+" not in text
    assert len(re.findall("(?:ab){6,}", text)) == 2  # the model's once, the file's once, both whole


def test_spanish() -> None:
    text = page(make_read(), language="es")
    for needed in (
        "Informe de clasificación de radiografía de tórax",
        "no es un producto sanitario (dispositivo médico).",
        "Modelo para radiografías frontales de tórax de niños de 1 a 5 años: neumonía o normal. La puntuación no es",
        "Neumonía",
        "POSITIVO",
        "La puntuación 0,800 alcanza el punto de operación «estándar» (0,500).",
        "90,0 % (IC del 95 %: 85,0\N{EN DASH}94,0 %)",
        "Medido en (texto original en inglés) a test",
        "Dónde vio el modelo indicios de neumonía",
        "de 1 a 5 años",
        "Firma",
    ):
        assert needed in text, needed


def test_negative() -> None:
    text = page(
        make_read(label="NORMAL", positive=False, score=0.49999, probabilities={"NORMAL": 0.5, "PNEUMONIA": 0.5})
    )
    assert "NEGATIVE" in text
    assert "POSITIVE" not in text
    assert "The score 0.49999 is below the operating point “standard” (0.50000)." in text
    assert NO_PROOF in text


@pytest.mark.parametrize(
    ("language", "names"),
    [("en", "Normal|Bacterial pneumonia|Viral pneumonia"), ("es", "Normal|Neumonía bacteriana|Neumonía viral")],
)
def test_three_labels_have_a_scale(language: Language, names: str) -> None:
    prediction, contract = make_three()
    text = page(prediction, contract, language=language)
    shown = "0 {} 0.031 1 {} 0.260 2 {} 0.708".format(*names.split("|"))
    assert (shown if language == "en" else shown.replace(".", ",")) in text
    given = {
        "en": "the numbers are names, not degrees label given: viral pneumonia",
        "es": "los números son nombres, no grados etiqueta asignada: neumonía viral",
    }
    assert given[language] in text
    assert "0 to 2" not in text
    assert "0 a 2" not in text


def test_many_labels_stand_in_a_table() -> None:
    labels = tuple(f"L{number}" for number in range(20))
    probabilities = {label: 0.002 if number else 0.962 for number, label in enumerate(labels)}
    prediction = make_read(label="L13", probabilities=probabilities, activation_map=None)
    text = page(prediction, make_contract(labels=labels, positive_labels=("L13",)))
    assert all(f"{number} L{number} {probabilities[f'L{number}']:.3f}" in text for number in range(20))
    assert "label given: L13" in text


def test_without_an_activation_map_it_says_so() -> None:
    assert NO_MAP in page(make_read(activation_map=None))
    assert NO_MAP in page(make_read(), make_contract(outputs=replace(CONTRACT.outputs, activation_map=None)))
    assert "does not see the whole image" in page(make_read(), padded())
    assert NO_MAP not in page(make_read())


def test_identifiers_only_when_asked_for() -> None:
    read = make_read()
    read = replace(read, source=replace(read.source, path="ward/Meier^Anna/folder/a.dcm"))
    text = page(read)
    assert "a.dcm" not in text
    assert "1.2.3" not in text
    asked = page(read, identifiers=True)
    assert "File a.dcm" in asked
    assert "SOP Instance UID 1.2.3" in asked
    assert "Study Instance UID 1.2 " in asked
    assert "Meier" not in text + asked
    windows = replace(read, source=replace(read.source, path=r"C:\Meier\b.dcm", sop_instance_uid=None))
    asked = page(windows, identifiers=True)
    assert "File b.dcm SOP Instance UID none" in asked


def test_a_refused_image_is_marked() -> None:
    reasons = (
        Note("gate_view", "(0018,5101) View Position is LL; need AP or PA"),
        Note("gate_polarity", "bright and dark look inverted: correlation -0.75; need 0 or more"),
    )
    text = page(make_read(gate=Gate("refused", reasons)))
    assert OUTSIDE in text
    assert "No. The model was asked all the same:" in text
    assert "The view is missing, or is not one the model is for." in text
    assert "(0018,5101) View Position is LL; need AP or PA" in text
    assert "correlation -0.75; need 0 or more" in text


def test_what_the_gate_says_is_not_cut_where_there_is_room_beside_it() -> None:
    reasons = (
        Note("gate_view", "(0018,5101) View Position is LL; need AP or PA"),
        Note("gate_polarity", "bright and dark look inverted: correlation -0.75; need 0 or more"),
    )
    prediction, contract = make_three()
    text = page(replace(prediction, gate=Gate("refused", reasons)), contract, language="es", identifiers=True)
    assert "Claros y oscuros parecen invertidos, o no es una radiografía frontal de tórax." in text
    assert "View Position is LL; need AP or PA" in text
    assert "correlation -0.75; need 0 or more" in text


@pytest.mark.parametrize(
    ("gate", "words", "badge"),
    [
        (Gate("warn", (Note("age", "(0010,1010) Patient's Age is absent"),)), "Doubtful:", "DOUBTFUL IMAGE"),
        (Gate("unknown", (Note("no_tags", "no tags"),)), "Not fully checked:", "NOT FULLY CHECKED"),
    ],
)
def test_other_gates(gate: Gate, words: str, badge: str) -> None:
    text = page(make_read(gate=gate))
    assert words in text
    assert f"POSITIVE {badge}" in text
    assert OUTSIDE not in text


def test_warnings_and_codes_that_no_catalogue_knows() -> None:
    notes = (Note("float_fallback", "the self-test failed: ramp: 0.1"), Note("brand_new", "something without words"))
    text = page(make_read(warnings=notes), language="es")
    assert "La forma rápida del modelo no superó su autocomprobación" in text
    assert "something without words" in text
    assert "Ninguna." not in text


def test_what_the_contract_says_beyond_its_fields_stands_in_small_print() -> None:
    said = "Research use only; not a medical device. Films of one ward only."
    contract = make_contract(intended_use=replace(CONTRACT.intended_use, statement=said))
    original = f"Declaración del modelo (texto original en inglés): {said}"
    assert original in page(make_read(), contract, language="es")
    assert "Declaración del modelo" not in page(make_read(), language="es")
    assert "Films of one ward only." in page(make_read(), contract)


@pytest.mark.parametrize("language", ["en", "es"])
def test_endless_texts_stay_on_one_page(language: Language) -> None:
    prediction, contract = make_endless()
    text = page(prediction, contract, language=language, identifiers=True)
    assert text.count("…") >= 8
    assert {"en": "21 more labels: 0.700 together", "es": "21 etiquetas más: 0,700 en conjunto"}[language] in text
    assert {"en": "and 9 more", "es": "y 9 más"}[language] in text


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_pictures_keep_some_room(language: Language) -> None:
    prediction, contract = make_endless()
    assert prediction.radiograph is not None
    gallery = Gallery.of(prediction, prediction.radiograph, contract)
    parts = fitting(Report(prediction, contract, words_of(language), gallery, "2026", identifiers=True))
    assert sum(part.height for part in parts) < TOP - FOOT
    assert parts[5].height > 22 * MM


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("胸部_田中太郎_レントゲン.dcm", None),
        ("흉부_김철수.dcm", None),
        ("Ελένη Żółć Ñandú Đặng Чехов.dcm", None),
        ("cafe\u0301.dcm", "café.dcm"),
        ("a\x00b\n\x1b[31m\u202egpj.exe", "a[U+0000]b[U+000A][U+001B][31m[U+202E]gpj.exe"),
        ("छ😀\udce9.dcm", "[U+091B][U+1F600][U+DCE9].dcm"),
        ("a\xa0b\u3000c.dcm", "a b c.dcm"),
    ],
)
def test_odd_names(name: str, shown: str | None) -> None:
    read = make_read()
    text = page(replace(read, source=replace(read.source, path=name)), identifiers=True)
    assert f"File {shown or name} SOP" in text
    assert ("Characters that cannot be drawn here stand as code points" in text) == ("[U+" in (shown or ""))


def test_names_from_right_to_left() -> None:
    read = make_read()
    for name in ("محمد عبد الله.dcm", "דוד לוי.dcm"):
        text = page(replace(read, source=replace(read.source, path=name)), identifiers=True)
        letters = unicodedata.normalize("NFKC", text)
        assert name.removesuffix(".dcm").split()[0] in letters  # pdftotext turns it round again
        assert "[U+" not in text


def test_500_characters_end_in_an_ellipsis() -> None:
    read = make_read()
    text = page(replace(read, source=replace(read.source, path="x" * 500)), identifiers=True)
    assert "xxx…" in text
    assert text.count("x" * 20) < 20


def test_a_long_label_is_broken_and_a_small_score_shown() -> None:
    label = "PNEUMONIA OF A KIND THAT TAKES MANY WORDS TO NAME"
    point = replace(POINT, threshold=0.0004)
    prediction = make_read(
        label=label,
        probabilities={"NORMAL": 0.9997, label: 0.0003},
        score=0.0003,
        positive=False,
        operating_point=point,
    )
    text = page(prediction, make_contract(labels=("NORMAL", label), positive_labels=(label,)))
    assert "The score 0.0003 is below the operating point “standard” (0.0004)." in text


class _Said(dict[str, str]):
    """A catalogue that notes what is looked up."""

    def __init__(self, texts: dict[str, str]) -> None:
        """Nothing is looked up yet."""
        super().__init__(texts)
        self.keys_said: set[str] = set()

    def __getitem__(self, key: str) -> str:
        """Note it."""
        self.keys_said.add(key)
        return super().__getitem__(key)


def test_no_word_of_the_catalogue_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _Said(words_of("en").texts)
    monkeypatch.setattr("cxr_edge.report.pdf.words_of", lambda language: Words(language, said))
    monkeypatch.setattr("cxr_edge.report.statement.words_of", lambda language: Words(language, said))
    read = make_read()
    notes = (Note("gate_view", "(0018,5101) View Position is LL; need AP or PA"),)
    use = CONTRACT.intended_use
    other = replace(use, statement="not a medical device. For 30 kV.", views=(), age_years=(20.0, 99.0))
    statement = make_contract(intended_use=other)
    anyone = make_contract(intended_use=replace(use, age_years=None))
    for prediction, contract in (
        (replace(read, gate=Gate("warn"), warnings=(Note("alpha_dropped", "x"),)), statement),
        (make_read(label="NORMAL", positive=False, gate=Gate("unknown", notes)), padded()),
        (make_read(activation_map=None, source=replace(read.source, content_sha256=None, path="\0")), CONTRACT),
        (replace(read, source=Source()), anyone),
        (replace(make_three("BACTERIAL")[0], gate=Gate("refused")), make_three()[1]),
        (replace(read, gate=Gate("unknown", (Note("no_tags", "x"), Note("no_image_check", "y")))), CONTRACT),
        make_endless(),
    ):
        report_pdf(prediction, contract, created=CREATED, identifiers=True)
        report_pdf(prediction, contract, created=CREATED, language="es")
    # labels, operating points and notes are asked for by `get`, which knows what to say instead
    assert {key for key in said if not key.startswith(("label.", "point.", "note."))} == said.keys_said
