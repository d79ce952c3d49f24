"""Several images of one study, summed up in a row of its own."""

from cxr_edge.errors import Reason
from cxr_edge.results.rows import ROW_SCHEMA_VERSION, Row, gate_to_row, model_to_row, source_to_row, verdict_to_row
from cxr_edge.types import Prediction, Rejection

LATERAL_VIEWS = frozenset({"LL", "RL", "LLD", "RLD", "LATERAL", "LAT"})  # PS3.3 C.8.11.5.1.1 and common practice
UNTAGGED = ""  # the group of files without a StudyInstanceUID, when one was asked for


class StudyCollector:
    """Collects the results of a call and gives one row for each study of several images."""

    def __init__(self, *, untagged_as_study: bool = False, identifiers: bool = True) -> None:
        """Begin empty; `untagged_as_study` takes all files without a StudyInstanceUID for one study."""
        self._untagged = untagged_as_study
        self._identifiers = identifiers
        self._groups: dict[str, dict[str, Prediction | Rejection]] = {}

    def add(self, result: Prediction | Rejection) -> None:
        """Take one image's result, without its pixels. The same content twice is one image."""
        uid, content = result.source.study_instance_uid, result.source.content_sha256
        if content is None and uid is None:
            return  # nothing was read: it belongs to no study
        if uid is None and (not self._untagged or _is_no_image(result)):
            return
        group = self._groups.setdefault(uid or UNTAGGED, {})
        group.setdefault(content or f"without content {len(group)}", result)

    def rows(self) -> list[Row]:
        """A row for each study of two images or more, in the order of their first image."""
        return [self._row(uid, list(images.values())) for uid, images in self._groups.items() if len(images) > 1]

    def _row(self, uid: str, images: list[Prediction | Rejection]) -> Row:
        rejected = sum(isinstance(image, Rejection) for image in images)
        row: Row = {
            "schema_version": ROW_SCHEMA_VERSION,
            "kind": "study",
            "source": {"study_instance_uid": (uid or None) if self._identifiers else None},
            "images": len(images),
            "rejected": rejected,
        }
        deciding = _deciding([image for image in images if isinstance(image, Prediction)])
        if deciding is None:
            message = f"none of {len(images)} images is a classified frontal view that the gate lets pass"
            return {**row, "status": "rejected", "reason": {"code": "no_image_classified", "message": message}}
        return {
            **row,
            "status": "classified",
            **verdict_to_row(deciding),
            "deciding_image": source_to_row(deciding.source, self._identifiers),
            "gate": gate_to_row(deciding.gate),
            "model": model_to_row(deciding.model),
            "execution_provider": deciding.execution_provider,
        }


def _deciding(images: list[Prediction]) -> Prediction | None:
    """The image of the highest score among the frontal ones; a view that is not stated counts as frontal.

    What the gate refused (`--gate warn` classifies it all the same) never decides a study.
    """
    frontal = [image for image in images if image.gate.status != "refused" and not _is_lateral(image)]
    return max(frontal, key=lambda image: image.score, default=None)


def _is_lateral(image: Prediction) -> bool:
    return image.tags is not None and (image.tags.view_position or "").upper() in LATERAL_VIEWS


def _is_no_image(result: Prediction | Rejection) -> bool:
    return isinstance(result, Rejection) and result.reason in (Reason.UNKNOWN_FORMAT, Reason.EMPTY)
