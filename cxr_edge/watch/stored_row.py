"""A result file or a study's summary read back: a valid row, of the content a result is named after, or nothing."""

import hashlib
import json
from typing import Annotated, Final, Literal, NoReturn

from msgspec import Meta, Struct, ValidationError, convert, field

from cxr_edge.results import ROW_SCHEMA_VERSION, Row

_READ_BY_BYTES: Final = 16
Share = Annotated[float, Meta(ge=0, le=1)]


class _Source(Struct):
    path: str | None
    sop_instance_uid: str | None
    study_instance_uid: str | None
    content_sha256: str


class _Note(Struct):
    code: str
    message: str


class _Gate(Struct):
    status: Literal["ok", "warn", "refused", "unknown"]
    reasons: list[_Note]
    distance: float | None


class _Interval(Struct):
    estimate: Share
    low: Share
    high: Share


class _OperatingPoint(Struct):
    name: str
    threshold: Share
    sensitivity: _Interval
    specificity: _Interval


class _Model(Struct):
    name: str
    version: str
    sha256: str


class _Latency(Struct):
    read: float
    decode: float
    preprocess: float
    inference: float
    total: float


class _Image(Struct):
    schema_version: Literal[1]
    kind: Literal["image"]
    source: _Source
    latency_ms: _Latency


class _Rejected(_Image, tag_field="status", tag="rejected"):
    reason: _Note
    gate: _Gate | None


class _Classified(_Image, tag_field="status", tag="classified"):
    label: str
    probabilities: dict[str, Share]
    score: Share
    positive: bool
    operating_point: _OperatingPoint
    gate: _Gate
    rendering: str
    pixel_intensity_relationship: str | None
    model: _Model
    execution_provider: str
    warnings: list[_Note]
    label_index: Annotated[int, Meta(ge=0)] | None = None  # absent in earlier results


class _StudySource(Struct):
    study_instance_uid: str | None


class _Study(Struct):
    schema_version: Literal[1]
    kind: Literal["study"]
    source: _StudySource
    images: Annotated[int, Meta(ge=2)]
    rejected: Annotated[int, Meta(ge=0)]


class _RejectedStudy(_Study, tag_field="status", tag="rejected"):
    reason: _Note


class _ClassifiedStudy(_Study, tag_field="status", tag="classified"):
    label: str
    probabilities: dict[str, Share]
    score: Share
    positive: bool
    operating_point: _OperatingPoint
    deciding_image: _Source
    gate: _Gate
    model: _Model
    execution_provider: str
    label_index: Annotated[int, Meta(ge=0)] | None = None  # absent in earlier results
    warnings: list[_Note] = field(default_factory=list)  # absent where there is none


def read_by(row: Row) -> bytes | None:
    """A digest of the model's SHA-256 and the operating point behind a row; None where nothing was decided."""
    if row["status"] != "classified":
        return None
    point = row["operating_point"]
    behind = (row["model"]["sha256"], point["name"], float(point["threshold"]))
    return hashlib.sha256(json.dumps(behind).encode()).digest()[:_READ_BY_BYTES]


def parse_study(data: bytes) -> Row | None:
    """The row that the bytes of a study's summary hold; None where they are cut or hold no valid one."""
    try:
        row = json.loads(data, parse_constant=_refuse)
        convert(row, _RejectedStudy | _ClassifiedStudy)
    except (ValueError, ValidationError, RecursionError):
        return None
    return dict(row)


def parse_row(data: bytes, content: str) -> Row | None:
    """The row that a result file holds.

    Args:
        data: the file's bytes.
        content: SHA-256 in hex of the image that the file must be about.

    Returns:
        The row as it was written, or None where it is cut, no valid row of an image, or about another content.
    """
    try:
        row = json.loads(data, parse_constant=_refuse)
        image = convert(row, _Rejected | _Classified)
    except (ValueError, ValidationError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return None
    if image.schema_version != ROW_SCHEMA_VERSION or image.source.content_sha256 != content:
        return None
    return dict(row)


def _refuse(constant: str) -> NoReturn:
    message = f"{constant} is not JSON"
    raise ValueError(message)
