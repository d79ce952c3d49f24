"""Which of a certificate's figures break which of its limits."""

from collections.abc import Iterator

from cxr_edge.contract.certificate import Comparison, Limits


def broken_limits(validation: Comparison, agreement: Comparison, limits: Limits) -> list[str]:
    """One sentence for each figure that breaks its limit; empty when the certificate holds.

    Args:
        validation: measured on the labelled images; AUC and accuracy count.
        agreement: measured on the larger set; its size, its flips and its labels count.
        limits: of the recipe.
    """
    return [*_truth_faults(validation, limits), *_agreement_faults(agreement, limits)]


def _truth_faults(validation: Comparison, limits: Limits) -> Iterator[str]:
    if validation.auc_reference is not None and validation.auc_exported is not None:
        drop = validation.auc_reference.estimate - validation.auc_exported.estimate
        if not drop <= limits.auc_drop:
            yield f"the AUC dropped by {drop:.5f}; at most {limits.auc_drop} is allowed"
    if validation.accuracy_reference is not None and validation.accuracy_exported is not None:
        ratio = validation.accuracy_exported / max(validation.accuracy_reference, 1e-9)
        if not ratio >= limits.accuracy_ratio:
            yield f"accuracy is {ratio:.4f} of the original's; at least {limits.accuracy_ratio} is needed"


def _agreement_faults(agreement: Comparison, limits: Limits) -> Iterator[str]:
    if agreement.images < limits.agreement_images:
        yield f"agreement was measured on {agreement.images} images; at least {limits.agreement_images} needed"
    negative = [("became negative", flips.operating_point, flips.positive_to_negative) for flips in agreement.flips]
    changed = [("were given another label", given.operating_point, given.changed) for given in agreement.labels]
    for counts, limit in ((negative, limits.positive_to_negative_share), (changed, limits.changed_label_share)):
        for what, point, count in counts:
            share = count / max(agreement.images, 1)
            if not share <= limit:
                yield (
                    f"{count} of {agreement.images} images ({share:.2%}) {what} at operating point {point}; "
                    f"at most {limit:.2%} is allowed"
                )
