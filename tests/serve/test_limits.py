"""How much is taken at once, how slowly, and for how long."""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contracts import make_prediction
from serving import form
from starlette.datastructures import Headers

from cxr_edge.serve.admission import Admission
from cxr_edge.serve.form import Upload
from cxr_edge.serve.leaving import ClientGoneError
from cxr_edge.serve.problem import ProblemError
from cxr_edge.serve.settings import Settings
from cxr_edge.serve.store import ResultStore
from cxr_edge.serve.upload import Uploads
from cxr_edge.types import Prediction, Radiograph

HEADERS = Headers({"content-type": "multipart/form-data; boundary=frontier"})


# ---- places


def test_requests_are_counted() -> None:
    admission = Admission(2, 100)
    with admission.place(0), admission.place(0):
        with pytest.raises(ProblemError) as refused, admission.place(0):
            pass
        problem = refused.value
        assert (problem.status, problem.reason, problem.headers) == (503, "busy", {"Retry-After": "1"})
    assert admission.requests == 0


def test_bytes_are_counted_as_they_come() -> None:
    admission = Admission(9, 100)
    with admission.place(90) as first:
        first.grow(60)
        with admission.place(40) as second:  # what is announced and never comes takes nothing
            second.grow(30)
            with pytest.raises(ProblemError, match="memory"):
                second.grow(11)
        assert admission.held_bytes == 60
        with pytest.raises(ProblemError, match="memory"), admission.place(41):
            pass
    assert (admission.requests, admission.held_bytes) == (0, 0)


# ---- bodies


def _read(uploads: Uploads, *messages: Any, pause: float = 0.0, then: Any = None) -> list[Upload]:
    async def read() -> list[Upload]:
        waiting = iter(messages)

        async def receive() -> Any:
            await asyncio.sleep(pause)
            for message in waiting:
                return message
            if then is not None:
                then()
            return await asyncio.Event().wait()

        with Admission(1, 10**9).place(0) as place:
            return await uploads.read(HEADERS, receive, place)

    return asyncio.run(read())


def _chunk(body: bytes, *, more: bool = False) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_pieces() -> None:
    body = form(("a", b"1" * 3_000_000), ("b", b""))  # beyond what Starlette would write to a disk
    pieces = [_chunk(body[at : at + 70_001], more=True) for at in range(0, len(body), 70_001)]
    files = _read(Uploads(Settings()), *pieces, _chunk(b""))
    assert [(file.name, len(file.content)) for file in files] == [("a", 3_000_000), ("b", 0)]


def test_no_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("an upload went to the disk")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert len(_read(Uploads(Settings()), _chunk(form(("a", bytes(5_000_000)))))[0].content) == 5_000_000


def test_a_client_that_pauses() -> None:
    with pytest.raises(ProblemError) as refused:
        _read(Uploads(Settings(), idle_seconds=0.05), _chunk(form(("a", b"b"))[:20], more=True))
    assert (refused.value.status, refused.value.reason) == (408, "too_slow")


def test_a_client_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.serve.upload.PACE_AFTER_SECONDS", 0.1)
    drops = [_chunk(bytes([byte]), more=True) for byte in form(("a", bytes(1000)))]
    with pytest.raises(ProblemError) as refused:
        _read(Uploads(Settings()), *drops, pause=0.01)
    assert refused.value.reason == "too_slow"


def test_a_client_that_goes() -> None:
    with pytest.raises(ClientGoneError):
        _read(Uploads(Settings()), _chunk(form(("a", b"b"))[:20], more=True), {"type": "http.disconnect"})


def test_a_stop_ends_uploads() -> None:
    uploads = Uploads(Settings())
    with pytest.raises(ProblemError) as refused:
        _read(uploads, _chunk(form(("a", b"b"))[:20], more=True), then=uploads.stop)
    assert (refused.value.status, refused.value.reason) == (503, "stopping")
    with pytest.raises(ProblemError, match="stopped"):
        _read(uploads, _chunk(form(("a", b"b"))))


# ---- results


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _prediction(side: int = 10) -> Prediction:
    radiograph = Radiograph(np.zeros((side, side), np.uint8), "test")
    return replace(make_prediction(), radiograph=radiograph, activation_map=None)


def test_ids_cannot_be_guessed() -> None:
    store = ResultStore()
    names = {store.put(_prediction()) for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 32 for name in names)
    assert store.get("0" * 32) is None


def test_the_least_recently_used_go_first() -> None:
    store = ResultStore(most_results=2)
    first, second = store.put(_prediction()), store.put(_prediction())
    assert store.get(first) is not None
    third = store.put(_prediction())
    assert [store.get(name) is not None for name in (first, second, third)] == [True, False, True]


def test_results_are_bounded_in_bytes() -> None:
    store = ResultStore(most_bytes=250)
    names = [store.put(_prediction()) for _ in range(3)]
    assert [store.get(name) is not None for name in names] == [False, True, True]
    assert store.held_bytes == 200
    store.put(_prediction(side=100))  # more than all may hold
    assert (len(store), store.held_bytes) == (0, 0)


def test_results_are_forgotten() -> None:
    clock = _Clock()
    store = ResultStore(kept_seconds=60, clock=clock)
    first, second = store.put(_prediction()), store.put(_prediction())
    clock.now = 59
    assert store.get(first) is not None
    clock.now = 61
    store.sweep()
    assert len(store) == 1
    assert store.get(second) is None
    clock.now = 119
    assert store.get(first) is None
    assert store.held_bytes == 0
