"""What the image itself says, where its tags are silent or wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import OUT_OF_DISTRIBUTION, make_contract, make_layout, with_image_gate
from dicom_files import make_file
from numpy.typing import NDArray
from tiny_models import tiny_model

import cxr_edge
from cxr_edge.contract import GatePolicy
from cxr_edge.errors import ModelError, Reason
from cxr_edge.image_gate import ImageGate, feature_distance, layout_of, read_template
from cxr_edge.types import Gate, GateMode, Note, Tags

LAYOUT = make_layout()
UPRIGHT = np.repeat(np.linspace(200, 50, 224).astype(np.uint8)[:, None], 224, axis=1)  # as LAYOUT: bright above
NEAR, FAR, FURTHER = np.zeros(3, np.float32), np.full(3, 0.9, np.float32), np.full(3, 2, np.float32)
CHEST = Tags(modality="DX", view_position="PA", body_part_examined="CHEST")
NO_TAGS = Gate("unknown", (Note("no_tags", "none"),))


def gate(mode: GateMode = "strict", **parts: Any) -> ImageGate:
    policy = replace(GatePolicy(out_of_distribution=OUT_OF_DISTRIBUTION, layout=LAYOUT), **parts)
    return ImageGate(policy, mode, body_parts=("CHEST",))


def codes(judged: Gate) -> list[str]:
    return [note.code for note in judged.reasons]


def test_distance_is_the_norm_over_the_threshold() -> None:
    limit = replace(OUT_OF_DISTRIBUTION, threshold=10.0)
    assert feature_distance(np.array([3, 4, 0], np.float32), limit) == pytest.approx(0.5)


@pytest.mark.parametrize("features", [np.zeros(2, np.float32), np.full(3, np.nan, np.float32)])
def test_features_that_are_none_are_no_distance(features: NDArray[np.float32]) -> None:
    with pytest.raises(ModelError):
        feature_distance(features, OUT_OF_DISTRIBUTION)


def test_a_familiar_image_keeps_the_status_of_its_tags() -> None:
    judged = gate().judge(NO_TAGS, None, UPRIGHT, NEAR)
    assert judged == Gate("unknown", NO_TAGS.reasons, 0.0)
    assert gate().judge(Gate("ok"), CHEST, UPRIGHT, NEAR).status == "ok"


def test_an_unfamiliar_image_without_tags_is_refused() -> None:
    judged = gate().judge(NO_TAGS, None, UPRIGHT, FAR)
    assert (judged.status, codes(judged)) == ("refused", ["gate_out_of_distribution", "no_tags"])
    assert judged.distance == pytest.approx(0.9 * 3**0.5)


@pytest.mark.parametrize(
    ("tags", "by_tags", "status"),
    [
        (CHEST, Gate("ok"), "warn"),
        (CHEST, Gate("warn", (Note("age", "old"),)), "warn"),
        (replace(CHEST, body_part_examined=None), Gate("warn", (Note(Reason.GATE_BODY_PART, "absent"),)), "refused"),
        (replace(CHEST, body_part_examined="HIP"), Gate("refused", (Note(Reason.GATE_BODY_PART, "hip"),)), "refused"),
    ],
    ids=["chest", "chest with a warning", "no body part", "another body part"],
)
def test_a_body_part_that_is_affirmed_turns_refusal_into_warning(tags: Tags, by_tags: Gate, status: str) -> None:
    judged = gate().judge(by_tags, tags, UPRIGHT, FAR)
    assert judged.status == status
    assert "gate_out_of_distribution" in codes(judged)


def test_where_any_body_part_will_do_no_tag_affirms_one() -> None:
    knee = replace(CHEST, body_part_examined="KNEE")
    free = ImageGate(GatePolicy(out_of_distribution=OUT_OF_DISTRIBUTION), "strict")
    assert free.judge(Gate("ok"), knee, UPRIGHT, FAR).status == "refused"


def test_no_tag_is_believed_about_an_image_that_is_far_away() -> None:
    judged = gate().judge(Gate("ok"), CHEST, UPRIGHT, FURTHER)
    assert (judged.status, codes(judged)) == ("refused", ["gate_out_of_distribution"])


def test_what_the_tags_refused_stays_the_first_reason() -> None:
    by_tags = Gate("refused", (Note(Reason.GATE_SPECIES, "a dog"),))
    assert codes(gate().judge(by_tags, CHEST, UPRIGHT, FAR))[0] == "gate_species"


def test_inverted_and_upside_down() -> None:
    assert codes(gate().judge(Gate("ok"), CHEST, 255 - UPRIGHT, NEAR)) == ["gate_polarity"]
    # bright above and below, somewhat more below: correlates with the template and better with its flip
    wavy = np.repeat(np.cos(np.linspace(0, np.pi, 16))[:, None], 16, axis=1)
    odd, even = wavy, np.abs(np.linspace(-1, 1, 16))[:, None] * np.ones((16, 16))
    template = even + 0.5 * odd
    shown = even - 0.1 * odd
    judged = gate(layout=make_layout(template)).judge(Gate("ok"), CHEST, shown, NEAR)
    assert codes(judged) == ["gate_orientation"]
    assert judged.status == "warn"


def test_off_asks_nothing() -> None:
    off = gate("off")
    assert not off.needs_features
    assert off.judge(Gate("unknown"), None, 255 - UPRIGHT, None) == Gate("unknown")


@pytest.mark.parametrize("shape", [(224, 224), (299, 331), (16, 16), (5, 7)])
def test_layout_is_centred_and_of_unit_norm_whatever_the_size(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    layout = layout_of(image)
    assert layout.shape == (16, 16)
    assert layout.mean() == pytest.approx(0, abs=1e-12)
    assert np.linalg.norm(layout) == pytest.approx(1)
    # a linear function of the gray levels, as a normalization outside the graph is
    np.testing.assert_allclose(layout_of(image.astype(np.float32) / 127.5 - 1), layout, atol=1e-5)


def test_a_constant_image_has_no_layout() -> None:
    assert not layout_of(np.full((224, 224), 200, np.uint8)).any()


def test_a_nearly_constant_image_has_no_layout() -> None:
    """One pixel that differs by rounding is nothing that could correlate."""
    image = np.full((16, 16), 200, np.float32)
    image[3, 4] = np.nextafter(np.float32(200), np.float32(201))
    assert not layout_of(image).any()


def test_layout_is_made_by_box_means() -> None:
    """Pinned: templates of released models were fitted on it."""
    row, column = np.mgrid[:100, :75]
    layout = layout_of(((7 * column + 3 * row * row) % 251).astype(np.uint8))
    found = [layout[0, 0], layout[0, 15], layout[7, 8], layout[15, 0], layout[15, 15]]
    np.testing.assert_allclose(found, [-0.19091, -0.141593, -0.009417, 0.036148, 0.008579], atol=2e-6)


def test_template_reads_back() -> None:
    template = read_template(LAYOUT.template)
    assert template.shape == (16, 16)
    assert template[0, 0] > 0 > template[-1, 0]


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """A network that finds everything far from mid-gray unfamiliar."""
    return tiny_model(tmp_path, with_image_gate(make_contract(), LAYOUT))


def test_classifier_refuses_warns_or_asks_nothing(gated: Path) -> None:
    white = np.full((224, 224), 250, np.uint8)
    white[100:] -= 20
    with pytest.raises(cxr_edge.InputError) as refused:
        cxr_edge.load(gated).classify(white)
    assert refused.value.reason == Reason.GATE_OUT_OF_DISTRIBUTION
    (rejection,) = cxr_edge.load(gated).classify_many([white])
    assert isinstance(rejection, cxr_edge.Rejection)
    assert rejection.gate is not None
    assert rejection.gate.distance is not None
    assert rejection.gate.distance > 1
    assert rejection.latency.inference_ms > 0
    warned = cxr_edge.load(gated, gate="warn").classify(white)
    assert (warned.gate.status, warned.gate.distance) == ("refused", rejection.gate.distance)
    asked_nothing = cxr_edge.load(gated, gate="off").classify(white)
    assert (asked_nothing.gate.status, asked_nothing.gate.distance) == ("unknown", None)


def test_a_false_monochrome1_is_classified_with_a_warning(gated: Path) -> None:
    ramp = np.repeat(np.linspace(2500, 1500, 224).astype(np.uint16)[:, None], 224, axis=1)
    chest: dict[str, Any] = {"BodyPartExamined": "CHEST", "ViewPosition": "PA", "Modality": "DX", "PatientAge": "003Y"}
    chest |= {"WindowCenter": 2048, "WindowWidth": 4096}
    classifier = cxr_edge.load(gated)
    right = classifier.classify(make_file(samples=ramp, **chest))
    wrong = classifier.classify(make_file(samples=ramp, PhotometricInterpretation="MONOCHROME1", **chest))
    assert right.gate.status == "ok", right.gate
    assert (wrong.gate.status, codes(wrong.gate)) == ("warn", ["gate_polarity"])


def test_real_images_that_are_no_chest_are_refused_without_their_tags(data_folder: Path) -> None:
    """On the released model: the radiographs of other body parts, as a JPEG or an array would bring them."""
    strict, off = cxr_edge.load(), cxr_edge.load(gate="off")
    seen = 0
    for file in sorted((data_folder / "dicom" / "nonchest").iterdir()):
        try:
            kept = off.classify(file, keep_radiograph=True)
        except cxr_edge.InputError:
            continue
        assert kept.radiograph is not None
        (result,) = strict.classify_many([kept.radiograph.pixels])
        assert isinstance(result, cxr_edge.Rejection), file.name
        assert result.reason == Reason.GATE_OUT_OF_DISTRIBUTION
        seen += 1
    assert seen >= 7


def test_real_chest_radiographs_are_classified_and_the_false_monochrome1_is_seen(data_folder: Path) -> None:
    results = list(cxr_edge.load().classify_many(sorted((data_folder / "dicom" / "chest").iterdir())))
    assert [type(result) for result in results] == [cxr_edge.Prediction] * 4
    inverted = [
        Path(result.source.path or "").name
        for result in results
        if result.gate and "gate_polarity" in codes(result.gate)
    ]
    assert inverted == ["RSNA_CR_jpegbaseline_FAKE_mono1_8bit.dcm"]


@pytest.mark.parametrize(("by_tags", "status"), [(Gate("ok"), "unknown"), (Gate("warn"), "warn"), (NO_TAGS, "unknown")])
def test_a_model_without_this_check_never_says_ok(by_tags: Gate, status: str) -> None:
    unchecked = gate(out_of_distribution=None, layout=None)
    judged = unchecked.judge(by_tags, CHEST, 255 - UPRIGHT, None)
    assert judged.status == status
    assert judged.reasons[-1].code == "no_image_check"
    assert judged.reasons[:-1] == by_tags.reasons
    off = gate("off", out_of_distribution=None, layout=None).judge(by_tags, CHEST, UPRIGHT, None)
    assert off == by_tags


def test_one_of_its_parts_is_a_check() -> None:
    assert gate(out_of_distribution=None).judge(Gate("ok"), CHEST, UPRIGHT, None) == Gate("ok")
