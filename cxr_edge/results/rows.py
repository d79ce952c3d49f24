"""One result as a row of the documented JSON schema (docs/reference/results.md)."""

from typing import Any

from cxr_edge.types import Gate, Interval, Latency, ModelIdentity, Note, OperatingPoint, Prediction, Rejection, Source

ROW_SCHEMA_VERSION = 1
Row = dict[str, Any]


def to_row(result: Prediction | Rejection, *, identifiers: bool = True) -> Row:
    """The row of one image.

    Args:
        result: what a classifier gave.
        identifiers: whether path and UIDs stand in it; the content's SHA-256 always does.
    """
    head = {"schema_version": ROW_SCHEMA_VERSION, "kind": "image", "source": source_to_row(result.source, identifiers)}
    if isinstance(result, Rejection):
        return {
            **head,
            "status": "rejected",
            "reason": {"code": result.reason.value, "message": result.message},
            "gate": gate_to_row(result.gate) if result.gate else None,
            "latency_ms": _latency(result.latency),
        }
    return {
        **head,
        "status": "classified",
        **verdict_to_row(result),
        "gate": gate_to_row(result.gate),
        "rendering": result.rendering,
        "model": model_to_row(result.model),
        "execution_provider": result.execution_provider,
        "latency_ms": _latency(result.latency),
        "warnings": _notes(result.warnings),
    }


def verdict_to_row(result: Prediction) -> Row:
    """The part of a row that says what the model decided."""
    return {
        "label": result.label,
        "probabilities": dict(result.probabilities),
        "score": result.score,
        "positive": result.positive,
        "operating_point": _operating_point(result.operating_point),
    }


def source_to_row(source: Source, identifiers: bool) -> Row:  # noqa: FBT001 - private to the package's rows
    """The `source` object; every key always stands there."""
    return {
        "path": source.path if identifiers else None,
        "sop_instance_uid": source.sop_instance_uid if identifiers else None,
        "study_instance_uid": source.study_instance_uid if identifiers else None,
        "content_sha256": source.content_sha256,
    }


def model_to_row(model: ModelIdentity) -> Row:
    """The `model` object."""
    return {"name": model.name, "version": model.version, "sha256": model.sha256}


def _operating_point(point: OperatingPoint) -> Row:
    return {
        "name": point.name,
        "threshold": point.threshold,
        "sensitivity": _interval(point.sensitivity),
        "specificity": _interval(point.specificity),
    }


def _interval(figure: Interval) -> Row:
    return {"estimate": figure.estimate, "low": figure.low, "high": figure.high}


def gate_to_row(gate: Gate) -> Row:
    """The `gate` object."""
    return {"status": gate.status, "reasons": _notes(gate.reasons)}


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
