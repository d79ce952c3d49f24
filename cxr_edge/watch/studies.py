"""A summary for each study of several images, once no image of it has come for a while."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from cxr_edge.results import Row
from cxr_edge.results.studies import summary_row
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger_values import Content
from cxr_edge.watch.outbox import MAX_RESULT_BYTES, Outbox, to_json
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable
from cxr_edge.watch.stored_row import parse_study, read_by

_NAME: Final = re.compile(r"study-[0-9a-f]{32}\.json", re.ASCII)
SEVERAL_MODELS: Final = {
    "code": "several_models",
    "message": "not all images of this study were read by one model at one operating point",
}
_NO_IDENTIFIERS: Final = {"path": None, "sop_instance_uid": None, "study_instance_uid": None}


class Summary(StrEnum):
    """What became of a summary."""

    WRITTEN = "written"
    NOT_NEEDED = "not_needed"  # one image: as in `cxr-edge classify`, it has no row
    NOT_POSSIBLE = "not_possible"  # what decides the study is gone: what was told before, if anything, stays


def study_name(key: bytes) -> str:
    """The name of a study's summary."""
    return f"study-{key.hex()}.json"


def write_study(outbox: Outbox, key: bytes, images: Sequence[Content], *, identifiers: bool = True) -> Summary:
    """Write `study-<key in hex>.json`: one row of kind `study`, written anew where a late image changes it.

    The ledger says how many images there are and which one decides, because result files may have been taken away. The
    row comes from the deciding image's result file, or from the last summary, where the same image decided it.

    Args:
        outbox: where the result files stand.
        key: what the study is known by; no UID in the clear.
        images: every content of the study, as the ledger has it.
        identifiers: whether path and UIDs may stand in it.

    Returns:
        Whether there is a summary of these images.

    Raises:
        OutboxUnavailable: it cannot be written, or the result files cannot be read, now.
    """
    if len(images) < 2:  # noqa: PLR2004 - the schema's least
        return Summary.NOT_NEEDED
    rejected = sum(image.state == "rejected" for image in images)
    last = _summary(outbox, study_name(key))
    row = _row(outbox, images, rejected, last)
    outbox.check()  # no file is missing because the folder went away
    if row is None or (last is not None and last["images"] > len(images)):  # a ledger that was lost knows fewer
        return Summary.NOT_POSSIBLE
    if identifiers:
        row["source"]["study_instance_uid"] = _uid(outbox, images, row, last)
    else:
        row["source"]["study_instance_uid"] = None
        if "deciding_image" in row:
            row["deciding_image"] |= _NO_IDENTIFIERS
    outbox.write(study_name(key), to_json(row))
    return Summary.WRITTEN


def _row(outbox: Outbox, images: Sequence[Content], rejected: int, last: Row | None) -> Row | None:
    """The summary, but for the study's UID; None where the deciding image's verdict is gone."""
    scored = [_completed(outbox, image, last) for image in images if image.decides and image.score is not None]
    if not scored:
        return summary_row(len(images), rejected, None, None)
    deciding = max(scored, key=_rank)  # of equals the first
    sha256 = deciding.content.hex()
    found, row = outbox.read_row(sha256), None
    if found is not None and found["status"] == "classified":
        row = summary_row(len(images), rejected, found, None)
    elif last is not None and _decided_by(last, sha256):
        row = {**last, "images": len(images), "rejected": rejected}
        row.pop("warnings", None)
    readers = {image.read_by for image in scored if image.read_by is not None}
    return {**row, "warnings": [SEVERAL_MODELS]} if row is not None and len(readers) > 1 else row


def _rank(image: Content) -> tuple[int, float]:
    """A positive decides before a negative: scores of two models, or against two thresholds, tell nothing together.

    One that is not known, its result gone, may have been positive.
    """
    place = {True: 2, None: 1, False: 0}[image.positive]
    return place, image.score or 0.0


def _completed(outbox: Outbox, image: Content, last: Row | None) -> Content:
    """With what the ledger of an earlier release does not hold, from the result or the last summary."""
    if image.positive is not None:
        return image
    sha256 = image.content.hex()
    row = outbox.read_row(sha256)
    if (row is None or row["status"] != "classified") and last is not None and _decided_by(last, sha256):
        row = last
    if row is None or row["status"] != "classified":
        return image
    return replace(image, positive=row["positive"], read_by=read_by(row))


def _decided_by(summary: Row, sha256: str) -> bool:
    decided: bool = summary.get("deciding_image", {}).get("content_sha256") == sha256
    return decided


def _uid(outbox: Outbox, images: Sequence[Content], row: Row, last: Row | None) -> str | None:
    """From wherever it still stands; earlier results may have been written without identifiers."""
    uid: str | None = row.get("deciding_image", {}).get("study_instance_uid")
    if uid is None and last is not None:
        uid = last["source"]["study_instance_uid"]
    for image in images:
        if uid is not None:
            break
        found = outbox.read_row(image.content.hex())
        uid = None if found is None else found["source"]["study_instance_uid"]
    return uid


def rename_studies(outbox: Outbox, keys: Keys) -> None:
    """Name summaries after these keys: under a lost salt's names they would stand for ever, beside newer ones.

    Those that name no study stay as they are, and so do those that may not be read or renamed. Where a name is taken,
    the summary of more images is kept.

    Raises:
        OutboxUnavailable: the folder cannot be read or changed now.
    """
    outbox.check()
    try:
        with os.scandir(outbox.folder) as entries:
            names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    except OSError as error:
        raise OutboxUnavailable.of(error) from None
    for name in names:
        try:
            _rename_study(outbox, name, keys)
        except OutboxUnavailable as error:
            if error.kind is not OutboxFault.READ_ONLY:
                raise


def _rename_study(outbox: Outbox, name: str, keys: Keys) -> None:
    row = _summary(outbox, name)
    uid = None if row is None else row["source"]["study_instance_uid"]
    if row is None or uid is None or (wanted := study_name(keys.of(uid))) == name:
        return
    standing = _summary(outbox, wanted)
    try:
        if standing is None or standing["images"] < row["images"]:
            (outbox.folder / name).replace(outbox.folder / wanted)
        else:
            (outbox.folder / name).unlink()
    except OSError as error:
        raise OutboxUnavailable.of(error) from None


def _summary(outbox: Outbox, name: str) -> Row | None:
    data = outbox.read(name, MAX_RESULT_BYTES)
    return None if data is None else parse_study(data)
