"""POST /predict and what is kept of its results."""

import asyncio
import gc
import io
import sys
import threading
from collections.abc import Callable
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from PIL import Image
from serving import Api, form

from cxr_edge.classifier import Classifier
from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.heatmap import heat_map
from cxr_edge.phantom import chest_phantom
from cxr_edge.results import to_row
from cxr_edge.serve.form import Form, Upload

MULTIPART = {"content-type": "multipart/form-data; boundary=frontier"}


@pytest.fixture(scope="module")
def validate() -> Callable[[str, object], None]:
    """Hold an answer against the OpenAPI document."""
    from cxr_edge.serve.openapi import openapi_document

    document = openapi_document(token=False)

    def check(schema: str, answer: object) -> None:
        jsonschema.validate(answer, {**document, "$ref": f"#/components/schemas/{schema}"})

    return check


def test_one_file(api: Api, dicom: bytes, classifier: Classifier, validate: Callable[[str, object], None]) -> None:
    response = api.predict(("a study.dcm", dicom))
    answer = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    validate("Answer", answer)
    expected = to_row(classifier.classify(dicom))
    expected["source"]["path"] = "a study.dcm"
    expected |= {"predicted_class": expected["label"], "probability": expected["score"]}
    timeless = {key: value for key, value in answer.items() if key != "latency_ms"}
    assert timeless == {key: value for key, value in expected.items() if key != "latency_ms"}


def test_several_files_in_order(api: Api, dicom: bytes, png: bytes, validate: Callable[[str, object], None]) -> None:
    files = [("a.dcm", dicom), ("b.txt", b"<html>"), ("c.png", png), ("d", b"")]
    response = api.predict(*files)
    validate("Answer", response.json())
    rows = response.json()["results"]
    assert [row["source"]["path"] for row in rows] == [name for name, _ in files]
    assert [row["reason"]["code"] if "reason" in row else row["status"] for row in rows] == [
        "classified",
        "unknown_format",
        "classified",
        "empty",
    ]
    assert ["probability" in row for row in rows] == [True, False, True, False]


def test_one_rejected_file_is_a_problem(api: Api, validate: Callable[[str, object], None]) -> None:
    response = api.predict(("Doe^Jane.dcm", b"<html>"))
    problem = response.json()
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
    validate("Problem", problem)
    assert (problem["status"], problem["reason"]) == (422, "unknown_format")
    assert problem["source"]["path"] == "Doe^Jane.dcm"
    (line,) = api.log()
    assert (line["reason"], line["instance"]) == ("unknown_format", problem["instance"])
    assert "Doe" not in str(line)


def test_without_identifiers(api: Api, dicom: bytes) -> None:
    source = api.predict(("a.dcm", dicom), query="?identifiers=0").json()["source"]
    content = source.pop("content_sha256")
    assert len(content) == 64
    assert set(source.values()) == {None}


@pytest.mark.parametrize("name", ["../../etc/passwd", "日本.dcm", "a\x1b[31m.dcm", "x" * 3000, "<script>.dcm"])
def test_any_name(api: Api, png: bytes, name: str) -> None:
    answer = api.predict((name, png)).json()
    assert answer["status"] == "classified"
    assert len(answer["source"]["path"]) <= 1024


@pytest.mark.parametrize(
    ("query", "headers", "body", "status", "reason"),
    [
        ("", {"content-type": "application/json"}, b"{}", 415, "no_multipart_form"),
        ("", {}, b"", 415, "no_multipart_form"),
        ("", MULTIPART, b"", 400, "malformed_form"),
        ("", {"content-type": "multipart/form-data"}, form(("a", b"b")), 400, "malformed_form"),
        ("", MULTIPART, b"nonsense", 400, "malformed_form"),
        ("", MULTIPART, form(("a", b"b"))[:-20], 400, "malformed_form"),
        ("", MULTIPART, form(("a", b"b")).replace(b'"file"', b'"files"'), 400, "no_file"),
        ("", MULTIPART, form(("a", b"b")).replace(b'; filename="a"', b""), 422, "unknown_format"),
        ("", MULTIPART, form(("a", b"b")).replace(b'name="file"; ', b""), 400, "no_file"),
        ("", MULTIPART, form(("a", b"b")).replace(b'name="file"', b'name="' + b"x" * 9000), 400, "malformed_form"),
        ("", MULTIPART, form(*[("a", b"b")] * 80).replace(b'"file"', b'"files"'), 400, "malformed_form"),
        ("", MULTIPART | {"content-type": f"multipart/form-data; boundary={'x' * 999}"}, b"", 400, "malformed_form"),
        ("", MULTIPART, form(*[("a", b"b")] * 51), 413, "too_many_files"),
        ("?heatmap=yes", MULTIPART, form(("a", b"b")), 400, "bad_parameter"),
        ("?identifiers=", MULTIPART, form(("a", b"b")), 400, "bad_parameter"),
    ],
)
def test_refused_requests(api: Api, query: str, headers: dict[str, str], body: bytes, status: int, reason: str) -> None:
    response = api.request("POST", f"/predict{query}", headers=headers, content=body)
    assert (response.status_code, response.json()["reason"]) == (status, reason)


