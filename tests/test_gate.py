"""The gate judges by tags alone: absent warns, wrong refuses, nothing known is never ok."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from dicom_files import RENDERING, make_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxr_edge.contract import IntendedUse
from cxr_edge.decode import decode
from cxr_edge.errors import InputError, Reason
from cxr_edge.gate import check_gate
from cxr_edge.types import Gate, Radiograph, Tags

USE = IntendedUse(
    modalities=("CR", "DX"), views=("AP", "PA"), body_parts=("CHEST",), age_years=(1.0, 5.0), statement="research"
)
CHEST = Tags(modality="CR", view_position="PA", body_part_examined="CHEST", patient_age_years=4.0)


def judged(tags: Tags | None, use: IntendedUse = USE, mode: Any = "strict") -> Gate:
    return check_gate(Radiograph(np.zeros((2, 2), np.uint8), "test", tags=tags), use, mode)


def test_everything_as_needed_is_ok() -> None:
    assert judged(CHEST) == Gate("ok")


def test_without_tags_nothing_is_known() -> None:
    gate = judged(None)
    assert (gate.status, [note.code for note in gate.reasons]) == ("unknown", ["no_tags"])


@pytest.mark.parametrize("tags", [None, CHEST, replace(CHEST, modality="MR")])
def test_switched_off_nothing_is_known(tags: Tags | None) -> None:
    gate = judged(tags, mode="off")
    assert (gate.status, [note.code for note in gate.reasons]) == ("unknown", ["gate_off"])


@pytest.mark.parametrize(
    ("changes", "status", "code", "message"),
    [
        ({"modality": "MR"}, "refused", Reason.GATE_MODALITY, "(0008,0060) Modality is MR; need CR or DX"),
        ({"modality": "MG"}, "refused", Reason.GATE_MODALITY, "is MG"),
        ({"modality": "OT"}, "warn", Reason.GATE_MODALITY, "is OT"),
        ({"modality": "XYZ"}, "warn", Reason.GATE_MODALITY, "is another value; need CR or DX"),
        ({"modality": None}, "warn", Reason.GATE_MODALITY, "(0008,0060) Modality is absent or empty; need CR or DX"),
        ({"view_position": "LL"}, "refused", Reason.GATE_VIEW, "(0018,5101) View Position is LL; need AP or PA"),
        ({"view_position": "LATERAL"}, "refused", Reason.GATE_VIEW, "is LATERAL"),
        ({"view_position": None}, "warn", Reason.GATE_VIEW, "absent or empty"),
        ({"body_part_examined": "KNEE"}, "refused", Reason.GATE_BODY_PART, "is KNEE; need CHEST or THORAX"),
        ({"body_part_examined": None}, "warn", Reason.GATE_BODY_PART, "absent or empty"),
        ({"patient_age_years": 6.0}, "warn", "age", "is 6 years; the model was trained on 1 to 5 years"),
        ({"patient_age_years": 62.0}, "warn", "age", "is 62 years; the model was trained on 1 to 5 years"),
        ({"patient_age_years": 0.5}, "warn", "age", "is 0.5 years"),
        ({"patient_age_years": 97.0}, "warn", "age", "is over 89 years"),
        ({"patient_age_years": None}, "warn", "age", "absent or unreadable"),
        ({"patient_species": "CANINE"}, "refused", Reason.GATE_SPECIES, "is CANINE; need a human"),
    ],
)
def test_one_tag(changes: dict[str, Any], status: str, code: str, message: str) -> None:
    gate = judged(replace(CHEST, **changes))
    assert gate.status == status
    (note,) = gate.reasons
    assert note.code == code
    assert type(note.code) is str
    assert message in note.message


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "dx"},
        {"view_position": "ap"},
        {"body_part_examined": "THORAX"},
        {"patient_species": "HUMAN"},
        {"patient_age_years": 5.9},
    ],
)
def test_as_good_as_needed(changes: dict[str, Any]) -> None:
    assert judged(replace(CHEST, **changes)).status == "ok"


def test_the_worst_tag_decides_and_comes_first() -> None:
    gate = judged(Tags(body_part_examined="KNEE", patient_species="EQUINE"))
    assert gate.status == "refused"
    assert [note.code for note in gate.reasons] == [
        "gate_body_part", "gate_species", "gate_modality", "gate_view", "age",
    ]  # fmt: skip


def test_strict_and_warn_judge_alike() -> None:
    tags = replace(CHEST, view_position="LL")
    assert judged(tags, mode="warn") == judged(tags, mode="strict")


def test_what_the_contract_leaves_open_is_not_judged() -> None:
    anything = IntendedUse(modalities=(), views=(), body_parts=(), age_years=None, statement="anything")
    assert judged(Tags(modality="MR"), anything) == Gate("ok")


@pytest.mark.parametrize("field", ["modality", "view_position", "body_part_examined", "patient_species"])
@pytest.mark.parametrize("text", ["MARK^PATIENT", "mark 1965-03-04", "KNEE OF MARK", "PA\\MARK", "\x1b[31mMARK" * 999])
def test_free_text_in_a_tag_never_reaches_a_message(field: str, text: str) -> None:
    (note,) = judged(replace(CHEST, **cast("dict[str, Any]", {field: text}))).reasons
    assert " is another value; need " in note.message
    assert "mark" not in note.message.lower()
    assert note.message.isprintable()


def test_text_of_a_coded_species_never_reaches_a_message() -> None:
    item = Dataset()
    item.CodeMeaning = "MARK^SPECIES"
    gate = check_gate(decode(make_file(PatientSpeciesCodeSequence=Sequence([item])), RENDERING), USE, "strict")
    assert gate.status == "refused"
    assert "MARK" not in repr(gate)


@pytest.mark.parametrize(
    ("age", "status"),
    [
        ("011M", "warn"),
        ("012M", "ok"),
        ("001Y", "ok"),
        ("005Y", "ok"),
        ("071M", "ok"),
        ("072M", "warn"),
        ("006Y", "warn"),
    ],
)
def test_age_counts_up_to_the_birthday_after_the_last_year(age: str, status: str) -> None:
    assert check_gate(decode(make_file(PatientAge=age), RENDERING), USE, "strict").status == status


def test_every_tag_changes_the_answer_or_was_judged_by_decoding() -> None:
    wrong: dict[str, Any] = {
        field.name: 99.0 if field.name == "patient_age_years" else "MARK" for field in dataclasses.fields(Tags)
    }
    unjudged = {name for name, value in wrong.items() if judged(replace(CHEST, **{name: value})) == Gate("ok")}
    assert unjudged == {"presentation_intent_type", "photometric_interpretation", "pixel_intensity_relationship"}
    judged_by_decoding: tuple[dict[str, Any], ...] = (
        {"PresentationIntentType": "FOR PROCESSING"},
        {"PhotometricInterpretation": "MARK"},
    )
    for attributes in judged_by_decoding:
        with pytest.raises(InputError) as error:
            decode(make_file(**attributes), RENDERING)
        assert "MARK" not in str(error.value)


def test_no_real_chest_radiograph_is_refused(data_folder: Path) -> None:
    files = sorted((data_folder / "dicom" / "chest").iterdir())
    assert len(files) == 4
    for file in files:
        assert check_gate(decode(file.read_bytes(), RENDERING), USE, "strict").status in {"ok", "warn"}


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("CR-ModalitySequenceLUT_dental.dcm", "warn", "gate_view"),
        ("RG2_J2KR.dcm", "refused", "gate_body_part"),
        ("RG2_JLSL.dcm", "refused", "gate_body_part"),
        ("RG3_J2KI.dcm", "refused", "gate_body_part"),
        ("RG3_JPLL.dcm", "refused", "gate_body_part"),
        ("RG3_JPLY.dcm", "refused", "gate_body_part"),
        ("RG3_RLE.dcm", "refused", "gate_body_part"),
        ("VETERINARY_thorax_lateral_DX_mono1_8bit.dcm", "warn", "gate_view"),
        ("vet_limb_DX_jpegbaseline_YBR.dcm", "refused", "gate_species"),
    ],
)
def test_every_real_image_of_something_else_is_refused_or_flagged(
    name: str, status: str, code: str, data_folder: Path
) -> None:
    gate = check_gate(decode((data_folder / "dicom" / "nonchest" / name).read_bytes(), RENDERING), USE, "strict")
    assert gate.status == status
    assert code in {note.code for note in gate.reasons}


def test_real_lateral_view_is_refused(data_folder: Path) -> None:
    data = (data_folder / "dicom" / "malformed" / "tag_lateral.dcm").read_bytes()
    gate = check_gate(decode(data, RENDERING), USE, "strict")
    assert (gate.status, gate.reasons[0].code) == ("refused", "gate_view")


def test_no_real_image_of_another_modality_is_ok(data_folder: Path) -> None:
    for file in sorted((data_folder / "dicom" / "odd").rglob("*")):
        if not file.is_file():
            continue
        try:
            radiograph = decode(file.read_bytes(), RENDERING)
        except InputError:
            continue
        assert check_gate(radiograph, USE, "strict").status in {"refused", "warn"}
