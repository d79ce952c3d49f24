"""A small, valid contract and results made from it, for tests to vary."""

import base64
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.contract import (
    LAYOUT_SIDE,
    Comparison,
    Contract,
    Flips,
    GatePolicy,
    GivenLabels,
    Golden,
    GoldenCase,
    Identity,
    Input,
    IntendedUse,
    Layout,
    Limits,
    Member,
    Normalization,
    OutOfDistribution,
    Outputs,
    Parity,
    Quantization,
    RefusedFamily,
    Rendering,
    Resize,
    TrainingData,
)
from cxr_edge.types import Gate, Interval, Latency, ModelIdentity, OperatingPoint, Prediction, Source, Tags

DIGEST = "ab" * 32
POINT = OperatingPoint(
    name="standard",
    threshold=0.5,
    sensitivity=Interval(0.9, 0.85, 0.94),
    specificity=Interval(0.95, 0.9, 0.98),
    data="a test",
    how_chosen="fixed",
)
MEMBER = Member(
    name="net",
    input=Input(name="image", dtype="uint8", height=224, width=224, channels=3),
    resize=Resize(kernel="pillow-bilinear", pass_order="horizontal-first", aspect="squash"),
    normalization=Normalization(
        channel_order="rgb", mean=(103.939, 116.779, 123.68), scale=(1.0, 1.0, 1.0), folded=True
    ),
)
COMPARISON = Comparison(
    data="a test",
    images=2000,
    sha256=DIGEST,
    abs_delta_p50=0.001,
    abs_delta_p99=0.02,
    abs_delta_max=0.05,
    agreement=0.999,
    flips=(
        Flips(operating_point="standard", positive_to_negative=1, negative_to_positive=1),
        Flips(operating_point="screening", positive_to_negative=0, negative_to_positive=2),
    ),
    auc_reference=Interval(0.99, 0.98, 1.0),
    auc_exported=Interval(0.99, 0.98, 1.0),
    accuracy_reference=0.95,
    accuracy_exported=0.95,
)


OUT_OF_DISTRIBUTION = OutOfDistribution(
    method="mahalanobis",
    layer="conv",
    components=3,
    threshold=1.0,
    false_alarm_rate=0.01,
    fit_images=10,
    threshold_images=5,
    data="a test",
    families=(RefusedFamily(name="noise", role="chosen_on", images=4, refused=Interval(1.0, 0.5, 1.0)),),
)


def make_layout(template: NDArray[np.float64] | None = None) -> Layout:
    """A layout whose template is bright above and dark below, unless another is given."""
    if template is None:
        template = np.repeat(np.linspace(1, -1, LAYOUT_SIDE)[:, None], LAYOUT_SIDE, axis=1)
    odd = template - template[::-1]
    encoded = [
        base64.b64encode(((part - part.mean()) / np.linalg.norm(part - part.mean())).astype("<f4").tobytes()).decode()
        for part in (template, odd)
    ]
    return Layout(
        template=encoded[0],
        minimum_correlation=0.0,
        upright=encoded[1],
        minimum_upright=-0.05,
        false_alarm_rate=0.002,
        images=10,
    )


def with_image_gate(contract: Contract, layout: Layout | None = None) -> Contract:
    """The contract of a network that gives features, with limits on them."""
    return replace(
        contract,
        outputs=replace(contract.outputs, features="features"),
        gate=GatePolicy(out_of_distribution=OUT_OF_DISTRIBUTION, layout=layout),
    )


def make_contract(**changes: Any) -> Contract:
    """A contract of a two-class network on 224 x 224 gray images; `changes` replace whole fields."""
    contract = Contract(
        schema_version=1,
        identity=Identity(
            name="test-model",
            version="1.0.0",
            created="2026-01-01T00:00:00Z",
            licence="Apache-2.0",
            recipe_sha256=DIGEST,
            source_model_sha256=DIGEST,
            training_data=TrainingData(description="nothing", images=0, sha256=None),
        ),
        rendering=Rendering(dicom="ps3.3-c11-floor8", colour="pillow-l", exif_orientation="ignore"),
        members=(MEMBER,),
        outputs=Outputs(
            probabilities="probabilities", activation_map="activation_map", features=None, temperature=None
        ),
        labels=("NORMAL", "PNEUMONIA"),
        positive_labels=("PNEUMONIA",),
        operating_points=(POINT, replace(POINT, name="screening", threshold=0.1)),
        default_operating_point="standard",
        intended_use=IntendedUse(
            modalities=("CR", "DX"),
            views=("AP", "PA"),
            body_parts=("CHEST", "THORAX"),
            age_years=(1.0, 5.0),
            statement="Research use only; not a medical device.",
        ),
        gate=GatePolicy(out_of_distribution=None),
        quantization=Quantization(
            scheme="none",
            ranges="none",
            percentile=None,
            seed=0,
            first_layer="float",
            per_channel=False,
            reduce_range=False,
            bias_correction=False,
            float_layers=(),
            images=0,
            sha256=None,
        ),
        parity=Parity(
            reference="keras", measured_on="a test", validation=COMPARISON, agreement=COMPARISON, limits=Limits()
        ),
        golden=Golden(
            tolerance=0.02,
            cases=(
                GoldenCase(
                    name="phantom", png="AA==", tensor_sha256=(DIGEST,), reference=(0.4, 0.6), exported=(0.41, 0.59)
                ),
            ),
        ),
    )
    contract = replace(contract, **changes)
    return contract if "parity" in changes else with_figures(contract)


def with_figures(contract: Contract) -> Contract:
    """The contract with flips at its operating points and, of more labels than two, which of them were given."""
    count, images = len(contract.labels), COMPARISON.images
    flips = tuple(
        Flips(operating_point=point.name, positive_to_negative=1, negative_to_positive=1)
        for point in contract.operating_points
    )
    row = (images, *[0] * (count - 1))
    given = tuple(
        GivenLabels(
            operating_point=point.name,
            changed=3,
            accuracy=Interval(1.0, 0.99, 1.0),
            confusion=(row, *[(0,) * count] * (count - 1)),
        )
        for point in contract.operating_points
    )
    part = replace(COMPARISON, flips=flips, labels=given if count > 2 else ())
    return replace(contract, parity=replace(contract.parity, validation=part, agreement=part))


def make_prediction(**changes: Any) -> Prediction:
    """A positive prediction; `changes` replace whole fields."""
    prediction = Prediction(
        source=Source(path="a.dcm", sop_instance_uid="1.2.3", study_instance_uid="1.2", content_sha256=DIGEST),
        label="PNEUMONIA",
        probabilities={"NORMAL": 0.2, "PNEUMONIA": 0.8},
        positive=True,
        score=0.8,
        operating_point=POINT,
        gate=Gate("ok"),
        rendering="ps3.3-c11-floor8/window",
        model=ModelIdentity("test-model", "1.0.0", DIGEST),
        execution_provider="CPUExecutionProvider",
        latency=Latency(1.0, 2.0, 3.0, 4.0, 10.5),
        tags=Tags(modality="DX", view_position="AP"),
    )
    return replace(prediction, **changes)
