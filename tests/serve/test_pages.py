"""The page's files, the model, counts, the OpenAPI document, defects."""

import asyncio
import io
import json
import re
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from serving import Api, until

from cxr_edge.classifier import Classifier
from cxr_edge.heatmap import colours
from cxr_edge.report.words import LANGUAGES, words_of
from cxr_edge.serve.admission import Admission
from cxr_edge.serve.assets import LEGEND, REPORT_WORDS, TYPES, read_assets
from cxr_edge.serve.log import Log, place_of
from cxr_edge.serve.openapi import openapi_document
from cxr_edge.serve.problem import ProblemError

ASSETS = resources.files("cxr_edge.serve").joinpath("assets")


# ---- assets


def test_the_page(api: Api) -> None:
    response = api.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.content == ASSETS.joinpath("index.html").read_bytes()
    again = api.get("/", headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get("/", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", sorted(set(read_assets()) - {REPORT_WORDS, LEGEND}))
def test_each_file(api: Api, name: str) -> None:
    response = api.get(f"/assets/{name}")
    assert response.content == ASSETS.joinpath(name).read_bytes()
    assert response.headers["content-type"] == TYPES[Path(name).suffix]


def test_what_page_and_report_share(api: Api) -> None:
    """One catalogue of words, one scale of colours."""
    script = api.get(f"/assets/{REPORT_WORDS}").text
    words = json.loads(script.removeprefix("export const REPORT = ").removesuffix(";\n"))
    assert words == {language: words_of(language).texts for language in LANGUAGES}
    with Image.open(io.BytesIO(api.get(f"/assets/{LEGEND}").content)) as legend:
        (row,) = np.asarray(legend.convert("RGBA"))
    np.testing.assert_array_equal(row[:, [2, 1, 0, 3]], colours(np.linspace(0, 1, 256, dtype=np.float32)))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/..",
        "/assets/../settings.py",
        "/assets/..%2fsettings.py",
        "/assets/%2e%2e/settings.py",
        "/assets/..\\settings.py",
        "/assets//etc/passwd",
        "/assets/index.html/",
        "/assets/index.html%00",
        "/assets/settings.py",
        "/settings.py",
        "//etc/passwd",
        "/..%2f..%2fetc/passwd",
    ],
)
def test_no_other_file(api: Api, path: str) -> None:
    status, body = api.get_unnormalised(path)
    assert (status, json.loads(body)["reason"]) == (404, "no_such_resource")


# ---- the model


def test_model(api_with: Callable[..., Api], classifier: Classifier) -> None:
    answer = api_with(max_files=7).get("/model").json()
    document = openapi_document(token=False)
    jsonschema.validate(answer, {**document, "$ref": "#/components/schemas/Model"})
    assert answer["model"]["sha256"] == classifier.model.sha256
    assert answer["contract"]["labels"] == list(classifier.contract.labels)
    assert answer["limits"] == {"max_body_bytes": 100_000_000, "max_files": 7}
    assert answer["heatmap"] is True
    statements = answer["safety_statement"]
    assert statements["en"] == {"text": classifier.contract.intended_use.statement, "original": None}
    assert statements["es"]["text"].startswith("Solo para investigación; no es un producto sanitario")
    assert "/" not in "".join(answer["notices"])  # codes, no path of this machine


# ---- the document


def test_every_route_is_documented(api: Api) -> None:
    document = api.get("/openapi.json").json()
    assert set(document["paths"]) == set(_routes(api))
    text = json.dumps(document)
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert reference in document["components"]["schemas"]
    assert "#/$defs" not in text
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def _routes(api: Api) -> list[str]:
    """Paths by asking for each: the log says the template."""
    for path in ("/", "/assets/x", "/health", "/ready", "/metrics", "/model", "/openapi.json", "/predict"):
        api.request("DELETE", path)
    for name in ("radiograph.png", "heatmap.png", "report.pdf"):
        api.request("DELETE", f"/results/x/{name}")
    return [line["path"] for line in api.log()]


def test_a_server_with_a_token_documents_it() -> None:
    document = openapi_document(token=True)
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "security" not in openapi_document(token=False)


