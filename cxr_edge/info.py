"""A contract in plain words."""

from collections.abc import Iterator

from cxr_edge.contract import (
    Comparison,
    Contract,
    GatePolicy,
    GivenLabels,
    Identity,
    IntendedUse,
    Limits,
    Member,
    Quantization,
)
from cxr_edge.types import Interval, OperatingPoint, side_is_label

Section = tuple[str, list[tuple[str, str]]]


def describe(contract: Contract, sha256: str) -> list[Section]:
    """The contract as sections of (name, value) lines for people.

    Args:
        contract: what to describe.
        sha256: of the model file.
    """
    return [
        _model(contract.identity, sha256),
        (
            "labels",
            [
                ("labels", ", ".join(contract.labels)),
                ("positive", ", ".join(contract.positive_labels)),
                ("score calibration", _calibration(contract.outputs.temperature)),
            ],
        ),
        *(_preprocessing(contract, member) for member in contract.members),
        ("operating points", list(_operating_points(contract))),
        _intended_use(contract.intended_use),
        *_image_gate(contract.gate),
        ("quantization", list(_quantization(contract.quantization))),
        *_parity(contract),
        ("golden cases", [("cases", str(len(contract.golden.cases))), ("tolerance", f"{contract.golden.tolerance:g}")]),
    ]


def _model(identity: Identity, sha256: str) -> Section:
    data = identity.training_data
    return (
        "model",
        [
            ("name", f"{identity.name} {identity.version}"),
            ("sha256", sha256),
            ("created", identity.created),
            ("licence", identity.licence),
            ("trained on", f"{data.description} ({data.images:,} images)"),
        ],
    )


def _intended_use(use: IntendedUse) -> Section:
    return (
        "intended use",
        [
            ("statement", use.statement),
            ("modalities", ", ".join(use.modalities) or "any"),
            ("views", ", ".join(use.views) or "any"),
            ("body parts", ", ".join(use.body_parts) or "any"),
            ("age in years", "any" if use.age_years is None else f"{use.age_years[0]:g} to {use.age_years[1]:g}"),
        ],
    )


def _quantization(q: Quantization) -> Iterator[tuple[str, str]]:
    yield "scheme", q.scheme
    if q.scheme == "none":
        return
    yield "ranges", " ".join(f"{q.ranges} {q.percentile or ''}".split()) + f", from {q.images} images"
    yield "7-bit weights", "yes" if q.reduce_range else "no"
    yield "first layer", q.first_layer
    yield "bias correction", "yes" if q.bias_correction else "no"
    yield "left in float", ", ".join(q.float_layers) or "the tail only"


def _calibration(temperature: float | None) -> str:
    return "none" if temperature is None else f"temperature {temperature:g}"


def _preprocessing(contract: Contract, member: Member) -> Section:
    resize, normalization = member.resize, member.normalization
    return (
        f"preprocessing of {member.name}",
        [
            ("DICOM", contract.rendering.dicom),
            ("colour to gray", contract.rendering.colour),
            ("EXIF orientation", contract.rendering.exif_orientation),
            ("edges of one gray", "kept" if resize.trim is None else f"cut off, up to {resize.trim} levels"),
            ("resize", f"{resize.kernel}, {resize.pass_order}, {resize.aspect}"),
            ("tensor", f"{member.input.dtype} {member.input.height} x {member.input.width} x {member.input.channels}"),
            ("gray levels", _contrast(member)),
            (
                "normalization",
                f"(x - {list(normalization.mean)}) / {list(normalization.scale)}, "
                + ("inside the graph" if normalization.folded else "by the runtime"),
            ),
        ],
    )


def _contrast(member: Member) -> str:
    if (contrast := member.contrast) is None:
        return "as they are"
    pairs = ", ".join(f"{p} % to {v}" for p, v in zip(contrast.percentiles, contrast.levels, strict=True))
    return f"by the central part, {contrast.margin} % left out on each side: {pairs}"


def _operating_points(contract: Contract) -> Iterator[tuple[str, str]]:
    for point in contract.operating_points:
        mark = " (default)" if point.name == contract.default_operating_point else ""
        yield (
            point.name + mark,
            (
                f"threshold {point.threshold:.4f}, sensitivity {_figure(point.sensitivity)}, "
                f"specificity {_figure(point.specificity)}, balanced accuracy {_balanced(point):.4f}, "
                f"on {point.data}; {point.how_chosen}"
            ),
        )


