"""A site's own operating point, in a file beside the certified model: JSON, bound to one model by its SHA-256."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cxr_edge.contract import DISCLAIMER, Contract
from cxr_edge.contract.closed import closed_json_schema
from cxr_edge.contract.words import unprintable
from cxr_edge.errors import UsageError
from cxr_edge.types import Interval, ModelIdentity, OperatingPoint

OVERLAY_SCHEMA_VERSION = 1
KIND = "cxr-edge operating point"
STATEMENT = f"A site's own operating point; {DISCLAIMER}."
MAX_BYTES = 1 << 20

Text = Annotated[str, Meta(min_length=1, max_length=10_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field nobody reads could be the one that mattered: unknown ones are refused."""


class OverlayModel(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one model file that the overlay belongs to."""

    name: Text
    version: Text
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class OverlayInterval(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share with its 95 % interval."""

    estimate: Share
    low: Share
    high: Share


class OverlayPoint(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operating point, with the fields of those in the contract."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    threshold: Annotated[float, Meta(gt=0, lt=1)]
    sensitivity: OverlayInterval
    specificity: OverlayInterval
    data: Text
    how_chosen: Text


class OverlayImages(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images it was chosen on; `sha256` is over the sorted SHA-256 of the files."""

    positives: Count
    negatives: Count
    rejected: Count
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Overlay(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An overlay file: one operating point for one model.

    Attributes:
        created: ISO 8601 in UTC.
        warnings: what whoever uses it has to know, as small samples.
    """

    schema_version: Literal[1]
    kind: Literal["cxr-edge operating point"]
    model: OverlayModel
    operating_point: OverlayPoint
    images: OverlayImages
    created: Text
    warnings: tuple[Text, ...]
    statement: Text


def make_overlay(
    point: OperatingPoint, model: ModelIdentity, images: OverlayImages, created: str, warnings: tuple[str, ...] = ()
) -> Overlay:
    """An overlay of an operating point that was measured on `images` with `model`.

    Raises:
        UsageError: the point is none that an overlay may hold, as a name with other characters.
    """
    content = {
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "operating_point": asdict(point),
        "images": msgspec.to_builtins(images),
        "schema_version": OVERLAY_SCHEMA_VERSION,
        "kind": KIND,
        "created": created,
        "warnings": warnings,
        "statement": STATEMENT,
    }
    return _checked(content)


def overlay_to_json(overlay: Overlay) -> bytes:
    """The file's content: indented UTF-8."""
    return msgspec.json.format(msgspec.json.encode(overlay), indent=2) + b"\n"


def read_overlay(file: Path) -> Overlay:
    """Read and check an overlay file.

    Raises:
        UsageError: unreadable, not JSON, an unknown or missing field, or a value that is none.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"the overlay {file} cannot be read: {error.strerror}"
        raise UsageError(message) from None
    if len(content) > MAX_BYTES:
        message = f"the overlay {file} has more than {MAX_BYTES:,} bytes"
        raise UsageError(message)
    return overlay_from_json(content)


def overlay_from_json(content: bytes) -> Overlay:
    """Parse and check an overlay; errors as in `read_overlay`."""
    try:
        raw = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))  # editors on Windows write the mark
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the overlay is not JSON: {error}"
        raise UsageError(message) from None
    if not isinstance(raw, dict) or raw.get("kind") != KIND or "schema_version" not in raw:
        message = f"the file is no overlay: need kind {KIND!r} and a schema_version"
        raise UsageError(message)
    if raw["schema_version"] != OVERLAY_SCHEMA_VERSION:
        found = str(raw["schema_version"])[:20]
        message = f"the overlay's schema_version is {found!r}; this release reads version {OVERLAY_SCHEMA_VERSION}"
        raise UsageError(message)
    return _checked(raw)


def overlay_json_schema() -> dict[str, Any]:
    """The JSON Schema of overlay files, closed."""
    return closed_json_schema(Overlay)


def site_operating_point(overlay: Overlay, contract: Contract, sha256: str) -> OperatingPoint:
    """The overlay's operating point, for the model it belongs to.

    Args:
        overlay: what was read.
        contract: of the model that is about to be used.
        sha256: of that model's file.

    Raises:
        UsageError: the overlay belongs to another model, or its name is one of the contract's.
    """
    if overlay.model.sha256 != sha256:
        message = f"the overlay belongs to the model with SHA-256 {overlay.model.sha256}; this one has {sha256}"
        raise UsageError(message)
    given = overlay.operating_point
    if given.name in {point.name for point in contract.operating_points}:
        message = f"the overlay's operating point is called {given.name!r}, as one of the model's own; rename it"
        raise UsageError(message)
    return OperatingPoint(
        name=given.name,
        threshold=given.threshold,
        sensitivity=_interval(given.sensitivity),
        specificity=_interval(given.specificity),
        data=given.data,
        how_chosen=given.how_chosen,
    )


def _checked(raw: object) -> Overlay:
    try:
        overlay = msgspec.convert(raw, Overlay)
    except msgspec.ValidationError as error:
        message = f"the overlay is not valid: {error}"
        raise UsageError(message) from None
    if fault := next(unprintable(raw), None):
        message = f"the overlay is not valid: {fault}"
        raise UsageError(message)
    point = overlay.operating_point
    for name, figure in (("sensitivity", point.sensitivity), ("specificity", point.specificity)):
        if not figure.low <= figure.estimate <= figure.high:
            message = f"the overlay's {name} {figure.estimate} lies outside [{figure.low}, {figure.high}]"
            raise UsageError(message)
    if DISCLAIMER not in overlay.statement:
        message = f"the overlay's statement lacks the words {DISCLAIMER!r}"
        raise UsageError(message)
    texts = (overlay.model.name, overlay.model.version, point.data, point.how_chosen, *overlay.warnings)
    if not all(text.isprintable() for text in texts):
        message = "the overlay holds characters that a terminal would act on"
        raise UsageError(message)
    return overlay


def _interval(figure: OverlayInterval) -> Interval:
    return Interval(estimate=figure.estimate, low=figure.low, high=figure.high)


def chosen_operating_point(contract: Contract, wanted: str | Path | None, sha256: str) -> OperatingPoint:
    """The one named, or the site's own in an overlay file; `sha256` of the model file that was asked for.

    Raises:
        UsageError: there is no such point, nor such a file; or the file cannot be used with this model.
    """
    name = contract.default_operating_point if wanted is None else str(wanted)
    for point in contract.operating_points:
        if point.name == name:
            return point
    if isinstance(wanted, Path) or Path(name).is_file():
        return site_operating_point(read_overlay(Path(name)), contract, sha256)
    known = ", ".join(point.name for point in contract.operating_points)
    message = f"the model has no operating point {name!r}, nor is that a file; it has {known}"
    raise UsageError(message)
