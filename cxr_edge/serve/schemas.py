"""What the API answers, as JSON Schemas: the package's row and contract, and the little that HTTP adds to them."""

import json
from importlib import resources
from typing import Any

from cxr_edge.contract import json_schema
from cxr_edge.report import LANGUAGES

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_LINK: Json = {"type": "string", "description": "A path on this server; kept in memory for a while."}
_RESULT_KEYS: Json = {
    "predicted_class": {"type": "string", "description": "The same as `label`."},
    "probability": {
        "$ref": "#/components/schemas/share",
        "description": (
            "The same as `score`, the probability of the positive label; only of a model with two labels. With more, "
            "read `score` (the positive labels together) and `probabilities` (each)."
        ),
    },
}
_KEPT_KEYS: Json = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "radiograph": _LINK,
    "heatmap": {**_LINK, "type": ["string", "null"]},
    "report": _LINK,
}


def component_schemas() -> Json:
    """All schemas of the OpenAPI document, by name."""
    rows = json.loads(resources.files("cxr_edge.results").joinpath("result.schema.json").read_text("utf-8"))["$defs"]
    schemas: Json = {name: _moved(schema) for name, schema in rows.items() if "study" not in name}
    schemas |= {name: _moved(schema) for name, schema in json_schema()["$defs"].items()}
    classified = schemas.pop("classified_image")
    classified["properties"] |= _RESULT_KEYS | _KEPT_KEYS
    classified["required"] = [*classified["required"], "predicted_class"]
    return {
        **schemas,
        "ClassifiedImage": classified,
        "Answer": _one_of("ClassifiedImage", "Results"),
        "Results": _object(
            results={"type": "array", "minItems": 2, "items": _one_of("ClassifiedImage", "rejected_image")}
        ),
        "Status": _object(status={"const": "ok"}),
        "Model": _model(),
        "Problem": _problem(),
    }


def _model() -> Json:
    limits = {"max_body_bytes": {"type": "integer"}, "max_files": {"type": "integer"}}
    return _object(
        version=_TEXT,
        model=_reference("model"),
        execution_provider=_TEXT,
        operating_point=_object(name=_TEXT, threshold=_reference("share")),
        notices={"type": "array", "items": _TEXT, "description": "Codes of what its user has to know."},
        heatmap={"type": "boolean", "description": "Whether heat maps can be drawn."},
        safety_statement=_object(**dict.fromkeys(LANGUAGES, _statement())),
        limits=_object(**limits),
        contract=_reference("Contract"),
    )


def _statement() -> Json:
    original = {"type": ["string", "null"], "description": "The contract's own words, where they say more."}
    return _object(text=_TEXT, original=original)


def _problem() -> Json:
    members = {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": {"type": "string", "description": "Of this one answer; it stands in the server's log, too."},
        "reason": {"type": "string", "pattern": "^[a-z0-9_]+$"},
    }
    rejected = {
        "source": _reference("source"),
        "gate": {"anyOf": [_reference("gate"), {"type": "null"}]},
        "latency_ms": _reference("latency_ms"),
    }
    return {"type": "object", "required": list(members), "properties": members | rejected}


def _object(**properties: Json) -> Json:
    return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}


def _one_of(*names: str) -> Json:
    return {"oneOf": [_reference(name) for name in names]}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _moved(schema: Json) -> Json:
    """The same schema with its references to where OpenAPI keeps schemas."""
    moved: Json = json.loads(json.dumps(schema).replace('"#/$defs/', '"#/components/schemas/'))
    return moved
