"""The statement in Spanish says what the contract's own says, or that follows."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from contracts import make_contract

from cxr_edge.contract import Contract, IntendedUse
from cxr_edge.report import Statement, safety_statement

REPOSITORY = Path(__file__).resolve().parents[2]
OF_CHILDREN = "Modelo para radiografías frontales de tórax de niños de 1 a 5 años"
NO_DEVICE = "Solo para investigación; no es un producto sanitario (dispositivo médico)."
LIMITS = "La puntuación no es una probabilidad calibrada de enfermedad; los umbrales pueden no valer en otro hospital."


def _of_recipe(model: str) -> Contract:
    recipe = tomllib.loads((REPOSITORY / "models" / model / "recipe.toml").read_text("utf-8"))
    use = {"age_years": None, **recipe["intended_use"]}
    labels, positive = (tuple(recipe[key]) for key in ("labels", "positive_labels"))
    return make_contract(labels=labels, positive_labels=positive, intended_use=IntendedUse(**use))


def test_in_english_it_is_the_contracts_own() -> None:
    contract = _of_recipe("resnet50-binary")
    assert safety_statement(contract, "en") == Statement(contract.intended_use.statement, None)


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        ("resnet50-binary", "neumonía o normal"),
        ("inception-three-class", "neumonía bacteriana, neumonía viral o normal"),
    ],
)
def test_in_spanish_it_says_all_that_the_released_models_state(model: str, labels: str) -> None:
    said = Statement(f"{NO_DEVICE} {OF_CHILDREN}: {labels}. {LIMITS}", None)
    assert safety_statement(_of_recipe(model), "es") == said


@pytest.mark.parametrize(
    ("model", "purpose"),
    [
        ("covid-cnn", "Modelo para radiografías de tórax (proyecciones: PA): COVID-19 o sano."),
    ],
)
def test_what_is_said_in_other_words_follows_as_it_stands(model: str, purpose: str) -> None:
    contract = _of_recipe(model)
    text = f"{NO_DEVICE} {purpose} {LIMITS}"
    assert safety_statement(contract, "es") == Statement(text, contract.intended_use.statement)


@pytest.mark.parametrize(
    ("views", "ages", "said"),
    [
        ((), None, "radiografías de tórax (proyecciones: sin restricción): neumonía o normal."),
        (("PA", "LL"), (0.5, 17.0), "radiografías de tórax (proyecciones: PA, LL) de niños de 0,5 a 17 años: "),
        (("AP",), (16.0, 99.0), "radiografías de tórax (proyecciones: AP) de personas de 16 a 99 años: "),
    ],
)
def test_whom_it_is_for(views: tuple[str, ...], ages: tuple[float, float] | None, said: str) -> None:
    use = replace(make_contract().intended_use, views=views, age_years=ages)
    assert said in safety_statement(make_contract(intended_use=use), "es").text


def test_many_labels_are_counted() -> None:
    labels = tuple(f"L{number}" for number in range(6))
    contract = make_contract(labels=labels, positive_labels=labels[1:])
    assert "de 1 a 5 años: 6 etiquetas." in safety_statement(contract, "es").text


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("Research use only; not a medical device.", False),
        ("Research use only; not a medical device. Scores are not calibrated probabilities of disease.", False),
        ("Frontal chest radiographs of children aged 1 to 5: pneumonia or normal. not a medical device.", False),
        ("Frontal chest radiographs of children aged one to six: pneumonia or normal. not a medical device.", True),
        ("Scores are calibrated. Research use only; not a medical device.", True),
    ],
)
def test_when_the_contract_says_more(statement: str, more: bool) -> None:  # noqa: FBT001 - a parameter of the test
    use = replace(make_contract().intended_use, statement=statement)
    assert (safety_statement(make_contract(intended_use=use), "es").original is not None) == more
