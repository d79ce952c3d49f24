"""Decoding in processes of their own: the same results, and whatever happens to a process costs one image."""

import contextlib
import ctypes
import errno
import io
import json
import linecache
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np
import pytest
from contracts import make_contract
from tiny_models import tiny_model

import cxr_edge
from cxr_edge import doctor
from cxr_edge.errors import Reason
from cxr_edge.isolation import child as child_module
from cxr_edge.isolation import command as command_module
from cxr_edge.isolation import pool as pool_module
from cxr_edge.isolation.child import Child
from cxr_edge.isolation.job_object import ExtendedLimits, JobObject
from cxr_edge.isolation.limits import LEAST_MEMORY_BYTES, limit_own_memory
from cxr_edge.isolation.pool import Pool
from cxr_edge.isolation.preparer import IsolatedPreparer
from cxr_edge.isolation.wire import PROTOCOL, Array, WireError, receive_reply
from cxr_edge.phantom import chest_phantom, phantom_dicom
from cxr_edge.prepare import Prepared, Preparer
from cxr_edge.processors import available_threads
from cxr_edge.types import Rejection

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CONTRACT = make_contract()
GRAY = chest_phantom(224, 224)
ONE = cxr_edge.IsolationLimits(processes=1)
TWO = cxr_edge.IsolationLimits(processes=2)
HANGS = "import re; re.match('(a+)+$', 'a' * 60 + 'b')"  # for years, and never lets go of the interpreter


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(ONE) as pool:
        yield pool


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "胸部.dcm"
    path.write_bytes(phantom_dicom())
    return path


def _preparer(pool: Pool, gate: Any = "strict") -> IsolatedPreparer:
    return IsolatedPreparer(CONTRACT, gate, pool)


def _children(pool: Pool) -> list[Child]:
    return list(pool._children)  # noqa: SLF001


def _pids(pool: Pool) -> list[int]:
    return sorted(child.pid for child in _children(pool) if child.pid is not None)


def _is_gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if sys.platform == "linux" and ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"):
            return True  # dead, and its new parent has not looked yet
        time.sleep(0.02)
    return False


def _in_child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let new processes run `code` once everything is imported; `worker` is their module."""
    bootstrap = command_module._BOOTSTRAP.replace(  # noqa: SLF001
        "import main; main(", f"import main; import cxr_edge.isolation.worker as worker\n{code}\nmain("
    )
    monkeypatch.setattr(command_module, "_BOOTSTRAP", bootstrap.replace("{}", "{{}}"))


def _instead(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Start a script of ours in place of the worker."""
    monkeypatch.setattr(child_module, "command", lambda _memory: [sys.executable, "-c", script])


def _frame(message: Any) -> bytes:
    head = msgspec.msgpack.encode(message)
    return len(head).to_bytes(4, "little") + head


def _rejection(result: object) -> Rejection:
    assert isinstance(result, Rejection), result
    return result


def _same(first: Prepared | Rejection, second: Prepared | Rejection) -> None:
    """Equal but for the time it took."""
    zero = cxr_edge.Latency()
    if isinstance(first, Rejection) or isinstance(second, Rejection):
        assert replace(first, latency=zero) == replace(second, latency=zero)
        return
    for name, tensor in first.tensors.items():
        assert second.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(second.tensors[name], tensor)
    assert list(first.tensors) == list(second.tensors)
    facts = [field.name for field in fields(Prepared) if field.name not in ("tensors", "latency", "radiograph")]
    assert [getattr(first, fact) for fact in facts] == [getattr(second, fact) for fact in facts]
    assert (first.radiograph is None) == (second.radiograph is None)
    if first.radiograph is not None and second.radiograph is not None:
        np.testing.assert_array_equal(first.radiograph.pixels, second.radiograph.pixels)
        assert first.radiograph.source == second.radiograph.source


# ---- the same results


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
    here, there = Preparer(CONTRACT, "strict"), _preparer(pool)
    for make in images:
        one, other = (p.prepare_safely(make(), keep_radiograph=keep) for p in (here, there))
        _same(one, other)
        latency = other.latency
        assert latency.read_ms + latency.decode_ms + latency.preprocess_ms <= latency.total_ms + 1e-6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets file names be any bytes")
