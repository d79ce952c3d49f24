"""Which of a certificate's figures break which of its limits."""

from collections.abc import Iterator

from cxr_edge.contract.schema import Comparison, Limits


def broken_limits(validation: Comparison, agreement: Comparison, limits: Limits) -> list[str]:
    """One sentence for each figure that breaks its limit; empty when the certificate holds.

    Args:
        validation: measured on the labelled images; AUC and accuracy count.
        agreement: measured on the larger set; its size, its flips and its labels count.
        limits: of the recipe.
    """
    return [
        *_truth_faults(validation, limits),
        *_flip_faults(agreement, limits),
        *_changed_label_faults(agreement, limits),
    ]


def _truth_faults(validation: Comparison, limits: Limits) -> Iterator[str]:
    if validation.auc_reference is not None and validation.auc_exported is not None:
        drop = validation.auc_reference.estimate - validation.auc_exported.estimate
        if not drop <= limits.auc_drop:
            yield f"the AUC dropped by {drop:.5f}; at most {limits.auc_drop} is allowed"
    if validation.accuracy_reference is not None and validation.accuracy_exported is not None:
        ratio = validation.accuracy_exported / max(validation.accuracy_reference, 1e-9)
        if not ratio >= limits.accuracy_ratio:
            yield f"accuracy is {ratio:.4f} of the original's; at least {limits.accuracy_ratio} is needed"


def _flip_faults(agreement: Comparison, limits: Limits) -> Iterator[str]:
    if agreement.images < limits.agreement_images:
        yield f"agreement was measured on {agreement.images} images; at least {limits.agreement_images} needed"
    for flips in agreement.flips:
        share = flips.positive_to_negative / max(agreement.images, 1)
        if not share <= limits.positive_to_negative_share:
            yield (
                f"{flips.positive_to_negative} of {agreement.images} images ({share:.2%}) became negative at operating "
                f"point {flips.operating_point}; at most {limits.positive_to_negative_share:.2%} is allowed"
            )


def _changed_label_faults(agreement: Comparison, limits: Limits) -> Iterator[str]:
    for given in agreement.labels:
        share = given.changed / max(agreement.images, 1)
        if not share <= limits.changed_label_share:
            yield (
                f"{given.changed} of {agreement.images} images ({share:.2%}) were given another label at operating "
                f"point {given.operating_point}; at most {limits.changed_label_share:.2%} is allowed"
            )
