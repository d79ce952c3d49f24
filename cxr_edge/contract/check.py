"""What the types cannot say: that the parts of a contract do not contradict each other."""

import base64
import math
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from cxr_edge.contract.certificate import Comparison
from cxr_edge.contract.image_gate import LAYOUT_SIDE
from cxr_edge.contract.limits import broken_limits
from cxr_edge.contract.schema import Contract, Contrast, IntendedUse, Member
from cxr_edge.contract.words import unprintable
from cxr_edge.errors import ContractError
from cxr_edge.types import Interval, side_is_label

DISCLAIMER = "not a medical device"
MAX_GOLDEN_TOLERANCE = 0.1
LARGEST, SMALLEST = 1e30, 1e-30  # of numbers that float32 is to hold


def check(contract: Contract) -> None:
    """Refuse a contract that contradicts itself.

    Raises:
        ContractError: naming the first contradiction.
    """
    for fault in _faults(contract):
        message = f"the contract contradicts itself: {fault}"
        raise ContractError(message)


def _faults(contract: Contract) -> Iterator[str]:
    labels = contract.labels
    yield from unprintable(msgspec.to_builtins(contract))
    yield from label_faults(labels, contract.positive_labels)
    yield from _operating_point_faults(contract)
    for member in contract.members:
        yield from member_faults(member)
    inputs = [member.input.name for member in contract.members]
    if len(set(inputs)) != len(inputs):
        yield f"two members share an input: {inputs}"
    yield from use_faults(contract.intended_use)
    yield from _output_faults(contract)
    yield from _image_gate_faults(contract)
    yield from _certificate_faults(contract)
    for case in contract.golden.cases:
        if not _decoded(case.png):
            yield f"golden case {case.name} holds no image in base64"
        if {len(case.reference), len(case.exported)} != {len(labels)} or len(case.tensor_sha256) != len(inputs):
            yield f"golden case {case.name} does not have one probability per label and one digest per member"


def label_faults(labels: Sequence[str], positive: Sequence[str]) -> Iterator[str]:
    """What is wrong with the labels, and with those that count as positive: named twice, one would count twice."""
    if len(set(labels)) != len(labels):
        yield f"labels {labels} are not distinct"
    if len(set(positive)) != len(positive):
        yield f"positive_labels {positive} are not distinct"
    if not set(positive) < set(labels):
        yield f"positive_labels {positive} are not a proper part of labels {labels}"
    for label in labels:
        if label != label.strip() or not label or "=" in label:
            yield f"label {label!r} begins or ends with a blank, is empty, or holds '='"


def use_faults(use: IntendedUse) -> Iterator[str]:
    """What is wrong with the words on the intended use, and with the ages that they speak of."""
    if DISCLAIMER not in use.statement:
        yield f"intended_use.statement lacks the words {DISCLAIMER!r}"
    if use.age_years is not None and not 0 <= use.age_years[0] < use.age_years[1]:
        yield f"intended_use.age_years {use.age_years} is no range"


def _output_faults(contract: Contract) -> Iterator[str]:
    outputs = contract.outputs
    names = [n for n in (outputs.probabilities, outputs.activation_map, outputs.features) if n is not None]
    if len(set(names)) != len(names):
        yield f"outputs {names} are not distinct"


def _image_gate_faults(contract: Contract) -> Iterator[str]:
    gate = contract.gate
    if (gate.out_of_distribution is None) != (contract.outputs.features is None):
        yield "outputs.features and gate.out_of_distribution go together"
    if gate.out_of_distribution is not None:
        if not math.isfinite(gate.out_of_distribution.threshold):
            yield "gate.out_of_distribution.threshold is no number"
        for family in gate.out_of_distribution.families:
            yield from _interval_faults(f"gate family {family.name}", family.refused)
    templates = {} if gate.layout is None else {"template": gate.layout.template, "upright": gate.layout.upright}
    for name, text in templates.items():
        try:
            numbers = struct.unpack(f"<{LAYOUT_SIDE**2}f", _decoded(text))
        except struct.error:
            numbers = (math.nan,)
        if not all(map(math.isfinite, numbers)):
            yield f"gate.layout.{name} does not hold {LAYOUT_SIDE} x {LAYOUT_SIDE} float32 in base64"


