"""One result as a row of the documented JSON schema (docs/reference/results.md)."""

from collections.abc import Mapping
from typing import Any

from cxr_edge.types import (
    Gate,
    Interval,
    Latency,
    ModelIdentity,
    Note,
    OperatingPoint,
    Prediction,
    Rejection,
    Source,
    Tags,
)

ROW_SCHEMA_VERSION = 1
_INTENSITY_RELATIONSHIPS = ("LIN", "LOG", "DISP")
Row = dict[str, Any]


def to_row(result: Prediction | Rejection, *, identifiers: bool = True) -> Row:
    """The row of one image.

    Args:
        result: what a classifier gave.
        identifiers: whether path and UIDs stand in it; the content's SHA-256 always does.
    """
    head = {"schema_version": ROW_SCHEMA_VERSION, "kind": "image", "source": _source(result.source, identifiers)}
    if isinstance(result, Rejection):
        return {
            **head,
            "status": "rejected",
            "reason": {"code": result.reason.value, "message": result.message},
            "gate": _gate(result.gate) if result.gate else None,
            "latency_ms": _latency(result.latency),
        }
    return {
        **head,
        "status": "classified",
        **_verdict(result),
        "gate": _gate(result.gate),
        "rendering": result.rendering,
        "pixel_intensity_relationship": _pixel_intensity_relationship(result.tags),
        "model": _model(result.model),
        "execution_provider": result.execution_provider,
        "latency_ms": _latency(result.latency),
        "warnings": _notes(result.warnings),
    }


def _verdict(result: Prediction) -> Row:
    """The part of a row that says what the model decided."""
    return {
        "label": result.label,
        "label_index": place_of(result.label, result.probabilities),
        "probabilities": dict(result.probabilities),
        "score": result.score,
        "positive": result.positive,
        "operating_point": _operating_point(result.operating_point),
    }


def place_of(label: str, probabilities: Mapping[str, float]) -> int:
    """Where a label stands among the model's labels, from 0: a name, no degree."""
    return list(probabilities).index(label)


def heat_map_name(content_sha256: str, label_index: int | None = None) -> str:
    """File name of an image's heat map; one that shows a label asked for tells its number.

    A label's own letters may be none that a file's name can hold.
    """
    return f"{content_sha256}.png" if label_index is None else f"{content_sha256}-{label_index}.png"


def _source(source: Source, identifiers: bool) -> Row:  # noqa: FBT001 - private to the package's rows
    """The `source` object; every key always stands there."""
    return {
        "path": source.path if identifiers else None,
        "sop_instance_uid": source.sop_instance_uid if identifiers else None,
        "study_instance_uid": source.study_instance_uid if identifiers else None,
        "content_sha256": source.content_sha256,
    }


def _model(model: ModelIdentity) -> Row:
    """The `model` object."""
    return {"name": model.name, "version": model.version, "sha256": model.sha256}


def _pixel_intensity_relationship(tags: Tags | None) -> str | None:
    """(0028,1040), PS3.3 C.8.11.3.1.2, never acted on; any other text than a defined term could name a patient."""
    found = tags.pixel_intensity_relationship if tags is not None else None
    return found if found is None or found in _INTENSITY_RELATIONSHIPS else "other"


def _operating_point(point: OperatingPoint) -> Row:
    return {
        "name": point.name,
        "threshold": point.threshold,
        "sensitivity": _interval(point.sensitivity),
        "specificity": _interval(point.specificity),
    }


def _interval(figure: Interval) -> Row:
    return {"estimate": figure.estimate, "low": figure.low, "high": figure.high}


def _gate(gate: Gate) -> Row:
    """The `gate` object."""
    distance = None if gate.distance is None else round(gate.distance, 4)
    return {"status": gate.status, "reasons": _notes(gate.reasons), "distance": distance}


def _notes(notes: tuple[Note, ...]) -> list[Row]:
    return [{"code": note.code, "message": note.message} for note in notes]


def _latency(latency: Latency) -> Row:
    return {
        "read": round(latency.read_ms, 3),
        "decode": round(latency.decode_ms, 3),
        "preprocess": round(latency.preprocess_ms, 3),
        "inference": round(latency.inference_ms, 3),
        "total": round(latency.total_ms, 3),
    }