def test_no_more_files_than_allowed(api_with: Callable[..., Api], png: bytes) -> None:
    api = api_with(max_files=2)
    assert len(api.predict(("a", png), ("b", png)).json()["results"]) == 2
    assert api.predict(("a", png), ("b", png), ("c", png)).status_code == 413


@pytest.mark.parametrize("announced", [True, False])
def test_no_more_bytes_than_allowed(api_with: Callable[..., Api], *, announced: bool) -> None:
    body = form(("a", bytes(1_000_000)))

    async def chunks() -> Any:
        for at in range(0, len(body), 10_000):
            yield body[at : at + 10_000]

    content = body if announced else chunks()
    response = api_with(max_body_bytes=100_000).request("POST", "/predict", headers=MULTIPART, content=content)
    assert (response.status_code, response.json()["reason"]) == (413, "body_too_large")


def test_broken_installation(api: Api, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        message = "no decoding process can be started: no memory"
        raise EnvironmentUnusable(message)

    assert api.get("/ready").status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "classify_many", broken)
        for files in ([("a", png)], [("a", png), ("b", png)]):
            response = api.predict(*files)
            assert (response.status_code, response.json()["reason"]) == (503, "environment_unusable")
            assert response.headers["retry-after"] == "1"
        assert api.get("/ready").json()["reason"] == "environment_unusable"
        with monkeypatch.context() as later:  # else a proxy would never send another image
            later.setattr("cxr_edge.serve.workers.UNUSABLE_SECONDS", 0.0)
            assert api.get("/ready").status_code == 200
        assert api.get("/health").status_code == 200
    assert api.predict(("a", png)).status_code == 200
    assert api.get("/ready").status_code == 200


def test_a_model_that_fails_is_a_server_error(api: Api, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> object:
        message = "Doe^Jane"
        raise RuntimeError(message)

    monkeypatch.setattr(Classifier, "_infer", fails)
    response = api.predict(("a", png))
    assert (response.status_code, response.json()["reason"]) == (500, "internal")
    assert "Doe" not in response.text


# ---- pictures


def test_pictures(api: Api, png: bytes, classifier: Classifier) -> None:
    answer = api.predict(("a.png", png), query="?heatmap=1").json()
    stored = np.asarray(Image.open(io.BytesIO(png)))
    response = api.get(answer["radiograph"])
    assert response.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(response.content))), stored)
    overlay = np.asarray(Image.open(io.BytesIO(api.get(answer["heatmap"]).content))).astype(float)
    assert overlay.shape == (*stored.shape, 4)
    opacity = overlay[..., 3:] / 255 * 0.6
    shown = stored[..., np.newaxis] * (1 - opacity) + overlay[..., :3] * opacity
    prediction = classifier.classify(png, keep_radiograph=True)
    expected = cv2.cvtColor(heat_map(prediction, classifier.contract), cv2.COLOR_BGR2RGB)
    assert np.abs(shown - expected).max() < 2
    of_normal = api.get(f"{answer['heatmap']}?label=NORMAL")
    assert (of_normal.status_code, of_normal.content != api.get(answer["heatmap"]).content) == (200, True)
    refused = api.get(f"{answer['heatmap']}?label=OTHER")
    assert (refused.status_code, refused.json()["reason"]) == (400, "bad_parameter")


def test_large_radiographs_are_kept_as_large_as_a_screen(api: Api) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.tile(chest_phantom(500, 300), (6, 5))).save(stream, "PNG")
    answer = api.predict(("a.png", stream.getvalue()), query="?heatmap=1").json()
    assert Image.open(io.BytesIO(api.get(answer["radiograph"]).content)).size == (1024, 2048)
    assert max(Image.open(io.BytesIO(api.get(answer["heatmap"]).content)).size) == 512


def test_nothing_is_kept_unless_asked_for(api: Api, png: bytes) -> None:
    assert "id" not in api.predict(("a.png", png)).json()
    assert len(api.application.store) == 0


