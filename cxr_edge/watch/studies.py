"""A summary for each study of several images, once no image of it has come for a while."""

from collections.abc import Iterable, Iterator

from cxr_edge.results import Row
from cxr_edge.results.studies import study_row
from cxr_edge.watch.outbox import Outbox, to_json

_NO_IDENTIFIERS = {"path": None, "sop_instance_uid": None, "study_instance_uid": None}


def write_study(outbox: Outbox, key: bytes, images: Iterable[tuple[str, bool]], *, identifiers: bool = True) -> bool:
    """Write `study-<key in hex>.json`: one row of kind `study`, made from the result files of its images.

    Written anew where a late image changes it. As in `cxr-edge classify`, a study of one image has no row.

    Args:
        outbox: where the result files stand.
        key: what the study is known by; no UID in the clear.
        images: the SHA-256 in hex of each content of the study, and whether it may decide.
        identifiers: whether path and UIDs may stand in it.

    Returns:
        Whether there is a summary: two result files or more were found.

    Raises:
        OutboxUnavailable: it cannot be written, or the result files cannot be read, now.
    """
    uids: list[str] = []
    row = study_row(_rows(outbox, images, uids), None)
    outbox.check()  # no image is missing because the folder went away
    if row["images"] < 2:  # noqa: PLR2004 - the schema's least
        return False
    if identifiers:
        row["source"]["study_instance_uid"] = next(iter(uids), None)
    elif "deciding_image" in row:
        row["deciding_image"] |= _NO_IDENTIFIERS
    outbox.write(f"study-{key.hex()}.json", to_json(row))
    return True


def _rows(outbox: Outbox, images: Iterable[tuple[str, bool]], uids: list[str]) -> Iterator[tuple[Row, bool]]:
    """The rows that are there, one held at a time; the study's UID goes into `uids` once it is met."""
    for content, decides in images:
        row = outbox.read_row(content)
        if row is None:
            continue
        if not uids and row["source"]["study_instance_uid"] is not None:
            uids.append(row["source"]["study_instance_uid"])
        yield row, decides and row["status"] == "classified"
