"""Decoding in processes of their own gives what this process gives."""

import contextlib
import io
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolating import CONTRACT, GRAY, ONE, POSIX, TWO, children_in, pids_of, png, preparer_of, same, stopped

import cxr_edge
from cxr_edge.errors import Reason
from cxr_edge.isolation.child import Child
from cxr_edge.isolation.pool import Pool
from cxr_edge.phantom import chest_phantom, phantom_dicom
from cxr_edge.prepare import Prepared, Preparer
from cxr_edge.types import Rejection


@pytest.mark.parametrize("keep", [False, True])
def test_every_kind_of_input_gives_what_this_process_gives(
    pool: Pool, image: Path, monkeypatch: pytest.MonkeyPatch, *, keep: bool
) -> None:
    import pydicom

    (image.parent / "knee.dcm").write_bytes(phantom_dicom()[:-1000])
    content = image.read_bytes()
    lateral = pydicom.dcmread(image)
    lateral.ViewPosition = "LL"
    lateral.save_as(image.parent / "lateral.dcm")
    monkeypatch.chdir(image.parent)
    images: list[Callable[[], Any]] = [
        lambda: image,
        lambda: str(image),
        lambda: image.name,  # relative: to this process's folder, not to where a decoding process was started
        lambda: content,
        lambda: bytearray(content),
        lambda: memoryview(content),
        lambda: io.BytesIO(content),
        lambda: pydicom.dcmread(image),
        lambda: GRAY,
        lambda: "knee.dcm",
        lambda: "lateral.dcm",
        lambda: "missing.dcm",
        lambda: "a\0b",
        lambda: "\ud800",
        lambda: image.parent,
        lambda: b"",
        lambda: b"nonsense",
        lambda: io.StringIO("text"),
        lambda: np.zeros((9, 9), np.float32),
    ]
    here, there = Preparer(CONTRACT, "strict"), preparer_of(pool)
    for make in images:
        one, other = (p.prepare_safely(make(), keep_radiograph=keep) for p in (here, there))
        same(one, other)
        latency = other.latency
        assert latency.read_ms + latency.decode_ms + latency.preprocess_ms <= latency.total_ms + 1e-6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets file names be any bytes")
def test_a_name_that_is_no_unicode(pool: Pool, image: Path) -> None:
    name = os.fsdecode(os.fsencode(image.parent) + b"/\xff\x1b.dcm")
    Path(name).write_bytes(image.read_bytes())
    same(Preparer(CONTRACT, "strict").prepare(name), preparer_of(pool).prepare(name))


def test_real_radiographs(pool: Pool, data_folder: Path) -> None:
    files = sorted((data_folder / "kermany_original").rglob("*.jp*g"))[:5]
    files += sorted(path for path in (data_folder / "dicom" / "malformed").iterdir() if path.is_file())
    here, there = Preparer(CONTRACT, "strict"), preparer_of(pool)
    for path in files:
        first, second = here.prepare_safely(path), there.prepare_safely(path)
        if path.name == "nested5000.dcm":  # where the recursion ends, and so the words, depends on the caller's depth
            assert isinstance(first, Rejection)
            assert isinstance(second, Rejection)
            assert first.reason == second.reason == Reason.MALFORMED
        else:
            same(first, second)


def test_classify_many_gives_the_same_in_order_and_reads_only_a_little_ahead(tiny: Path) -> None:
    images = [chest_phantom(200 + 7 * i, 180, seed=i) for i in range(12)]
    files = [png(pixels) for pixels in images] + [b"nonsense"]
    here = [_outcome(result) for result in cxr_edge.load(tiny).classify_many(files)]
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        while True:
            taken += 1
            yield files[0]

    with cxr_edge.load(tiny, isolation=TWO) as classifier:
        assert [_outcome(result) for result in classifier.classify_many(iter(files))] == here
        assert classifier.classify(files[0], keep_radiograph=True).radiograph is not None
        with pytest.raises(cxr_edge.InputError, match="no known format"):
            classifier.classify(b"nonsense")
        results = classifier.classify_many(endless())
        next(results)
        results.close()  # a generator
        assert taken <= 1 + 2 * 2 + 1
        copy = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - our own bytes
        with copy:
            assert _outcome(next(iter(copy.classify_many(files[:2])))) == here[0]


def _outcome(result: cxr_edge.Prediction | Rejection) -> tuple[Any, ...]:
    if isinstance(result, Rejection):
        return result.reason, result.message, result.source
    return result.score, result.source, result.gate, result.warnings


def test_many_threads_share_one_pool(image: Path) -> None:
    with Pool(TWO) as pool, ThreadPoolExecutor(6) as threads:
        preparer = preparer_of(pool)
        done = list(threads.map(preparer.prepare_safely, [image] * 24))
        assert all(isinstance(result, Prepared) for result in done)
        assert 1 <= len(children_in(pool)) <= 2


@POSIX
def test_who_looks_for_the_unfit_ends_nobodys_process(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process found free, and lent to another thread before it is looked at, is busy and not unfit."""
    with Pool(ONE) as pool, ThreadPoolExecutor(1) as threads:
        preparer = preparer_of(pool)
        assert isinstance(preparer.prepare(image), Prepared)
        (child,), lent, plain = children_in(pool), [], pool._free  # noqa: SLF001
        pid = stopped(pool)  # whoever gets it keeps it for a while

        def free() -> list[Child]:
            found = plain()
            if threading.current_thread() is threading.main_thread():
                lent.append(threads.submit(preparer.prepare_safely, image))
                deadline = time.monotonic() + 1
                while child.is_fit() and time.monotonic() < deadline:
                    time.sleep(0.01)
            return found

        monkeypatch.setattr(pool, "_free", free)
        pool._forget_unfit()  # noqa: SLF001
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        assert isinstance(lent[0].result(10), Prepared)
        assert pids_of(pool) == [pid]


@POSIX
def test_a_process_is_added_when_images_wait_for_it(image: Path) -> None:
    with Pool(TWO) as pool, ThreadPoolExecutor(2) as threads:
        preparer = preparer_of(pool)
        for _ in range(3):
            preparer.prepare(image)
        pid = stopped(pool)  # one after the other needs no second process
        waiting = [threads.submit(preparer.prepare, image) for _ in range(2)]
        while not any(future.done() for future in waiting):
            time.sleep(0.02)
        assert len(children_in(pool)) == 2
        os.kill(pid, signal.SIGCONT)
        assert all(isinstance(future.result(), Prepared) for future in waiting)
