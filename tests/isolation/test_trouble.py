"""A process that dies, hangs or lies costs one image."""

import io
import os
import pickle
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from isolating import (
    HANGS,
    HELLO,
    NO_SOURCE,
    ONE,
    POSIX,
    READY,
    REFUSED,
    children_in,
    framed,
    in_child,
    instead,
    is_gone,
    limit_of,
    pids_of,
    preparer_of,
    rejection,
    stopped,
)

import cxr_edge
from cxr_edge.isolation.limits import LEAST_MEMORY_BYTES
from cxr_edge.isolation.pool import Pool
from cxr_edge.isolation.wire import Array, WireError, receive_reply
from cxr_edge.phantom import phantom_dicom
from cxr_edge.prepare import Prepared
from cxr_edge.types import Rejection


@POSIX
def test_a_killed_process_costs_one_image(image: Path) -> None:
    with Pool(ONE) as pool, ThreadPoolExecutor(1) as threads:
        preparer = preparer_of(pool)
        assert isinstance(preparer.prepare(image), Prepared)
        pid = stopped(pool)
        doomed = threads.submit(preparer.prepare_safely, image)
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        lost = rejection(doomed.result(10))
        assert (lost.reason, lost.source.path) == ("decoder_crashed", str(image))
        assert "SIGKILL" in lost.message
        assert image.name not in lost.message
        assert isinstance(preparer.prepare(image), Prepared)
        assert pids_of(pool) != [pid]


@POSIX
def test_a_process_that_died_between_two_images_costs_none(image: Path) -> None:
    with Pool(ONE) as pool:
        preparer = preparer_of(pool)
        preparer.prepare(image)
        os.kill(pids_of(pool)[0], signal.SIGKILL)
        time.sleep(0.1)
        assert isinstance(preparer.prepare(image), Prepared)


@POSIX
def test_a_hang_costs_one_image_and_says_which_bytes(image: Path) -> None:
    with Pool(replace(ONE, seconds=2.0)) as pool:  # enough for the first image, where others work beside it
        preparer = preparer_of(pool)
        preparer.prepare(image)
        pid = stopped(pool)
        big = image.read_bytes() + bytes(1 << 20)  # more than a pipe holds: even handing it over hangs
        started = time.monotonic()
        lost = rejection(preparer.prepare_safely(big))
        assert 2.0 <= time.monotonic() - started < 12
        assert lost.reason is cxr_edge.Reason.DECODE_TIMEOUT
        assert lost.source.content_sha256
        assert lost.latency.total_ms >= 2000
        assert is_gone(pid)
        assert isinstance(preparer.prepare(image), Prepared)