# ---- counts


def _samples(api: Api) -> dict[str, float]:
    text = api.get("/metrics").text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_metrics(api: Api, png: bytes, dicom: bytes) -> None:
    api.predict(("a", png), ("b", dicom), ("c", b"nonsense"), query="?heatmap=1")
    api.predict(("d", b""))
    api.get("/wp-login.php")
    assert api.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = _samples(api)
    assert samples['cxr_edge_requests_total{method="POST",path="/predict",status="200"}'] == 1
    assert samples['cxr_edge_requests_total{method="POST",path="/predict",status="422"}'] == 1
    assert samples['cxr_edge_requests_total{method="GET",path="unmatched",status="404"}'] == 1
    assert samples['cxr_edge_images_total{outcome="rejected",reason="unknown_format"}'] == 1
    assert samples['cxr_edge_images_total{outcome="rejected",reason="empty"}'] == 1
    classified = [value for name, value in samples.items() if re.search(r'outcome="(posi|nega)tive"', name)]
    assert sum(classified) == 2
    assert samples['cxr_edge_stage_seconds_count{stage="inference"}'] == 2
    assert samples['cxr_edge_stage_seconds_bucket{stage="inference",le="+Inf"}'] == 2
    assert samples["cxr_edge_predict_seconds_count"] == 2
    assert samples["cxr_edge_results_kept"] == 2
    assert samples["cxr_edge_result_bytes_kept"] > 0
    held = ("requests_held", "upload_bytes_held", "images_waiting", "images_at_work")
    assert [samples[f"cxr_edge_{name}"] for name in held] == [0, 0, 0, 0]


def test_metrics_are_well_formed(api: Api) -> None:
    api.get("/")
    text = api.get("/metrics").text
    named = set(re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r'(\w+?)(?:_bucket|_sum|_count)?(?:\{(\w+="[^"\\]*",?)+\})? [\d.e+-]+', line)
            assert match, line
            assert match[1] in named or match[0].partition("{")[0] in named


# ---- defects


def test_a_defect_tells_no_text(api: Api, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        message = "Doe^Jane"
        raise RuntimeError(message)

    monkeypatch.setattr("cxr_edge.serve.predict.answer_of", fails)
    for files in ([("a", png)], [("a", png), ("b", png)]):
        response = api.predict(*files)
        assert (response.status_code, response.json()["reason"]) == (500, "internal")
        assert response.headers["content-type"] == "application/problem+json"
        assert "Doe" not in response.text
    defects = [line for line in api.log() if line["event"] == "defect"]
    assert [line["error"] for line in defects] == ["RuntimeError", "RuntimeError"]
    assert re.fullmatch(r"\w+\.py:\d+", defects[0]["place"])
    assert "Doe" not in json.dumps(api.log())


def test_while_it_stops(api: Api) -> None:
    api.application.stop()
    response = api.get("/ready")
    assert (response.status_code, response.json()["reason"]) == (503, "stopping")
    assert api.get("/health").status_code == 200


def test_a_request_that_is_cut_off_gets_an_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("cxr_edge.serve.guard.Guard.__call__", cut_off)
    response = api.get("/model")
    assert (response.status_code, response.json()["reason"]) == (503, "stopping")


# ---- the log


def test_a_log_that_nobody_reads_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.serve.log.MOST_WAITING", 10)
    release, written = threading.Event(), []

    def write(line: str) -> None:
        release.wait(30)
        written.append(line)

    log = Log(write)
    for number in range(100):
        log.line("info", "request", status=number, reason=None)
    release.set()
    until(lambda: len(written) >= 10)
    log.close()
    assert len(written) in (10, 11)
    assert json.loads(written[0]) == {**json.loads(written[0]), "level": "info", "event": "request", "status": 0}
    assert "reason" not in json.loads(written[0])


def test_the_place_of_an_error() -> None:
    with pytest.raises(ProblemError) as raised:
        check_room()
    assert re.fullmatch(r"admission\.py:\d+", place_of(raised.value))
    assert place_of(ValueError()) == "unknown"


def check_room() -> None:
    Admission(1, 0).check_room(1)
