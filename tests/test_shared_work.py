"""A large image's work is done once for each part, whoever does it."""

import threading

import numpy as np
import pytest

from cxr_edge import shared_work
from cxr_edge.contract import Resize
from cxr_edge.preprocess import resize
from cxr_edge.shared_work import WORTH_SHARING, in_pieces


@pytest.mark.parametrize(("total", "piece"), [(0, 5), (1, 5), (10, 5), (11, 5), (10_000, 7)])
@pytest.mark.parametrize("hands", [1, 4])
def test_each_part_is_done_once(monkeypatch: pytest.MonkeyPatch, total: int, piece: int, hands: int) -> None:
    monkeypatch.setattr(shared_work, "available_threads", lambda: hands)
    done = np.zeros(total, np.int64)

    def work(start: int, stop: int) -> None:
        assert 0 < stop - start <= piece
        done[start:stop] += 1

    in_pieces(total, piece, work)
    assert (done == 1).all()


def test_several_threads_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_work, "available_threads", lambda: 3)
    together = threading.Barrier(3, timeout=10)

    def work(_start: int, _stop: int) -> None:
        together.wait()

    in_pieces(3, 1, work)


def test_what_fails_is_raised_where_the_work_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_work, "available_threads", lambda: 4)

    def work(start: int, _stop: int) -> None:
        if start == 7:
            raise MemoryError

    with pytest.raises(MemoryError):
        in_pieces(20, 1, work)
    assert not [thread for thread in threading.enumerate() if thread.name == "cxr-edge-hand"]


def test_without_threads_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", refused)
    done: list[int] = []
    in_pieces(4, 1, lambda start, _stop: done.append(start))
    assert done == [0, 1, 2, 3]


@pytest.mark.parametrize("kernel", ["pillow-bilinear", "pillow-lanczos", "pillow-nearest"])
def test_a_shared_resize_is_the_same(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    rows = np.random.Generator(np.random.PCG64(3)).integers(0, 256, (1501, 1409), dtype=np.uint8)
    assert rows.size > WORTH_SHARING
    wanted = Resize(kernel=kernel, pass_order="horizontal-first", aspect="squash")  # type: ignore[arg-type]
    shared = resize(rows, wanted, 224, 224)
    monkeypatch.setattr("cxr_edge.preprocess.pillow_kernels.WORTH_SHARING", rows.size + 1)
    assert np.array_equal(shared, resize(rows, wanted, 224, 224))