@POSIX
def test_a_batch_goes_on(tiny: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that hangs on one image and crashes on another; the network never sees them."""
    hang, crash = image.parent / "hang", image.parent / "crash"
    in_child(
        monkeypatch,
        "prepare = worker.Preparer.prepare_safely\n"
        "def hostile(self, image, **options):\n"
        f"    if str(image).endswith('hang'): {HANGS}\n"
        "    if str(image).endswith('crash'): import os; os.abort()\n"
        "    return prepare(self, image, **options)\n"
        "worker.Preparer.prepare_safely = hostile",
    )
    files = [image, crash, image, hang, image, image]
    with cxr_edge.load(tiny, isolation=cxr_edge.IsolationLimits(processes=2, seconds=2.0)) as classifier:
        results = list(classifier.classify_many(files))
    reasons = [result.reason.value if isinstance(result, Rejection) else None for result in results]
    assert reasons == [None, "decoder_crashed", None, "decode_timeout", None, None]
    assert "SIGABRT" in rejection(results[1]).message


def test_an_image_that_needs_too_much_memory_is_rejected(pool: Pool) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(buffer, "PNG", compress_level=1)  # 256 MB once decoded
    if limit_of(pool) == "none":
        pytest.skip("this system limits no memory")
    with Pool(replace(ONE, memory_bytes=LEAST_MEMORY_BYTES)) as small:
        lost = rejection(preparer_of(small).prepare_safely(buffer.getvalue()))
        assert (lost.reason, "memory" in lost.message) == ("too_large", True)
        assert isinstance(preparer_of(small).prepare(phantom_dicom()), Prepared)
        assert len(children_in(small)) == 1


def test_not_even_enough_memory_to_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    in_child(monkeypatch, "def fail(*_): raise MemoryError\nworker.receive_bytes = fail")
    with Pool(ONE) as pool:
        lost = rejection(preparer_of(pool).prepare_safely(b"x"))
        assert (lost.reason, "not enough memory" in lost.message) == ("too_large", True)


TENSOR = {"dtype": "uint8", "shape": [1, 224, 224, 3]}
DONE: dict[str, Any] = {
    "type": "done",
    "source": NO_SOURCE,
    "rendering": "x",
    "tags": None,
    "notes": [],
    "gate": {"status": "ok", "reasons": []},
    "latency": {},
    "seen": [0.0, 0.0, 1.0, 1.0],
    "tensors": {"image": TENSOR},
    "pixels": None,
}
PICKLE = pickle.dumps(Path("x"))
PIXELS = {"dtype": "uint8", "shape": [2, 2]}


@pytest.mark.parametrize(
    ("reply", "keep"),
    [
        (b"\xff\xff\xff\xff", False),
        (b"\x10\0\0\0" + bytes(16), False),
        (len(PICKLE).to_bytes(4, "little") + PICKLE, False),
        (HELLO, False),
        (framed({**REFUSED, "rejection": {**REFUSED["rejection"], "reason": "made_up"}}), False),  # type: ignore[dict-item]
        (framed({**REFUSED, "rejection": {**REFUSED["rejection"], "latency": {"read_ms": -1.0}}}), False),  # type: ignore[dict-item]
        (framed({**DONE, "latency": {"total_ms": float("nan")}}), False),
        (framed({**DONE, "gate": {"status": "fine", "reasons": []}}), False),
        (framed({**DONE, "seen": [0.5, 0.0, 0.5, 1.0]}), False),
        (framed({**DONE, "seen": [-0.1, 0.0, 1.0, 1.0]}), False),
        (framed({**DONE, "tensors": {}}), False),
        (framed({**DONE, "tensors": {"image": {**TENSOR, "shape": [1, 224, 224, 1]}}}), False),
        (framed({**DONE, "tensors": {"image": {**TENSOR, "dtype": "float32"}}}), False),
        (framed({**DONE, "tensors": {"image": {**TENSOR, "dtype": "O"}}}), False),
        (framed({**DONE, "tensors": {"image": TENSOR, "more": TENSOR}}), False),
        (framed({**DONE, "pixels": PIXELS}), False),
        (framed(DONE), True),
        (framed({**DONE, "pixels": {**PIXELS, "shape": [2, -2]}}), True),
        (framed({**DONE, "pixels": {**PIXELS, "shape": [2, 2, 2]}}), True),
        (framed({**DONE, "pixels": {**PIXELS, "shape": [1 << 40, 1 << 40]}}), True),
        (framed({**DONE, "pixels": {**PIXELS, "dtype": "float32"}}), True),
        (framed(DONE) + bytes(100), False),  # the tensor ends early, and so does the process
        (b"", False),
    ],
)
def test_an_answer_that_does_not_fit_is_a_crash(monkeypatch: pytest.MonkeyPatch, reply: bytes, *, keep: bool) -> None:
    instead(
        monkeypatch,
        "import os, sys\n"
        f"os.write(1, {HELLO!r}); os.write(1, {READY!r})\n"
        "def read(n):\n"
        "    data = b''\n"
        "    while len(data) < n: data += os.read(0, n - len(data))\n"
        "    return data\n"
        "for _ in range(2): read(int.from_bytes(read(4), 'little'))\n"
        f"os.write(1, {reply!r})",
    )
    with Pool(replace(ONE, seconds=10.0)) as pool:
        lost = rejection(preparer_of(pool).prepare_safely("x", keep_radiograph=keep))
    assert lost.reason is cxr_edge.Reason.DECODER_CRASHED


def test_a_reply_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The double of the test above: its refusals are not the double's own fault."""
    script = (
        "import os, sys, time\n"
        f"os.write(1, {HELLO!r}); os.write(1, {READY!r}); os.write(1, {framed(REFUSED)!r}); time.sleep(9)"
    )
    instead(monkeypatch, script)
    with Pool(ONE) as pool:
        taken = rejection(preparer_of(pool).prepare_safely("x"))
    assert (taken.reason, taken.message, taken.source.path) == ("empty", "m", "x")


def test_the_wire_knows_no_object() -> None:
    with pytest.raises(WireError):
        receive_reply(io.BytesIO(len(PICKLE).to_bytes(4, "little") + PICKLE))
    with pytest.raises(EOFError):
        receive_reply(io.BytesIO(b"\x01"))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"dtype": "object", "shape": [1]}, Array)
