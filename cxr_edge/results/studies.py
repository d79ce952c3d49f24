"""Several images of one study, summed up in a row of its own."""

from collections.abc import Iterable

from cxr_edge.errors import Reason
from cxr_edge.results.rows import ROW_SCHEMA_VERSION, Row, place_of, to_row
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

    def _row(self, uid: str, results: list[Prediction | Rejection]) -> Row:
        images = ((to_row(result, identifiers=self._identifiers), may_decide(result)) for result in results)
        return study_row(images, (uid or None) if self._identifiers else None)


def may_decide(result: Prediction | Rejection) -> bool:
    """Whether an image may decide its study: classified, frontal, and let pass by the gate.

    A view that is not stated counts as frontal. What the gate refused (`--gate warn` classifies it all the same) never
    decides.
    """
    return isinstance(result, Prediction) and result.gate.status != "refused" and not _is_lateral(result)


def study_row(images: Iterable[tuple[Row, bool]], study_instance_uid: str | None) -> Row:
    """The row of one study; of the images that may decide, a positive one goes first, then the highest score.

    Args:
        images: the rows of its images, each with whether it may decide; walked through once, one held at a time.
        study_instance_uid: what stands in the row as (0020,000D).
    """
    count, rejected, deciding = 0, 0, None
    for image, decides in images:
        count += 1
        rejected += image["status"] == "rejected"
        if decides and (deciding is None or _rank(image) > _rank(deciding)):
            deciding = image
    return summary_row(count, rejected, deciding, study_instance_uid)


def summary_row(count: int, rejected: int, deciding: Row | None, study_instance_uid: str | None) -> Row:
    """The row of one study.

    Args:
        count: how many images it has.
        rejected: how many of them were rejected.
        deciding: the row of the image that decides; None where none may.
        study_instance_uid: what stands in the row as (0020,000D).
    """
    row: Row = {
        "schema_version": ROW_SCHEMA_VERSION,
        "kind": "study",
        "source": {"study_instance_uid": study_instance_uid},
        "images": count,
        "rejected": rejected,
    }
    if deciding is None:
        message = f"none of {count} images is a classified frontal view that the gate lets pass"
        return {**row, "status": "rejected", "reason": {"code": "no_image_classified", "message": message}}
    return {
        **row,
        "status": "classified",
        "label": deciding["label"],
        "label_index": place_of(deciding["label"], deciding["probabilities"]),
        **{key: deciding[key] for key in ("probabilities", "score", "positive", "operating_point")},
        "deciding_image": deciding["source"],
        **{key: deciding[key] for key in ("gate", "model", "execution_provider")},
    }


def _rank(image: Row) -> tuple[bool, float]:
    return image["positive"], image["score"]


def _is_lateral(image: Prediction) -> bool:
    return image.tags is not None and (image.tags.view_position or "").upper() in LATERAL_VIEWS


def _is_no_image(result: Prediction | Rejection) -> bool:
    return isinstance(result, Rejection) and result.reason in (Reason.UNKNOWN_FORMAT, Reason.EMPTY)