def _decoded(text: str) -> bytes:
    """Of base64; empty where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _interval_faults(name: str, figure: Interval) -> Iterator[str]:
    if not 0 <= figure.low <= figure.estimate <= figure.high <= 1:
        yield f"{name} is {figure.estimate} outside [{figure.low}, {figure.high}], or that is no part of 0 to 1"


def _certificate_faults(contract: Contract) -> Iterator[str]:
    """A certificate that breaks its own limits, speaks of other operating points, or proves nothing."""
    parity, quantization = contract.parity, contract.quantization
    figures = (
        parity.validation.auc_reference,
        parity.validation.auc_exported,
        parity.validation.accuracy_reference,
        parity.validation.accuracy_exported,
    )
    if None in figures:
        yield "parity.validation lacks an AUC or an accuracy"
    if not (parity.validation.images and parity.agreement.images):
        yield "parity was measured on no images"
        return
    yield from broken_limits(parity.validation, parity.agreement, parity.limits)
    names = [point.name for point in contract.operating_points]
    for part in (parity.validation, parity.agreement):
        if [flips.operating_point for flips in part.flips] != names:
            yield f"parity counts flips at {[f.operating_point for f in part.flips]}; the operating points are {names}"
        for figure in (part.auc_reference, part.auc_exported):
            yield from _interval_faults("an AUC of parity", figure) if figure is not None else ()
        yield from _given_label_faults(contract, part)
    if not contract.golden.cases or contract.golden.tolerance > MAX_GOLDEN_TOLERANCE:
        yield f"golden cases need at least one case and a tolerance of at most {MAX_GOLDEN_TOLERANCE}"
    is_float = quantization.scheme == "none"
    if is_float != (quantization.ranges == "none") or is_float != (quantization.images == 0):
        yield f"quantization scheme {quantization.scheme} does not go with ranges {quantization.ranges}"
    if (quantization.percentile is not None) != (quantization.ranges == "percentile"):
        yield f"quantization ranges {quantization.ranges} do not go with percentile {quantization.percentile}"


def _given_label_faults(contract: Contract, part: Comparison) -> Iterator[str]:
    """Of two labels positive or negative says all; of more, each operating point needs its own figures."""
    count = len(contract.labels)
    needed = [] if side_is_label(contract.labels) else [point.name for point in contract.operating_points]
    if (found := [given.operating_point for given in part.labels]) != needed:
        yield f"parity has figures of given labels at {found}; need {needed} for {count} labels"
    for given in part.labels:
        sizes = {len(given.confusion), *(len(row) for row in given.confusion)}
        if sizes != {count} or sum(map(sum, given.confusion)) != part.images:
            yield f"the confusion matrix at {given.operating_point} is not of {part.images} images and {count} labels"
            continue
        right, accuracy = sum(given.confusion[i][i] for i in range(count)), given.accuracy
        if not 0 <= accuracy.low <= accuracy.estimate == right / part.images <= accuracy.high <= 1:
            yield f"accuracy {accuracy.estimate} at {given.operating_point} is not that of its confusion matrix"


def _operating_point_faults(contract: Contract) -> Iterator[str]:
    names = [point.name for point in contract.operating_points]
    if len(set(names)) != len(names):
        yield f"operating points {names} are not distinct"
    if contract.default_operating_point not in names:
        yield f"default_operating_point {contract.default_operating_point!r} is not among {names}"
    for point in contract.operating_points:
        if not 0 < point.threshold < 1:
            yield f"operating point {point.name} has threshold {point.threshold}; it must lie between 0 and 1"
        for name, figure in (("sensitivity", point.sensitivity), ("specificity", point.specificity)):
            yield from _interval_faults(f"operating point {point.name}: {name}", figure)


def member_faults(member: Member) -> Iterator[str]:
    """How a network's input, resize, contrast and normalization contradict each other."""
    normalization = member.normalization
    channels = member.input.channels
    if not len(normalization.mean) == len(normalization.scale) == channels:
        yield f"member {member.name} has {channels} channels; mean and scale must have as many numbers"
    means, scales = normalization.mean, normalization.scale
    if not (all(abs(x) <= LARGEST for x in means) and all(SMALLEST <= x <= LARGEST for x in scales)):
        yield f"member {member.name} has a mean or scale that is too large or not finite, or a scale of 0 or less"
    if (channels == 1) != (normalization.channel_order == "gray"):
        yield f"member {member.name} has {channels} channels in the order {normalization.channel_order}"
    if member.input.dtype == "uint8" and not normalization.folded:
        yield f"member {member.name} takes uint8 but its normalization is not folded into the graph"
    if member.input.dtype == "uint8" and member.resize.kernel == "tf-bilinear":
        yield f"member {member.name} takes uint8 but {member.resize.kernel} gives float32"
    if member.contrast is not None:
        yield from _contrast_faults(member, member.contrast)


def _contrast_faults(member: Member, contrast: Contrast) -> Iterator[str]:
    if member.resize.kernel == "tf-bilinear":
        yield f"member {member.name} has a contrast, which needs whole gray levels; tf-bilinear gives fractions"
    if member.resize.aspect == "pad":
        yield f"member {member.name} has a contrast, which would count the padding as image; resize.aspect is pad"
    if len(contrast.percentiles) != len(contrast.levels):
        yield f"member {member.name}: contrast.percentiles and contrast.levels differ in number"
    for name, row in (("percentiles", contrast.percentiles), ("levels", contrast.levels)):
        if any(one >= other for one, other in pairwise(row)):
            yield f"member {member.name}: contrast.{name} {row} do not ascend"