def test_report(api: Api, dicom: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("reportlab")
    report = api.predict(("a.dcm", dicom), query="?heatmap=1").json()["report"]
    english, spanish = (api.get(f"{report}?lang={language}") for language in ("en", "es"))
    for response in (english, spanish):
        assert response.headers["content-type"] == "application/pdf"
        assert response.headers["content-disposition"] == 'attachment; filename="cxr-edge-report.pdf"'
        assert response.content.startswith(b"%PDF-")
    assert english.content != spanish.content
    for query in ("lang=de", "identifiers=2", "label=OTHER"):
        assert api.get(f"{report}?{query}").json()["reason"] == "bad_parameter"
    asked: list[dict[str, Any]] = []

    def report_pdf(*_: object, **options: Any) -> bytes:
        asked.append(options)
        return b"%PDF-"

    monkeypatch.setattr("cxr_edge.serve.pages.report_pdf", report_pdf)
    api.get(report)
    api.get(f"{report}?lang=es&identifiers=1&label=NORMAL")
    assert asked == [
        {"language": "en", "identifiers": False, "heatmap_label": None},
        {"language": "es", "identifiers": True, "heatmap_label": "NORMAL"},
    ]


def test_report_without_its_packages(api: Api, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    report = api.predict(("a.png", png), query="?heatmap=1").json()["report"]
    monkeypatch.setitem(sys.modules, "reportlab", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    response = api.get(report)
    assert (response.status_code, response.json()["reason"]) == (501, "report_unavailable")


def test_a_kept_result_knows_its_files_name(api: Api, png: bytes) -> None:
    answer = api.predict(("Doe^Jane.png", png), query="?heatmap=1&identifiers=0").json()
    assert "Doe" not in str(answer)
    kept = api.application.store.get(answer["id"])
    assert kept is not None
    assert kept.source.path == "Doe^Jane.png"  # for a report that is asked to say it


@pytest.mark.parametrize("what", ["radiograph.png", "heatmap.png", "report.pdf"])
def test_no_such_result(api: Api, what: str) -> None:
    response = api.get(f"/results/{'0' * 32}/{what}")
    assert (response.status_code, response.json()["reason"]) == (404, "no_such_result")


# ---- clients that do not wait


def test_a_client_that_leaves_the_queue_frees_its_place(api: Api, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    release, begun = threading.Event(), threading.Semaphore(0)
    genuine = Classifier.classify_many

    def slow(self: Classifier, images: Any, **options: Any) -> Any:
        begun.release()
        assert release.wait(30)
        return genuine(self, images, **options)

    monkeypatch.setattr(Classifier, "classify_many", slow)
    workers = api.application.workers

    async def scenario() -> None:
        async with api.client() as client:
            ask = [
                asyncio.create_task(client.post("/predict", files={"file": ("a", png)})) for _ in range(workers.threads)
            ]
            for _ in ask:
                await asyncio.to_thread(begun.acquire)
            gone = asyncio.create_task(_post_and_leave(api, png))
            await _until(lambda: workers.waiting == 1)
            assert workers.at_work == workers.threads
            await gone
            assert workers.waiting == 0
            release.set()
            assert {response.status_code for response in await asyncio.gather(*ask)} == {200}

    asyncio.run(scenario())
    assert not begun.acquire(blocking=False)  # the one that left was never begun
    assert [line["status"] for line in api.log()].count(499) == 1


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def _post_and_leave(api: Api, png: bytes) -> None:
    body, sent = form(("a", png)), []
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await _until(lambda: api.application.workers.waiting == 1)
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8000"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in MULTIPART.items()]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
    await api.application.asgi({**scope, "http_version": "1.1", "root_path": ""}, receive, send)


@pytest.mark.parametrize(
    "body",
    [
        form(("a", bytes(100_000))),
        form(("a", bytes(100_000)), ("b", b"")),
        form(("a", bytes(100_000)))[:-20],
        form(("a", bytes(100_000)))[:-20] + b"\r\n--frontier?",
        form(*[("a", bytes(1000))] * 60),
        form(("a", bytes(3_000_000))),
    ],
    ids=["rejected", "several", "cut off", "malformed", "too many", "too large"],
)
def test_no_upload_waits_for_the_garbage_collector(api_with: Callable[..., Api], body: bytes) -> None:
    """It counts objects, not bytes: a cycle would keep gigabytes before it thinks that there is work."""
    api = api_with(max_body_bytes=1_000_000)
    api.request("POST", "/predict", headers=MULTIPART, content=body)
    gc.collect()
    gc.disable()
    try:
        api.request("POST", "/predict", headers=MULTIPART, content=body)
        left = [item for item in gc.get_objects() if isinstance(item, Form | Upload)]
    finally:
        gc.enable()
    assert left == []