def _balanced(point: OperatingPoint) -> float:
    return (point.sensitivity.estimate + point.specificity.estimate) / 2


_ROLES = {
    "in_distribution": "should pass",
    "chosen_on": "should be refused, chosen on",
    "tested_on": "should be refused, tested on",
}


def _image_gate(gate: GatePolicy) -> Iterator[Section]:
    limit, layout = gate.out_of_distribution, gate.layout
    if limit is None and layout is None:
        yield "image gate", [("of the image itself", "none: anything of the right size is classified")]
    if limit is None:
        return
    fit = (
        f"{limit.method} distance in {limit.components} components of {limit.layer}, limit {limit.threshold:.4g}, "
        f"false alarms {limit.false_alarm_rate:g}; fitted on {limit.fit_images:,} images, limit from "
        f"{limit.threshold_images:,} images of other patients"
    )
    rows = [("out of distribution", fit), ("data", limit.data)]
    if layout is not None:
        words = f"correlation with the mean training image below {layout.minimum_correlation:g}"
        rows.append(("inverted", words))
        limit_words = f"below {layout.minimum_upright:.3g} on the axis from flipped to upright"
        rows.append(("upside down", f"{limit_words}, false alarms {layout.false_alarm_rate:g}"))
    yield "image gate", rows
    refused = [
        (
            f"{family.name} ({_ROLES[family.role]})",
            f"{round(family.refused.estimate * family.images):,} of {family.images:,}: {_figure(family.refused)}",
        )
        for family in limit.families
    ]
    yield "refused by the image gate, tags removed", refused


def _parity(contract: Contract) -> Iterator[Section]:
    parity = contract.parity
    limits = list(_limits(parity.limits, several=not side_is_label(contract.labels)))
    yield "parity", [("reference", parity.reference), ("measured on", parity.measured_on), *limits]
    for name, comparison in (("validation", parity.validation), ("agreement", parity.agreement)):
        yield f"parity: {name}", list(_comparison(comparison))
    for given in parity.validation.labels:
        yield f"labels at {given.operating_point}: validation", list(_given(given, contract.labels))


def _limits(limits: Limits, *, several: bool) -> Iterator[tuple[str, str]]:
    share = f"{limits.positive_to_negative_share:.2%} of at least {limits.agreement_images:,} images"
    yield "limit on flips", f"positive to negative at most {share}, at each operating point"
    if several:
        yield "limit on other labels", f"at most {limits.changed_label_share:.2%} of these images"
    yield "limit on AUC", f"at most {limits.auc_drop:g} below that of Keras"
    yield "limit on accuracy", f"at least {limits.accuracy_ratio:g} of that of Keras"


def _given(given: GivenLabels, labels: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    yield "accuracy over all labels", _figure(given.accuracy)
    for label, row in zip(labels, given.confusion, strict=True):
        yield f"truly {label}", "given " + ", ".join(f"{n} {name}" for n, name in zip(row, labels, strict=True))


def _comparison(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "images", f"{comparison.images:,}"
    yield "data", comparison.data
    yield (
        "|difference of probability|",
        f"p50 {comparison.abs_delta_p50:.4f}, p99 {comparison.abs_delta_p99:.4f}, max {comparison.abs_delta_max:.4f}",
    )
    yield "same decision", f"{comparison.agreement:.4%}"
    for flips in comparison.flips:
        yield (
            f"flips at {flips.operating_point}",
            f"{flips.positive_to_negative} positive to negative, {flips.negative_to_positive} negative to positive",
        )
    for given in comparison.labels:
        yield f"same decision, another label at {given.operating_point}", f"{given.changed}"
    if comparison.auc_reference and comparison.auc_exported:
        yield "AUC, Keras", _figure(comparison.auc_reference)
        yield "AUC, this file", _figure(comparison.auc_exported)
    if comparison.accuracy_reference is not None and comparison.accuracy_exported is not None:
        words = f"Keras {comparison.accuracy_reference:.4f}, this file {comparison.accuracy_exported:.4f}"
        yield "accuracy of the most probable label", words


def _figure(figure: Interval) -> str:
    return f"{figure.estimate:.4f} [{figure.low:.4f}, {figure.high:.4f}]"