def test_a_name_that_is_no_unicode(pool: Pool, image: Path) -> None:
    name = os.fsdecode(os.fsencode(image.parent) + b"/\xff\x1b.dcm")
    Path(name).write_bytes(image.read_bytes())
    _same(Preparer(CONTRACT, "strict").prepare(name), _preparer(pool).prepare(name))


def test_real_radiographs(pool: Pool, data_folder: Path) -> None:
    files = sorted((data_folder / "kermany_original").rglob("*.jp*g"))[:5]
    files += sorted(path for path in (data_folder / "dicom" / "malformed").iterdir() if path.is_file())
    here, there = Preparer(CONTRACT, "strict"), _preparer(pool)
    for path in files:
        first, second = here.prepare_safely(path), there.prepare_safely(path)
        if path.name == "nested5000.dcm":  # where the recursion ends, and so the words, depends on the caller's depth
            assert isinstance(first, Rejection)
            assert isinstance(second, Rejection)
            assert first.reason == second.reason == Reason.MALFORMED
        else:
            _same(first, second)


def test_classify_many_gives_the_same_in_order_and_reads_only_a_little_ahead(tiny: Path) -> None:
    images = [chest_phantom(200 + 7 * i, 180, seed=i) for i in range(12)]
    files = [_png(pixels) for pixels in images] + [b"nonsense"]
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
        results.close()  # type: ignore[attr-defined]  # a generator
        assert taken <= 1 + 2 * 2 + 1
        copy = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - our own bytes
        with copy:
            assert _outcome(next(iter(copy.classify_many(files[:2])))) == here[0]


