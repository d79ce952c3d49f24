"""The contract: read back as written, refused when anything in it is unknown or contradicts itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from contracts import MEMBER, POINT, make_contract
from hypothesis import given
from hypothesis import strategies as st

from cxr_edge.contract import METADATA_KEY, Contract, Golden, from_json, from_metadata, json_schema, to_json
from cxr_edge.errors import ContractError
from cxr_edge.types import Interval

Raw = dict[str, Any]
CONTRACT = make_contract()
CASE = CONTRACT.golden.cases[0]
PRINTABLE = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="="), min_size=1, max_size=30
)


def test_reads_back_what_was_written() -> None:
    contract = make_contract()
    assert from_json(to_json(contract)) == contract


@given(
    threshold=st.floats(0.001, 0.999),
    mean=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    labels=st.lists(PRINTABLE, min_size=2, max_size=6, unique=True),
)
def test_round_trip_keeps_every_bit(threshold: float, mean: tuple[float, ...], labels: list[str]) -> None:
    share = (1 / len(labels),) * len(labels)
    member = replace(MEMBER, normalization=replace(MEMBER.normalization, mean=mean))
    contract = make_contract(
        operating_points=(replace(POINT, threshold=threshold),),
        members=(member,),
        labels=tuple(labels),
        positive_labels=(labels[0],),
        golden=replace(CONTRACT.golden, cases=(replace(CASE, reference=share, exported=share),)),
    )
    assert from_json(to_json(contract)) == contract


def test_unicode_labels_survive() -> None:
    contract = make_contract(labels=("normal", "neumonía"), positive_labels=("neumonía",))
    assert from_json(to_json(contract)).labels == ("normal", "neumonía")


def _paths(raw: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every object of a JSON document."""
    found = [path] if isinstance(raw, dict) else []
    items = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    return found + [deeper for key, value in items for deeper in _paths(value, (*path, key))]


def _at(raw: Any, path: tuple[str | int, ...]) -> Raw:
    for key in path:
        raw = raw[key]
    return raw  # type: ignore[no-any-return]


OBJECTS = _paths(json.loads(to_json(make_contract())))


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_refuses_an_unknown_field_anywhere(path: tuple[str | int, ...]) -> None:
    raw = json.loads(to_json(make_contract()))
    _at(raw, path)["surprise"] = 1
    with pytest.raises(ContractError, match=r"unknown field.*surprise"):
        from_json(json.dumps(raw))


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_refuses_a_missing_field_anywhere(path: tuple[str | int, ...]) -> None:
    raw = json.loads(to_json(make_contract()))
    optional = {
        "pad_value",
        "trim",
        "contrast",
        "margin",
        "labels",
        "positive_to_negative_share",
        "changed_label_share",
        "auc_drop",
        "accuracy_ratio",
        "agreement_images",
    }
    parent = _at(raw, path)
    key = next((key for key in parent if key not in optional), None)
    if key is None:
        pytest.skip("every field of this object has a default")
    del parent[key]
    with pytest.raises(ContractError):
        from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ()}, r"figures of given labels at \[\]; need \['standard', 'screening'\] for 3 labels"),
        ({"confusion": ((2000, 0), (0, 0), (0, 0))}, "confusion matrix at standard is not of 2000 images and 3 labels"),
        ({"confusion": ((2000, 0, 0),)}, "confusion matrix at standard"),
        ({"confusion": ((1999, 0, 0), (0, 0, 0), (0, 0, 0))}, "confusion matrix at standard"),
        ({"confusion": ((1999, 1, 0), (0, 0, 0), (0, 0, 0))}, "is not that of its confusion matrix"),
        ({"changed": 41}, "41 of 2000 images .2.05%. were given another label at operating point standard"),
    ],
)
def test_of_several_labels_each_has_figures(change: dict[str, Any], message: str) -> None:
    contract = make_contract(labels=("N", "B", "V"), positive_labels=("B", "V"), golden=_golden_of_three())
    assert from_json(to_json(contract)) == contract
    first, *others = contract.parity.agreement.labels
    labels = () if "labels" in change else (replace(first, **change), *others)
    part = replace(contract.parity.agreement, labels=labels)
    with pytest.raises(ContractError, match=message):
        from_json(to_json(replace(contract, parity=replace(contract.parity, agreement=part))))


def test_two_labels_need_no_such_figures() -> None:
    contract, three = make_contract(), make_contract(labels=("N", "B", "V"), positive_labels=("B", "V"))
    with pytest.raises(ContractError, match=r"need \[\] for 2 labels"):
        from_json(to_json(replace(contract, parity=three.parity)))


def _golden_of_three() -> Golden:
    (case,) = make_contract().golden.cases
    return Golden(tolerance=0.02, cases=(replace(case, reference=(0.4, 0.5, 0.1), exported=(0.4, 0.5, 0.1)),))


