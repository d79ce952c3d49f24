"""Whether a contract is that of the float form of a quantized model: another rounding, and the same decisions."""

from cxr_edge.contract import Contract


def float_form_fault(quantized: Contract, found: Contract) -> str | None:
    """In what `found` is not the float form of `quantized`; None where it is."""
    name, scheme = found.identity.name, found.quantization.scheme
    if scheme == "none" and _decisions(found) == _decisions(quantized):
        return None
    if scheme == "none" and name == quantized.identity.name:
        return f"it is not the float form of this file of {name}: it decides by other rules; convert it with its recipe"
    return f"it is not the float form of {quantized.identity.name} but {name} ({scheme})"


def _decisions(contract: Contract) -> tuple[object, ...]:
    """From what, how and by which rules a model decides; thresholds that a rule chose on scores may differ in float."""
    rules = tuple((point.name, point.how_chosen) for point in contract.operating_points)
    identity = contract.identity
    return (
        *(identity.name, identity.source_model_sha256, contract.members, contract.rendering),
        *(contract.labels, contract.positive_labels, contract.outputs.temperature),
        *(rules, contract.default_operating_point),
    )