def _png(pixels: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _outcome(result: cxr_edge.Prediction | Rejection) -> tuple[Any, ...]:
    if isinstance(result, Rejection):
        return result.reason, result.message, result.source
    return result.score, result.source, result.gate, result.warnings


def test_many_threads_share_one_pool(image: Path) -> None:
    with Pool(TWO) as pool, ThreadPoolExecutor(6) as threads:
        preparer = _preparer(pool)
        done = list(threads.map(preparer.prepare_safely, [image] * 24))
        assert all(isinstance(result, Prepared) for result in done)
        assert 1 <= len(_children(pool)) <= 2


@POSIX
def test_who_looks_for_the_unfit_ends_nobodys_process(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process found free, and lent to another thread before it is looked at, is busy and not unfit."""
    with Pool(ONE) as pool, ThreadPoolExecutor(1) as threads:
        preparer = _preparer(pool)
        assert isinstance(preparer.prepare(image), Prepared)
        (child,), lent, plain = _children(pool), [], pool._free  # noqa: SLF001
        pid = _stopped(pool)  # whoever gets it keeps it for a while

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
        assert _pids(pool) == [pid]


@POSIX
def test_a_process_is_added_when_images_wait_for_it(image: Path) -> None:
    with Pool(TWO) as pool, ThreadPoolExecutor(2) as threads:
        preparer = _preparer(pool)
        for _ in range(3):
            preparer.prepare(image)
        pid = _stopped(pool)  # one after the other needs no second process
        waiting = [threads.submit(preparer.prepare, image) for _ in range(2)]
        while not any(future.done() for future in waiting):
            time.sleep(0.02)
        assert len(_children(pool)) == 2
        os.kill(pid, signal.SIGCONT)
        assert all(isinstance(future.result(), Prepared) for future in waiting)


# ---- a process that dies, hangs, lies


def _stopped(pool: Pool) -> int:
    """Stop the only process, which then takes in no image until it is killed."""
    (pid,) = _pids(pool)
    os.kill(pid, signal.SIGSTOP)
    return pid


@POSIX
def test_a_killed_process_costs_one_image(image: Path) -> None:
    with Pool(ONE) as pool, ThreadPoolExecutor(1) as threads:
        preparer = _preparer(pool)
        assert isinstance(preparer.prepare(image), Prepared)
        pid = _stopped(pool)
        doomed = threads.submit(preparer.prepare_safely, image)
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        lost = _rejection(doomed.result(10))
        assert (lost.reason, lost.source.path) == ("decoder_crashed", str(image))
        assert "SIGKILL" in lost.message
        assert image.name not in lost.message
        assert isinstance(preparer.prepare(image), Prepared)
        assert _pids(pool) != [pid]


@POSIX
def test_a_process_that_died_between_two_images_costs_none(image: Path) -> None:
    with Pool(ONE) as pool:
        preparer = _preparer(pool)
        preparer.prepare(image)
        os.kill(_pids(pool)[0], signal.SIGKILL)
        time.sleep(0.1)
        assert isinstance(preparer.prepare(image), Prepared)


@POSIX
def test_a_hang_costs_one_image_and_says_which_bytes(image: Path) -> None:
    with Pool(replace(ONE, seconds=2.0)) as pool:  # enough for the first image, where others work beside it
        preparer = _preparer(pool)
        preparer.prepare(image)
        pid = _stopped(pool)
        big = image.read_bytes() + bytes(1 << 20)  # more than a pipe holds: even handing it over hangs
        started = time.monotonic()
        lost = _rejection(preparer.prepare_safely(big))
        assert 2.0 <= time.monotonic() - started < 12
        assert lost.reason is cxr_edge.Reason.DECODE_TIMEOUT
        assert lost.source.content_sha256
        assert lost.latency.total_ms >= 2000
        assert _is_gone(pid)
        assert isinstance(preparer.prepare(image), Prepared)


@POSIX
def test_a_batch_goes_on(tiny: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that hangs on one image and crashes on another; the network never sees them."""
    hang, crash = image.parent / "hang", image.parent / "crash"
    _in_child(
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
    assert "SIGABRT" in _rejection(results[1]).message


def test_an_image_that_needs_too_much_memory_is_rejected(pool: Pool) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(buffer, "PNG", compress_level=1)  # 256 MB once decoded
    if limit_of(pool) == "none":
        pytest.skip("this system limits no memory")
    with Pool(replace(ONE, memory_bytes=LEAST_MEMORY_BYTES)) as small:
        lost = _rejection(_preparer(small).prepare_safely(buffer.getvalue()))
        assert (lost.reason, "memory" in lost.message) == ("too_large", True)
        assert isinstance(_preparer(small).prepare(phantom_dicom()), Prepared)
        assert len(_children(small)) == 1


def limit_of(pool: Pool) -> str:
    _preparer(pool).prepare_safely(b"")
    return _children(pool)[0].memory_limit


def test_not_even_enough_memory_to_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _in_child(monkeypatch, "def fail(*_): raise MemoryError\nworker.receive_bytes = fail")
    with Pool(ONE) as pool:
        lost = _rejection(_preparer(pool).prepare_safely(b"x"))
        assert (lost.reason, "not enough memory" in lost.message) == ("too_large", True)


HELLO = _frame({"type": "hello", "protocol": PROTOCOL, "version": cxr_edge.__version__, "memory_limit": "none"})
ANOTHER_VERSION = HELLO.replace(cxr_edge.__version__.encode(), b"9" * len(cxr_edge.__version__))
READY = _frame({"type": "ready"})
NO_SOURCE = {"path": None, "sop_instance_uid": None, "study_instance_uid": None, "content_sha256": None}
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
REFUSED = {"type": "refused", "rejection": {"source": NO_SOURCE, "reason": "empty", "message": "m"}}
PICKLE = pickle.dumps(Path("x"))
PIXELS = {"dtype": "uint8", "shape": [2, 2]}


@pytest.mark.parametrize(
    ("reply", "keep"),
    [
        (b"\xff\xff\xff\xff", False),
        (b"\x10\0\0\0" + bytes(16), False),
        (len(PICKLE).to_bytes(4, "little") + PICKLE, False),
        (HELLO, False),
        (_frame({**REFUSED, "rejection": {**REFUSED["rejection"], "reason": "made_up"}}), False),  # type: ignore[dict-item]
        (_frame({**REFUSED, "rejection": {**REFUSED["rejection"], "latency": {"read_ms": -1.0}}}), False),  # type: ignore[dict-item]
        (_frame({**DONE, "latency": {"total_ms": float("nan")}}), False),
        (_frame({**DONE, "gate": {"status": "fine", "reasons": []}}), False),
        (_frame({**DONE, "seen": [0.5, 0.0, 0.5, 1.0]}), False),
        (_frame({**DONE, "seen": [-0.1, 0.0, 1.0, 1.0]}), False),
        (_frame({**DONE, "tensors": {}}), False),
        (_frame({**DONE, "tensors": {"image": {**TENSOR, "shape": [1, 224, 224, 1]}}}), False),
        (_frame({**DONE, "tensors": {"image": {**TENSOR, "dtype": "float32"}}}), False),
        (_frame({**DONE, "tensors": {"image": {**TENSOR, "dtype": "O"}}}), False),
        (_frame({**DONE, "tensors": {"image": TENSOR, "more": TENSOR}}), False),
        (_frame({**DONE, "pixels": PIXELS}), False),
        (_frame(DONE), True),
        (_frame({**DONE, "pixels": {**PIXELS, "shape": [2, -2]}}), True),
        (_frame({**DONE, "pixels": {**PIXELS, "shape": [2, 2, 2]}}), True),
        (_frame({**DONE, "pixels": {**PIXELS, "shape": [1 << 40, 1 << 40]}}), True),
        (_frame({**DONE, "pixels": {**PIXELS, "dtype": "float32"}}), True),
        (_frame(DONE) + bytes(100), False),  # the tensor ends early, and so does the process
        (b"", False),
    ],
)
def test_an_answer_that_does_not_fit_is_a_crash(monkeypatch: pytest.MonkeyPatch, reply: bytes, *, keep: bool) -> None:
    _instead(
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
        lost = _rejection(_preparer(pool).prepare_safely("x", keep_radiograph=keep))
    assert lost.reason is cxr_edge.Reason.DECODER_CRASHED


def test_a_reply_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The double of the test above: its refusals are not the double's own fault."""
    script = (
        "import os, sys, time\n"
        f"os.write(1, {HELLO!r}); os.write(1, {READY!r}); os.write(1, {_frame(REFUSED)!r}); time.sleep(9)"
    )
    _instead(monkeypatch, script)
    with Pool(ONE) as pool:
        taken = _rejection(_preparer(pool).prepare_safely("x"))
    assert (taken.reason, taken.message, taken.source.path) == ("empty", "m", "x")


def test_the_wire_knows_no_object() -> None:
    with pytest.raises(WireError):
        receive_reply(io.BytesIO(len(PICKLE).to_bytes(4, "little") + PICKLE))
    with pytest.raises(EOFError):
        receive_reply(io.BytesIO(b"\x01"))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"dtype": "object", "shape": [1]}, Array)


# ---- a process that cannot be started


@pytest.mark.parametrize("executable", ["/usr/sbin/Orthanc", "C:\\Program Files\\Host\\host.exe", "", None, "uwsgi"])
def test_a_program_that_embeds_python_is_not_started_again(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(cxr_edge.EnvironmentUnusable, match="needs a Python interpreter"):
        cxr_edge.load(tiny, isolation=ONE)


def test_a_frozen_program_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(cxr_edge.EnvironmentUnusable):
        Pool(ONE)


@pytest.mark.parametrize(
    "name", ["python", "python3.11", "Python", "python3.13t", "python.exe", "pythonw.exe", "python_d.exe"]
)
def test_names_of_interpreters(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "executable", name)
    assert command_module.command(1)[0] == name


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("raise SystemExit(3)", "ended with code 3"),
        ("print('usage: python [--help]')", "made no sense|ended with code"),
        (f"import os; os.write(1, {HELLO!r}); raise SystemExit(4)", "ended with code 4"),
        (
            f"import os; os.write(1, {ANOTHER_VERSION!r})",
            "instead of",
        ),
    ],
)
def test_a_process_that_does_not_start_is_no_images_fault(
    image: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    _instead(monkeypatch, script)
    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.001)
    with Pool(TWO) as pool:
        for _ in range(2):
            with pytest.raises(cxr_edge.EnvironmentUnusable, match=why):
                _preparer(pool).prepare_safely(image)
        assert not _children(pool)


def test_an_interpreter_that_vanished(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.001)
    with Pool(ONE) as pool, pytest.raises(cxr_edge.EnvironmentUnusable, match="cannot be started"):
        _preparer(pool).prepare_safely(image)
    assert any("no decoding process" in problem for problem in doctor.examine().problems)


def test_one_that_is_silent_at_the_start(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(child_module, "START_SECONDS", 0.3)
    with Pool(ONE) as pool, pytest.raises(cxr_edge.EnvironmentUnusable, match=r"longer than 0\.3 s"):
        _preparer(pool).prepare_safely(image)


def test_a_broken_installation_blames_no_image(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _in_child(
        monkeypatch,
        "import sys; [sys.modules.pop(m) for m in list(sys.modules) if m.startswith('PIL')]; sys.modules['PIL'] = None",
    )
    with cxr_edge.load(tiny, isolation=ONE) as classifier, pytest.raises(cxr_edge.EnvironmentUnusable, match="PIL"):
        list(classifier.classify_many([_png(GRAY)] * 3))


@pytest.mark.parametrize("entry", ["", "."])
def test_nothing_of_the_current_folder_is_run(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for module in ("signal", "enum", "sitecustomize", "pydicom", "cxr_edge"):
        (folder / f"{module}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w').close()", encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([entry, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(entry)
    with Pool(ONE) as pool:
        assert isinstance(_preparer(pool).prepare(image), Prepared)
    assert not (tmp_path / "run").exists()


def test_the_package_may_lie_in_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(cxr_edge.__file__).parents[1])
    elsewhere = [entry for entry in sys.path if entry not in ("", ".", root)]
    monkeypatch.setattr(sys, "path", ["", *elsewhere])
    assert command_module._path()[0] == root  # noqa: SLF001
    monkeypatch.setattr(sys, "path", ["", *elsewhere, root])
    assert command_module._path() == [*elsewhere, root]  # noqa: SLF001


def _refuse_processes(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let the system be out of file descriptors for so many starts."""
    refused: list[int] = []
    start = subprocess.Popen

    def refusing(*arguments: Any, **options: Any) -> Any:
        if len(refused) < times:
            refused.append(1)
            raise OSError(errno.EMFILE, "Too many open files")
        return start(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", refusing)
    return refused


@POSIX
def test_one_more_that_cannot_be_started_is_done_without(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Pool(TWO) as pool, ThreadPoolExecutor(2) as threads:
        preparer = _preparer(pool)
        preparer.prepare(image)
        pid = _stopped(pool)
        refused = _refuse_processes(monkeypatch, 99)
        waiting = [threads.submit(preparer.prepare, image) for _ in range(2)]
        while not refused:
            time.sleep(0.02)
        time.sleep(0.6)  # time enough for more attempts, were there no pause
        os.kill(pid, signal.SIGCONT)
        assert all(isinstance(future.result(), Prepared) for future in waiting)
        assert (_pids(pool), len(refused)) == ([pid], 1)


def test_the_only_one_is_tried_again_after_a_pause(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.05)
    refused = _refuse_processes(monkeypatch, 4)
    with Pool(ONE) as pool:
        started = time.monotonic()
        assert isinstance(_preparer(pool).prepare(image), Prepared)
        assert (len(refused), time.monotonic() - started >= 0.05 * 15) == (4, True)
        pool.close()
        refused.clear()
        _refuse_processes(monkeypatch, 5)
        with pytest.raises(cxr_edge.EnvironmentUnusable, match="Too many open files"):
            _preparer(pool).prepare(image)


def test_a_system_without_threads_left(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Pool(ONE) as pool, pytest.raises(cxr_edge.EnvironmentUnusable, match="can't start new thread"):
        _preparer(pool).prepare(image)
    assert any("can't start new thread" in problem for problem in doctor.examine().problems)


def test_how_a_process_ended_is_told_even_when_it_takes_a_moment(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def slow(*_): import os, time; os.close(replies); time.sleep(0.2); os._exit(3)\nworker._serve = slow\n"
    code += "own = worker._own_pipes\n"
    code += "def pipes():\n    global replies\n    both = own(); replies = both[1].fileno(); return both\n"
    _in_child(monkeypatch, code + "worker._own_pipes = pipes")
    with Pool(ONE) as pool:
        lost = _rejection(_preparer(pool).prepare_safely(image))
    assert "ended with code 3" in lost.message


@POSIX
def test_closing_blames_no_image(image: Path) -> None:
    with Pool(ONE) as pool, ThreadPoolExecutor(1) as threads:
        preparer = _preparer(pool)
        preparer.prepare(image)
        _stopped(pool)
        waiting = threads.submit(preparer.prepare_safely, image)
        time.sleep(0.2)
        pool.close()
        with pytest.raises(cxr_edge.EnvironmentUnusable, match="the classifier was closed"):
            waiting.result(10)


# ---- nothing is left behind


class _Interrupts:
    """Ctrl-C at a line of child.py or pool.py that is reached in the main thread, counted from the first."""

    FILES = child_module.__file__, pool_module.__file__

    def __init__(self, line: int) -> None:
        self.line, self.seen = line, 0

    def __enter__(self) -> None:
        self._former = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._former)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in self.FILES:
            return None
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        # the end of a `with` block is traced as its first line; there Python itself looks for no signal
        if event == "line" and not text.startswith("with "):
            self.seen += 1
            if self.seen == self.line:
                raise KeyboardInterrupt
        return self._trace


FAST = (
    "import os\n"
    "def read(n):\n"
    "    data = b''\n"
    "    while len(data) < n:\n"
    "        data += os.read(0, n - len(data)) or os._exit(0)\n"
    "    return data\n"
    "def message(reply): read(int.from_bytes(read(4), 'little')); os.write(1, reply)\n"
    f"os.write(1, {HELLO!r}); message({READY!r})\n"
    f"while True: message({_frame(REFUSED)!r})"
)


@POSIX
@pytest.mark.parametrize("is_there", [False, True])
def test_an_interrupt_anywhere_leaves_and_loses_nothing(monkeypatch: pytest.MonkeyPatch, *, is_there: bool) -> None:
    monkeypatch.setattr(child_module, "command", lambda _memory: [sys.executable, "-I", "-S", "-c", FAST])
    before = set(threading.enumerate())
    pids = set()
    for line in range(1, 1000, 2):
        pool = Pool(TWO)
        preparer = _preparer(pool)
        if is_there:
            preparer.prepare("x")
        else:
            pool.close()
        try:
            with _Interrupts(line):
                preparer.prepare("x")
            break
        except KeyboardInterrupt:
            pass
        finally:
            pids |= set(_pids(pool))
        assert len(_children(pool)) <= 1
        assert all(loan is None or loan() is None for loan in pool._children.values())  # noqa: SLF001
        started = time.monotonic()
        assert _rejection(preparer.prepare("x")).message == "m"
        assert time.monotonic() - started < 5
        pids |= set(_pids(pool))
        pool.close()
    pool.close()
    assert 20 < line < 500  # interrupted at every second line there is
    assert all(_is_gone(pid) for pid in pids)
    assert not _children_left()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "cxr-edge-child"]


def _children_left() -> list[int]:
    return [pid for pid in _children_of(os.getpid()) if FAST[:20] in _command_line(pid)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


@POSIX
def test_close_and_forgetting_end_the_processes(tiny: Path, image: Path) -> None:
    before = set(threading.enumerate())
    classifier = cxr_edge.load(tiny, isolation=TWO)
    pool = classifier._pool  # noqa: SLF001
    assert pool is not None
    first = _pids(pool)
    classifier.close()
    assert all(_is_gone(pid) for pid in first)
    assert classifier.classify(image).positive is not None  # started again
    second = _pids(pool)
    del pool, classifier
    assert all(_is_gone(pid) for pid in second)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "cxr-edge-child"]


SCRIPT = """
import sys, time
import cxr_edge
classifier = cxr_edge.load(sys.argv[1], isolation=cxr_edge.IsolationLimits(processes=2))  # no main guard
classifier.classify(sys.argv[2])
print(*[child.pid for child in classifier._pool._children], flush=True)
time.sleep(60)
"""


@POSIX
@pytest.mark.parametrize("number", [signal.SIGKILL if sys.platform != "win32" else 9, signal.SIGTERM])
def test_orphans_end(tiny: Path, image: Path, tmp_path: Path, number: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen([sys.executable, script, tiny, image], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert pids
    process.send_signal(number)
    process.wait(10)
    process.stdout.close()
    assert all(_is_gone(pid) for pid in pids)


def test_an_orphan_that_hangs_ends_itself(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"def hang(*_, **__): {HANGS}\nworker.Preparer.prepare_safely = hang; worker.ORPHAN_SECONDS = 0.3 - 60"
    _in_child(monkeypatch, code)
    with Pool(ONE) as pool:
        lost = _rejection(_preparer(pool).prepare_safely(image))
    assert (lost.reason, "code 1" in lost.message) == ("decoder_crashed", True)


@POSIX
def test_a_hang_does_not_hold_up_who_stops_waiting(tiny: Path, image: Path) -> None:
    before = set(threading.enumerate())
    with cxr_edge.load(tiny, isolation=TWO) as classifier:
        pool = classifier._pool  # noqa: SLF001
        assert pool is not None
        results = classifier.classify_many([image] * 9)
        next(results)
        for pid in _pids(pool):
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        results.close()  # type: ignore[attr-defined]  # a generator
        assert time.monotonic() - started < 10  # not the 60 s that a decoder has
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("cxr-edge")]


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hanging", [False, True])
def test_an_interrupted_command_leaves_nothing(
    tiny: Path, image: Path, tmp_path: Path, number: int, *, hanging: bool
) -> None:
    """The signal reaches the whole group, as Ctrl-C does."""
    rows = tmp_path / "rows.jsonl"
    arguments = ["classify", *[str(image)] * 3000, "--model", str(tiny), "--output", str(rows)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cxr_edge", *arguments],
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads yet
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = _children_of(process.pid)
    assert children
    if hanging:
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(0.3)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error.decode().splitlines()[-1] == "cxr-edge: interrupted"
    assert all(_is_gone(pid) for pid in children)
    assert not rows.exists()
    assert not list(tmp_path.glob("*.part"))


def _children_of(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return [int(word) for word in listed.split()]


@POSIX
def test_one_file_alone_starts_no_process(tiny: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge.cli import classify as cli_classify
    from cxr_edge.cli.app import run

    started: list[int] = []
    monkeypatch.setattr(cli_classify, "_start_isolation", started.append)
    assert run(["classify", str(image), "--model", str(tiny)]) == 0
    assert started == [1]
    monkeypatch.undo()
    assert cli_classify._start_isolation(1) is None  # noqa: SLF001
    with cli_classify._start_isolation(2) as pool:  # type: ignore[union-attr]  # noqa: SLF001
        assert pool.processes == min(2, available_threads())


def test_the_command_gives_the_same_rows(
    tiny: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cxr_edge.cli import classify as cli_classify
    from cxr_edge.cli.app import run

    (image.parent / "nonsense").write_bytes(b"nonsense")
    arguments = ["classify", str(image), str(image.parent / "nonsense"), "--model", str(tiny)]
    assert run(arguments) == 3
    isolated = [{**json.loads(line), "latency_ms": 0} for line in capsys.readouterr().out.splitlines()]
    monkeypatch.setattr(cli_classify, "_start_isolation", lambda _: None)
    assert run(arguments) == 3
    assert [{**json.loads(line), "latency_ms": 0} for line in capsys.readouterr().out.splitlines()] == isolated


# ---- limits and platforms


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": value} for value in (0, -1, float("nan"), float("inf"), 1e10, 86_401, True, "60", None)]
    + [{"memory_bytes": value} for value in (1, 2**44 + 1, 2**63, 2**70, 2.5e9, True, None)]
    + [{"processes": value} for value in (0, 65, 10**6, 1.0, True)],
)
def test_limits_that_are_none(wrong: Any) -> None:
    with pytest.raises(cxr_edge.UsageError):
        cxr_edge.IsolationLimits(**wrong)


@LINUX
def test_a_process_is_limited_and_dumps_no_core(pool: Pool) -> None:
    assert limit_of(pool) == "RLIMIT_DATA"
    text = Path(f"/proc/{_pids(pool)[0]}/limits").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(Max data size|Max core file size) +(\d+)", text, re.MULTILINE))
    assert found == {"Max data size": str(ONE.memory_bytes), "Max core file size": "0"}


def test_doctor_tells() -> None:
    facts = doctor.examine().facts["isolation"]
    assert facts["memory limit"]
    assert facts["a process starts in"].endswith(" s")


def test_a_memory_limit_that_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_job_of", lambda *_: (None, "none: no job object, Windows error 5"))
    _in_child(monkeypatch, "worker.limit_own_memory = lambda _: 'none'")
    assert any("Windows error 5" in warning for warning in doctor.examine().warnings)


def test_windows_starts_the_base_interpreter_without_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command_module.creation() == {} or sys.platform == "win32"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "executable", "venv\\python.exe")
    monkeypatch.setattr(sys, "_base_executable", "python.exe", raising=False)
    assert command_module.command(7)[0] == "python.exe"
    assert command_module.environment()["__PYVENV_LAUNCHER__"] == "venv\\python.exe"
    assert command_module.creation() == {"creationflags": 0x0800_0000 | 0x200}
    assert limit_own_memory(7) == "none"


class _Kernel32:
    """What `JobObject` asks of Windows; `fails` names the call that refuses."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls, self.limits = fails, [], ExtendedLimits()  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            if name == "SetInformationJobObject":
                self.limits = ExtendedLimits.from_buffer_copy(arguments[2]._obj)  # noqa: SLF001
            return 0 if name == self.fails else 42

        return call


def test_a_job_object_is_filled_as_windows_wants_it() -> None:
    kernel32 = _Kernel32()
    job = JobObject(7, 2 << 30, kernel32)
    assert [name for name, _ in kernel32.calls] == [
        "CreateJobObjectW",
        "SetInformationJobObject",
        "AssignProcessToJobObject",
    ]
    assert kernel32.calls[1][1][1] == 9
    assert kernel32.calls[1][1][3] == ctypes.sizeof(ExtendedLimits) == (144 if sys.maxsize > 2**32 else 112)
    assert kernel32.calls[2][1] == (42, 7)
    assert kernel32.limits.ProcessMemoryLimit == 2 << 30
    assert kernel32.limits.BasicLimitInformation.LimitFlags == 0x2000 | 0x100 | 0x400
    job.close()
    job.close()
    assert [name for name, _ in kernel32.calls].count("CloseHandle") == 1


@pytest.mark.parametrize("call", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"])
def test_a_job_object_that_windows_refuses(call: str) -> None:
    with pytest.raises(OSError, match="no job object"):
        JobObject(7, 2 << 30, _Kernel32(fails=call))


def test_a_stop_of_this_program_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z for an hour: time is counted by steps that this program lived through, not by the clock."""
    waited: list[float] = []

    class Stopped:
        def get(self, timeout: float) -> None:
            waited.append(timeout)
            raise queue.Empty

        def put(self, answer: object) -> None:
            """Whatever comes, comes too late."""

    _instead(monkeypatch, "import time; time.sleep(60)")
    subject = Child(LEAST_MEMORY_BYTES)
    subject._results = Stopped()  # type: ignore[assignment]  # noqa: SLF001
    with pytest.raises(child_module.ChildFailedError, match="longer than 3 s"):
        subject.ask(lambda *_: None, 3.0)
    assert sum(waited) == pytest.approx(3.0)