def _set(*path: str | int, value: object) -> Callable[[Raw], None]:
    def change(raw: Raw) -> None:
        _at(raw, path[:-1])[path[-1]] = value  # type: ignore[index]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schema_version", value=2), "schema_version is '2'"),
        (_set("schema_version", value="x" * 1000), "schema_version is 'x{20}'"),
        (_set("members", value=[]), "members"),
        (_set("members", 0, "resize", "kernel", value="cv2-area"), "kernel"),
        (_set("members", 0, "resize", "aspect", value="stretch"), "aspect"),
        (_set("members", 0, "input", "dtype", value="float64"), "dtype"),
        (_set("members", 0, "normalization", "mean", value=[0.0]), "3 channels"),
        (_set("members", 0, "normalization", "scale", value=[1.0, 0.0, 1.0]), "scale of 0"),
        (_set("members", 0, "normalization", "folded", value=False), "not folded"),
        (_set("members", 0, "normalization", "folded", value="yes"), "folded"),
        (_set("members", 0, "resize", "kernel", value="tf-bilinear"), "gives float32"),
        (_set("labels", value=["A", "A"]), "not distinct"),
        (_set("positive_labels", value=["COVID"]), "proper part"),
        (_set("positive_labels", value=["NORMAL", "PNEUMONIA"]), "proper part"),
        (_set("positive_labels", value=["PNEUMONIA", "PNEUMONIA"]), "positive_labels .* are not distinct"),
        (_set("labels", value=["NORMAL ", "PNEUMONIA"]), "blank"),
        (_set("labels", value=["NORMAL=0.99 X", "PNEUMONIA"]), "holds '='"),
        (_set("identity", "name", value="model\n"), "terminal"),
        (_set("identity", "licence", value="\x1b[31m"), "terminal"),
        (_set("members", 0, "name", value="a\nb"), "terminal"),
        (_set("members", 0, "normalization", "mean", value=[1e300, 0.0, 0.0]), "too large"),
        (_set("members", 0, "normalization", "scale", value=[1e-320, 1.0, 1.0]), "scale"),
        (_set("golden", "cases", 0, "png", value="no base64"), "no image in base64"),
        (_set("golden", "cases", 0, "png", value="\u00e9"), "no image in base64"),
        (_set("parity", "agreement", "images", value=0), "on no images|0 images"),
        (_set("parity", "agreement", "flips", 0, "positive_to_negative", value=10**400), "positive_to_negative"),
        (_set("parity", "validation", "auc_exported", "high", value=9.0), "AUC of parity"),
        (_set("default_operating_point", value="best"), "not among"),
        (_set("operating_points", 0, "threshold", value=1.5), "between 0 and 1"),
        (_set("operating_points", 1, "name", value="standard"), "not distinct"),
        (_set("operating_points", 0, "sensitivity", "low", value=0.99), "outside"),
        (_set("quantization", "scheme", value="int4"), "scheme"),
        (_set("intended_use", "statement", value="a medical device"), "not a medical device"),
        (_set("identity", "recipe_sha256", value="beef"), "recipe_sha256"),
        (_set("golden", "cases", 0, "reference", value=[1.0]), "golden case"),
        (_set("golden", "cases", value=[]), "at least one case"),
        (_set("outputs", "temperature", value=1e-320), "temperature"),
        (_set("intended_use", "statement", value="not a medical device\x1b[2J"), "terminal"),
        (_set("parity", "validation", "auc_reference", value=None), "lacks an AUC"),
        (_set("golden", "tolerance", value=1.0), "tolerance"),
        (_set("labels", value=["NORMAL", "\x1b[31mP"]), "proper part|terminal"),
        (_set("operating_points", 0, "name", value="\x1b[31m"), "not among|terminal"),
        (_set("outputs", "activation_map", value="probabilities"), "not distinct"),
        (_set("intended_use", "age_years", value=[9.0, 1.0]), "no range"),
        (_set("members", 0, "normalization", "scale", value=[1.0, -1.0, 1.0]), "0 or less"),
        (_set("quantization", "ranges", value="minmax"), "does not go with"),
        (_set("quantization", "percentile", value=99.0), "do not go with"),
        (_set("parity", "agreement", "images", value=3), "3 images"),
        (_set("parity", "agreement", "flips", value=[]), "counts flips at"),
        (_set("parity", "agreement", "flips", 0, "positive_to_negative", value=50), "became negative"),
        (_set("parity", "validation", "auc_exported", "estimate", value=0.9), "AUC dropped"),
        (_set("parity", "validation", "accuracy_exported", value=0.9), "accuracy is"),
    ],
)
def test_refuses(change: Callable[[Raw], None], message: str) -> None:
    raw = json.loads(to_json(make_contract()))
    change(raw)
    with pytest.raises(ContractError, match=message):
        from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "[" * 100_000, '{"schema_version": 1}'])
def test_refuses_what_is_no_contract(text: str) -> None:
    with pytest.raises(ContractError):
        from_json(text)


def test_metadata_without_a_contract() -> None:
    with pytest.raises(ContractError, match="cxr-edge-export"):
        from_metadata({"something": "else"})
    assert from_metadata({METADATA_KEY: to_json(make_contract())}) == make_contract()


def test_schema_is_closed_and_names_every_field() -> None:
    schema = json_schema()
    objects = [d for d in schema["$defs"].values() if d["type"] == "object"]
    assert objects
    assert all(d["additionalProperties"] is False for d in objects)
    assert set(schema["$defs"]["Contract"]["properties"]) == set(Contract.__dataclass_fields__)


def test_operating_point_decides_at_its_threshold() -> None:
    point = replace(POINT, threshold=0.3, sensitivity=Interval(1, 1, 1))
    assert point.decides_positive(0.3)
    assert not point.decides_positive(0.2999999)
