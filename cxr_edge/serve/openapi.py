"""The OpenAPI 3.1 document, put together from the package's own JSON Schemas."""

from collections.abc import Sequence
from typing import Any

from cxr_edge import __version__
from cxr_edge.report import LANGUAGES
from cxr_edge.serve.metrics import MEDIA_TYPE as PROMETHEUS_TYPE
from cxr_edge.serve.problem import MEDIA_TYPE as PROBLEM_TYPE
from cxr_edge.serve.schemas import component_schemas

Json = dict[str, Any]
DESCRIPTION = (
    "Classifies chest radiographs on an offline workstation. Not a medical device. Errors are RFC 9457 problem "
    "details with a stable `reason` code."
)
LABEL = "The heat map's evidence is for this label; default: the most probable positive one."
PROBLEMS = {
    400: "The request is not as described: `bad_parameter`, `malformed_form`, `no_file`, `bad_request`.",
    401: "`token_required`.",
    403: "`foreign_origin`: from a page of another site.",
    404: "`no_such_resource`, `no_such_result`.",
    405: "`method_not_allowed`.",
    408: "`too_slow`: the body came too slowly.",
    413: "`body_too_large`, `too_many_files`.",
    415: "`no_multipart_form`.",
    421: "`foreign_host`: the Host header is none of this server's names.",
    422: "The one file was rejected; `reason` is one of the package's reason codes.",
    500: "`internal`: a defect.",
    501: "`report_unavailable`: the extra `report` is not installed.",
    503: "`busy`, `stopping`, `environment_unusable`; Retry-After says when to come again.",
}
ALWAYS = (401, 403, 405, 421, 500, 503)


def openapi_document(*, token: bool) -> Json:
    """The document of one server.

    Args:
        token: whether it needs one.
    """
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "cxr-edge", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": {"schemas": component_schemas()},
    }
    if token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in ("/", "/assets/{name}", "/health", "/ready"):
            document["paths"][path]["get"]["security"] = []
    return document


def _paths() -> Json:
    result = {"name": "id", "in": "path", "required": True, "description": "Of `POST /predict?heatmap=1`."}
    kept = [{**result, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}]
    file: Json = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    language: Json = {"name": "lang", "in": "query", "schema": {"enum": list(LANGUAGES), "default": LANGUAGES[0]}}
    label: Json = {"name": "label", "in": "query", "schema": {"type": "string"}, "description": LABEL}
    pdf = [*kept, language, label, _flag("identifiers", "Whether the study's identifiers are printed.", default="0")]
    picture: Json = {"image/png": {}}
    paths = {
        "/predict": {"post": _predict()},
        "/results/{id}/radiograph.png": _get("The radiograph, 8-bit gray, at most 2048 pixels a side.", picture, kept),
        "/results/{id}/heatmap.png": _get(
            "The evidence, transparent, to be stretched over it.", picture, [*kept, label], 400
        ),
        "/results/{id}/report.pdf": _get("The result as one page.", {"application/pdf": {}}, pdf, 400, 501),
        "/model": _get("The model's contract, what runs it, and the limits of a request.", _json("Model")),
        "/health": _get("The process lives.", _json("Status")),
        "/ready": _get("Images can be classified; else 503.", _json("Status")),
        "/metrics": _get("Counters in Prometheus' text format 0.0.4.", {PROMETHEUS_TYPE: {}}),
        "/openapi.json": _get("This document.", {"application/json": {"schema": {"type": "object"}}}),
        "/": _get("The page.", {"text/html; charset=utf-8": {}}),
        "/assets/{name}": _get("The page's files.", {"*/*": {}}, [file]),
    }
    for name in ("radiograph.png", "heatmap.png", "report.pdf"):
        paths[f"/results/{{id}}/{name}"]["get"]["operationId"] = name.partition(".")[0]
    for path in ("/", "/assets/{name}"):
        paths[path]["get"]["responses"]["304"] = {"description": "The client has it already."}
    return paths


def _predict() -> Json:
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"oneOf": [file, {"type": "array", "items": file, "minItems": 1}]}},
    }
    links = {
        name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
        for name in ("radiograph", "heatmap", "report")
    }
    return {
        "summary": "Classify one or several images.",
        "description": "One file: its result, or a 422 problem. Several: `results`, in order, rejections among them.",
        "operationId": "predict",
        "parameters": [
            _flag("heatmap", "Keep the results, for pictures and report.", default="0"),
            _flag("identifiers", "Whether file name and UIDs stand in the answer.", default="1"),
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}},
            "description": "DICOM, JPEG, PNG, WebP, TIFF or BMP, told by content.",
        },
        "responses": {
            "200": {"description": "Classified.", "content": _json("Answer"), "links": links},
            **_problems(*ALWAYS, 400, 408, 413, 415, 422),
        },
    }


def _get(summary: str, content: Json, parameters: Sequence[Json] = (), *statuses: int) -> Json:
    path_problems = (404,) if parameters else ()
    return {
        "get": {
            "summary": summary,
            "parameters": list(parameters),
            "responses": {
                "200": {"description": summary, "content": content},
                **_problems(*ALWAYS, *path_problems, *statuses),
            },
        }
    }


def _problems(*statuses: int) -> Json:
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": PROBLEMS[status], "content": content} for status in sorted(statuses)}


def _flag(name: str, text: str, *, default: str) -> Json:
    return {"name": name, "in": "query", "description": text, "schema": {"enum": ["0", "1"], "default": default}}


def _json(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
